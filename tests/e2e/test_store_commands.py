"""What can be done with what is in the store: images, run, push, rmi, logs, ls, inspect, du, prune."""

from __future__ import annotations

import json
import re
import time

import pytest
from stage import reading
from stage.answers import Answers
from stage.contexts import Context
from stage.program import Trimaran
from stage.terminal import session
from stage.watching import until

APP = """\
FROM alpine
RUN echo made > /made && adduser -D bob 2>/dev/null || echo 'bob:x:1000:1000::/:' >> /etc/passwd
ENV COLOUR=blue
WORKDIR /srv
ENTRYPOINT ["/bin/sh", "-c"]
CMD ["echo $COLOUR; pwd; cat /made"]
"""


@pytest.fixture
def app(either: Trimaran, bases: str, context: Context) -> Trimaran:
    """The command, with an image `app:1` in its store."""
    either("build", "-q", "-t", "app:1", ".", cwd=context.dockerfile(APP).folder)
    return either


# -- run ------------------------------------------------------------------------------------------------------------


def test_run_as_the_image_says_or_as_asked(app: Trimaran) -> None:
    assert app("run", "app:1").stdout == "blue\n/srv\nmade\n"
    assert app("run", "-e", "COLOUR=red", "-w", "/tmp", "app:1").stdout == "red\n/tmp\nmade\n"
    assert app("run", "app:1", "echo only this").stdout == "only this\n"
    assert app("run", "--entrypoint", "/bin/echo", "app:1", "a  b").stdout == "a  b\n"
    assert app("run", "-u", "bob", "app:1", "id -u; id -g").stdout == "1000\n1000\n"
    assert app("run", "-u", "7:8", "app:1", "id -u; id -g").stdout == "7\n8\n"
    assert app("run", "--hostname", "ship", "app:1", "hostname").stdout == "ship\n"


def test_run_gives_on_variables_of_ours_by_name(app: Trimaran) -> None:
    said = app(
        "run",
        "-e",
        "MINE",
        "-e",
        "NOT_SET",
        "app:1",
        "echo $MINE; env | grep -c NOT_SET",
        env={"MINE": "x"},
        exit_code=1,
    )
    assert said.stdout == "x\n0\n"


def test_run_keeps_streams_apart_and_codes(app: Trimaran) -> None:
    done = app("run", "app:1", "echo out; echo err >&2; exit 42", exit_code=42)
    assert (done.stdout, done.stderr) == ("out\n", "err\n")
    assert app("run", "app:1", "sh -c 'kill -9 $$'; exit $?", exit_code=137)
    assert "/no/such" in app("run", "--entrypoint", "/no/such", "app:1", exit_code=127).stderr
    assert "/etc/passwd" in app("run", "--entrypoint", "/etc/passwd", "app:1", exit_code=126).stderr
    assert "no-such-image" in app("run", "no-such-image.test:5/x", exit_code=125).stderr


def test_run_changes_nothing(app: Trimaran) -> None:
    assert app("run", "app:1", "rm /made; echo x > /new; ls /new").stdout == "/new\n"
    assert app("run", "app:1", "cat /made; ls /new", exit_code=1).stdout == "made\n"


def test_run_reads_standard_input_when_asked(app: Trimaran) -> None:
    text = "".join(f"line {number}\n" for number in range(20_000))
    assert app("run", "-i", "app:1", "md5sum | cut -c1-4; echo end", stdin=text).stdout.endswith("end\n")
    assert app("run", "-i", "app:1", "cat", stdin=text).stdout == text
    assert app("run", "app:1", "cat; echo end", stdin=text).stdout == "end\n", "not asked: nothing to read"


def test_run_on_a_terminal(app: Trimaran) -> None:
    with session(app, "run", "-it", "--entrypoint", "/bin/sh", "app:1") as shell:
        shell.until(r"# ")
        assert not shell.echoes(), "the shell inside shows what is typed, not our terminal"
        shell.type("test -t 0 && tty && stty size; echo done-$((40+2))\n")
        shell.until(r"done-42")
        assert "/dev/pts/" in shell.text
        assert "24 80" in shell.text
        shell.resize(30, 100)
        shell.type("sleep 0.2; stty size; echo again-$((40+2))\n")
        shell.until(r"again-42")
        assert "30 100" in shell.text
        shell.type("sleep 300\n")
        time.sleep(0.3)
        shell.type("\x03")
        shell.type("echo alive-$((40+2))\n")
        shell.until(r"alive-42")
        shell.type("exit 9\n")
        assert shell.end() == 9
        assert shell.echoes(), "the terminal is as before"


def test_run_t_without_a_terminal_is_refused(app: Trimaran) -> None:
    assert "TTY" in app("run", "-t", "app:1", exit_code=None).stderr


@pytest.mark.emulated
def test_run_of_another_platform(either: Trimaran, bases: str, context: Context) -> None:
    context.dockerfile("FROM alpine\nCMD uname -m\n")
    either("build", "-t", "many", "--platform", "linux/amd64,linux/arm64,linux/s390x", ".", cwd=context.folder)
    assert either("run", "many").stdout == "x86_64\n"
    assert either("run", "--platform", "linux/arm64", "many").stdout == "aarch64\n"
    assert either("run", "--platform", "linux/s390x", "many").stdout == "s390x\n"
    assert "linux/riscv64" in either("run", "--platform", "linux/riscv64", "many", exit_code=125).stderr


def test_run_of_a_platform_that_the_image_has_not_is_refused(app: Trimaran) -> None:
    said = app("run", "--platform", "linux/arm64", "app:1", exit_code=125).stderr
    assert said.startswith("ERROR: run app:1 for linux/arm64: it is an image of linux/amd64 alone\nhint: ")
    said = app("run", "--platform", "linux/arm46", "app:1", exit_code=125).stderr
    assert said.startswith("ERROR: parse platform 'linux/arm46': unknown architecture")
    app("run", "--platform", "linux/amd64", "app:1")


# -- images, push, rmi ----------------------------------------------------------------------------------------------


def test_images_lists_names_platforms_and_ids(app: Trimaran, context: Context) -> None:
    app("build", "-q", "-t", "app:2", "-t", "other", "--platform", "linux/amd64,linux/arm64", ".", cwd=context.folder)
    rows = [json.loads(line) for line in app("images", "--format", "json").stdout.splitlines()]
    names = {(row["Repository"], row["Tag"]): row for row in rows}
    assert set(names) == {("app", "1"), ("app", "2"), ("other", "latest")}
    assert names["app", "1"]["Platforms"] == "linux/amd64"
    assert names["app", "2"]["Platforms"] == "linux/amd64, linux/arm64"
    assert names["app", "2"]["ID"] == names["other", "latest"]["ID"]
    table = app("images").stdout.splitlines()
    assert table[0].split()[:3] == ["REPOSITORY", "TAG", "IMAGE"]
    assert len(table) == 4
    assert len(app("images", "-q").stdout.splitlines()) >= 2


def test_images_of_a_store_that_is_not_there_yet(trimaran: Trimaran) -> None:
    assert trimaran("images").stdout.splitlines()[0].startswith("REPOSITORY")
    assert not trimaran.root.exists()


def test_rmi_removes_a_name_and_says_when_there_is_none(app: Trimaran, context: Context) -> None:
    app("build", "-q", "-t", "twice", ".", cwd=context.folder)
    assert "app:1" in app("rmi", "app:1").stdout
    assert app("run", "twice").stdout.startswith("blue"), "another name of the same image"
    assert "app:1" in app("rmi", "app:1", exit_code=1).stderr
    assert app("rmi", "-f", "app:1", "twice", exit_code=None).returncode == 0
    assert app("images", "-q").stdout == ""


def test_image_without_a_name_is_kept_by_its_id(app: Trimaran, context: Context) -> None:
    context.dockerfile(APP + "ENV COLOUR=green\n")
    built = app("build", "-q", ".", cwd=context.folder).stdout.strip()
    assert built.startswith("sha256:")
    rows = [json.loads(line) for line in app("images", "--no-trunc", "--format", "json").stdout.splitlines()]
    unnamed = [row["ID"] for row in rows if row["Repository"] == "<none>"]
    assert len(unnamed) == 1
    assert app("run", unnamed[0]).stdout.startswith("green")
    app("rmi", unnamed[0])
    assert "<none>" not in app("images").stdout


def test_pushed_image_is_the_stored_one(app: Trimaran, bases: str, context: Context) -> None:
    name = f"{bases}/stored-{app.home.owner()}:1"
    app("build", "-q", "-t", name, "--platform", "linux/amd64,linux/386", ".", cwd=context.folder)
    digest = app("push", name).stdout.strip()
    raw = reading.skopeo("inspect", "--raw", "--tls-verify=false", f"docker://{name}@{digest}".replace(":1@", "@"))
    assert len(json.loads(raw)["manifests"]) == 2
    assert "no-such" in app("push", f"{bases}/no-such:1", exit_code=1).stderr


# -- logs, ls, inspect ----------------------------------------------------------------------------------------------


def test_logs_of_builds_and_steps(app: Trimaran, context: Context) -> None:
    lines = "i=0; while [ $i -lt 30000 ]; do echo a long line number $i; i=$((i+1)); done"
    context.dockerfile(f"FROM alpine\nRUN echo first\nRUN {lines}\n")
    app("build", "-q", ".", cwd=context.folder)
    context.dockerfile("FROM alpine\nRUN echo latest\n")
    app("build", "-q", ".", cwd=context.folder)
    assert "latest" in app("logs").stdout
    earlier = app("logs", "^1").stdout
    assert "first" in earlier
    assert len(re.findall(r"^a long line number \d+$", earlier, re.M)) == 30000, "nothing is ever clipped"
    assert app("logs", "^1", "echo first").stdout == "first\n"
    listed = app("logs", "--list").stdout.splitlines()
    assert len(listed) == 4
    assert all(" Completed " in line for line in listed[1:])
    assert "no such build" in app("logs", "nope", exit_code=1).stderr


def test_ls_and_inspect_tell_of_the_embedded_builder(either: Trimaran) -> None:
    table = either("ls").stdout
    assert re.search(r"^trimaran\* +embedded", table, re.M)
    assert "linux/amd64" in table
    node = json.loads(either("ls", "--format", "json").stdout.splitlines()[0])
    assert node
    inspected = either("inspect").stdout
    assert re.search(r"^Driver: +embedded$", inspected, re.M)
    assert "network" in inspected.lower(), "how steps reach the network is shown"
    assert "no such builder" in either("inspect", "nope", exit_code=1).stderr


# -- du, prune ------------------------------------------------------------------------------------------------------


def total(command: Trimaran) -> int:
    """Bytes on disk below the store."""
    return sum(path.lstat().st_blocks * 512 for path in command.root.rglob("*"))


def test_du_and_prune_keep_what_images_need(app: Trimaran, context: Context) -> None:
    context.dockerfile("FROM alpine\nRUN head -c 5000000 /dev/urandom > /noise\nRUN echo 1 > /one\n")
    app("build", "-q", "-o", f"type=tar,dest={app.home}/x.tar", ".", cwd=context.folder)
    rows = [json.loads(line) for line in app("du", "--format", "json").stdout.splitlines()]
    assert any("head -c 5000000" in row["Description"] for row in rows)
    assert re.search(r"^Total:\s", app("du").stdout, re.M)
    before = total(app)
    pruned = app("prune", "-f").stdout
    assert re.search(r"^Total:\s", pruned, re.M)
    assert before - total(app) > 4_500_000
    assert app("run", "app:1").stdout == "blue\n/srv\nmade\n"
    app("prune", "-f", "-a")
    assert app("run", "app:1").stdout == "blue\n/srv\nmade\n", "a named image is never taken apart"
    built = app("build", "--progress=plain", "-o", f"type=tar,dest={app.home}/x.tar", ".", cwd=context.folder).stderr
    assert "RUN head -c 5000000" in built


def test_prune_of_everything_leaves_little(app: Trimaran) -> None:
    app("rmi", "app:1")
    app("prune", "-f", "-a")
    left = [path for path in (app.root / "blobs").rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in left) < 100_000
    assert not [path for path in (app.root / "snapshots").rglob("*") if path.is_file()]


def test_prune_asks_first(app: Trimaran) -> None:
    before = total(app)
    for question, words, answer in (
        ("all build", ["-a"], "n\n"),
        ("all dangling build", ["--filter=type=regular"], ""),
    ):
        said = app("prune", *words, stdin=answer)
        assert said.stderr.endswith(f"This will remove {question} cache. Are you sure you want to continue? [y/N] ")
        assert said.stdout == ""
    assert total(app) >= before - 100_000
    said = app("prune", "-f", "-a", "--keep-storage", "100gb")
    assert said.stdout == "Total:\t0B\n", "as buildx, no head where nothing goes"
    assert "--reserved-space" in said.stderr
    said = app("prune", "-a", "--verbose", "--filter", "description~=RUN echo made", stdin="y\n").stdout
    assert re.search(r"^ID: +run-", said, re.M)
    assert re.search(r"^Description: .*echo made", said, re.M)


@pytest.mark.parametrize("command", ["prune", "prune --force", "du"])
def test_a_filter_that_is_none_is_refused_before_anything_is_asked_or_shown(app: Trimaran, command: str) -> None:
    said = app(*command.split(), "--filter", "colour=red", exit_code=1)
    assert said.stdout == ""
    assert said.stderr.startswith("ERROR: parse filter 'colour=red': unknown key\nhint: known are ")


def test_prune_leaves_a_running_build_alone(trimaran: Trimaran, bases: str, context: Context) -> None:
    with Answers(held=1).serving() as answers:
        step = f"RUN wget -q -O /said {answers.url}/step"
        context.dockerfile(f"FROM alpine\nRUN echo one > /one\n{step}\nRUN cat /one /said\nCMD cat /one /said\n")
        process = trimaran.start("build", "-t", "app", ".", cwd=context.folder)
        until(lambda: answers.asked, "the step runs")
        trimaran("prune", "-f", "-a")
        answers.go.set()
        said = process.communicate(timeout=60)[1]
        assert process.returncode == 0, said
    assert trimaran("run", "app").stdout == "one\n1\n"
