"""SOURCE_DATE_EPOCH=context, or a named context, or a stage: the time of what is built, from where it is fetched."""

from __future__ import annotations

import io
import json
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from stage import reading
from stage.contexts import Context
from stage.git_server import GitServer
from stage.program import Trimaran
from stage.web_server import MODIFIED_SECONDS, WebServer

pytestmark = pytest.mark.root
COMMITTED, NEWEST = 1_700_000_000, 1_234_567_890
PLAIN = "FROM scratch\nWORKDIR /w\n"


@pytest.fixture
def web() -> Iterator[WebServer]:
    with WebServer().serving() as running:
        yield running


@pytest.fixture
def repository(tmp_path: Path) -> Iterator[str]:
    with GitServer(tmp_path / "repositories").serving() as running:
        copy = running.repository("app")
        copy.write("Dockerfile", PLAIN)
        copy.commit()
        yield running.url("app")


def created(command: Trimaran, *words: str, cwd: Path | None = None) -> tuple[int, int]:
    """What the image's config says, and the folder that it made: seconds since 1970."""
    output = command.home / "out.tar"
    command("build", "-o", f"type=oci,dest={output}", *words, cwd=cwd)
    config = json.loads(reading.skopeo("inspect", "--config", "--raw", f"oci-archive:{output}"))
    root = reading.unpack(f"oci-archive:{output}", command.home / f"unpacked-{time.time_ns()}")
    stamp = time.strptime(config["created"][:19] + "UTC", "%Y-%m-%dT%H:%M:%S%Z")
    return int(time.mktime(stamp)) - time.timezone, int((root / "w").stat().st_mtime)


def archive() -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz") as writer:
        for name, mtime, text in (("Dockerfile", NEWEST - 5, PLAIN), ("f", NEWEST, "f")):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mtime = len(text), mtime
            writer.addfile(entry, io.BytesIO(text.encode()))
    return made.getvalue()


def test_the_time_of_a_context(trimaran: Trimaran, repository: str, web: WebServer, context: Context) -> None:
    words = ("--build-arg", "SOURCE_DATE_EPOCH=context")
    assert created(trimaran, *words, repository) == (COMMITTED, COMMITTED)
    web.files["/dated.tgz"] = web.files["/undated.tgz"] = archive()
    web.headers["/undated.tgz"] = {"Last-Modified": ""}
    assert created(trimaran, *words, web.url("/dated.tgz")) == (MODIFIED_SECONDS, MODIFIED_SECONDS)
    assert created(trimaran, *words, web.url("/undated.tgz")) == (NEWEST, NEWEST)
    context.dockerfile(PLAIN)
    before = int(time.time())
    assert min(created(trimaran, *words, ".", cwd=context.folder)) >= before, "a folder has no time"
    context.dockerfile("ARG SOURCE_DATE_EPOCH=fetched\n" + PLAIN)
    named = ("--build-context", f"fetched={repository}")
    assert created(trimaran, *named, ".", cwd=context.folder) == (COMMITTED, COMMITTED)


def test_the_time_of_a_stage(trimaran: Trimaran, repository: str, web: WebServer, context: Context) -> None:
    web.files["/f"] = b"f"
    for url, expected in ((web.url("/f"), MODIFIED_SECONDS), (repository, COMMITTED)):
        text = f"ARG SOURCE_DATE_EPOCH=src\nARG U={url}\nFROM scratch AS Src\nARG U\nADD ${{U}} /\n{PLAIN}"
        context.dockerfile(text)
        assert created(trimaran, ".", cwd=context.folder) == (expected, expected)
        context.dockerfile(text.replace("ADD", "COPY a /\nADD"))
        said = trimaran("build", ".", cwd=context.folder, exit_code=1).stderr
        assert ">>> COPY a /" in said
        assert "SOURCE_DATE_EPOCH names this stage, in which it can't stand" in said
    context.dockerfile("ARG SOURCE_DATE_EPOCH=nowhere\n" + PLAIN)
    said = trimaran("build", ".", cwd=context.folder, exit_code=1).stderr
    assert "read SOURCE_DATE_EPOCH 'nowhere': neither seconds since 1970 nor a stage or context" in said
