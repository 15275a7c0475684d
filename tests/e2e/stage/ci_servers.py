"""What a CI server finds in a job's log, by the rules of its own sources; used to see what a build makes it do."""

from __future__ import annotations

import re

WORKFLOW_COMMANDS = (
    *("add-mask", "add-matcher", "add-path", "debug", "echo", "endgroup", "error", "group", "notice"),
    *("remove-matcher", "save-state", "set-env", "set-output", "stop-commands", "warning"),
)
SECTION = re.compile(r"section_(start|end):(\d+):([a-zA-Z0-9_.-]+)((?:\[\w+=\w+(?:, ?\w+=\w+)*\])?)[\r\n]\x1b\[0K")
"""A line feed too: Python reads a process' carriage returns as such."""


def github_commands(log: str) -> list[tuple[str, str]]:
    """(command, data) of each line that the runner obeys (actions/runner: OutputManager, ActionCommand)."""
    found = []
    for line in re.split(r"\r\n|\r|\n", log):  # as .NET's ReadLine
        command = _second_form(line) or _first_form(line)
        if command is not None and command[0].lower() in WORKFLOW_COMMANDS:
            found.append(command)
    return found


def _second_form(line: str) -> tuple[str, str] | None:
    text = line.lstrip()
    end = text.find("::", 2)
    if not text.startswith("::") or end < 0:
        return None
    name = text[2:end].partition(" ")[0]
    return (name, text[end + 2 :]) if name.lower() in WORKFLOW_COMMANDS else None


def _first_form(line: str) -> tuple[str, str] | None:
    start = line.find("##[")
    end = line.find("]", start)
    return None if start < 0 or end < 0 else (line[start + 3 : end].partition(" ")[0], line[end + 1 :])


def gitlab_sections(log: str) -> list[tuple[str, str]]:
    """(start or end, name) of each section marker."""
    return [(match[1], match[3]) for match in SECTION.finditer(log)]
