"""What a rule is, and what it found."""

from __future__ import annotations

import msgspec

from trimaran.dockerfile.parse import Node
from trimaran.errors import Location

DOCS = "https://docs.docker.com/go/dockerfile/rule/"


class Finding(msgspec.Struct, frozen=True):
    """One place where a rule is broken. `comments` stand above the instruction, and may skip rules for it alone."""

    rule: Rule
    message: str
    where: Location
    comments: tuple[str, ...] = ()

    @property
    def line(self) -> int:
        return self.where.ranges[0].start.line if self.where.ranges else 0

    @property
    def short(self) -> str:
        """One line, as builds show it."""
        return f"{self.rule.name}: {self.message}" + (f" (line {self.line})" if self.line else "")


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """`message` is a format string. `experimental`: checked only when asked for by name or with `experimental=all`."""

    name: str
    description: str
    message: str
    experimental: bool = False
    own: bool = False
    """Not one of BuildKit's; those are all experimental, so that a file passes here where it passes there."""
    documented: bool = True

    @property
    def page(self) -> str:
        """The name of its page: StageNameCasing is stage-name-casing, JSONArgsRecommended json-args-recommended."""
        name = self.name
        return "".join(
            "-" + letter
            if index and letter.isupper() and (name[index - 1].islower() or name[index + 1 : index + 2].islower())
            else letter
            for index, letter in enumerate(name)
        ).lower()

    @property
    def url(self) -> str:
        return f"{DOCS}{self.page}/" if self.documented and not self.own else ""

    def found(self, node: Node, /, **values: object) -> Finding:
        return Finding(self, self.message.format(**values), node.where, node.comments)
