"""`fsck`: every byte of the store against what it is to be."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trimaran.cli.invocation import Invocation
from trimaran.cli.options import BUILDER, DEBUG, Command, Example, Flag, Values

if TYPE_CHECKING:
    from trimaran.store.damage import Damage
    from trimaran.store.fsck import Report

LEFT = 4
"""The exit code when damage is left, as fsck(8) has it."""

COMMAND = Command(
    name="fsck",
    summary="Check the store for damage",
    usage="fsck [OPTIONS]",
    description=(
        "Read all that is in the store and compare it: blobs with their digests, folders of layers with their lists, "
        "lists, records and images with each other. Builds may go on meanwhile. Exits 0 when all is sound, or what was "
        "not is repaired; 4 when damage is left."
    ),
    flags=(
        BUILDER,
        DEBUG,
        Flag(name="repair", kind="bool", help="Drop what is damaged, so that it is fetched or made again"),
        Flag(name="json", kind="bool", help="Print what was found as JSON"),
    ),
    examples=(
        Example("Look:", "fsck"),
        Example("Drop what is damaged; the next build makes it again:", "fsck --repair"),
    ),
)


def run(values: Values, invocation: Invocation) -> int:
    from trimaran import settings
    from trimaran.aio import Cancel
    from trimaran.builders.drivers import embedded
    from trimaran.engine.engine import state_folder
    from trimaran.store.fsck import fsck

    entered = embedded.enter()
    repair, as_json = values.boolean("repair"), values.boolean("json")

    def tell(damage: Damage) -> None:
        if not as_json:
            invocation.out(_line(damage, repair=repair))

    root = state_folder(settings.load())
    report = fsck(Cancel(), root, repair=repair, user_xattrs=entered.user_namespace, tell=tell)
    invocation.out(_json(report) if as_json else _summary(report))
    return LEFT if report.left else 0


def _line(damage: Damage, *, repair: bool) -> str:
    fate = damage.mend or "it cannot be repaired here"
    return f"{damage.part} {damage.name}: {damage.cause}\n" + (f"  {fate}\n" if repair or not damage.mend else "")


def _summary(report: Report) -> str:
    looked = f"{report.blobs} blobs, {report.snapshots} folders, {report.records} records"
    new = f"; {report.unknown_files} files of steps were hashed for the first time" if report.unknown_files else ""
    if report.unlisted:
        new += f"; {report.unlisted} folders have no list to be compared with: the next build that reads them makes it"
    if report.leftovers:
        new += f"; {report.leftovers} folders of killed builds, which `trimaran prune` sweeps"
    if not report.damages:
        return f"sound: {looked}{new}\n"
    count, left = len(report.damages), report.left
    what = f"{count} damaged" + (f", {count - left} repaired" if report.repaired else "")
    hint = "" if report.repaired or not left else "\n`trimaran fsck --repair` drops it; builds make it again"
    return f"{what}: {looked}{new}{hint}\n"


def _json(report: Report) -> str:
    import msgspec

    document = msgspec.to_builtins(report) | {"left": report.left}
    return msgspec.json.format(msgspec.json.encode(document), indent=2).decode() + "\n"
