"""Which of what a process sees beside its root enters the key of its step. All that a step asks that is a hit.

Law: as `steps/mounts.py` has it, a path inside an input is decided on its tree, in which nothing can change.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from trimaran import aio
from trimaran.graph.ops import ExecOp
from trimaran.solver.protocols import KeyInput, Result
from trimaran.steps import select
from trimaran.steps.context import StepContext
from trimaran.store.rootfs import Rootfs

if TYPE_CHECKING:
    from trimaran.store.entries import EntryList
    from trimaran.store.views import View

ROOT = "/"


async def reads(op: ExecOp, inputs: Sequence[Result], context: StepContext) -> list[KeyInput]:
    """Of each mount the content of what is shown (reference §4.2); of a whole root its id, as of "/".

    In the order of mounts: which is shown where matters.
    """
    found: dict[tuple[int, str], str] = {}
    read = []
    for mount in op.mounts:
        if mount.dest == ROOT or mount.input < 0:
            continue
        number, path = place = (mount.input, select.clean(mount.selector))
        if place not in found:
            found[place] = await _content(inputs[number], path, context)
        read.append(KeyInput(f"mount {mount.dest}: {path}", found[place], number))
    return read


def hashed_secrets(op: ExecOp, context: StepContext) -> list[str]:
    """Ids of the secrets the step is given whose values count."""
    ids = {mount.secret.id for mount in op.mounts if mount.secret is not None} | {each.id for each in op.secret_env}
    return sorted(identifier for identifier in ids if context.secrets.in_key(identifier))


async def secret_reads(op: ExecOp, context: StepContext) -> list[KeyInput]:
    """Of secrets that were given with `cache-key=hash`: a keyed hash, so that nobody can try values on a record."""
    asked = hashed_secrets(op, context)
    if not asked:
        return []
    import hashlib
    import hmac

    key = context.store.secret_key()
    read = []
    for identifier in asked:
        value = await context.secrets.get(identifier)
        said = f"{identifier}\0".encode() + (value or b"")
        read.append(KeyInput(f"secret {identifier}", hmac.new(key, said, hashlib.sha256).hexdigest()))
    return read


async def lists(op: ExecOp, inputs: Sequence[Result], context: StepContext) -> list[EntryList | None]:
    """What `reads` read, file by file; None of whole roots."""
    found: list[EntryList | None] = []
    for mount in op.mounts:
        if mount.dest == ROOT or mount.input < 0:
            continue
        result, path = inputs[mount.input], select.clean(mount.selector)
        if not path and isinstance(result, Rootfs):
            found.append(None)
            continue
        view = await context.view(result)
        chosen = [source_at(view, path)]
        contents = await view.digests(select.files(view.tree, chosen))
        found.append(await aio.in_thread(select.listed, view.tree, chosen, contents))
    return found


async def _content(result: Result, path: str, context: StepContext) -> str:
    if not path and isinstance(result, Rootfs):
        return result.id
    view = await context.view(result)
    source = source_at(view, path)
    contents = await view.digests(select.files(view.tree, [source]))
    return select.digest(view.tree, [source], contents, "whole")


def source_at(view: View, path: str) -> select.Source:
    """MissingSource with what may be the reason."""
    with select.explained(view):
        return select.at(view.tree, path)
