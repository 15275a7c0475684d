"""`rmi NAME…`: names out of the store; their bytes go with the next prune."""

from __future__ import annotations

from trimaran.cli.invocation import Invocation
from trimaran.cli.options import DEBUG, Command, Flag, Values
from trimaran.errors import NotFound

COMMAND = Command(
    name="rmi",
    summary="Remove images from the store",
    usage="rmi [OPTIONS] NAME [NAME...]",
    flags=(DEBUG, Flag(name="force", shorthand="f", kind="bool", help="Say nothing about names that are not there")),
    arguments=(1, -1),
    completes="image",
)


def run(values: Values, invocation: Invocation) -> int:
    import asyncio

    return asyncio.run(_remove(values.arguments, invocation, force=values.boolean("force")))


async def _remove(names: tuple[str, ...], invocation: Invocation, *, force: bool) -> int:
    """All that can be removed are; 1 when one of them was not there."""
    from trimaran import settings
    from trimaran.engine.engine import state_folder
    from trimaran.engine.images import remove
    from trimaran.reference import Reference
    from trimaran.store.store import open_store

    failed = 0
    with open_store(state_folder(settings.load())) as store:
        for name in names:
            try:
                removed = await remove(name, store)
            except NotFound as error:
                if not force:
                    invocation.err(f"ERROR: {error.message}\nhint: {error.hint}\n")
                    failed = 1
                continue
            shown = removed if removed.startswith("sha256:") else Reference.parse(removed).familiar
            invocation.out(f"Untagged: {shown}\n")
    return failed
