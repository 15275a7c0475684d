"""What a CI server makes of lines in a job's log: folded groups to use, commands to keep others from giving. Pure.

GitHub's runner reads commands out of everything a job writes: a line that begins with `::` after white space, and `##[`
anywhere in a line; a carriage return ends a line too (actions/runner, ActionCommand.cs and OutputManager.cs). GitLab
takes `section_start:TIME:NAME` and `section_end:…` anywhere (lib/gitlab/regex.rb). What steps, registries and files say
passes through `harmless`, which breaks these by one space that everybody can see; `::stop-commands::` would need its
token to come out once more, and a killed build never says it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Protocol

from trimaran.cli.display.terminal import printable
from trimaran.errors import Location, UsageError
from trimaran.spelling import unknown

VARIABLE = "TRIMARAN_LOG_GROUPS"
CHOICES = ("auto", "github", "gitlab", "off")
MOST_ANNOTATIONS = 10
"""Annotations of one kind that GitHub shows of a step."""
_SECOND = 1_000_000_000
_BLANK = (
    r"\x00-\x09\x0b\x0c\x0e-\x20\x7f\x85\xa0\xad\u1680\u2000-\u200f\u2028\u2029\u202f\u205f-\u206f\u3000\ufeff"
    r"\udc80-\udcff"
)
"""White space, characters that nobody sees, and (in text of `surrogateescape`) bytes that are a piece of one."""
_COMMAND = re.compile(rf"(\A[\r\n{_BLANK}]*+|(?<![\r\n{_BLANK}])[{_BLANK}]*+[\r\n][\r\n{_BLANK}]*+):(?=:)")
"""The colon before the colon with which a line begins. Each run of blanks is read once: a step may write a million."""
_SECTION = re.compile(r"(section_(?:start|end)):(?=\d)")


class Mark(str):
    """Text for the CI server, not for people: the one kind that is not made harmless."""

    __slots__ = ()


class CiLog(Protocol):
    """Marks around a group of lines ("" without groups), and everything else made harmless."""

    def begin(self, title: str, now: int) -> Mark: ...

    def end(self, now: int) -> Mark: ...

    def harmless(self, text: str) -> str: ...


class GitHub:
    """`::group::TITLE` … `::endgroup::`; groups do not nest."""

    __slots__ = ("groups",)

    def __init__(self, *, groups: bool = True) -> None:
        self.groups = groups

    def begin(self, title: str, now: int) -> Mark:
        title = self.harmless(printable(title))
        return Mark(f"::group::{_data(title)}\n" if self.groups else f"{title}\n")

    def end(self, now: int) -> Mark:
        return Mark("::endgroup::\n" if self.groups else "")

    def harmless(self, text: str) -> str:
        return _COMMAND.sub(r"\1: ", text).replace("##[", "# #[")


class GitLab:
    """`section_start:TIME:NAME[collapsed=true]` … `section_end:TIME:NAME`, each name once in a job."""

    __slots__ = ("_blocks", "_name", "groups")

    def __init__(self, *, groups: bool = True) -> None:
        self.groups = groups
        self._blocks = 0
        self._name = ""

    def begin(self, title: str, now: int) -> Mark:
        title = self.harmless(printable(title))
        if not self.groups:
            return Mark(f"{title}\n")
        self._blocks += 1
        self._name = f"trimaran_{now // _SECOND}_{self._blocks}"
        return Mark(f"\x1b[0Ksection_start:{now // _SECOND}:{self._name}[collapsed=true]\r\x1b[0K{title}\n")

    def end(self, now: int) -> Mark:
        return Mark(f"\x1b[0Ksection_end:{now // _SECOND}:{self._name}\r\x1b[0K" if self.groups else "")

    def harmless(self, text: str) -> str:
        return _SECTION.sub(r"\1 :", text)


def choose(environment: Mapping[str, str], *, groups: bool = True) -> CiLog | None:
    """Who reads this log; None: nobody but people. Without `groups` the protection stays."""
    asked = environment.get(VARIABLE, "") or "auto"
    if asked not in CHOICES:
        message, hint = unknown("kind of log groups", asked, CHOICES)
        raise UsageError(f"read ${VARIABLE}: {message}", hint=hint)
    groups = asked != "off" and (groups or asked != "auto")
    reader = server(environment)
    if reader == "github":
        return GitHub(groups=groups)
    return GitLab(groups=groups) if reader == "gitlab" else None


def server(environment: Mapping[str, str]) -> str:
    """`github` or `gitlab`, by the variables these set (Gitea and Forgejo as GitHub), or as VARIABLE says; or ""."""
    asked = environment.get(VARIABLE, "")
    if asked in {"github", "gitlab"}:
        return asked
    if environment.get("GITHUB_ACTIONS") == "true":
        return "github"
    return "gitlab" if environment.get("GITLAB_CI") == "true" else ""


def harmless(text: str, environment: Mapping[str, str]) -> str:
    """`text` with nothing in it that the CI server around us would obey; as it is elsewhere."""
    reader = server(environment)
    if reader == "github":
        return GitHub().harmless(text)
    return GitLab().harmless(text) if reader == "gitlab" else text


def annotation(kind: str, message: str, path: str, where: Location) -> str:
    """GitHub's `::error file=…,line=…::…` (or `warning`) about the first place of `where`, shown beside those lines."""
    place = where.ranges[0]
    properties = {"file": path, "line": str(place.start.line), "endLine": str(max(place.end.line, place.start.line))}
    named = ",".join(f"{name}={_property(value)}" for name, value in properties.items())
    return f"::{kind} {named}::{_data(message)}\n"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
