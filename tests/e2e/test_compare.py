"""`diff` and `verify`, end to end: the differences that were made are those that are told, wherever the images are."""

from __future__ import annotations

import json
import os
import shutil
import tarfile
from pathlib import Path
from typing import Any

import pytest
from stage.contexts import Context
from stage.program import Trimaran
from stage.web_server import WebServer

FIRST = """\
FROM busybox
COPY --chmod=644 same content mode time gone /d/
RUN mkdir /private && touch /private/x && ln -s a /link && chown 5:6 /d/same
ENV A=1 B=2
"""
SECOND = """\
FROM busybox
COPY --chmod=644 same content mode time /d/
RUN mkdir /private && touch /private/x && chmod 700 /private && ln -s b /link && chown 5:7 /d/same && chmod 4755 /d/mode
RUN rm /d/time /linuxrc && echo new > /d/new
ENV A=1 B=3
"""
DIFFERENT = 3


def fill(context: Context, text: str) -> Context:
    for name in ("same", "content", "mode", "time", "gone"):
        os.utime(context.write(name, f"{name}\n"), (1_000_000_000,) * 2)
    return context.dockerfile(text)


def changes(found: dict[str, Any]) -> set[tuple[str, str, str]]:
    (platform,) = found["platforms"]
    return {
        (file["path"], file["change"], ",".join(field["name"] for field in file.get("fields", ())))
        for file in platform["files"]
    }


@pytest.mark.root
def test_what_differs_is_told_wherever_the_images_are(trimaran: Trimaran, bases: str, context: Context) -> None:
    fill(context, FIRST)
    first, layout = trimaran.home / "first.tar", trimaran.home / "layout"
    line = ("build", "-t", "first:1", "--reproducible")
    trimaran(
        *line, "-o", f"type=oci,dest={first}", "-o", f"type=docker,dest={trimaran.home}/docker.tar", ".", cwd=context
    )
    fill(context, SECOND).write("content", "CONTENT\n")
    name = f"{bases}/second:2"
    trimaran(
        "build", "-t", name, "--reproducible", "--push", "-o", f"type=oci,dest={layout},tar=false", ".", cwd=context
    )
    trimaran("build", "-t", "second:2", "--reproducible", ".", cwd=context)

    said = trimaran("diff", "--json", first, name, exit_code=DIFFERENT).stdout
    found = json.loads(said)
    assert changes(found) == {
        ("d/content", "changed", "content"), ("d/gone", "removed", ""), ("d/mode", "changed", "mode"),
        ("d/new", "added", ""), ("d/same", "changed", "owner"), ("d/time", "removed", ""),
        ("link", "changed", "target"), ("linuxrc", "removed", ""), ("private", "changed", "mode"),
    }  # fmt: skip
    (platform,) = found["platforms"]
    assert platform["config"] == [{"name": "config.Env.B", "before": "2", "after": "3"}]
    assert [layer["number"] for layer in platform["layers"]] == [2, 3, 4], "the base is the same"
    assert {entry["change"] for entry in platform["history"]} == {"added", "removed"}

    for place in (name, f"oci-layout://{layout}", "second:2"):
        again = json.loads(trimaran("diff", "--json", f"{trimaran.home}/docker.tar", place, exit_code=DIFFERENT).stdout)
        assert changes(again) == changes(found)
    text = trimaran("diff", first, "second:2", exit_code=DIFFERENT).stdout
    assert "      ~ same  owner 5:6 → 5:7\n" in text
    assert "    - linuxrc\n" in text
    assert trimaran("diff", "second:2", f"{layout}").stdout.startswith("second:2 and ")
    assert trimaran("diff", "-q", first, name, exit_code=DIFFERENT).stdout == ""


@pytest.mark.root
def test_equal_layers_are_not_read(trimaran: Trimaran, bases: str, context: Context) -> None:
    """The base's blob is taken away: whoever read it would fail. Where it matters what is in it, it is read."""
    layouts = []
    for number in (1, 2):
        context.dockerfile("FROM busybox\nCOPY file /new/\n").write("file", str(number))
        layouts.append(trimaran.home / f"layout{number}")
        trimaran("build", "--reproducible", "-o", f"type=oci,dest={layouts[-1]},tar=false", ".", cwd=context)
    blobs = [max((layout / "blobs/sha256").iterdir(), key=lambda path: path.stat().st_size) for layout in layouts]
    assert blobs[0].name == blobs[1].name
    for blob in blobs:
        blob.unlink()
    found = json.loads(trimaran("diff", "--json", *layouts, exit_code=DIFFERENT).stdout)
    assert changes(found) == {("new/file", "changed", "content")}
    context.dockerfile("FROM busybox\nCOPY file /new/\nCOPY file /bin/file\n")
    trimaran("build", "--reproducible", "-t", "third", ".", cwd=context)
    assert blobs[0].name in trimaran("diff", layouts[0], "third", exit_code=1).stderr


def test_what_is_not_there_is_told(trimaran: Trimaran, tmp_path: Path) -> None:
    assert "no such file or folder" in trimaran("diff", "./nothing.tar", "./other.tar", exit_code=1).stderr
    (tmp_path / "text").write_text("no archive")
    said = trimaran("diff", tmp_path / "text", tmp_path / "text", exit_code=1).stderr
    assert f"read {tmp_path / 'text'}: it ends in the middle of an entry\nhint: an image as a file is" in said


@pytest.mark.root
@pytest.mark.rootless
def test_a_build_is_verified_from_its_record(either: Trimaran, bases: str, context: Context) -> None:
    context.dockerfile("FROM busybox\nWORKDIR /w\nARG A\nCOPY file .\nRUN echo $A > made\n").write("file", "x\n")
    name = f"{bases}/verified:{either.home.owner()}"
    build = ("build", "--reproducible", "--build-arg=A=1", "-t", name, "--push", "--metadata-file=meta.json", ".")
    shutil.chown(context.folder, either.home.owner())
    either(*build, cwd=context)
    build_id = json.loads((context / "meta.json").read_text())["buildx.build.ref"].rpartition("/")[2]
    for said in (either("verify", build_id), either("verify", name), either("verify", name, context, *build[1:3])):
        assert "the same bit for bit" in said.stdout
    other = json.loads(
        either("verify", "--json", name, context, "--reproducible", "--build-arg=A=2", exit_code=DIFFERENT).stdout
    )
    assert changes(other) == {("w/made", "changed", "content")}
    shown = either("logs", "--list").stdout
    assert len(shown.splitlines()) == 2, "builds of `verify` are nobody's"
    assert build_id[:12] in shown
    assert json.loads(either("explain", "--json").stdout)["builds"] == [build_id]
    assert "the same bit for bit" in either("verify", "^0").stdout
    assert "no such build" in either("verify", "^1", exit_code=1).stderr
    os.rename(context.folder, f"{context.folder}-moved")
    try:
        assert "is not there any more" in either("verify", build_id, exit_code=1).stderr
    finally:
        os.rename(f"{context.folder}-moved", context.folder)


@pytest.mark.root
def test_a_dockerfile_that_is_no_file_is_verified_from_its_record(
    trimaran: Trimaran, bases: str, context: Context, tmp_path: Path
) -> None:
    """What was given by standard input or fetched is kept; another one at the URL is not what was built."""
    text = "FROM busybox\nCOPY file /\n"
    context.write("file", "x\n")
    trimaran("build", "--reproducible", "-t", "piped", "-f-", context, stdin=text)
    trimaran("build", "--reproducible", "-t", "alone", "-", stdin="FROM busybox\nRUN echo > /made\n")
    with WebServer().serving() as web:
        web.files["/Dockerfile"] = text.encode()
        said = ("--reproducible", "-f", web.url("/Dockerfile"))
        trimaran("build", *said, "-t", "fetched", context)
        trimaran("verify", "-q", "fetched", context, *said)
        web.files["/Dockerfile"] = text.encode() + b"ENV A=1\n"
        told = trimaran("verify", "fetched", context, *said, exit_code=1).stderr
        assert "digest mismatch" in told
        assert "or since the build that is verified" in told
    for name in ("piped", "alone", "fetched"):
        assert "the same bit for bit" in trimaran("verify", name).stdout
    told = trimaran("verify", "fetched", "--build-arg=A=1", exit_code=1).stderr
    assert "verify: --build-arg is an option of a build, and there is no context" in told
    with tarfile.open(tmp_path / "context.tar", "w") as tar:
        tar.add(context.dockerfile(text).folder, ".")
    archive = (tmp_path / "context.tar").read_text()
    trimaran("build", "--reproducible", "-t", "archive", "-", stdin=archive)
    assert "its context came by standard input, and is not kept" in trimaran("verify", "archive", exit_code=1).stderr
    assert "bit for bit" in trimaran("verify", "archive", "-", "--reproducible", stdin=archive).stdout


def test_a_name_is_a_path_only_where_that_holds_an_image(trimaran: Trimaran, context: Context) -> None:
    """`app` is often a folder, or a program, beside the image of that name."""
    context.dockerfile("FROM scratch\nCOPY Dockerfile /\n").write("app/main", "")
    context.write("tool", "#!/bin/sh\n")
    for name in ("app", "tool"):
        trimaran("build", "-q", "-t", name, context)
    assert "are the same image" in trimaran("diff", "app", "tool", cwd=context.folder).stdout
    assert "no oci-layout file" in trimaran("diff", "./app", "tool", cwd=context.folder, exit_code=1).stderr
    assert "read ./tool: " in trimaran("diff", "app", "./tool", cwd=context.folder, exit_code=1).stderr


@pytest.mark.root
def test_what_a_step_makes_of_the_hour_is_found(trimaran: Trimaran, bases: str, context: Context) -> None:
    """Steps run again, and nothing of an earlier run is taken for what they make."""
    context.dockerfile(
        "FROM busybox\nRUN mkdir -p /a/b && cat /proc/sys/kernel/random/uuid > /a/b/stamp\nRUN touch /late\n"
    )
    trimaran("build", "--reproducible", "-t", "stamped", ".", cwd=context)
    trimaran("build", "--target=nothing", ".", cwd=context, exit_code=1)
    said = trimaran("verify", "^0", exit_code=1).stderr
    assert said.startswith("ERROR: verify build ^0: it failed\nhint: `trimaran logs --list`")
    said = trimaran("build", "--fail-on-miss=nothing", ".", cwd=context, exit_code=1).stderr
    assert said.endswith('no step of this build is of a stage "nothing"\nhint: it has steps of stage-0\n')
    found = json.loads(trimaran("verify", "--json", "stamped", exit_code=DIFFERENT).stdout)
    assert changes(found) == {("a/b/stamp", "changed", "content")}
    trimaran("build", "-t", "plain", "--no-cache", ".", cwd=context)
    found = json.loads(trimaran("verify", "--json", "^0", exit_code=DIFFERENT).stdout)
    assert ("late", "changed", "time") in changes(found) or {path for path, _, _ in changes(found)} >= {"a/b/stamp"}


@pytest.mark.root
def test_secrets_are_in_no_record(trimaran: Trimaran, bases: str, context: Context) -> None:
    value = "open sesame"
    context.dockerfile("FROM busybox\nRUN --mount=type=secret,id=token wc -c < /run/secrets/token > /size\n")
    line = ("build", "--reproducible", "-t", "secret", "--secret=id=token,env=TOKEN", ".")
    trimaran(*line, cwd=context, env={"TOKEN": value})
    records = [path for path in (trimaran.root / "builds").rglob("*") if path.is_file()]
    assert any(path.name == "made.msgpack" for path in records)
    assert not [path for path in records if value.encode() in path.read_bytes()]
    assert "bit for bit" in trimaran("verify", "secret", env={"TOKEN": value}).stdout
