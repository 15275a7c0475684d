"""Where a build's files are: context, Dockerfile and named contexts, checked or fetched before anything starts.

As buildx has it (reference §1.3, §3.6): a folder; a git or HTTP(S) URL, which the engine fetches; standard input, an
archive of the context or a Dockerfile with an empty one. The Dockerfile is in the context, unless it is elsewhere.
"""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager

import msgspec

from trimaran import aio
from trimaran.aio import Cancel
from trimaran.builders.options import STDIN, BuildContext, BuildOptions
from trimaran.engine.request import GivenFile
from trimaran.errors import Corrupt, NotFound, Unavailable, UsageError
from trimaran.graph.frontend import NamedContext
from trimaran.sources.lock import Lock, LockEntry, LockRequest

_DOCKERFILE_LIMIT = 16 << 20
_PIECE = 1 << 20
_DOCKERFILE = "Dockerfile"
_ARCHIVE = "context"
_LAYOUT = "oci-layout://"


class BuildInputs(msgspec.Struct, frozen=True):
    """Folders with absolute paths ("" for none); `filename` is the Dockerfile's name in `dockerfile` or the context."""

    context: str
    dockerfile: str
    filename: str
    url: str = ""
    """The context, where it is no folder."""
    is_archive: bool = False
    """`context` holds the one file `context`, an archive."""
    named: tuple[NamedContext, ...] = ()
    named_folders: tuple[tuple[str, str], ...] = ()
    locked: tuple[LockEntry, ...] = ()
    """What names that may change meant here, before the engine was asked."""
    given: tuple[GivenFile, ...] = ()
    """What is in temporary folders, but for archives of a context."""

    @property
    def folders(self) -> tuple[tuple[str, str], ...]:
        """What the engine may read, by the names the frontend asks for."""
        own = (("context", self.context), ("dockerfile", self.dockerfile))
        return (*((name, path) for name, path in own if path), *self.named_folders)


@asynccontextmanager
async def build_inputs(
    options: BuildOptions, environment: Mapping[str, str] = os.environ, locked: LockRequest | None = None
) -> AsyncIterator[BuildInputs]:
    """The inputs of the build; what came from elsewhere lies in a temporary folder until the end.

    Raises UsageError, and NotFound or Corrupt for what `locked` does not say, or says otherwise.
    """
    lock = Lock(locked)
    with ExitStack() as stack:
        if options.context == STDIN and options.file == STDIN:
            raise UsageError("invalid argument: can't use stdin for both build context and dockerfile")
        if options.graphs:
            folders = [(name, _named_folder(BuildContext(name, path))) for name, path in options.folders]
            yield BuildInputs("", "", "", named_folders=tuple(folders))
            return
        inputs = await _main(options, environment, lock, stack)
        named, folders = [], []
        for context in options.build_contexts:
            value, folder = await _named(context)
            named.append(value)
            folders += [folder] if folder is not None else []
        yield msgspec.structs.replace(inputs, named=tuple(named), named_folders=tuple(folders), locked=lock.used)


async def _main(options: BuildOptions, environment: Mapping[str, str], lock: Lock, stack: ExitStack) -> BuildInputs:
    text = await _own_dockerfile(options, environment, lock)
    own = _kept(stack, _DOCKERFILE, text) if text is not None else ""
    if options.context == STDIN:
        inputs = await _from_stdin(own, options, stack)
    else:
        inputs = _from_folder(own, options) if not _is_url(options.context) else _from_url(own, options)
    return inputs if text is None else msgspec.structs.replace(inputs, given=(_given_dockerfile(text),))


def _given_dockerfile(text: bytes) -> GivenFile:
    return GivenFile("dockerfile", _DOCKERFILE, text)


@contextmanager
def given_folders(given: Sequence[GivenFile]) -> Iterator[dict[str, str]]:
    """The temporary folders of an earlier build again, by the names the frontend asks for."""
    with ExitStack() as stack:
        yield {file.folder: _kept(stack, file.name, file.content) for file in given}


def _from_folder(own: str, options: BuildOptions) -> BuildInputs:
    context = os.path.abspath(options.context)
    if not os.path.isdir(context):
        kind = "it is no folder" if os.path.exists(context) else "no such file or directory"
        raise UsageError(f"unable to prepare context: path {options.context!r}: {kind}")
    folder, filename = (own, _DOCKERFILE) if own else _dockerfile(options, context)
    return BuildInputs(context, folder, filename)


def _is_url(context: str) -> bool:
    """A folder that is there goes before a URL that looks like it."""
    return not os.path.isdir(context) and is_remote(context)


def is_remote(context: str) -> bool:
    """A git repository, or a file of the web."""
    from trimaran.sources.git_url import parse_git_url

    return context.startswith(("http://", "https://")) or parse_git_url(context) is not None


async def _own_dockerfile(options: BuildOptions, environment: Mapping[str, str], lock: Lock) -> bytes | None:
    """A Dockerfile that is no file here: a text, from a URL or standard input; None for one that is."""
    if options.dockerfile is not None:
        return options.dockerfile
    if options.file == STDIN:
        return await aio.in_thread(_read_stdin, _DOCKERFILE_LIMIT)
    if options.file.startswith(("http://", "https://")):
        return await _downloaded(options, environment, lock)
    return None


async def _downloaded(options: BuildOptions, environment: Mapping[str, str], lock: Lock) -> bytes:
    """The Dockerfile of a URL, which is locked as other files are. It is kept nowhere, so --offline has none."""
    from trimaran.digest import Digest
    from trimaran.registry.http import Client
    from trimaran.sources.download import Address, download_small
    from trimaran.sources.lock import HTTP, http_name
    from trimaran.sources.offline import missing

    url = Address.parse(options.file).url
    what = f"download {url.redacted}"
    if options.offline:
        raise missing(what, hint="fetch the Dockerfile yourself, and give the file with -f")
    locked = lock.value(HTTP, http_name(url))
    async with Client(environment) as client:
        data = await download_small(client, options.file, _DOCKERFILE_LIMIT)
    digest = Digest.of(data)
    if locked and digest != locked:
        raise Corrupt(
            f"{what}: digest mismatch {digest}: {locked}",
            hint="it has changed since the lock was written, or since the build that is verified",
        )
    lock.note(HTTP, http_name(url), digest)
    return data


def _from_url(own: str, options: BuildOptions) -> BuildInputs:
    """The engine fetches it. The Dockerfile is in it, but for an absolute path, which is of this machine."""
    if own:
        return BuildInputs("", own, _DOCKERFILE, url=options.context)
    if os.path.isabs(options.file):
        return BuildInputs("", *_dockerfile(options, ""), url=options.context)
    return BuildInputs("", "", options.file or _DOCKERFILE, url=options.context)


def _dockerfile(options: BuildOptions, context: str) -> tuple[str, str]:
    """Folder and name of the Dockerfile: `--file` from the working folder, else the context's."""
    path = os.path.abspath(options.file) if options.file else os.path.join(context, _DOCKERFILE)
    if not options.file and not os.path.lexists(path) and os.path.lexists(os.path.join(context, "dockerfile")):
        path = os.path.join(context, "dockerfile")
    if not os.path.isdir(os.path.dirname(path)):
        raise UsageError(f"read Dockerfile {path}: no such file or directory")
    return os.path.dirname(path), os.path.basename(path)


async def _from_stdin(own: str, options: BuildOptions, stack: ExitStack) -> BuildInputs:
    """Standard input is an archive of the context, or a Dockerfile with an empty context."""
    from trimaran.sources.archives import START, is_archive

    start = await aio.in_thread(_read_start, START)
    if not start.strip():
        raise UsageError("read Dockerfile from standard input: it is empty")
    if is_archive(start):
        context = _kept(stack, _ARCHIVE, start)
        await aio.in_thread(_spool, os.path.join(context, _ARCHIVE))
        if own or os.path.isabs(options.file):
            folder, filename = (own, _DOCKERFILE) if own else _dockerfile(options, "")
            return BuildInputs(context, folder, filename, is_archive=True)
        return BuildInputs(context, "", options.file or _DOCKERFILE, is_archive=True)
    if options.file:
        raise UsageError(
            f"read context from standard input: it is no archive, and the Dockerfile is {options.file}",
            hint="pipe a tar archive (gzip, bzip2, xz and zstd are fine), or leave out -f",
        )
    data = start + await aio.in_thread(_read_stdin, _DOCKERFILE_LIMIT)
    given = (GivenFile("context", "", b""), _given_dockerfile(data))
    return BuildInputs(_kept(stack, "", b""), _kept(stack, _DOCKERFILE, data), _DOCKERFILE, given=given)


async def _named(context: BuildContext) -> tuple[NamedContext, tuple[str, str] | None]:
    """What the frontend is told, and the folder it means."""
    value = context.value
    if value.startswith(_LAYOUT):
        return await _layout(context.name, value.removeprefix(_LAYOUT))
    if "://" in value or (_is_url(value) and not value.startswith("github.com/")):
        return NamedContext(context.name, value), None
    return NamedContext(context.name, f"local:{context.name}"), (context.name, _named_folder(context))


def _named_folder(context: BuildContext) -> str:
    path = os.path.abspath(context.value)
    if not os.path.isdir(path):
        kind = "it is no folder" if os.path.exists(path) else "no such file or directory"
        raise UsageError(f"read build context {context.name}: path {context.value!r}: {kind}")
    return path


def _layout_parts(text: str) -> tuple[str, str, str]:
    """Absolute path, tag and digest; a colon may be the path's own."""
    path, _, digest = text.partition("@")
    tag = ""
    if not os.path.isdir(path) and ":" in path:
        path, _, tag = path.rpartition(":")
    return os.path.abspath(path), tag, digest


async def _layout(name: str, text: str) -> tuple[NamedContext, tuple[str, str]]:
    """`path[:tag][@digest]`; without either, the one image there is (or the one called latest)."""
    from trimaran.digest import Digest
    from trimaran.oci.layout import Layout
    from trimaran.sources.layout import folder_name

    path, tag, digest = _layout_parts(text)
    layout = await Layout.open(path)
    if digest or tag:
        root = await layout.find(tag if not digest else "", Digest.parse(digest) if digest else None)
    else:
        try:
            root = await layout.find("latest")
        except NotFound:
            root = await layout.find()
    store = "".join(c if c.isalnum() else "-" for c in name)
    return NamedContext(name, f"{_LAYOUT}{store}@{root.digest}"), (folder_name(store), layout.path)


def _kept(stack: ExitStack, name: str, data: bytes) -> str:
    """A temporary folder with one file, or none. Unavailable where there is no room for it."""
    import tempfile

    given = os.environ.get("TMPDIR", "")
    try:
        # Where $TMPDIR cannot be used, Python would choose another one, the working folder at last.
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="trimaran-input-", dir=given or None))
        if name:
            with open(os.path.join(folder, name), "wb") as file:
                file.write(data)
    except OSError as error:
        raise _no_room(given or "the temporary folder", error) from error
    return folder


def _no_room(folder: str, error: OSError) -> Unavailable:
    return Unavailable(
        f"keep what came from elsewhere in {folder}: {(error.strerror or str(error)).lower()}",
        hint="set TMPDIR to a folder with room",
    )


def _read_start(cancel: Cancel, size: int) -> bytes:
    """As many bytes as come, `size` at most."""
    parts: list[bytes] = []
    while size and (data := _read(cancel, size)):
        parts.append(data)
        size -= len(data)
    return b"".join(parts)


def _read_stdin(cancel: Cancel, limit: int) -> bytes:
    data = _read_start(cancel, limit + 1)
    if len(data) > limit:
        raise UsageError(f"read Dockerfile from standard input: it is larger than {limit >> 20} MiB")
    return data


def _spool(cancel: Cancel, path: str) -> None:
    """The rest of standard input, appended to a file: archives may be large."""
    try:
        with open(path, "ab") as file:
            while data := _read(cancel, _PIECE):
                file.write(data)
    except OSError as error:
        raise _no_room(os.path.dirname(path), error) from error


def _read(cancel: Cancel, size: int) -> bytes:
    """What standard input has now; whoever types may be interrupted."""
    import select

    fd = sys.stdin.fileno()
    while True:
        cancel.check()
        if select.select([fd], [], [], 0.1)[0]:
            return os.read(fd, size)
