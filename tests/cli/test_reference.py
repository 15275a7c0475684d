"""What is made from the flag table: the reference in docs/cli, man pages, completion."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from trimaran.cli import commands, reference, shells

DOCS = Path(__file__).parents[2] / "docs/cli"


def test_the_reference_is_up_to_date() -> None:
    """`python -m trimaran.cli.reference docs/cli` mends it."""
    assert {path.name: path.read_text() for path in DOCS.iterdir()} == reference.pages()


def test_every_command_has_a_summary_in_its_page() -> None:
    for name in commands.TABLE:
        made = reference.page(commands.command(name))
        assert made.startswith(f"# trimaran {name}\n")
        assert all(f"`--{flag.name}`" in made for flag in commands.command(name).flags if not flag.hidden)


@pytest.mark.parametrize("name", list(commands.TABLE))
def test_man_pages_have_no_stray_requests(name: str) -> None:
    known = {".TH", ".SH", ".B", ".TP", ".PP", ".nf", ".fi", ".RS", ".RE"}
    lines = reference.man_page(commands.command(name)).splitlines()
    assert {line.split()[0] for line in lines if line.startswith(".")} <= known


def complete(*words: str) -> list[str]:
    """What bash offers for the last of `words`."""
    assert shutil.which("bash")
    listed = " ".join(f"'{word}'" for word in words)
    script = (
        f"{shells.bash()}\nCOMP_WORDS=({listed}); COMP_CWORD={len(words) - 1}; _trimaran; "
        'printf "%s\\n" "${COMPREPLY[@]}"'
    )
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return done.stdout.split()


def test_bash_completes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "file").touch()
    monkeypatch.chdir(tmp_path)
    assert complete("trimaran", "bu") == ["build"]
    assert complete("trimaran", "imagetools", "") == ["inspect"]
    assert complete("trimaran", "build", "--pla") == ["--platform"]
    assert complete("trimaran", "build", "--progress", "raw") == ["rawjson"]
    assert complete("trimaran", "build", "") == ["source"]
    assert complete("trimaran", "build", "-f", "fi") == ["file"]
    assert "--cache-from" in complete("trimaran", "build", "--ca")


def test_fish_and_zsh_name_every_command() -> None:
    for text in (shells.fish(), shells.zsh()):
        for name in commands.TABLE:
            assert name.split()[-1] in text
