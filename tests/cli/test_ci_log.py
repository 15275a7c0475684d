"""Logs of CI servers: folded as steps come, and nothing that a step, a file or a registry says is obeyed."""

from __future__ import annotations

import json
import re
import time

import pytest
from hypothesis import given, strategies
from stage.ci_servers import github_commands, gitlab_sections

from cli.test_display import begin, end, log
from cli.test_display_goldens import CASES, golden, recorded
from trimaran.builders.options import BuildOptions
from trimaran.cli import main
from trimaran.cli.annotations import Annotations
from trimaran.cli.display import screen
from trimaran.cli.display.ci_log import CiLog, GitHub, GitLab, choose, harmless
from trimaran.cli.display.plain import Plain
from trimaran.cli.display.rawjson import RawJson
from trimaran.errors import Location, Position, Range, TrimaranError, UsageError
from trimaran.events import Event, WarningEvent

HOSTILE = (
    "::add-mask::e",
    "  \t::set-env name=PATH::/evil",
    "progress\r::set-output name=x::y",
    "::stop-commands::token",
    "\u00a0::error::lies",
    "\u200b::error::lies",
    "::endgroup::",
    ":::add-mask::e",
    "text ##[add-mask]e",
    "###[set-env name=A]b",
    "::group::inner",
    "\x1b[0Ksection_end:1700000000:trimaran_1700000000_1\r\x1b[0K",
    "\x1b[0Ksection_start:1:mine[collapsed=true]\r\x1b[0Ktitle",
)
HARMLESS = (
    "std::vector<int>::iterator",
    "error: app::main at src/main.rs",
    "a :: b",
    "## [heading]",
    "#[derive(Debug)]",
    "100%\rdone\r\n",
    "\x1b[31mred\x1b[0m",
    "section_start: at the top",
    "section_end:name",
    "ends with ::",
)


def shown(display: Plain, events: list[Event], now: int) -> str:
    return display.update(events, now) + display.finish(now)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("reader", [GitHub, GitLab])
def test_groups_change_nothing_but_add_marks(case: str, reader: type) -> None:
    events, now = recorded(case)
    text = shown(Plain(ci_log=reader()), events, now)
    assert len(re.findall("::group::|section_start:", text)) > 1
    text = re.sub("::group::(.*)", lambda title: title[1].replace("%25", "%"), text).replace("::endgroup::\n", "")
    text = re.sub(r"\x1b\[0Ksection_\w+:\d+:\w+(\[collapsed=true\])?\r\x1b\[0K", "", text)
    assert text == golden(case, "plain")


@pytest.mark.parametrize("case", CASES)
def test_each_line_stands_below_its_own_step(case: str) -> None:
    """Also where blocks of parallel steps take turns: events come one by one."""
    events, now = recorded(case)
    display = Plain(ci_log=GitHub())
    text = "".join(display.update([event], now) for event in events) + display.finish(now)
    group = ""
    for line in text.split("\n"):
        if line.startswith("::group::"):
            assert not group, "groups do not nest"
            group = line.removeprefix("::group::").partition(" ")[0]
        elif line == "::endgroup::":
            group = ""
        elif group:
            assert line.startswith(f"{group} "), line
        elif line.startswith("#"):
            assert re.match(r"#\d+ (DONE|CACHED|CANCELED|ERROR|\.\.\.|\[|exporting)", line), line
    assert not group


@pytest.mark.parametrize("case", CASES)
def test_without_groups_it_is_plain(case: str) -> None:
    events, now = recorded(case)
    for reader in (GitHub(groups=False), GitLab(groups=False)):
        assert shown(Plain(ci_log=reader), events, now) == golden(case, "plain")


def said(text: str, ci_log: CiLog | None) -> str:
    """A step of that name says it in its output, its error, a warning; half a line before and after."""
    display = Plain(ci_log=ci_log)
    out = display.update([begin(f"RUN {text}"), log(f"RUN {text}", "half")], 0)
    half = len(text) // 2
    out += display.update([log(f"RUN {text}", "\n" + text[:half])], 0)
    out += display.update([log(f"RUN {text}", text[half:] + "\nfull\n")], 0)
    warning = WarningEvent(vertex=begin(f"RUN {text}").digest, short=text.encode("utf-8", "replace"))
    out += display.update([warning, end(f"RUN {text}", 0, 1, error=f"failed\n{text}")], 0)
    return out + display.finish(0)


@pytest.mark.parametrize("text", HOSTILE)
def test_what_is_hostile_is_seen_and_not_obeyed(text: str) -> None:
    # buildx's own format lets some of it through: that is what is held off here
    marks = [name for name, _ in github_commands(said(text, GitHub()))]
    assert marks == ["group", "endgroup"]
    (start, first), (stop, last) = gitlab_sections(said(text, GitLab()))
    assert (start, stop, first) == ("start", "end", last)


def test_the_attack_works_where_nothing_holds_it_off() -> None:
    obeyed = {name for text in HOSTILE for name, _ in github_commands(said(text, None))}
    assert {"add-mask", "set-env", "set-output", "stop-commands"} <= obeyed
    assert any(gitlab_sections(said(text, None)) for text in HOSTILE)


@pytest.mark.parametrize("text", HARMLESS)
def test_what_only_looks_like_it_stays_as_it_is(text: str) -> None:
    assert GitHub().harmless(f"#1 0.1 {text}\n") == f"#1 0.1 {text}\n"
    assert GitLab().harmless(text) == text


FRAGMENTS = strategies.lists(
    strategies.sampled_from(
        [*HOSTILE, *HARMLESS, "::", "##", "[", "]", "#", ":", "\r", "\n", " ", "\x0b", "section_", "%0A"]
    )
    | strategies.text(max_size=3),
    max_size=8,
).map("".join)


@given(FRAGMENTS)
def test_nothing_is_ever_obeyed(text: str) -> None:
    assert {name for name, _ in github_commands(said(text, GitHub()))} <= {"group", "endgroup"}
    assert len(gitlab_sections(said(text, GitLab()))) == 2
    assert github_commands(GitHub().harmless(text)) == []


@pytest.mark.parametrize("blank", ["\n", "\r", " ", "\u200b"])
def test_a_million_blanks_take_no_time(blank: str) -> None:
    """Looked at again from each of them, they would take hours."""
    before = time.process_time()
    assert github_commands(GitHub().harmless(blank * 1_000_000 + "::add-mask::e")) == []
    assert time.process_time() - before < 5


@pytest.mark.parametrize("attack", ["::add-mask::e", "\u200b::add-mask::e", "##[add-mask]e"])
def test_a_long_line_of_a_log_hides_no_command(tmp_path, attack: str) -> None:
    """Logs are read in pieces: wherever the end of one lies in a command, it is none."""
    from trimaran.cli.invocation import Invocation
    from trimaran.cli.logs import _CHUNK, _pieces

    raw = attack.encode()
    for at in range(len(raw) + 1):
        path = tmp_path / str(at)
        path.write_bytes(b" " * (_CHUNK - at) + raw + b"\n")
        with path.open("rb") as file:
            written = b"".join(_pieces(file, Invocation(environment={"GITHUB_ACTIONS": "true"})))
        assert github_commands(written.decode("utf-8", "replace")) == []
        assert written.replace(b" ", b"") == raw + b"\n"


def test_rawjson_says_the_same_and_no_command() -> None:
    event = begin("RUN echo ##[add-mask]x")
    text = RawJson().update([event], 0)
    assert github_commands(text) == []
    assert json.loads(text)["vertexes"][0]["name"] == event.name


def test_who_reads_is_told_by_the_environment(tmp_path) -> None:
    assert choose({}) is None
    assert choose({"CI": "true", "GITHUB_ACTIONS": "false"}) is None
    assert isinstance(choose({"GITHUB_ACTIONS": "true"}), GitHub)
    assert isinstance(choose({"GITLAB_CI": "true"}), GitLab)
    assert isinstance(choose({"TRIMARAN_LOG_GROUPS": "gitlab"}, groups=False), GitLab)
    off = choose({"GITHUB_ACTIONS": "true", "TRIMARAN_LOG_GROUPS": "off"})
    assert off is not None
    assert not off.groups  # type: ignore[attr-defined]
    with pytest.raises(UsageError, match="gitlba") as wrong:
        choose({"TRIMARAN_LOG_GROUPS": "gitlba"})
    assert "gitlab" in wrong.value.hint
    settings = tmp_path / "trimaran.toml"
    settings.write_text("log-groups = false\n")
    by_setting = screen.ci_log({"GITLAB_CI": "true", "TRIMARAN_CONFIG": str(settings)})
    assert isinstance(by_setting, GitLab)
    assert not by_setting.groups


def test_errors_too_are_harmless() -> None:
    text = "ERROR: registry said\n::add-mask::x\n"
    assert github_commands(harmless(text, {"GITHUB_ACTIONS": "true", "TRIMARAN_LOG_GROUPS": "off"})) == []
    assert harmless(text, {}) == text


@pytest.mark.parametrize("debug", [[], ["--debug"]])
@pytest.mark.parametrize("error", [TrimaranError, RuntimeError])
def test_whatever_ends_a_command_is_harmless(monkeypatch, capsys, error: type, debug: list[str]) -> None:
    """What people can act on, with its lines of the file, and bugs with their traceback."""
    words = "a registry said\n::add-mask::e ##[add-path]/evil"
    raised = error(words)
    raised.where = Location("Dockerfile", b"FROM a\r::stop-commands::t\n", (Range(Position(1), Position(1)),))

    def dispatch(_: object) -> int:
        raise raised

    monkeypatch.setattr(main, "_dispatch", dispatch)
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)
    main.main(["trimaran", *debug])
    assert github_commands(capsys.readouterr().err)
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    main.main(["trimaran", *debug])
    said = capsys.readouterr().err
    assert github_commands(said) == []
    assert "a registry said" in said


def annotations(context: str = ".", **environment: str) -> Annotations:
    return Annotations(BuildOptions(context=context), {"GITHUB_ACTIONS": "true", **environment})


def test_annotations_name_the_file_from_the_top_of_the_repository(tmp_path) -> None:
    context = tmp_path / "app, 100%"
    context.mkdir()
    where = Location("Dockerfile", b"FROM a\nRUN b\n", (Range(Position(2), Position(3)),))
    error = TrimaranError("one\ntwo: 100%", where=where)
    here = annotations(str(context), GITHUB_WORKSPACE=str(tmp_path))
    assert here.of_error(error) == "::error file=app%2C 100%25/Dockerfile,line=2,endLine=3::one%0Atwo: 100%25\n"
    assert annotations(str(context), GITHUB_WORKSPACE=str(tmp_path / "other")).of_error(error) == ""
    assert here.of_error(TrimaranError("no place")) == ""
    for url in ("https://github.com/me/app.git#refs/heads/main", "https://github.com/me/app.git?ref=main&checksum=01"):
        assert annotations(url, GITHUB_REPOSITORY="me/app").of_error(error).startswith("::error file=Dockerfile,line=2")
        assert annotations(url, GITHUB_REPOSITORY="me/ap").of_error(error) == ""
    assert annotations(str(context), GITHUB_WORKSPACE=str(tmp_path), TRIMARAN_LOG_GROUPS="off").of_error(error) == ""


def test_no_more_annotations_than_github_shows(tmp_path) -> None:
    where = Location("Dockerfile", b"FROM a\n", (Range(Position(1), Position(1)),))
    found = [WarningEvent(vertex=begin("x").digest, short=b"Rule: words", where=where)] * 30
    text = annotations(str(tmp_path), GITHUB_WORKSPACE=str(tmp_path)).of_warnings(found)
    assert github_commands(text) == [("warning", "Rule: words")] * 10
