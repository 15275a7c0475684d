"""`du`: what the store holds and what that costs, in buildx's words (reference §1.8)."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from trimaran.cli.columns import align
from trimaran.cli.invocation import Invocation
from trimaran.cli.options import BUILDER, DEBUG, Command, Flag, Values
from trimaran.cli.template import Record, Template
from trimaran.cli.units import human_duration, parse_duration
from trimaran.errors import UsageError
from trimaran.sizes import decimal_size

if TYPE_CHECKING:
    from trimaran.store.usage import UsageRecord

FILTER = Flag(
    name="filter",
    kind="stringArray",
    value_name="filter",
    help="Provide filter values",
    choices=(
        "until=",
        "unused-for=",
        "type=regular",
        "type=internal",
        "type=exec.cachemount",
        "type=source.git.checkout",
        "description~=",
        "id=",
        "parents=",
        "inuse",
        "immutable",
        "mutable",
        "private",
        "shared",
    ),
)
COMMAND = Command(
    name="du",
    summary="Disk usage",
    usage="du",
    description="Show what each layer of the store takes on disk. A `*` behind a size: a named image shares it.",
    flags=(
        BUILDER,
        DEBUG,
        FILTER,
        Flag(name="format", help='Format the output ("table", "pretty", "json", or a Go template)', default="table"),
        Flag(name="verbose", kind="bool", help='Shorthand for "--format=pretty"'),
        Flag(name="timeout", kind="duration", hidden=True, ignored=True),
    ),
)
_AGE_KEYS = frozenset({"until", "unused-for"})


def run(values: Values, invocation: Invocation) -> int:
    from trimaran import settings
    from trimaran.aio import Cancel
    from trimaran.builders.drivers import embedded
    from trimaran.engine.engine import state_folder
    from trimaran.store.prune import PruneOptions, candidates
    from trimaran.store.store import open_store

    form = "pretty" if values.boolean("verbose") else values.text("format")
    template = None if form in {"table", "pretty"} else Template("{{json .}}" if form == "json" else form)
    filters, keep = split_filters(values.texts("filter"))
    embedded.enter()
    with open_store(state_folder(settings.load())) as store:
        records = store.collector.usage(Cancel())
    if filters or keep:
        options = PruneOptions(all=True, filters=filters, keep_duration=keep)
        chosen = {record.id for record in candidates(records, options, now=time.time_ns())}
        records = [record for record in records if record.id in chosen]
    now = time.time()
    if template is not None:
        invocation.out("".join(template.render(template_record(record, now)) + "\n" for record in records))
        return 0
    body = "\n".join(pretty(record, now) for record in records) if form == "pretty" else table(records, now)
    invocation.out(body + ("" if filters or keep else footer(records)))
    return 0


def split_filters(texts: tuple[str, ...]) -> tuple[tuple[str, ...], int]:
    """Filters on what a record is (all must hold: one text, as buildx makes of them), and (nanoseconds) how long it
    must not have been used: `until`, `unused-for`. UsageError for what is none.
    """
    from trimaran.store.prune import parse_filter

    kept: list[str] = []
    keep = 0
    for text in texts:
        key, _, value = text.partition("=")
        if key not in _AGE_KEYS:
            kept.append(text)
            continue
        try:
            keep = parse_duration(value)
        except ValueError as error:
            raise UsageError(f"parse filter {text!r}: {error}", hint="for example until=24h") from None
    joined = ",".join(kept)
    for each in filter(None, joined.split(",")):
        parse_filter(each)  # refused before anything is asked, opened or shown
    return ((joined,) if joined else ()), keep


def row(record: UsageRecord, now: float) -> tuple[str, str, str, str]:
    name = record.id + ("*" if record.mutable else "")
    size = decimal_size(record.size) + ("*" if record.shared else "")
    return name, str(record.reclaimable).lower(), size, _ago(record.last_used, now)


def _ago(nanoseconds: int, now: float) -> str:
    return human_duration(now - nanoseconds / 1e9) + " ago" if nanoseconds else ""


def table(records: list[UsageRecord], now: float) -> str:
    lines = [("ID", "RECLAIMABLE", "SIZE", "LAST ACCESSED"), *(row(record, now) for record in records)]
    return align("".join("\t".join(line) + "\n" for line in lines), padding=3)


def footer(records: list[UsageRecord]) -> str:
    sums = {
        "Shared": sum(record.size for record in records if record.shared),
        "Private": sum(record.size for record in records if not record.shared),
        "Reclaimable": sum(record.size for record in records if record.reclaimable),
        "Total": sum(record.size for record in records),
    }
    shown = {name: size for name, size in sums.items() if name != "Shared" or size}
    return "".join(f"{name}:\t{decimal_size(size)}\n" for name, size in shown.items())


def pretty(record: UsageRecord, now: float) -> str:
    """All about one record, a line each."""
    rows = [
        ("Created at", _time(record.created)),
        ("Mutable", str(record.mutable).lower()),
        ("Reclaimable", str(record.reclaimable).lower()),
        ("Shared", str(record.shared).lower()),
        ("Size", decimal_size(record.size)),
        ("Description", record.description),
        ("Usage count", str(record.usage_count)),
        ("Last used", _ago(record.last_used, now)),
        ("Type", record.type),
    ]
    parents = "".join(f" - {parent}\n" for parent in record.parents)
    head = f"ID:           {record.id}\n" + (f"Parents:\n{parents}" if parents else "")
    return head + "".join(f"{name + ':':<13} {text}\n" for name, text in rows if text)


def _time(nanoseconds: int) -> str:
    seconds, rest = divmod(nanoseconds, 10**9)
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(seconds)) + f".{rest:09d} +0000 UTC"


def template_record(record: UsageRecord, now: float) -> Record:
    """The fields of buildx's templates, in the order of its JSON."""
    fields: dict[str, object] = {
        "CreatedAt": _time(record.created),
        "Description": record.description,
        "ID": record.id,
        "LastUsedAt": _ago(record.last_used, now),
        "Mutable": record.mutable,
        "Parents": list(record.parents) or None,
        "Reclaimable": record.reclaimable,
        "Shared": record.shared,
        "Size": decimal_size(record.size),
        "Type": record.type,
        "UsageCount": record.usage_count,
    }
    return Record("diskusageContext", fields, dict(fields))  # type: ignore[arg-type]  # scalars and lists of text
