"""Go text/template, the part that Docker's formats use: `--format '{{range .Manifest.Manifests}}{{.Digest}}{{end}}'`.

Fields, variables, pipes, if, range, with, comparison and a fixed set of functions; whatever else a template says is an
error that names it. Work is linear in the template times the data it walks over.
"""

from __future__ import annotations

from collections.abc import Callable

from trimaran.cli.template.evaluate import Evaluation
from trimaran.cli.template.functions import compact_json, table
from trimaran.cli.template.parser import parse
from trimaran.cli.template.values import Record, Value

__all__ = ["Record", "Template", "Value"]


class Template:
    """A template that parsed; render it as often as needed. UsageError for text that is none."""

    __slots__ = ("_functions", "_nodes", "_text")

    def __init__(self, text: str, *, json: Callable[[Value], str] = compact_json) -> None:
        self._text = text
        self._functions = table(json)
        self._nodes = parse(text, frozenset(self._functions))

    def render(self, data: Value) -> str:
        return Evaluation(self._text, self._functions, data).run(self._nodes)
