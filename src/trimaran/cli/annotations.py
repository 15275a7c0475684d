"""Errors and findings of Dockerfiles as annotations of GitHub Actions: shown beside the lines of a pull request."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from trimaran.builders.options import BuildOptions
from trimaran.cli.display.screen import ci_log
from trimaran.errors import Location, TrimaranError
from trimaran.events import WarningEvent


class Annotations(msgspec.Struct, frozen=True):
    """What a build has to say of places in its repository; each is "" where nobody makes annotations of it."""

    options: BuildOptions
    environment: Mapping[str, str]

    def of_error(self, error: TrimaranError) -> str:
        words = error.message if not error.hint else f"{error.message} ({error.hint})"
        return self._all("error", [(words, error.where)])

    def of_warnings(self, found: Iterable[WarningEvent]) -> str:
        return self._all("warning", [(warning.short.decode("utf-8", "replace"), warning.where) for warning in found])

    def of_check(self, document: bytes) -> str:
        """`document`: what `--check` found, as JSON."""
        from trimaran.cli.call_result import place

        results: dict[str, Any] = msgspec.json.decode(document)
        source = results["sources"][0]
        warnings = results["warnings"] or ()
        found = [(f"{one['ruleName']}: {one['detail']}", place(one["location"], source)) for one in warnings]
        problem = results.get("buildError")
        broken = [(problem["message"], place(problem["location"], source))] if problem else []
        return self._all("error", broken) + self._all("warning", found)

    def _all(self, kind: str, found: list[tuple[str, Location | None]]) -> str:
        """No more than GitHub shows."""
        if self.options.progress in {"quiet", "none", "rawjson"} or not any(where for _, where in found):
            return ""
        log = ci_log(self.environment)
        if log is None:
            return ""
        from trimaran.cli.display.ci_log import MOST_ANNOTATIONS, GitHub, annotation

        if not isinstance(log, GitHub) or not log.groups:
            return ""
        known = [(words, where, self._path(where)) for words, where in found if where is not None and where.ranges]
        shown = [annotation(kind, words, path, where) for words, where, path in known if path]
        return "".join(shown[:MOST_ANNOTATIONS])

    def _path(self, where: Location) -> str:
        """The file in the repository, from its top; "" for one that is not of it."""
        context, file = self.options.context, self.options.file
        if not os.path.isdir(context):
            ours = self.environment.get("GITHUB_REPOSITORY", "")
            here = ours and any(f"/{ours}.git{mark}" in context for mark in "#?")  # as docker/actions-toolkit writes it
            return os.path.normpath(file or where.filename) if here else ""
        path = file if os.path.basename(file) == where.filename else os.path.join(context, where.filename)
        top = self.environment.get("GITHUB_WORKSPACE", "") or os.getcwd()
        path = os.path.relpath(os.path.realpath(path), os.path.realpath(top))
        return "" if path.startswith("..") else path
