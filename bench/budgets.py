"""The budgets, as data. A row is met when it holds against BuildKit as measured in the same run.

The second figure is what standalone BuildKit of August 2026 needed on two cores with a loopback registry (medians in
seconds). dockerd's built-in BuildKit is 1.5 to 2.5 times slower than that on RUN steps and on builds that change
nothing, so the report says of both whether the budget is met.
"""

from __future__ import annotations

from typing import NamedTuple

MEMORY = 200.0  # MiB, the peak of the whole process tree
QUICK = 0.130  # seconds that are always good enough where BuildKit itself needs less than 0.3
QUICK_BELOW = 0.3


class Budget(NamedTuple):
    standalone: float  # what standalone BuildKit needed, in seconds
    factor: float = 0.9

    def limit(self, peer: float) -> float:
        """The time that is allowed where the peer needed `peer` seconds."""
        limit = self.factor * peer
        return max(limit, QUICK) if peer < QUICK_BELOW else limit


BUDGETS = {
    ("seed", "cold"): Budget(0.385),
    ("seed", "cached"): Budget(0.225),
    ("run30", "cold"): Budget(2.6, 0.5),
    ("run30", "cached"): Budget(0.12),
    ("run30-arm64", "cold"): Budget(3.0, 0.5),
    ("run30-arm64", "cached"): Budget(0.12),
    ("stages", "cold"): Budget(2.6, 0.7),
    ("stages", "cached"): Budget(0.20),
    ("chain", "cold"): Budget(2.3),
    ("chain", "cached"): Budget(0.23),
    ("files", "cold"): Budget(9.0, 0.3),
    ("files", "cached"): Budget(1.0, 0.4),
    ("files", "changed"): Budget(6.3, 0.4),
    ("cache", "cold"): Budget(3.0),  # the figures of these rows are those of dockerd's BuildKit
    ("cache", "export"): Budget(3.0, 0.3),
    ("cache", "import"): Budget(3.0, 0.5),
    ("ignore", "cold"): Budget(1.3, 0.5),  # the figure is that of dockerd's BuildKit
    ("ignore", "cached"): Budget(1.3, 0.5),
    ("gzip", "cold"): Budget(7.7, 0.25),
    ("zstd", "cold"): Budget(6.7),
    ("cross", "cold"): Budget(2.1),
    ("cross", "cached"): Budget(0.39),
}
