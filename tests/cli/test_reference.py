"""What is made from the flag table: the reference in docs/cli, man pages."""

from __future__ import annotations

from pathlib import Path

import pytest

from trimaran.cli import commands, reference

DOCS = Path(__file__).parents[2] / "docs/cli"
MAN = Path(__file__).parents[2] / "man"


def test_the_reference_is_up_to_date() -> None:
    """`python -m trimaran.cli.reference docs/cli man` mends it."""
    assert {path.name: path.read_text() for path in DOCS.iterdir()} == reference.pages()
    assert {path.name: path.read_text() for path in MAN.iterdir()} == reference.man_pages()


def test_every_command_has_a_summary_in_its_page() -> None:
    for name in commands.TABLE:
        made = reference.page(commands.command(name))
        assert made.startswith(f"# trimaran {name}\n")
        assert all(f"`--{flag.name}`" in made for flag in commands.command(name).flags if not flag.hidden)


@pytest.mark.parametrize("page", list(reference.man_pages().values()), ids=list(reference.man_pages()))
def test_man_pages_have_no_stray_requests(page: str) -> None:
    known = {".TH", ".SH", ".B", ".TP", ".PP", ".nf", ".fi", ".RS", ".RE"}
    lines = page.splitlines()
    assert {line.split()[0] for line in lines if line.startswith(".")} <= known
