"""Blocks of a page that show commands and what they say: found, run, and compared but for what differs each time."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

REPOSITORY = Path(__file__).parents[3]
BLOCK = re.compile(r"^(?:<!-- run(?:: exit (\d+))? -->\n)?( *)```(\w*)\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
MARK = "<!-- run"
SHOWN = ("console", "text", "")
"""Languages of blocks that show what a terminal shows; `sh` is commands alone, and run where a page wants it."""
ANY = re.compile(r"^(…|\.\.\.)$")
VARYING = (
    (re.compile(r"sha256:[0-9a-f]*…?"), "sha256:…"),
    (re.compile(r"\b\d+(\.\d+)? ?([kKMG]i?)?B\b"), "SIZE"),
    (re.compile(r"\b\d+(\.\d+)?(s|ms| seconds?)\b"), "TIME"),
    (re.compile(r"^#\d+ "), "#N "),
    (re.compile(r"^(#N )\d+\.\d+ "), r"\1SECONDS "),
    (re.compile(r"\s+"), " "),
)


class Block(NamedTuple):
    """`code`: of the last command; `marked`: to be run."""

    page: str
    language: str
    text: str
    marked: bool
    code: int

    @property
    def first(self) -> str:
        return self.text.strip().splitlines()[0].strip()

    def commands(self) -> list[tuple[str, list[str]]]:
        """Each command with the lines shown below it; of `sh` all of it is one."""
        if self.language == "sh":
            return [(self.text, [])]
        found: list[tuple[str, list[str]]] = []
        for line in self.text.splitlines():
            if line.startswith("$ "):
                found.append((line[2:], []))
            elif found:
                found[-1][1].append(line)
        return found


def pages() -> list[str]:
    """Pages that people write; references and pages of rules are made, and held to the source elsewhere."""
    names = ["README.md", "ARCHITECTURE.md", "SECURITY.md"]
    return names + sorted(f"docs/{path.name}" for path in (REPOSITORY / "docs").glob("*.md"))


def blocks(page: str) -> list[Block]:
    text = (REPOSITORY / page).read_text()
    found = [
        Block(page, match[3], match[4], match[0].startswith(MARK), int(match[1] or 0)) for match in BLOCK.finditer(text)
    ]
    return [block for block in found if block.language in SHOWN or (block.marked and block.language == "sh")]


def run(block: Block, folder: Path, environment: Mapping[str, str], names: Mapping[str, str]) -> None:
    """Every command does what the page shows; `names` are what the page's names stand for here."""
    commands = block.commands()
    for number, (command, shown) in enumerate(commands):
        words = ["bash", "-e", "-c", replaced(command, names.items())]
        done = subprocess.run(
            words, cwd=folder, env=dict(environment), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=240
        )
        said = replaced(done.stdout.decode("utf-8", "replace"), [(here, name) for name, here in names.items()])
        wanted = block.code if number == len(commands) - 1 else 0
        assert done.returncode == wanted, f"{block.page}: {command}\nexit code {done.returncode}, not {wanted}\n{said}"
        if shown:
            assert fits(shown, said.splitlines()), (
                f"{block.page}: {command}\nshows\n{chr(10).join(shown)}\nsays\n{said}"
            )


def replaced(text: str, pairs: Iterable[tuple[str, str]]) -> str:
    for before, after in pairs:
        text = text.replace(before, after)
    return text


def fits(shown: list[str], said: list[str]) -> bool:
    """Line by line without what varies; a line `…` stands for any number of lines."""
    pattern = "".join("(?:.*\n)*?" if ANY.match(line.strip()) else re.escape(same(line)) + "\n" for line in shown)
    return re.fullmatch(pattern, "".join(same(line) + "\n" for line in said)) is not None


def same(line: str) -> str:
    for what, word in VARYING:
        line = what.sub(word, line)
    return line.strip()
