"""Where a build's files are: the context and the Dockerfile, checked before anything starts."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import msgspec

from trimaran.builders.options import STDIN, BuildOptions
from trimaran.errors import Unsupported, UsageError

_DOCKERFILE_LIMIT = 16 << 20
_ARCHIVES = (b"\x1f\x8b\x08", b"BZh", b"\xfd7zXZ\x00", b"\x28\xb5\x2f\xfd")


class BuildInputs(msgspec.Struct, frozen=True):
    """Folders with absolute paths; `filename` is the Dockerfile's name in `dockerfile`."""

    context: str
    dockerfile: str
    filename: str


@contextmanager
def build_inputs(options: BuildOptions) -> Iterator[BuildInputs]:
    """The folders of the build; what came from standard input lies in a temporary one until the end."""
    with ExitStack() as stack:
        if options.context == STDIN and options.file == STDIN:
            raise UsageError("invalid argument: can't use stdin for both build context and dockerfile")
        if options.context == STDIN:
            yield _from_stdin(stack)
            return
        if "://" in options.context or options.context.startswith(("git@", "github.com/")):
            raise Unsupported(
                f"read context {options.context}: git and HTTP contexts are not supported yet",
                hint="clone or download it and give the folder",
            )
        context = os.path.abspath(options.context)
        if not os.path.isdir(context):
            kind = "it is no folder" if os.path.exists(context) else "no such file or directory"
            raise UsageError(f"unable to prepare context: path {options.context!r}: {kind}")
        if options.file == STDIN:
            yield BuildInputs(context, _kept(stack, sys.stdin.buffer.read(_DOCKERFILE_LIMIT)), "Dockerfile")
            return
        folder, filename = _dockerfile(options, context)
        yield BuildInputs(context, folder, filename)


def _dockerfile(options: BuildOptions, context: str) -> tuple[str, str]:
    """Folder and name of the Dockerfile: `--file` from the working folder, else the context's."""
    if "://" in options.file:
        raise Unsupported(
            f"read {options.file}: a Dockerfile from a URL is not supported yet", hint="download it and give the file"
        )
    path = os.path.abspath(options.file) if options.file else os.path.join(context, "Dockerfile")
    if not options.file and not os.path.lexists(path) and os.path.lexists(os.path.join(context, "dockerfile")):
        path = os.path.join(context, "dockerfile")
    if not os.path.isdir(os.path.dirname(path)):
        raise UsageError(f"read Dockerfile {path}: no such file or directory")
    return os.path.dirname(path), os.path.basename(path)


def _from_stdin(stack: ExitStack) -> BuildInputs:
    """Standard input is a Dockerfile with an empty context (or, not yet, an archive of the context)."""
    data = sys.stdin.buffer.read(_DOCKERFILE_LIMIT)
    if data.startswith(_ARCHIVES) or data[257:262] == b"ustar":
        raise Unsupported(
            "read context from standard input: an archive is not supported yet", hint="unpack it and give the folder"
        )
    if not data.strip():
        raise UsageError("read Dockerfile from standard input: it is empty")
    import tempfile

    folder = _kept(stack, data)
    empty = stack.enter_context(tempfile.TemporaryDirectory(prefix="trimaran-context-"))
    return BuildInputs(empty, folder, "Dockerfile")


def _kept(stack: ExitStack, data: bytes) -> str:
    import tempfile

    folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="trimaran-dockerfile-"))
    with open(os.path.join(folder, "Dockerfile"), "wb") as file:
        file.write(data)
    return folder
