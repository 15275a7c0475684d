"""The index of docs/rules, made from the table. `python -m trimaran.dockerfile.lint.index docs/rules` writes it."""

from __future__ import annotations

import sys

from trimaran.dockerfile.lint.rule import Rule
from trimaran.dockerfile.lint.table import rules

_HEAD = """# Build checks

`trimaran build --check .` checks a Dockerfile without building it; a build shows the same as warnings. Made from the
table of rules.

Rules are switched off for a file with a first line `# check=skip=RULE,RULE` (or `skip=all`), for one instruction with
the same as a comment above it. `# check=error=true` makes a failure of a warning. Experimental rules are asked for with
`# check=experimental=RULE` (or `all`). Several settings are parted by `;`. The build argument
`BUILDKIT_DOCKERFILE_CHECK` stands in for that line.

"""


def index() -> str:
    known = rules()
    theirs = [rule for rule in known if not rule.own]
    own = [rule for rule in known if rule.own]
    return (
        f"{_HEAD}## BuildKit's rules\n\n{_table(theirs)}\n"
        f"## Rules of our own\n\nAll of them are experimental, so that a file passes here where it passes there.\n\n"
        f"{_table(own)}"
    )


def _table(rules: list[Rule]) -> str:
    rows = []
    for rule in rules:
        mark = " (experimental)" if rule.experimental and not rule.own else ""
        rows.append(f"| [{rule.name}]({rule.page}.md){mark} | {rule.description} |")
    return "| rule | what it says |\n|---|---|\n" + "\n".join(rows) + "\n"


if __name__ == "__main__":
    with open(f"{sys.argv[1]}/README.md", "w", encoding="utf-8") as file:
        file.write(index())
