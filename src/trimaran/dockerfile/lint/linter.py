"""Takes what checks found, keeps what counts, and tells of it once."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from trimaran.dockerfile.lint.options import CheckOptions, skips
from trimaran.dockerfile.lint.rule import Finding
from trimaran.errors import UsageError


class Linter:
    """One for a whole request, and from it one per platform: what several of them find is told once."""

    def __init__(self, options: CheckOptions, report: Callable[[Finding], None] = lambda _: None) -> None:
        self.options = options
        self.findings: list[Finding] = []
        self._report = report
        self._told: dict[tuple[str, str, int], int] = {}
        self._seen: dict[tuple[str, str, int], int] = {}

    def take(self, findings: Iterable[Finding]) -> None:
        for finding in findings:
            rule = finding.rule
            if not self.options.counts(rule.name, experimental=rule.experimental):
                continue
            if skips(finding.comments, rule.name):
                continue
            # an instruction may well have the same fault twice, and is told of twice
            identity = rule.name, finding.message, finding.line
            self._seen[identity] = seen = self._seen.get(identity, 0) + 1
            if seen > self._told.get(identity, 0):
                self._told[identity] = seen
                self.findings.append(finding)
                self._report(finding)

    def for_platform(self) -> Linter:
        """Adds to the findings of this one what they lack."""
        other = Linter(self.options, self._report)
        other.findings, other._told = self.findings, self._told
        return other

    def check(self) -> None:
        """UsageError when `error=true` makes a failure of what was found."""
        if not self.options.error or not self.findings:
            return
        rules = list(dict.fromkeys(finding.rule.name for finding in self.findings))
        raise UsageError(
            f"lint violation found for rules: {', '.join(rules)}",
            hint=f"mend them, or allow them: # check=skip={','.join(rules)}",
        )
