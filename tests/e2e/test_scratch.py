"""A temporary folder that is full, and file systems that keep no extended attributes: one line, or no matter at all."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from stage import reading
from stage.contexts import Context
from stage.namespaces import MountNamespace, mount_namespace
from stage.program import Trimaran
from stage.web_server import WebServer

pytestmark = pytest.mark.root


@pytest.fixture
def namespace() -> Iterator[MountNamespace]:
    with mount_namespace() as made:
        yield made


def one_error(text: str) -> str:
    assert "Traceback" not in text
    lines = [line for line in text.splitlines() if line.startswith("ERROR: ")]
    assert len(lines) == 1, text
    return "\n".join(lines + [line for line in text.splitlines() if line.startswith("hint: ")])


def small_temporary_folder(command: Trimaran, namespace: MountNamespace, size: str) -> Trimaran:
    status = command.home.stat()
    options = f"size={size},mode=700,uid={status.st_uid},gid={status.st_gid}"
    namespace.run("mount", "-t", "tmpfs", "-o", options, "tmpfs", str(command.home / "tmp"))
    return namespace.inside(command)


def archive(size: int) -> str:
    """A context as text, which is how the program is given its standard input here."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as made:
        for name, content in (("Dockerfile", b"FROM scratch\nCOPY . /\n"), ("zeros", b"0" * size)):
            header = tarfile.TarInfo(name)
            header.size = len(content)
            made.addfile(header, io.BytesIO(content))
    return file.getvalue().decode("ascii")


def left_in(namespace: MountNamespace, folder: Path) -> list[str]:
    """What lies in a folder of the namespace."""
    listing = folder.parent / "listing"
    namespace.run("sh", "-c", f"ls -A {folder} >{listing}")
    return listing.read_text().split()


def test_a_full_temporary_folder(either: Trimaran, context: Context, namespace: MountNamespace) -> None:
    """Contexts and Dockerfiles that come from elsewhere lie there; nothing is left, and a smaller one builds."""
    command = small_temporary_folder(either, namespace, "1m")
    said = one_error(command("build", "-", stdin=archive(3 << 20), exit_code=1).stderr)
    assert "no space left on device" in said.lower()
    assert str(either.home / "tmp") in said, "which folder it is"
    assert "TMPDIR" in said
    assert left_in(namespace, either.home / "tmp") == []
    command("build", "-", stdin=archive(1000))
    namespace.run("sh", "-c", f"cat /dev/zero >{either.home}/tmp/ballast 2>/dev/null || true")
    with WebServer().serving() as web:
        web.files["/Dockerfile"] = b"FROM scratch\nCOPY Dockerfile /\n#" + b"x" * 10_000
        context.dockerfile("")
        for words, stdin in (
            (("-f", web.url("/Dockerfile"), context), None),
            (("-",), "FROM scratch\nCMD x\n#" + "x" * 10_000),
            (("-f", "-", context), "FROM scratch\nCMD x\n#" + "x" * 10_000),
            (("-",), archive(1000)),
        ):
            said = one_error(command("build", *words, stdin=stdin, exit_code=1).stderr)
            assert "no space left on device" in said.lower()
            assert str(either.home / "tmp") in said, "which folder it is"
            assert left_in(namespace, either.home / "tmp") == ["ballast"]
    context.dockerfile("FROM scratch\nCOPY Dockerfile /\n")
    command("build", "-t", "app", context)


@pytest.mark.parametrize("where", ["context", "store"])
def test_a_file_system_without_extended_attributes(
    either: Trimaran, context: Context, bases: str, namespace: MountNamespace, where: str
) -> None:
    """A context or a store there gives the image that it gives elsewhere."""
    words = ("build", "--progress=plain", "--reproducible", "-o")
    text = "FROM busybox\nCOPY a /copied/a\nRUN rm /etc/passwd; mkdir -p /made && echo made >/made/file && chmod 4711 /made/file\n"
    context.dockerfile(text)
    context.write("a/file", "content\n").chmod(0o4755)
    os.symlink("file", context / "a/link")
    either(*words, f"type=oci,dest={either.home}/plain.tar", context)
    folder = context.folder if where == "context" else either.home / "store2"
    folder.mkdir(exist_ok=True)
    namespace.run("mount", "-t", "ramfs", "-o", "mode=777", "none", str(folder))
    command = namespace.inside(either)
    if where == "context":
        with tarfile.open(either.home / "context.tar", "w") as made:
            made.add(context.folder, ".")
        namespace.run("tar", "-xpf", f"{either.home}/context.tar", "-C", str(folder))
    else:
        status = either.home.stat()
        namespace.run("sh", "-c", f"chmod 700 {folder} && chown {status.st_uid}:{status.st_gid} {folder}")
        command.environment["TRIMARAN_ROOT"] = str(folder)
    command(*words, f"type=oci,dest={either.home}/without.tar", context)
    roots = [
        reading.unpack(f"oci-archive:{either.home}/{name}.tar", either.home / name) for name in ("plain", "without")
    ]
    assert reading.facts(roots[0]) == reading.facts(roots[1])
