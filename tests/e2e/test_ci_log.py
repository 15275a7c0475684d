"""Builds in the jobs of CI servers: their logs fold, name places in the Dockerfile, and obey nobody but Trimaran."""

from __future__ import annotations

import pytest
from stage.ci_servers import github_commands, gitlab_sections

GITHUB = {"GITHUB_ACTIONS": "true", "CI": "true"}
GITLAB = {"GITLAB_CI": "true", "CI": "true"}
EVIL = r"""
printf 'at 10%%\r::add-mask::e\n'
printf '##[set-env name=PATH]/evil\n'
printf 'x\r::stop-commands::token\n'
printf 'half ' && sleep 0.3 && printf '##' && sleep 0.3 && printf '[add-path]/evil\n'
printf '\033[0Ksection_start:1:mine\r\033[0Kmine\n'
printf '\033[0Ksection_end:%s:trimaran_%s_1\r\033[0K' $(date +%s) $(date +%s)
echo 'std::vector stays' >&2
"""


@pytest.fixture
def evil(context):
    context.write("evil.sh", EVIL)
    return context.dockerfile("FROM busybox\nCOPY evil.sh /\nRUN sh /evil.sh; exit ${CODE:-0}\n")


def test_github_obeys_no_step(trimaran, bases, evil):
    said = trimaran("build", evil, env=GITHUB).stderr
    commands = github_commands(said)
    assert {name for name, _ in commands} == {"group", "endgroup"}
    assert any("RUN sh /evil.sh" in title for name, title in commands if name == "group")
    assert "std::vector stays" in said
    assert "half # #[add-path]/evil" in said
    assert github_commands(trimaran("logs", env=GITHUB).stdout) == []


def test_gitlab_obeys_no_step(trimaran, bases, evil):
    sections = gitlab_sections(trimaran("build", evil, env=GITLAB).stderr)
    names = [name for _, name in sections]
    assert len(sections) > 2
    assert [kind for kind, _ in sections] == ["start", "end"] * (len(sections) // 2)
    assert names[::2] == names[1::2]
    assert len(set(names)) == len(names) // 2


def test_elsewhere_the_format_is_buildx_own(trimaran, bases, evil):
    """And there the attack is seen to work: that is what the two tests above look for."""
    said = trimaran("build", evil).stderr
    assert {"add-mask", "set-env", "stop-commands", "add-path"} == {name for name, _ in github_commands(said)}
    assert ("start", "mine") in gitlab_sections(said)
    logs = trimaran("logs").stdout
    assert "at 10%\n::add-mask::e\n" in logs  # a carriage return, as Python reads it


def test_groups_can_be_switched_off_and_the_protection_cannot(trimaran, bases, evil):
    settings = trimaran.settings.read_text()
    assert github_commands(trimaran("build", evil, env={**GITHUB, "TRIMARAN_LOG_GROUPS": "off"}).stderr) == []
    trimaran.settings.write_text("log-groups = false\n" + settings)
    assert github_commands(trimaran("build", "--no-cache", evil, env=GITHUB).stderr) == []
    assert "$TRIMARAN_LOG_GROUPS" in trimaran("settings", env={"TRIMARAN_LOG_GROUPS": "gitlab"}).stdout


def test_other_kinds_of_progress_have_no_marks(trimaran, bases, evil):
    for words in (["--progress=rawjson"], ["--quiet"], ["--progress=none"]):
        said = trimaran("build", "--no-cache", *words, evil, env=GITHUB)
        assert github_commands(said.stderr) == [], words


def test_a_failed_step_is_shown_at_its_line(trimaran, bases, evil):
    evil.dockerfile("FROM busybox\nCOPY evil.sh /\nRUN sh /evil.sh; exit 7\n")
    place = {**GITHUB, "GITHUB_WORKSPACE": str(evil.folder.parent)}
    said = trimaran("build", evil, env=place, exit_code=1).stderr
    assert "\n::error file=context/Dockerfile,line=3,endLine=3::process " in said
    assert {name for name, _ in github_commands(said)} == {"group", "endgroup", "error"}
    last = said.rstrip().splitlines()[-2:]
    assert last[0].startswith("ERROR: "), last


def test_findings_are_shown_at_their_lines(trimaran, bases, context):
    context.dockerfile("FROM busybox as Base\nENV a 1\n")
    place = {**GITHUB, "GITHUB_WORKSPACE": str(context.folder)}
    said = trimaran("build", context, env=place).stderr
    wanted = [("FromAsCasing", "line=1"), ("StageNameCasing", "line=1"), ("LegacyKeyValueFormat", "line=2")]
    checked = trimaran("build", "--check", context, env=place, exit_code=1)
    for rule, line in wanted:
        for text in (said, checked.stderr):
            assert f"::warning file=Dockerfile,{line},end{line.capitalize()}::{rule}" in text
    context.dockerfile("FROM busybox\nRUNN x\n")
    assert "::error file=Dockerfile,line=2" in trimaran("build", context, env=place, exit_code=1).stderr


def test_what_is_told_of_checks_and_earlier_builds_is_no_command_either(trimaran, bases, context):
    """The lines of a Dockerfile are a stranger's, too: in a pull request."""
    context.dockerfile("FROM busybox as a\nRUN true '##[add-mask]e'\nfrom a\n")
    for words in (("build", "--check", context), ("build", context), ("explain",), ("logs",), ("logs", "true")):
        alone = trimaran(*words, exit_code=None)
        guarded = trimaran(*words, exit_code=None, env=GITHUB)
        obeyed = {name for name, _ in github_commands(guarded.stdout + guarded.stderr)}
        assert obeyed <= {"group", "endgroup", "warning"}, words
        if words[0] == "explain":
            assert ("add-mask", "e'") in github_commands(alone.stdout)
