"""What pages tell people to write: fenced blocks by the name in their first line (`# job.yaml`)."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path
from typing import Any

import yaml

DOCUMENTS = Path(__file__).parents[3] / "docs"
NAMED = re.compile(r"^```(?:sh|yaml)\n# ([^\n]+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
INSTALL = "pip install trimaran"


def recipes(page: str) -> dict[str, str]:
    """The blocks of a page that have a name."""
    return {match[1]: match[2] for match in NAMED.finditer((DOCUMENTS / page).read_text())}


def document(page: str, name: str) -> Any:
    return yaml.safe_load(recipes(page)[name])


def script(lines: list[str] | str) -> str:
    """Lines of a job as its shell runs them: the first that fails ends it. What is tested is installed already."""
    text = lines if isinstance(lines, str) else "\n".join(lines)
    kept = [line for line in textwrap.dedent(text).splitlines() if line.strip() != INSTALL]
    assert len(kept) > 0
    return "\n".join(("set -eu", *kept))
