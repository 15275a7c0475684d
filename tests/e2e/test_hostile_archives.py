"""T32 to T34, T37, T38: archives that strangers made, by every way on which archives come in, with what must work.

The ways: layers of a base image in a registry and in a layout, ADD, a context on standard input.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from stage import hostile
from stage.attacks import LOOK_ALIKES, Members, escapes, look_alikes
from stage.contexts import Context, open_folder
from stage.hostile import Layer, archive, untouched
from stage.program import Trimaran

from trimaran.testing.registry import FaultyRegistry

CANARY = "a secret of this machine"


@pytest.fixture
def victim() -> Iterator[Path]:
    """A folder of the machine that everybody may write to, with a secret that everybody may read and write."""
    with open_folder() as outer:
        path = outer / "victim"
        path.mkdir()
        path.chmod(0o777)
        (path / "canary").write_text(CANARY)
        (path / "canary").chmod(0o666)
        yield path


@pytest.fixture
def dest() -> Iterator[Path]:
    """Where any account may write what it built."""
    with open_folder() as outer:
        outer.chmod(0o777)
        yield outer / "dest"


def build(command: Trimaran, folder: Path, *words: str, stdin: bytes = b"") -> tuple[int, str]:
    """Exit code and what was said; never a bug, never the canary, and an error names what it is about."""
    process = subprocess.run(
        [*command.command, "build", "--progress=plain", *words],
        cwd=folder,
        env=command.environment,
        input=stdin,
        capture_output=True,
        timeout=200,
        check=False,
    )
    said = process.stderr.decode(errors="replace")
    assert "Traceback" not in said, said
    assert CANARY not in said
    assert (process.returncode == 0) != bool(re.search("^ERROR: ", said, re.MULTILINE)), said
    return process.returncode, said


class Way:
    """One on which an archive comes in; what it holds ends in the folder `dest`."""

    def __init__(self, command: Trimaran, context: Context, faulty: FaultyRegistry, dest: Path, cwd: Path) -> None:
        self.command = command
        self.context = context
        self.faulty = faulty
        self.dest = dest
        self.cwd = cwd

    def build(self, text: str, *words: str) -> tuple[int, str]:
        self.context.dockerfile(text)
        return build(self.command, self.cwd, "-o", f"type=local,dest={self.dest}", *words, os.fspath(self.context))

    def base(self, members: Members) -> tuple[int, str]:
        """Layers of an image in a registry, unpacked for a step."""
        base = hostile.image_of(self.faulty, "hostile", Layer.of(archive(*members)))
        return self.build(f"FROM {base} AS base\nRUN true\nFROM scratch\nCOPY --from=base / /\n")

    def layout(self, members: Members) -> tuple[int, str]:
        """A named context; nothing of it is run."""
        layout = self.context.folder / "layout"
        reference = hostile.image_of(self.faulty, "hostile", Layer.of(archive(*members)))
        copy = ["skopeo", "copy", "-q", "--src-tls-verify=false", f"docker://{reference}", f"oci:{layout}:latest"]
        subprocess.run(copy, check=True, capture_output=True)
        subprocess.run(["chmod", "-R", "a+rX", layout], check=True)
        words = ("--build-context", f"layout=oci-layout://{layout}:latest")
        return self.build("FROM scratch\nCOPY --from=layout / /\n", *words)

    def add(self, members: Members) -> tuple[int, str]:
        self.context.write("archive.tar", archive(*members))
        return self.build("FROM scratch\nADD archive.tar /\n")

    def stdin(self, members: Members) -> tuple[int, str]:
        dockerfile = (hostile.plain("Dockerfile"), b"FROM scratch\nCOPY . /\n")
        data = archive(dockerfile, *members)
        return build(self.command, self.cwd, "-o", f"type=local,dest={self.dest}", "-", stdin=data)


WAYS: dict[str, Callable[[Way, Members], tuple[int, str]]] = {
    "base": Way.base, "layout": Way.layout, "ADD": Way.add, "stdin": Way.stdin,
}  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
def test_no_archive_leaves_its_folder(
    trimaran: Trimaran, faulty: FaultyRegistry, context: Context, victim: Path, dest: Path, way: str
) -> None:
    """Started in the victim's folder, by which a careless unpacker would resolve names."""
    check = untouched(victim)
    every = {"ADD": 1, "base": 2}.get(way, 3)  # all come to one unpacker
    for name, members in [*escapes(victim).items()][::every]:
        code, said = WAYS[way](Way(trimaran, context, faulty, dest / name[:8], victim), members)
        check()
        if code:
            assert "read layer: " in said.rpartition("\nERROR: ")[2], (name, said)


def test_no_archive_leaves_its_folder_without_root(
    rootless: Trimaran, faulty: FaultyRegistry, context: Context, victim: Path, dest: Path
) -> None:
    check = untouched(victim)
    for name, members in [*escapes(victim).items()][1::3]:
        Way(rootless, context, faulty, dest / name[:8], victim).base(members)
        check()


@pytest.mark.parametrize("way", WAYS)
def test_archives_that_only_look_like_that_must_work(
    either: Trimaran, faulty: FaultyRegistry, context: Context, victim: Path, dest: Path, way: str
) -> None:
    code, said = WAYS[way](Way(either, context, faulty, dest, victim), look_alikes())
    assert code == 0, said
    for name, content in LOOK_ALIKES.items():
        at = dest / name
        if at.is_symlink():
            at = dest / os.path.normpath("/" + os.path.join(os.path.dirname(name), os.readlink(at))).lstrip("/")
        assert at.read_text() == content, name
    assert (dest / "hard").samefile(dest / "real/file")
    assert (dest / "harder").samefile(dest / "hard")
    assert (dest / "linked-link").readlink() == Path("real/file")
    assert (dest / "dangling").readlink() == Path("/nowhere/../at/all")


# -- layers of caches, and commands that read images ----------------------------------------------------------------


def poison(cache: Path, tar: bytes) -> None:
    """Make `tar` the layer of a cache's only result, with all digests right: whoever writes a cache can."""
    blobs = cache / "blobs" / "sha256"

    def put(raw: bytes) -> dict[str, object]:
        name = hashlib.sha256(raw).hexdigest()
        (blobs / name).write_bytes(raw)
        return {"digest": f"sha256:{name}", "size": len(raw)}

    index = json.loads((cache / "index.json").read_bytes())
    manifest = json.loads((blobs / index["manifests"][0]["digest"][7:]).read_bytes())
    (layer,) = manifest["layers"]
    config = (blobs / manifest["config"]["digest"][7:]).read_text()
    before = layer["digest"]
    layer |= put(gzip.compress(tar, mtime=0))
    layer["annotations"]["containerd.io/uncompressed"] = "sha256:" + hashlib.sha256(tar).hexdigest()
    manifest["config"] |= put(config.replace(before, layer["digest"]).encode())
    index["manifests"][0] |= put(json.dumps(manifest).encode())
    (cache / "index.json").write_text(json.dumps(index))


def test_no_layer_of_a_cache_leaves_its_folder(
    trimaran: Trimaran, context: Context, victim: Path, dest: Path, tmp_path: Path
) -> None:
    """A layer that cannot be unpacked is a miss: the step runs, and the build gives what it always gave."""
    context.write("file", "honest\n")
    context.dockerfile("FROM scratch\nCOPY file /\n")
    cache = tmp_path / "cache"
    trimaran("build", f"--cache-to=type=local,dest={cache}", ".", cwd=context.folder)
    check = untouched(victim)
    attacks = [*escapes(victim).items()]
    for number, (name, members) in enumerate([*attacks[:3], attacks[9], attacks[13], attacks[-1]]):
        poison(cache, archive(*members))
        trimaran.environment["TRIMARAN_ROOT"] = f"{trimaran.home}/store{number}"
        words = (f"--cache-from=type=local,src={cache}", "-o", f"type=local,dest={dest}/{number}", ".")
        code, said = build(trimaran, context.folder, *words)
        check()
        assert code == 0, (name, said)
    assert (dest / "5" / "file").read_text() == "honest\n", "a deletion in a deletion is a miss"


def spoil_pipe(layout: Path, blob: Path) -> None:
    (layout / "index.json").unlink()
    os.mkfifo(layout / "index.json")


def spoil_device(layout: Path, blob: Path) -> None:
    blob.unlink()
    blob.symlink_to("/dev/zero")


def spoil_bytes(layout: Path, blob: Path) -> None:
    blob.write_bytes(blob.read_bytes()[:-1] + b"x")


def spoil_depth(layout: Path, blob: Path) -> None:
    (layout / "index.json").write_text('{"schemaVersion":2,"manifests":' + "[" * 100_000 + "]" * 100_000 + "}")


@pytest.mark.parametrize("spoil", [spoil_pipe, spoil_device, spoil_bytes, spoil_depth], ids=lambda each: each.__name__)
def test_commands_that_read_a_layout_of_strangers(
    trimaran: Trimaran, context: Context, tmp_path: Path, spoil: Callable[[Path, Path], None]
) -> None:
    """`diff`, a named context and a cache: in time, in one line that names the layout or the blob."""
    context.write("file", "honest\n")
    context.dockerfile("FROM scratch\nCOPY file /\n")
    layout, good = tmp_path / "layout", tmp_path / "good.tar"
    trimaran("build", "-o", f"type=oci,tar=false,dest={layout}", ".", cwd=context.folder)
    context.write("file", "another\n")
    trimaran("build", "-o", f"type=oci,dest={good}", ".", cwd=context.folder)
    index = json.loads((layout / "index.json").read_bytes())
    manifest = json.loads((layout / "blobs/sha256" / index["manifests"][0]["digest"][7:]).read_bytes())
    if "manifests" in manifest:
        manifest = json.loads((layout / "blobs/sha256" / manifest["manifests"][0]["digest"][7:]).read_bytes())
    blob = layout / "blobs/sha256" / manifest["config"]["digest"][7:]
    assert "file" in trimaran("diff", good, layout, exit_code=None).stdout
    spoil(layout, blob)
    trimaran.environment["TRIMARAN_ROOT"] = f"{trimaran.home}/another"
    done = trimaran("diff", good, layout, exit_code=None, timeout=60)
    assert done.returncode not in (0, 100)
    error = done.stderr.rpartition("ERROR: ")[2]
    assert str(layout) in error or blob.name in error
    context.dockerfile("FROM other\nCOPY file /again\n")
    code, said = build(trimaran, context.folder, "--build-context", f"other=oci-layout://{layout}", ".")
    assert code == 1
    assert len(said.rpartition("ERROR: ")[2].splitlines()) <= 2
    context.dockerfile("FROM scratch\nCOPY file /again\n")
    code, said = build(trimaran, context.folder, f"--cache-from=type=local,src={layout}", ".")
    assert code == 0, said
