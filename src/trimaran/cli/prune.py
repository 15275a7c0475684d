"""`prune`: delete what no build, image or chosen limit keeps (reference §1.8)."""

from __future__ import annotations

import sys
import time

from trimaran.cli.du import FILTER, pretty, row, split_filters
from trimaran.cli.invocation import Invocation
from trimaran.cli.options import BUILDER, DEBUG, Command, Example, Flag, Values
from trimaran.cli.units import decimal_size

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
        Flag(name="force", shorthand="f", kind="bool", help="Do not prompt for confirmation"),
        Flag(name="max-used-space", kind="bytes", help="Maximum amount of disk space allowed to keep for cache"),
        Flag(name="min-free-space", kind="bytes", help="Target amount of free disk space after pruning"),
        Flag(name="reserved-space", kind="bytes", help="Amount of disk space always allowed to keep for cache"),
        Flag(name="keep-storage", kind="bytes", hidden=True, unsupported="use --reserved-space"),
        Flag(name="verbose", kind="bool", help="Provide a more verbose output"),
        Flag(name="timeout", kind="duration", hidden=True, ignored=True),
    ),
    examples=(
        Example("What has not been used for a week:", "prune --filter until=168h"),
        Example("Down to 10 GB:", "prune --max-used-space 10gb"),
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
        reserved=values.number("reserved-space"),
        max_used=values.number("max-used-space"),
        min_free=values.number("min-free-space"),
    )
    if not values.boolean("force") and not _agreed(options.all, invocation):
        return 0
    embedded.enter()
    total = 0
    verbose = values.boolean("verbose")
    if not verbose:
        invocation.out("{:<40}\t{:<5}\t{:<10}\t{}\n".format("ID", "RECLAIMABLE", "SIZE", "LAST ACCESSED"))
    with open_store(state_folder(settings.load())) as store:
        for record in store.collector.prune(Cancel(), options):
            total += record.size
            words = row(record, time.time())
            text = pretty(record, time.time()) + "\n" if verbose else "{:<40}\t{:<5}\t{:<10}\t{}\n".format(*words)
            invocation.out(text)
    invocation.out(f"Total:\t{decimal_size(total)}\n")
    return 0


def _agreed(everything: bool, invocation: Invocation) -> bool:
    invocation.err(_WARNING.format("" if everything else "dangling "))
    return sys.stdin.readline().strip().lower() in {"y", "yes"}
