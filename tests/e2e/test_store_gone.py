"""A store that loses files, between builds and during one: what can be made again is, and else the build ends and says so."""

from __future__ import annotations

import shutil
import time

import pytest
from stage.watching import Screen

SECONDS = 60.0
"""No build here takes more than a few; none may hang."""

DOCKERFILE = """FROM alpine AS one
RUN echo 1 > /one
RUN echo 2 > /two
FROM alpine
COPY --from=one /one /two /
COPY file /
CMD cat /one /two /file
"""


def lose(store, *names):
    """Remove everything in these folders of the store, or files of it."""
    for name in names:
        path = store / name
        if path.is_dir():
            for each in path.iterdir():
                shutil.rmtree(each) if each.is_dir() and not each.is_symlink() else each.unlink()
        else:
            path.unlink(missing_ok=True)


def test_between_builds(either, bases, context):
    """What is in its folders, the folders themselves, its databases; one after the other from the same store."""
    context.write("file", "3\n")
    context.dockerfile(DOCKERFILE)
    either("build", "-t", "app", context)
    for lost in ("snapshots", "snapshots blobs/sha256", "store.db", "fast.db temp locks live"):
        lose(either.root, *lost.split())
        if lost.startswith("fast.db"):
            for name in ("temp", "locks", "live", "snapshots", "blobs"):
                shutil.rmtree(either.root / name)
        either("build", "-t", "app", context, timeout=SECONDS)
        assert either("run", "app").stdout == "1\n2\n3\n"


@pytest.mark.parametrize("lost", ["snapshots blobs/sha256", "temp"])
def test_during_a_build(trimaran, bases, context, lost):
    """It ends, well or with an error; and the next one is right."""
    context.write("file", "3\n")
    context.dockerfile(DOCKERFILE.replace("echo 2 > /two", "echo begun; sleep 1; echo 2 > /two"))
    process = trimaran.start("build", "--progress=plain", "-t", "app", context)
    Screen(process).until(r"^#\d+ \S+ begun$")
    lose(trimaran.root, *lost.split())
    ended = time.monotonic() + SECONDS
    process.communicate(timeout=SECONDS)
    assert time.monotonic() < ended
    trimaran("build", "-t", "app", context, timeout=SECONDS)
    assert trimaran("run", "app").stdout == "1\n2\n3\n"


def test_what_cannot_be_made_again_is_an_error_at_once(either, bases, context):
    """A base that is of this store alone: nobody else has its layer."""
    context.write("file", "3\n")
    context.dockerfile("FROM scratch\nCOPY file /\n")
    either("build", "-t", "base", context)
    layers = [path for path in (either.root / "blobs/sha256").iterdir() if not path.read_bytes().startswith(b"{")]
    context.dockerfile("FROM base\nCOPY file /more\n")
    either("build", "-t", "child", context)
    for path in layers:
        path.unlink()
    lose(either.root, "snapshots")
    context.dockerfile("FROM base\nCOPY file /other\n")
    for words in (
        ("build", "-o", f"type=tar,dest={either.home}/out.tar", context),
        ("run", "base", "/file"),
        ("push", "base"),
    ):
        said = either(*words, exit_code=None, timeout=SECONDS)
        assert said.returncode
        assert "Traceback" not in said.stderr
    said = either("build", context, exit_code=1, timeout=SECONDS).stderr
    assert "it is neither in the store nor is a registry known that has it" in said
    assert "hint: build or pull the image again" in said
