"""`cache-mounts rm ID…`: forget what `RUN --mount=type=cache` kept."""

from __future__ import annotations

from trimaran.cli.cache_mounts_ls import shown_id
from trimaran.cli.invocation import Invocation
from trimaran.cli.options import DEBUG, Command, Example, Flag, Values
from trimaran.errors import NotFound, TrimaranError, UsageError

COMMAND = Command(
    name="cache-mounts rm",
    summary="Remove cache mounts",
    usage="cache-mounts rm [OPTIONS] ID [ID...]",
    description="Remove all cache mounts of an id, or one by the NAME that `cache-mounts ls` shows. The next build "
    "begins with an empty one. What a running build uses stays.",
    flags=(DEBUG, Flag(name="all", shorthand="a", kind="bool", help="Remove all that no running build uses")),
    arguments=(0, -1),
    examples=(Example("What pip downloaded:", "cache-mounts rm /root/.cache/pip"),),
)


def run(values: Values, invocation: Invocation) -> int:
    """All that can be removed are; 1 when one was not there or is in use."""
    from trimaran import settings
    from trimaran.aio import Cancel
    from trimaran.builders.drivers import embedded
    from trimaran.engine.folder import state_folder
    from trimaran.store.store import open_store

    everything = values.boolean("all")
    if everything == bool(values.arguments):
        raise UsageError("remove cache mounts: name some, or give --all", hint="`cache-mounts ls` lists them")
    embedded.enter()
    failed = 0
    with open_store(state_folder(settings.load())) as store:
        found = store.cache_mounts.listed(Cancel(), measured=False)
        for word in values.arguments or [None]:
            chosen = [m for m in found if word is None or word in (shown_id(m.id), m.id) or _names(m.name, word)]
            if not chosen and word is not None:
                failed = _complain(invocation, NotFound(f"remove cache mount {word}: there is none of that id or name"))
            for mount in chosen:
                try:
                    if store.cache_mounts.remove(Cancel(), mount.name):
                        invocation.out(f"{shown_id(mount.id) or mount.name}\n")
                except TrimaranError as error:
                    failed = _complain(invocation, error) if not everything else failed
    return failed


def _names(name: str, word: str) -> bool:
    """Whether `word` is the name of the folder, or its beginning with the number of the copy, as `ls` shows it."""
    digest, _, copy = word.partition("-")
    whole, _, number = name.partition("-")
    return len(digest) >= 12 and whole.startswith(digest) and copy in ("", number)


def _complain(invocation: Invocation, error: TrimaranError) -> int:
    invocation.err(f"ERROR: {error.message}\n" + (f"hint: {error.hint}\n" if error.hint else ""))
    return 1
