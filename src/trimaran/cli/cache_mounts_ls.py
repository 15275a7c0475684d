"""`cache-mounts ls`: the folders that `RUN --mount=type=cache` keeps between builds."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from trimaran.cli.columns import align
from trimaran.cli.invocation import Invocation
from trimaran.cli.options import DEBUG, Command, Example, Flag, Values
from trimaran.cli.template import Record, Template
from trimaran.cli.units import human_duration
from trimaran.sizes import decimal_size

if TYPE_CHECKING:
    from trimaran.cli.template.values import Value
    from trimaran.store.cache_mounts import CacheMount

COMMAND = Command(
    name="cache-mounts ls",
    summary="List cache mounts",
    usage="cache-mounts ls [OPTIONS]",
    description="List what `RUN --mount=type=cache` keeps between builds. Copies of one id were begun with different "
    "content, or made for steps that ran at once with sharing=private.",
    flags=(
        DEBUG,
        Flag(name="format", help='Format the output ("table", "json", or a Go template)', default="table"),
    ),
    examples=(Example("Names of the folders only:", "cache-mounts ls --format '{{.Name}}'"),),
)
_SHORT = 12


def run(values: Values, invocation: Invocation) -> int:
    from trimaran import settings
    from trimaran.aio import Cancel
    from trimaran.builders.drivers import embedded
    from trimaran.engine.folder import state_folder
    from trimaran.store.store import open_store

    form = values.text("format")
    template = None if form == "table" else Template("{{json .}}" if form == "json" else form)
    embedded.enter()
    with open_store(state_folder(settings.load())) as store:
        found = store.cache_mounts.listed(Cancel())
    if template is not None:
        records = (_record(mount, time.time()) for mount in found)
        invocation.out("".join(template.render(record) + "\n" for record in records))
    else:
        invocation.out(table(found, time.time()))
    return 0


def shown_id(identifier: str) -> str:
    """As the Dockerfile has it: without the empty namespace that BuildKit puts before it."""
    return identifier.removeprefix("/")


def table(found: list[CacheMount], now: float) -> str:
    lines = [("ID", "NAME", "SIZE", "LAST USED", "IN USE")]
    lines += [
        (
            shown_id(mount.id) or "(unknown)",
            short_name(mount.name),
            decimal_size(mount.size),
            _ago(mount.last_used, now),
            "yes" if mount.in_use else "no",
        )
        for mount in found
    ]
    return align("".join("\t".join(line) + "\n" for line in lines), padding=3)


def short_name(name: str) -> str:
    """Enough of the digest to tell it, and which copy it is."""
    digest, _, copy = name.partition("-")
    return f"{digest[:_SHORT]}-{copy}"


def _ago(nanoseconds: int, now: float) -> str:
    return human_duration(now - nanoseconds / 1e9) + " ago" if nanoseconds else ""


def _record(mount: CacheMount, now: float) -> Record:
    fields: dict[str, Value] = {
        "Description": mount.description,
        "ID": shown_id(mount.id),
        "InUse": mount.in_use,
        "LastUsedAt": _ago(mount.last_used, now),
        "Name": mount.name,
        "Size": decimal_size(mount.size),
        "UsageCount": mount.usage_count,
    }
    return Record("CacheMount", fields, dict(fields))
