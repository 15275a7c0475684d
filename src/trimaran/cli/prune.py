"""`prune`: delete what no build, image or chosen limit keeps (reference §1.8)."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

from trimaran.cli.du import FILTER, pretty, row, split_filters
from trimaran.cli.invocation import Invocation
from trimaran.cli.options import BUILDER, DEBUG, Command, Example, Flag, Values
from trimaran.sizes import decimal_size

if TYPE_CHECKING:
    from trimaran.store.usage import UsageRecord

COMMAND = Command(
    name="prune",
    summary="Remove build cache",
    usage="prune",
    description="Remove layers and blobs that no named image and no running build needs, the least used first where a "
    "limit is given.",
    flags=(
        BUILDER,
        DEBUG,
        FILTER,
        Flag(name="all", shorthand="a", kind="bool", help="Include what can be made again from named images"),
        Flag(name="dry-run", kind="bool", help="Only show what would go, and what making it again would cost"),
        Flag(name="force", shorthand="f", kind="bool", help="Do not prompt for confirmation"),
        Flag(name="max-used-space", kind="bytes", help="Maximum amount of disk space allowed to keep for cache"),
        Flag(name="min-free-space", kind="bytes", help="Target amount of free disk space after pruning"),
        Flag(name="reserved-space", kind="bytes", help="Amount of disk space always allowed to keep for cache"),
        Flag(name="keep-storage", kind="bytes", hidden=True, note="flag --keep-storage is --reserved-space now"),
        Flag(name="verbose", kind="bool", help="Provide a more verbose output"),
        Flag(name="timeout", kind="duration", hidden=True, ignored=True),
    ),
    examples=(
        Example("What has not been used for a week:", "prune --filter until=168h"),
        Example("Down to 10 GB:", "prune --max-used-space 10gb"),
        Example("What that would take, and the time to make it again:", "prune --max-used-space 10gb --dry-run"),
    ),
)
_WARNING = "WARNING! This will remove all {}build cache. Are you sure you want to continue? [y/N] "


def run(values: Values, invocation: Invocation) -> int:
    from trimaran import settings
    from trimaran.aio import Cancel
    from trimaran.builders.drivers import embedded
    from trimaran.engine.engine import state_folder
    from trimaran.store.prune import PruneOptions
    from trimaran.store.store import open_store

    filters, keep = split_filters(values.texts("filter"))
    options = PruneOptions(
        all=values.boolean("all"),
        filters=filters,
        keep_duration=keep,
        reserved=values.number("reserved-space") or values.number("keep-storage"),
        max_used=values.number("max-used-space"),
        min_free=values.number("min-free-space"),
    )
    dry = values.boolean("dry-run")
    if not dry and not values.boolean("force") and not _agreed(options.all, invocation):
        return 0
    embedded.enter()
    total, seconds = 0, 0.0
    verbose = values.boolean("verbose")
    head = "" if verbose else _ROW.format("ID", "RECLAIMABLE", "SIZE", "LAST ACCESSED")
    with open_store(state_folder(settings.load())) as store:
        collector = store.collector
        for record in collector.plan(Cancel(), options) if dry else collector.prune(Cancel(), options):
            total += record.size
            seconds += record.seconds
            invocation.out(head + _shown(record, verbose=verbose, cost=dry))
            head = ""
    if dry:
        invocation.out(f"Would free:\t{decimal_size(total)}\nTo make again:\t{_seconds(seconds)}\n")
    else:
        invocation.out(f"Total:\t{decimal_size(total)}\n")
    return 0


_ROW = "{:<40}\t{:<5}\t{:<10}\t{}\n"


def _shown(record: UsageRecord, *, verbose: bool, cost: bool) -> str:
    """One record; with `cost` also what made it and how long that took."""
    now = time.time()
    if verbose:
        return pretty(record, now) + (f"To make again: {_seconds(record.seconds)}\n" if cost else "") + "\n"
    line = _ROW.format(*row(record, now))
    if not cost:
        return line
    return f"{line.rstrip()}\t{_seconds(record.seconds)}\t{record.description}\n"


def _seconds(seconds: float) -> str:
    return f"{seconds:.1f}s"


def _agreed(everything: bool, invocation: Invocation) -> bool:
    invocation.err(_WARNING.format("" if everything else "dangling "))
    return sys.stdin.readline().strip().lower() in {"y", "yes"}
