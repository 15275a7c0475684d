"""Wrong input: one clear error with the right exit code, no traceback, nothing left, and the next build works."""

from __future__ import annotations

import os
import re
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from stage import reading
from stage.contexts import Context
from stage.faulty import layers_of
from stage.namespaces import MountNamespace, mount_namespace
from stage.program import Trimaran
from stage.watching import until

from trimaran.testing.registry import CORRUPT, STATUS, FaultyRegistry


@pytest.fixture
def good(context: Context) -> Context:
    """A context that builds, to be spoilt."""
    context.write("main.txt", "main\n")
    context.write("docs/readme.md", "read me\n")
    return context.dockerfile("FROM alpine\nCOPY main.txt /\nRUN cat main.txt\n")


@pytest.fixture
def namespace() -> Iterator[MountNamespace]:
    with mount_namespace() as made:
        yield made


def refused(command: Trimaran, context: Context, *words: str, exit_code: int = 1) -> str:
    """What a build says that ends with `exit_code`: everything, checked to be one error and to leave nothing."""
    done = command("build", "--progress=plain", *words, ".", cwd=context.folder, exit_code=exit_code)
    assert "Traceback" not in done.stderr
    assert len(re.findall(r"^ERROR: ", done.stderr, re.M)) == 1, done.stderr
    assert done.stdout == ""
    for folder in ("temp", "live"):
        assert not list((command.root / folder).rglob("*")), "nothing half-made is left"
    return done.stderr


def last_error(text: str) -> str:
    """The error itself, and its hint."""
    return text[text.rindex("\nERROR: ") + 1 :] if "\nERROR: " in text else text


def builds(command: Trimaran, context: Context, text: str = "FROM alpine\nCOPY main.txt /\nRUN cat main.txt\n") -> None:
    command("build", ".", cwd=context.dockerfile(text).folder)


# -- the command line and the Dockerfile --------------------------------------------------------------------------


def test_unknown_flag(trimaran: Trimaran, good: Context) -> None:
    said = trimaran("build", "--platfrom=linux/arm64", ".", cwd=good.folder, exit_code=1).stderr
    assert said.startswith("ERROR: unknown flag: --platfrom\n")
    assert "--platform" in said


DOCKERFILES = {
    "unknown instruction": ("FROM alpine\nRUM true\n", r"Dockerfile:2\n.*>>> RUM true", "unknown instruction: RUM"),
    "unknown flag": ("FROM alpine\nCOPY --chwon=1 a /\n", r">>> COPY --chwon", "chwon"),
    "no base": ("RUN true\n", r">>> RUN true", "FROM"),
    "unknown stage": ("FROM alpine\nCOPY --from=nostage /a /\n", "", "nostage"),
    "open quote": ('FROM alpine\nENV A="x\n', r">>> ENV A=", "quote"),
    "empty": ("", "", "no instructions"),
    "only comments": ("# nothing\n", "", "no instructions"),
    "cycle": ("FROM b AS a\nFROM a AS b\n", "", "b"),
    "bad variable": ('FROM alpine\nENV A="${B:?must be set}"\n', r">>> ENV A=", "must be set"),
}


@pytest.mark.parametrize("name", DOCKERFILES)
def test_wrong_dockerfile(trimaran: Trimaran, bases: str, good: Context, name: str) -> None:
    text, snippet, words = DOCKERFILES[name]
    said = refused(trimaran, good.dockerfile(text))
    assert re.search(snippet, said, re.S), said
    assert re.search(words, last_error(said)), said
    builds(trimaran, good)


def no_dockerfile(path: Path) -> None:
    path.unlink()


def folder_as_dockerfile(path: Path) -> None:
    path.unlink()
    path.mkdir()


def pipe_as_dockerfile(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def link_to_nowhere(path: Path) -> None:
    path.unlink()
    path.symlink_to("nowhere")


@pytest.mark.parametrize("spoil", [no_dockerfile, folder_as_dockerfile, pipe_as_dockerfile, link_to_nowhere])
def test_dockerfile_that_is_none(either: Trimaran, bases: str, good: Context, spoil: Callable[[Path], None]) -> None:
    path = good / "Dockerfile"
    spoil(path)
    assert "Dockerfile" in last_error(refused(either, good))
    path.rmdir() if path.is_dir() else path.unlink(missing_ok=True)
    builds(either, good)


def test_an_ignore_file_that_is_none(trimaran: Trimaran, bases: str, good: Context) -> None:
    """A pipe is refused, since nobody knows what it would leave out (BuildKit waits for it); a folder counts as none."""
    path = good / ".dockerignore"
    os.mkfifo(path)
    assert "read .dockerignore: it is a pipe" in last_error(refused(trimaran, good))
    path.unlink()
    path.mkdir()
    builds(trimaran, good)


def test_missing_context_and_missing_dockerfile_folder(trimaran: Trimaran, good: Context) -> None:
    said = trimaran("build", "no/such", cwd=good.folder, exit_code=1).stderr
    assert "no/such" in said
    said = trimaran("build", "-f", "no/such/Dockerfile", ".", cwd=good.folder, exit_code=1).stderr
    assert "no/such" in said


# -- the context --------------------------------------------------------------------------------------------------


def test_file_that_is_not_there_names_the_nearest(either: Trimaran, bases: str, good: Context) -> None:
    good.dockerfile("FROM alpine\nCOPY mian.txt /\n")
    said = refused(either, good)
    assert re.search(r"Dockerfile:2\n.*>>> COPY mian.txt /", said, re.S)
    assert "mian.txt" in last_error(said)
    assert "main.txt" in last_error(said)
    builds(either, good)


def test_file_that_is_ignored_names_the_pattern(trimaran: Trimaran, bases: str, good: Context) -> None:
    good.dockerfile("FROM alpine\nCOPY docs/readme.md /\n")
    good.write(".dockerignore", "*.log\ndocs\n")
    said = last_error(refused(trimaran, good))
    assert "docs/readme.md" in said
    assert re.search(r"\.dockerignore", said)
    assert re.search(r"\bdocs\b(?!/)", said), "the pattern itself"
    good.write(".dockerignore", "*.log\ndocs\n!docs/readme.md\n")
    trimaran("build", ".", cwd=good.folder)


def test_file_that_may_not_be_read(rootless: Trimaran, bases: str, good: Context) -> None:
    (good / "main.txt").chmod(0)
    said = last_error(refused(rootless, good))
    assert "main.txt" in said
    assert "permission denied" in said.lower()
    (good / "main.txt").chmod(0o644)
    builds(rootless, good)


def test_context_that_changes_is_consistent_or_refused(trimaran: Trimaran, bases: str, good: Context) -> None:
    """Never a layer of other bytes than its list and digests say."""
    path = good.write("moving", b"a" * 30_000_000)
    good.dockerfile("FROM scratch\nCOPY . /\n")
    stop = threading.Event()

    def rewrite() -> None:
        turn = 0
        while not stop.wait(0.003):
            turn += 1
            with path.open("r+b") as file:
                file.seek(turn * 1_000_003 % 29_000_000)
                file.write(b"%d" % turn)

    thread = threading.Thread(target=rewrite)
    thread.start()
    refusals = 0
    try:
        for number in range(3):
            dest = trimaran.home / f"{number}.tar"
            words = ("build", "--progress=plain", "-t", "moving", "-o", f"type=oci,dest={dest}", ".")
            done = trimaran(*words, cwd=good.folder, exit_code=None)
            if done.returncode:
                assert "context changed during the build: moving" in last_error(done.stderr)
                assert not dest.exists()
                refusals += 1
            else:
                reading.unpack(f"oci-archive:{dest}", trimaran.home / f"read{number}")
    finally:
        stop.set()
        thread.join()
    dest = trimaran.home / "still.tar"
    trimaran("build", "-t", "moving", "-o", f"type=oci,dest={dest}", ".", cwd=good.folder)
    root = reading.unpack(f"oci-archive:{dest}", trimaran.home / "read")
    assert (root / "moving").read_bytes() == path.read_bytes()


# -- images and platforms -----------------------------------------------------------------------------------------


@pytest.fixture
def dead() -> Iterator[str]:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{taken.getsockname()[1]}"


def test_registry_that_nobody_is(either: Trimaran, dead: str, good: Context) -> None:
    said = last_error(refused(either, good.dockerfile(f"FROM {dead}/app\n")))
    assert dead in said
    assert "refused" in said
    assert str(either.settings) in said


def test_image_that_is_not_there(trimaran: Trimaran, faulty: FaultyRegistry, good: Context) -> None:
    said = refused(trimaran, good.dockerfile(f"FROM {faulty.host}/nothing:1 AS x\nRUN true\n"))
    assert f"{faulty.host}/nothing:1" in last_error(said)
    assert re.search(r"Dockerfile:1\n.*>>> FROM", said, re.S)
    builds(trimaran, good, f"FROM {faulty.host}/alpine\nRUN true\n")


def test_platform_that_is_none(trimaran: Trimaran, good: Context) -> None:
    said = last_error(refused(trimaran, good, "--platform", "linux/amd64/v1/x"))
    assert "linux/amd64/v1/x" in said


def test_base_without_the_platform(trimaran: Trimaran, faulty: FaultyRegistry, good: Context) -> None:
    good.dockerfile(f"FROM {faulty.host}/alpine\nRUN true\n")
    said = last_error(refused(trimaran, good, "--platform", "linux/amd64,linux/riscv64"))
    assert "linux/riscv64" in said
    assert "no match for platform in manifest" in said
    assert "linux/s390x" in said, "what there is instead"
    trimaran("build", "--platform", "linux/amd64", ".", cwd=good.folder)


def test_digest_that_nothing_has(trimaran: Trimaran, faulty: FaultyRegistry, good: Context) -> None:
    digest = f"sha256:{'0' * 64}"
    for reference in (f"alpine@{digest}", f"alpine:latest@{digest}"):
        said = last_error(refused(trimaran, good.dockerfile(f"FROM {faulty.host}/{reference}\n")))
        assert digest in said


def test_base_that_is_broken(either: Trimaran, faulty: FaultyRegistry, good: Context) -> None:
    (layer,) = layers_of(faulty)
    for fault in (
        faulty.fail(CORRUPT, method="GET", path=layer, times=0),
        faulty.fail(STATUS, status=404, method="GET", path=layer, times=0),
    ):
        said = last_error(refused(either, good.dockerfile(f"FROM {faulty.host}/alpine\nRUN true\n")))
        assert layer in said
        faulty.faults.remove(fault)
    builds(either, good, f"FROM {faulty.host}/alpine\nRUN true\n")


# -- the machine --------------------------------------------------------------------------------------------------


def test_full_disk(either: Trimaran, bases: str, good: Context, namespace: MountNamespace) -> None:
    """A store on 6 MB: the base fits, what is made does not. Then there is room."""
    command = on_tmpfs(either, namespace, "6m")
    good.dockerfile("FROM alpine\nRUN dd if=/dev/zero of=/zeros bs=1M count=20\n")
    done = command("build", "--progress=plain", ".", cwd=good.folder, exit_code=None)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "no space left" in done.stderr.lower()
    good.dockerfile("FROM scratch\nCOPY noise /\n").write("noise", os.urandom(12_000_000))
    said = refused_there(command, good)
    assert "no space left" in said.lower()
    assert "prune" in said or str(either.root) in said
    namespace.run("mount", "-o", "remount,size=200m", str(either.root))
    command("build", ".", cwd=good.folder)


def on_tmpfs(command: Trimaran, namespace: MountNamespace, size: str) -> Trimaran:
    command.root.mkdir(mode=0o700)
    status = command.home.stat()
    options = f"size={size},mode=700,uid={status.st_uid},gid={status.st_gid}"
    namespace.run("mount", "-t", "tmpfs", "-o", options, "tmpfs", str(command.root))
    return namespace.inside(command)


def refused_there(command: Trimaran, context: Context) -> str:
    done = command("build", "--progress=plain", ".", cwd=context.folder, exit_code=1)
    assert "Traceback" not in done.stderr
    return last_error(done.stderr)


def test_store_that_may_not_be_written(either: Trimaran, bases: str, good: Context, namespace: MountNamespace) -> None:
    either("build", ".", cwd=good.folder)
    namespace.run("mount", "--bind", str(either.root), str(either.root))
    namespace.run("mount", "-o", "remount,bind,ro", str(either.root))
    command = namespace.inside(either)
    said = refused_there(command, good)
    assert str(either.root) in said
    assert "read-only" in said.lower()
    assert command("images").returncode == 0, "looking is possible"
    either("build", ".", cwd=good.folder)


def test_store_of_somebody_else(rootless: Trimaran, bases: str, good: Context) -> None:
    rootless.root.mkdir()
    os.chown(rootless.root, 0, 0)
    said = refused_there(rootless, good)
    assert str(rootless.root) in said
    assert "permission denied" in said.lower()


def test_destination_that_cannot_be_written(either: Trimaran, bases: str, good: Context) -> None:
    for output in ("type=oci,dest=/proc/no/image.tar", "type=local,dest=/proc/no", "type=tar,dest=/proc"):
        assert "/proc" in last_error(refused(either, good, "-o", output))
    builds(either, good)


# -- steps --------------------------------------------------------------------------------------------------------


def test_failing_step_shows_what_a_person_needs(either: Trimaran, bases: str, good: Context) -> None:
    lines = "for i in $(seq 300); do echo line $i; done; echo to stderr >&2; exit 7"
    good.dockerfile(f"FROM alpine\nRUN true\nRUN {lines}\nRUN never\n")
    said = refused(either, good)
    assert re.search(r"Dockerfile:3\n-+\n.*>>> RUN for i in", said, re.S)
    assert "did not complete successfully: exit code: 7" in last_error(said)
    block = said[said.index("------\n > [3/4] RUN for i") :]
    assert "line 299" in block
    assert "line 300" in block
    assert "to stderr" in block
    assert "line 250\n" not in block, "the last lines only"
    path = re.search(r"^hint: all that the step said: (.*)$", said, re.M)
    assert path
    log = Path(path[1]).read_text()
    assert log in either("logs").stdout
    assert [f"line {number}" in log for number in (1, 150, 300)] == [True, True, True]
    assert "never" not in log
    good.dockerfile("FROM alpine\nRUN true\nRUN exit 0\n")
    assert either("build", "--progress=plain", ".", cwd=good.folder).stderr.count("CACHED") >= 1


def test_failing_step_when_quiet(trimaran: Trimaran, bases: str, good: Context) -> None:
    good.dockerfile("FROM alpine\nRUN echo the reason; exit 3\n")
    done = trimaran("build", "-q", ".", cwd=good.folder, exit_code=1)
    assert done.stdout == ""
    assert "the reason" in done.stderr
    assert "exit code: 3" in done.stderr


def test_program_that_is_not_in_the_image(either: Trimaran, bases: str, good: Context) -> None:
    said = last_error(refused(either, good.dockerfile('FROM alpine\nRUN ["/no/such", "program"]\n')))
    assert "/no/such" in said
    said = last_error(refused(either, good.dockerfile("FROM alpine\nRUN no-such-program\n")))
    assert "exit code: 127" in said
    said = last_error(refused(either, good.dockerfile("FROM scratch\nCOPY main.txt /\nRUN true\n")))
    assert "/bin/sh" in said
    builds(either, good)


def test_one_of_several_platforms_fails_and_stops_the_others(trimaran: Trimaran, bases: str, good: Context) -> None:
    good.dockerfile("FROM alpine\nARG TARGETARCH\nRUN if [ $TARGETARCH = amd64 ]; then exit 9; else sleep 300; fi\n")
    said = refused(trimaran, good, "--platform", "linux/amd64,linux/386")
    assert "exit code: 9" in last_error(said)
    assert "[linux/amd64 2/2]" in said


def test_user_that_is_not_in_the_image(trimaran: Trimaran, bases: str, good: Context) -> None:
    said = last_error(refused(trimaran, good.dockerfile("FROM alpine\nUSER nobody-such\nRUN true\n")))
    assert "nobody-such" in said


def test_output_that_was_there_is_kept_when_the_build_fails(trimaran: Trimaran, bases: str, good: Context) -> None:
    dest = trimaran.home / "image.tar"
    dest.write_text("precious")
    good.dockerfile("FROM alpine\nRUN exit 1\n")
    refused(trimaran, good, "-o", f"type=oci,dest={dest}")
    assert dest.read_text() == "precious"


def test_reader_of_the_output_that_leaves(trimaran: Trimaran, bases: str, good: Context) -> None:
    """`trimaran build -o - . | head`: an error at most, never a hang."""
    good.dockerfile("FROM alpine\nRUN head -c 9000000 /dev/zero > /zeros\n")
    process = trimaran.start("build", "-o", "type=tar,dest=-", ".", cwd=good.folder)
    assert process.stdout is not None
    os.read(process.stdout.fileno(), 1000)
    process.stdout.close()
    until(lambda: process.poll() is not None, "the build ends", 30)
    assert process.returncode != 0
    assert process.stderr is not None
    assert "Traceback" not in process.stderr.read()
