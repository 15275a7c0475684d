"""docs/threats.md names for every threat a test that attacks and one of what must go on working; here they exist."""

from __future__ import annotations

import ast
import functools
import re
from pathlib import Path

import msgspec
import pytest

REPOSITORY = Path(__file__).parents[1]
PAGE = REPOSITORY / "docs" / "threats.md"
REQUIRED = {
    *("T32", "T33", "T34", "T37", "T38", "T49", "T51", "T52", "T53", "T54", "T55", "T55b", "T56", "T57", "T58", "T59"),
    *("T60", "T61", "T62", "T63"),
}
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
MODULE = re.compile(r"`([\w/]+\.py)`")


class Row(msgspec.Struct, frozen=True):
    number: str
    tried: str
    guards: tuple[str, ...]
    attacks: tuple[tuple[str, str], ...]
    harmless: tuple[tuple[str, str], ...]

    def __str__(self) -> str:
        return self.number


def rows() -> list[Row]:
    lines = [line for line in PAGE.read_text().splitlines() if line.startswith("| T")]
    found = []
    for line in lines:
        number, tried, guards, attacks, harmless = (cell.strip() for cell in line.strip("|").split(" | "))
        found.append(
            Row(
                number,
                tried,
                tuple(MODULE.findall(guards)),
                tuple(NAMED.findall(attacks)),
                tuple(NAMED.findall(harmless)),
            )
        )
    return found


@functools.cache
def functions_of(path: str) -> frozenset[str]:
    tree = ast.parse((REPOSITORY / path).read_text())
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)))


def test_every_row_stands_there_once_and_in_order() -> None:
    numbers = [row.number for row in rows()]
    assert REQUIRED <= set(numbers)
    assert numbers == sorted(set(numbers), key=lambda number: (int(re.sub(r"\D", "", number)), number))


@pytest.mark.parametrize("row", rows(), ids=str)
def test_a_threat_has_its_tests(row: Row) -> None:
    assert row.tried
    assert row.guards, "which module stops it"
    for guard in row.guards:
        assert (REPOSITORY / "src" / "trimaran" / guard).is_file(), guard
    assert row.attacks, "a test that carries it out"
    assert row.harmless, "a test of what must work all the same"
    assert not set(row.attacks) & set(row.harmless)
    for path, name in (*row.attacks, *row.harmless):
        assert name.startswith("test_")
        assert name in functions_of(path), f"{path} has no {name}"
