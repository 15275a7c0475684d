"""Why a step was not cached: real builds, changed in one thing each, as root and as an ordinary account."""

from __future__ import annotations

import gzip
import json
import os
import re
import shutil
import tarfile
from pathlib import Path

import pytest
from stage.contexts import Context
from stage.program import Trimaran
from stage.terminal import session

DOCKERFILE = """\
FROM alpine AS tools
ARG LEVEL=1
RUN echo tool > /tool
FROM {bases}/moving:1
COPY src /app/
RUN --mount=type=bind,source=bound,target=/b cat /b/one > /seen
COPY --from=tools /tool /tool
"""


def build(command: Trimaran, context: Context, *words: str, exit_code: int = 0) -> dict[str, list[str]]:
    """What was said of each step that was not cached."""
    said = command("build", "--progress=plain", *words, ".", cwd=context.folder, exit_code=exit_code).stderr
    return reasons(said)


def reasons(said: str) -> dict[str, list[str]]:
    names = dict(re.findall(r"^#(\d+) (\[.*)$", said, re.MULTILINE))
    found: dict[str, list[str]] = {}
    for number, text in re.findall(r"^#(\d+) not cached: (.*)$", said, re.MULTILINE):
        found[names[number].partition("] ")[2]] = text.split("; ")
    return found


def move(command: Trimaran, bases: str, context: Context, text: str) -> None:
    """Let the tag `moving:1` name another image."""
    other = Context(context.folder.parent / "moving")
    other.dockerfile(f"FROM alpine\nCOPY <<x /moved\n{text}\nx\n")
    command("build", "-q", "-t", f"{bases}/moving:1", "--push", ".", cwd=other.folder)


@pytest.fixture
def app(either: Trimaran, bases: str, context: Context) -> Trimaran:
    """Built once, and once more without a miss."""
    move(either, bases, context, "one")
    for number in range(9):
        context.write(f"src/f{number}", str(number))
    context.write("bound/one", "1")
    context.dockerfile(DOCKERFILE.format(bases=bases))
    assert build(either, context) == {}, "a first build is no news"
    assert build(either, context) == {}
    return either


TOOL, COPY, FROM_TOOLS = "RUN echo tool > /tool", "COPY src /app/", "COPY --from=tools /tool /tool"
BIND = "RUN --mount=type=bind,source=bound,target=/b cat /b/one > /seen"
ABOVE = ["the step above changed: [stage-1 2/4] COPY src /app/"]


def test_each_kind_of_change_is_named(app: Trimaran, bases: str, context: Context) -> None:
    context.write("src/f1", "changed")
    os.chmod(context / "src/f2", 0o664)
    (context / "src/f3").unlink()
    context.write("src/sub/new")
    said = build(app, context)
    assert said[COPY] == ["5 of 11 files changed: src/f1 (content), src/f2 (mode), src/f3 (removed), …"]
    assert said[BIND] == ABOVE
    assert said[FROM_TOOLS] == [ABOVE[0].replace(COPY, BIND).replace("2/4", "3/4")]
    assert TOOL not in said

    context.write("bound/one", "2")
    assert build(app, context)[BIND] == ["1 of 1 file changed: bound/one (content)"]

    assert build(app, context, "--build-arg=LEVEL=2")[TOOL] == ["argument LEVEL changed"]

    edited = DOCKERFILE.format(bases=bases).replace("echo tool", "echo tools")
    context.dockerfile(edited)
    said = build(app, context)
    assert said["RUN echo tools > /tool"] == ["command changed"]
    assert said[FROM_TOOLS] == ["1 of 1 file changed: tool (content), of [tools 2/2] RUN echo tools > /tool"]
    assert COPY not in said

    context.dockerfile(edited.replace("COPY src", "RUN true\nCOPY src"))
    said = build(app, context)
    assert said["RUN true"] == ["built for the first time"], "what was put in between is no edit of what stood there"
    assert said[COPY][0].startswith("the step above changed: ")

    move(app, bases, context, "two")
    (moved,) = build(app, context)["RUN true"]
    assert re.fullmatch(re.escape(f"base {bases}/moving:1 moved ") + r"sha256:\w{12} → sha256:\w{12}", moved)

    context.dockerfile(edited.replace("FROM alpine AS", "FROM debian:12 AS"))
    assert build(app, context)["RUN echo tools > /tool"] == ["base is debian:12, was alpine:latest"]

    said = build(app, context, "--no-cache-filter=tools")
    assert said["RUN echo tools > /tool"] == ["--no-cache"]
    assert FROM_TOOLS not in said, "nothing came of it"


def test_a_step_that_gives_the_same_says_so(app: Trimaran, bases: str, context: Context) -> None:
    context.write("bound/other", "not read")
    said = app("build", "--progress=plain", ".", cwd=context.folder).stderr
    assert reasons(said) == {BIND: ["1 of 2 files changed: bound/other (added)"]}
    (number,) = re.findall(r"^#(\d+) it ran and gave the same as before: what reads it is cached$", said, re.MULTILINE)
    assert re.search(rf"^#{number} not cached", said, re.MULTILINE)
    explained = app("explain").stdout
    assert f"{BIND}\n   ran, gave the same: what reads it is cached\n   - 1 of 2 files changed" in explained


def test_what_was_evicted_says_by_whom(app: Trimaran, bases: str, context: Context) -> None:
    app("prune", "-a", "-f")
    said = build(app, context)
    assert re.fullmatch(r"evicted .* ago by `prune`", said[TOOL][0]), said
    kept = app.settings.read_text()
    app.settings.write_text(f'{kept}[worker.oci]\nmaxUsedSpace = "1KB"\nreservedSpace = "1KB"\n')
    (app.root / "collected").unlink(missing_ok=True)
    move(app, bases, context, "another build, whose end is when room is made")
    app.settings.write_text(kept)
    (said,) = build(app, context)[TOOL]
    assert re.fullmatch(r"evicted .* ago by the 1\S*B limit", said)


def test_a_record_without_its_layer_says_so(trimaran: Trimaran, bases: str, context: Context) -> None:
    context.dockerfile("FROM alpine\nRUN echo made > /made\nRUN cat /made\n")
    build(trimaran, context, "--output=type=cacheonly")
    for folder in (trimaran.root / "snapshots").iterdir():
        if (folder / "made").exists():
            folder.rename(folder.with_name("gone"))
    context.dockerfile("FROM alpine\nRUN echo made > /made\nRUN cat /made /made\n")
    said = build(trimaran, context, "--output=type=cacheonly")
    assert said["RUN echo made > /made"] == ["record found in the store but its blob is gone"]


def test_what_fsck_dropped_says_so(trimaran: Trimaran, bases: str, context: Context) -> None:
    context.dockerfile("FROM scratch\nCOPY f /\n")
    context.write("f", "some bytes")
    build(trimaran, context, "--output=type=cacheonly")
    for path in (trimaran.root / "blobs/sha256").iterdir():
        path.write_bytes(path.read_bytes()[:-1] + b"?")
    trimaran("fsck", "--repair", exit_code=None)
    (said,) = build(trimaran, context, "--output=type=cacheonly")["COPY f /"]
    assert re.fullmatch(r"evicted .* ago by `fsck`: it was damaged", said)


def test_a_shared_cache_without_its_blob_says_so(trimaran: Trimaran, bases: str, context: Context) -> None:
    cache = context.folder.parent / "cache"
    context.dockerfile("FROM alpine\nRUN echo made > /made\nRUN cat /made\n")
    build(trimaran, context, f"--cache-to=type=local,dest={cache},mode=max", "--output=type=cacheonly")
    (layer,) = [path for path in (cache / "blobs/sha256").iterdir() if b"made" in _unpacked(path)]
    layer.unlink()
    shutil.rmtree(trimaran.root)
    context.dockerfile("FROM alpine\nRUN echo made > /made\nRUN cat /made /made\n")
    said = build(trimaran, context, f"--cache-from=type=local,src={cache}")
    assert list(said) == ["RUN echo made > /made"]
    (why,) = said["RUN echo made > /made"]
    assert re.fullmatch(rf"record found in .*{cache.name}.* but its blob is gone", why)
    shutil.rmtree(trimaran.root)
    context.dockerfile("FROM alpine\nRUN echo made > /made\nRUN cat /made\n")
    build(trimaran, context, f"--cache-from=type=local,src={cache}", "--output=type=cacheonly", "--fail-on-miss")
    steps = json.loads(trimaran("explain", "--json").stdout)["steps"]
    assert [step["outcome"] for step in steps] == ["cached", "cached"], "a promise is a hit"


def _unpacked(path: Path) -> bytes:
    data = path.read_bytes()
    return gzip.decompress(data) if data[:2] == b"\x1f\x8b" else b""


def test_explain_of_builds_and_between_builds(app: Trimaran, context: Context) -> None:
    context.write("src/f1", "changed")
    words = ("--platform=linux/amd64,linux/arm64", "--target=tools")
    build(app, context, *words)
    said = app("build", "--progress=plain", *words, "--build-arg=LEVEL=2", ".", cwd=context.folder).stderr
    assert said.count("not cached: argument LEVEL changed") == 1, "once for both platforms"
    shown = app("explain").stdout
    assert f"{TOOL} (linux/amd64, linux/arm64)\n   ran\n" in shown
    assert "   - argument LEVEL changed\n" in shown

    between = json.loads(app("explain", "^1", "^0", "--json").stdout)
    (step,) = between["steps"]
    assert (step["outcome"], step["reasons"]) == (
        "differs",
        [{"type": "op", "what": "argument", "name": "LEVEL", "how": "changed"}],
    )
    assert "the same" in app("explain", "^0", "^0").stdout
    document = json.loads(app("explain", "^2", "--json").stdout)
    assert [step["outcome"] for step in document["steps"]] == ["cached"] * 4
    wrong = app("explain", "nothing", exit_code=1).stderr
    assert "find build nothing: no such build" in wrong


def test_a_terminal_shows_the_same_lines(app: Trimaran, bases: str, context: Context) -> None:
    """Below the step, while it runs and afterwards; each of the reasons as the plain progress has it."""

    def shown(*words: str) -> str:
        with session(app, "build", *words, ".", cwd=context.folder) as screen:
            screen.resize(50, 200)
            assert screen.end() == 0
            return screen.text

    context.write("src/f1", "changed")
    assert "not cached: 1 of 9 files changed: src/f1 (content)" in shown()
    assert "not cached: argument LEVEL changed" in shown("--build-arg=LEVEL=2")
    move(app, bases, context, "two")
    moved = rf"not cached: base {re.escape(bases)}/moving:1 moved sha256:\w{{12}} → sha256:\w{{12}}"
    assert re.search(moved, shown())
    app("prune", "-a", "-f")
    assert re.search(r"not cached: evicted .{1,30} ago by `prune`", shown())
    for folder in (app.root / "snapshots").iterdir():
        if (folder / "tool").exists():
            folder.rename(folder.with_name("gone"))
            for blob in (app.root / "blobs/sha256").iterdir():
                blob.unlink() if b"tool" in _unpacked(blob) else None
    context.write("src/f1", "again")
    assert "record found in the store but its blob is gone" in shown("--no-cache-filter=stage-1", "--target=tools")


def test_rawjson_tells_programs(trimaran: Trimaran, bases: str, context: Context) -> None:
    context.dockerfile("FROM scratch\nCOPY f /\n")
    for data in ("1", "2"):
        context.write("f", data)
        said = trimaran("build", "--progress=rawjson", ".", cwd=context.folder).stderr
    lines = [json.loads(line) for line in said.splitlines()]
    statuses = [status for line in lines for status in line.get("statuses", ())]
    (told,) = [status for status in statuses if status["id"].startswith("not cached")]
    assert told["id"] == "not cached: 1 of 1 file changed: f (content)"
    assert told["vertex"] in {vertex["digest"] for line in lines for vertex in line.get("vertexes", ())}
    (miss,) = [miss for line in lines for miss in line.get("misses", ())]
    assert miss["reasons"][0]["files"] == [{"path": "f", "how": "content"}]


def test_fail_on_miss(app: Trimaran, context: Context) -> None:
    build(app, context, "--fail-on-miss")
    context.write("bound/one", "2")
    failed = app("build", "--fail-on-miss", ".", cwd=context.folder, exit_code=3).stderr
    assert f"ERROR: run [stage-1 3/4] {BIND}: it is not cached\n" in failed
    assert "hint: 1 of 1 file changed: bound/one (content)\n" in failed
    build(app, context, "--fail-on-miss=tools")
    context.write("bound/one", "3")
    build(app, context, "--fail-on-miss=tools,stage-1", exit_code=3)
    wrong = app("build", "--fail-on-miss=tool", ".", cwd=context.folder, exit_code=1).stderr
    assert '--fail-on-miss=tool: no step of this build is of a stage "tool"' in wrong
    assert "did you mean tools? it has steps of stage-1, tools" in wrong


def test_values_of_arguments_and_secrets_are_kept_nowhere(trimaran: Trimaran, bases: str, context: Context) -> None:
    """Not in what the store keeps to explain: the image's history and the step's name have arguments, as in BuildKit."""
    context.dockerfile("FROM alpine\nARG TOKEN\nRUN --mount=type=secret,id=s cat /run/secrets/s >/dev/null\n")
    context.write("s", "hush-hush-1")
    words = ("--build-arg=TOKEN=argument-value-1", "--secret=id=s,src=s,cache-key=hash", "--output=type=cacheonly")
    assert build(trimaran, context, *words) == {}
    assert build(trimaran, context, *words) == {}
    context.write("s", "hush-hush-2")
    run = "RUN --mount=type=secret,id=s cat /run/secrets/s >/dev/null"
    assert build(trimaran, context, *words)[run] == ["secret s changed"]
    assert build(trimaran, context, words[0].replace("1", "2"), *words[1:])[run] == ["argument TOKEN changed"]
    context.write("s", "hush-hush-1")
    assert build(trimaran, context, *words) == {}, "its record is still there"
    kept = [path for path in trimaran.root.rglob("*") if path.is_file() and path.name not in ("stdin",)]
    found = {path.name for path in kept if re.search(rb"hush-hush|argument-value", path.read_bytes())}
    assert found == set()


@pytest.mark.root
def test_modes_and_owners_count_and_times_do_not(trimaran: Trimaran, bases: str, context: Context) -> None:
    """Exact, which is the default, is as BuildKit has it: in a context all is root's, whoever's it is on this machine."""
    text = "FROM alpine AS made\nRUN {} > /made\nFROM scratch\nCOPY src /\nCOPY --from=made /made /\n"
    context.dockerfile(text.format("echo 1"))
    file = context.write("src/f", "1")
    build(trimaran, context)
    for path in (file, context / "src"):
        os.utime(path, (1_000_000_000,) * 2)
        os.chown(path, 5, 6)
    assert build(trimaran, context, "--fail-on-miss") == {}
    file.chmod(0o600)
    assert build(trimaran, context)["COPY src /"] == ["1 of 1 file changed: src/f (mode)"]
    for number, (command, told) in enumerate((("chown 5:6", "owner"), ("chmod 600", "mode"), ("touch -d @7", ""))):
        context.dockerfile(text.format(f"echo {number} > /x; touch /made; {command} /made; echo 1"))
        found = [
            reason for reason in build(trimaran, context).get("COPY --from=made /made /", ()) if "made (" in reason
        ]
        assert [reason.partition("(")[2].partition(")")[0] for reason in found] == ([told] if told else [])


def test_context_mode_git_is_for_key_and_result(either: Trimaran, bases: str, context: Context, tmp_path: Path) -> None:
    context.dockerfile("FROM scratch\nCOPY src /\n")
    context.write("src/f", "1")
    context.write("src/sub/tool", "1")
    output = either.home / "files.tar"
    words = ("build", "--progress=plain", "--context-mode=git", "-o", f"type=tar,dest={output}", ".")
    for plain, executable, owner in ((0o664, 0o775, 5), (0o646, 0o757, 6)):
        for name, mode in (("src/f", plain), ("src/sub/tool", executable)):
            os.chown(context / name, owner, owner)
            os.chmod(context / name, mode)
        said = either(*words, cwd=context.folder).stderr
        with tarfile.open(output) as tar:
            found = {member.name: (member.mode, member.uid, member.gid) for member in tar if member.isfile()}
        assert found == {"f": (0o644, 0, 0), "sub/tool": (0o755, 0, 0)}, "in the result, too"
    assert "not cached" not in said
    assert re.search(r"\] COPY src /\n#\d+ CACHED", said)
    exact = either("build", "--progress=plain", ".", cwd=context.folder).stderr
    assert reasons(exact) == {"COPY src /": ["2 of 2 files changed: src/f (mode), src/sub/tool (mode)"]}
    wrong = either("build", "--context-mode=svn", ".", cwd=context.folder, exit_code=1).stderr
    assert 'unknown context mode "svn"' in wrong


def test_files_of_a_stage_that_nobody_kept_are_no_miss(app: Trimaran, bases: str, context: Context) -> None:
    """What only another stage reads is in no image, so its bytes go with the build: they are read again, unseen."""
    context.dockerfile(
        "FROM scratch AS files\nCOPY src /made/src\nCOPY src/f /made/other/\nWORKDIR /made/work\n"
        "FROM scratch\nCOPY --from=files /made /\n"
    )
    context.write("src/f", "1")
    first = app("build", "--progress=plain", ".", cwd=context.folder).stderr
    again = app("build", "--progress=plain", "--fail-on-miss", ".", cwd=context.folder).stderr
    assert "not cached" not in again
    assert again.count("CACHED") == 4
    digest = re.compile(r"exporting manifest (sha256:\w+)")
    assert digest.findall(again) == digest.findall(first)
    assert app("fsck").stdout.startswith("sound: "), "nor are they damage"
    context.write("src/f", "2")
    (changed,) = build(app, context)["COPY src /made/src"]
    assert changed.endswith("changed: src/f (content)")
