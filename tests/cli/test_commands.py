"""The small decisions of commands: which build, which step, which host, which words come from docker."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from trimaran.cli import commands, du, images, login, logs, ls
from trimaran.cli.build import _write
from trimaran.cli.columns import align
from trimaran.cli.help import command_help
from trimaran.cli.invocation import read
from trimaran.cli.main import main
from trimaran.cli.options import FlagError, parse
from trimaran.cli.run import COMMAND as RUN
from trimaran.cli.run import read as read_run
from trimaran.cli.template import Template
from trimaran.cli.units import human_duration
from trimaran.digest import Digest
from trimaran.engine.history import BuildRecord, choose
from trimaran.engine.images import ListedImage
from trimaran.engine.request import StepRecord
from trimaran.errors import NotFound, UsageError
from trimaran.platforms import Platform
from trimaran.reference import Reference
from trimaran.store.usage import UsageRecord

PLUGIN = {"DOCKER_CLI_PLUGIN_ORIGINAL_CLI_COMMAND": "docker"}


def test_words_of_the_program_itself() -> None:
    invocation = read(["/usr/bin/trimaran", "build", "."], PLUGIN)
    assert (invocation.program, invocation.plugin, invocation.argv) == ("trimaran", False, ("build", "."))


def test_words_of_docker() -> None:
    argv = ["x", "docker-buildx", "--config", "/c", "-H=tcp://h", "--debug", "--tlsverify", "buildx", "build", "."]
    invocation = read(argv, PLUGIN)
    assert (invocation.program, invocation.plugin, invocation.argv) == ("docker buildx", True, ("build", "."))
    assert invocation.debug
    said = {name: invocation.environment.get(name) for name in ("DOCKER_CONFIG", "DOCKER_HOST", "DOCKER_TLS_VERIFY")}
    assert said == {"DOCKER_CONFIG": "/c", "DOCKER_HOST": "tcp://h", "DOCKER_TLS_VERIFY": "1"}
    assert invocation.words == tuple(argv)


def test_docker_buildx_called_directly() -> None:
    invocation = read(["/p/docker-buildx", "build", "."], {})
    assert (invocation.program, invocation.plugin, invocation.argv) == ("docker-buildx", False, ("build", "."))


@pytest.mark.parametrize("words", [["--nope", "buildx"], ["--config"]])
def test_flags_docker_has_not(words: list[str]) -> None:
    with pytest.raises(FlagError):
        read(["docker-buildx", *words], PLUGIN)


def test_unknown_builders_are_named(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BUILDX_BUILDER", "mine")
    assert main(["trimaran", "build", "."]) == 1
    assert capsys.readouterr().err.startswith('ERROR: find builder "mine": no such builder\nhint: ')


def test_a_group_shows_its_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["trimaran", "imagetools"]) == 0
    assert "\n  inspect  Show details" in capsys.readouterr().out
    assert main(["trimaran", "imagetools", "inspct"]) == 1
    assert "did you mean inspect?" in capsys.readouterr().err


def test_help_is_the_same_either_way(capsys: pytest.CaptureFixture[str]) -> None:
    main(["trimaran", "help", "imagetools", "inspect"])
    said = capsys.readouterr().out
    main(["trimaran", "imagetools", "inspect", "--help"])
    assert capsys.readouterr().out == said


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("", "docker.io"),
        ("https://index.docker.io/v1/", "docker.io"),
        ("registry.example", "registry.example"),
        ("https://registry.example:5000/v2/", "registry.example:5000"),
    ],
)
def test_login_servers(text: str, host: str) -> None:
    assert login.server(text) == host


@pytest.mark.parametrize("text", ["-x", "a b"])
def test_login_servers_refused(text: str) -> None:
    with pytest.raises(UsageError):
        login.server(text)


def record(build_id: str, *steps: StepRecord) -> BuildRecord:
    return BuildRecord(
        build_id=build_id, name="app:1", started=0, completed=61 * 10**9, status="completed", steps=steps
    )


STEPS = (
    StepRecord(number=1, name="load metadata", digest="a"),
    StepRecord(number=2, name="[1/2] RUN apt-get update", digest="b", logged=True),
    StepRecord(number=12, name="[2/2] RUN apt-get install", digest="c", logged=True),
)


def test_logs_choose_a_build() -> None:
    records = [record("bbbb"), record("aaaa")]
    assert choose(records, "").build_id == "bbbb"
    assert choose(records, "^1").build_id == "aaaa"
    assert choose(records, "trimaran/trimaran0/aa").build_id == "aaaa"
    for text in ("^2", "cccc"):
        with pytest.raises(NotFound):
            choose(records, text)
    with pytest.raises(NotFound, match="none has finished"):
        choose([], "")


def test_builds_of_verify_are_found_by_their_id_alone() -> None:
    records = [msgspec.structs.replace(record("cccc"), verification=True), record("bbbb"), record("aaaa")]
    assert choose(records, "").build_id == "bbbb"
    assert choose(records, "^1").build_id == "aaaa"
    assert choose(records, "cc").build_id == "cccc"
    for text in ("", "^0"):
        with pytest.raises(NotFound):
            choose(records[:1], text)


def test_logs_choose_steps() -> None:
    made = record("a", *STEPS)
    assert [step.number for step in logs.choose_steps(made, "")] == [2, 12]
    assert [step.number for step in logs.choose_steps(made, "2")] == [2]
    assert [step.number for step in logs.choose_steps(made, "#12")] == [12]
    assert [step.number for step in logs.choose_steps(made, "apt-get")] == [2, 12]
    with pytest.raises(NotFound) as caught:
        logs.choose_steps(made, "make")
    assert caught.value.hint == "steps that said something: #2, #12"


def test_logs_list() -> None:
    shown = logs.table([record("0123456789abcdef")], now=3600)
    assert shown.splitlines()[1].split() == [
        "0123456789ab",
        "app:1",
        "Completed",
        "About",
        "an",
        "hour",
        "ago",
        "1m",
        "1s",
    ]


def test_images_rows() -> None:
    listed = ListedImage(
        name=Reference.parse("app:1"),
        digest=Digest.of(b"x"),
        config=None,
        platforms=(Platform("linux", "amd64"), Platform("linux", "arm", "v7")),
        created=0,
        size=1_081_088,
    )
    row = images.row(listed, 120, whole=False)
    assert images.table([row]) == (
        "REPOSITORY   TAG   IMAGE ID       PLATFORMS                   CREATED         SIZE\n"
        f"app          1     {Digest.of(b'x').hex[:12]}   linux/amd64, linux/arm/v7   2 minutes ago   1.08MB\n"
    )


def test_platforms_in_groups() -> None:
    found = ["linux/amd64", "linux/amd64/v2", "linux/arm64", "linux/386", "linux/arm/v7", "linux/arm/v6", "linux/s390x"]
    assert ls.grouped(found) == "linux/amd64 (+1), linux/arm64, linux/arm (+1), linux/s390x, (1 more)"
    assert ls.grouped([]) == ""


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.5, "Less than a second"),
        (1, "1 second"),
        (59, "59 seconds"),
        (60, "About a minute"),
        (1500, "25 minutes"),
        (3600, "About an hour"),
        (5400, "2 hours"),
        (86400 * 3, "3 days"),
        (86400 * 21, "3 weeks"),
        (86400 * 90, "3 months"),
        (86400 * 800, "2 years"),
    ],
)
def test_durations_in_words(seconds: float, words: str) -> None:
    assert human_duration(seconds) == words


def test_columns_share_their_width_with_neighbours_only() -> None:
    assert align("a\tb\tc\nlonger\tx\ty\n") == "a      b c\nlonger x y\n"
    assert align("a\tb\nno columns\nlonger\tb\n") == "a b\nno columns\nlonger b\n"
    assert align("\t\nName:\t1\n", padding=3) == "        \nName:   1\n"


def test_run_leaves_the_programs_own_flags_alone() -> None:
    environment = {"HOME": "/h", "DOCKER_DEFAULT_PLATFORM": "linux/arm64"}
    values = parse(
        RUN.flags,
        ["-i", "-e", "HOME", "-e", "NO", "-eA=b", "app", "ls", "-i"],
        environment=environment,
        interspersed=False,
    )
    request = read_run(values, environment)
    assert (request.image, request.command) == ("app", ("ls", "-i"))
    assert request.environment == ("HOME=/h", "A=b")
    assert request.platform == Platform("linux", "arm64")
    assert request.entrypoint is None


def test_result_files_are_whole_or_not_there(tmp_path: Path) -> None:
    _write(str(tmp_path / "iid"), b"sha256:x")
    assert (tmp_path / "iid").read_bytes() == b"sha256:x"
    assert [path.name for path in tmp_path.iterdir()] == ["iid"]
    with pytest.raises(UsageError, match="write .*no/iid: No such file"):
        _write(str(tmp_path / "no/iid"), b"")


def usage(**more: object) -> UsageRecord:
    fields = {"id": "abc", "created": 10**18, "size": 1_080_187, "last_used": 10**18, "usage_count": 2}
    return UsageRecord(**{**fields, **more})  # type: ignore[arg-type]


def test_du_table() -> None:
    records = [usage(), usage(id="b", parents=("abc",), in_use=True, shared=True, size=162, last_used=0)]
    assert du.table(records, 10**9 + 300) == (
        "ID    RECLAIMABLE   SIZE     LAST ACCESSED\n"
        "abc   true          1.08MB   5 minutes ago\n"
        "b     false         162B*    \n"
    )
    assert du.footer(records) == "Shared:\t162B\nPrivate:\t1.08MB\nReclaimable:\t1.08MB\nTotal:\t1.08MB\n"


def test_du_in_full_and_as_template() -> None:
    record = usage(parents=("p",), description="RUN x")
    lines = du.pretty(record, 10**9 + 300).splitlines()
    assert lines[:4] == [
        "ID:           abc",
        "Parents:",
        " - p",
        "Created at:   2001-09-09 01:46:40.000000000 +0000 UTC",
    ]
    assert lines[-2:] == ["Last used:    5 minutes ago", "Type:         regular"]
    shown = Template("{{.ID}} {{.Size}} {{.Reclaimable}} {{json .Parents}}").render(du.template_record(record, 0))
    assert shown == 'abc 1.08MB true ["p"]'


def test_ages_are_taken_out_of_filters() -> None:
    assert du.split_filters(("type=regular", "until=24h")) == (("type=regular",), 24 * 3600 * 10**9)
    with pytest.raises(UsageError, match="until=yesterday"):
        du.split_filters(("until=yesterday",))


@pytest.mark.parametrize("path", sorted(commands.runnable()))
def test_help_fits_a_terminal_of_80_columns(path: str) -> None:
    lines = command_help("trimaran", commands.command(path)).splitlines()
    flags = lines[lines.index("Options:") :] if "Options:" in lines else []
    assert not [line for line in flags if len(line) > 80]
