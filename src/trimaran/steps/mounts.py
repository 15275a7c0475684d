"""What a process sees beside its root, all of it ready before it starts (what enters the key: `mount_reads.py`).

Law: a path inside an input is decided on its tree, in which nothing can change (CVE-2024-1753, CVE-2024-11218); bytes
are shown from a mount of that same input. Cache mounts are locked before a slot is taken, always in one order.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import msgspec

from trimaran import aio
from trimaran.errors import Denied, NotFound
from trimaran.events import Progress
from trimaran.graph.ops import CacheSharing, ExecOp, Mount, MountType
from trimaran.solver.protocols import Result
from trimaran.steps import select
from trimaran.steps.context import StepContext
from trimaran.steps.mount_reads import ROOT, source_at
from trimaran.store.cache_mounts import Fill, Sharing
from trimaran.store.entries import FILE, FOLDER, EntryList
from trimaran.store.rootfs import Rootfs

_SHARING: dict[CacheSharing, Sharing] = {
    CacheSharing.SHARED: "shared",
    CacheSharing.PRIVATE: "private",
    CacheSharing.LOCKED: "locked",
}
_STRICTEST = ("locked", "private", "shared")


class Shown(msgspec.Struct, frozen=True):
    """What a mount shows: `path` of `rootfs`, without symlinks."""

    rootfs: Rootfs
    path: str
    is_folder: bool


class Cache(msgspec.Struct, frozen=True):
    """A cache mount's folder: who asks for the same id and the same beginning gets the same one."""

    id: str
    seed: str
    """Digest of what it begins with; "" when it begins empty."""


class Prepared(msgspec.Struct, frozen=True, kw_only=True):
    """All mounts of a step but "/", in the order of their targets; `secrets` by mount, `variables` of secrets."""

    mounts: tuple[Mount, ...]
    shown: dict[Mount, Shown]
    caches: dict[Mount, Cache]
    secrets: dict[Mount, bytes]
    variables: tuple[str, ...]


async def prepare(op: ExecOp, inputs: Sequence[Result], context: StepContext, progress: Progress) -> Prepared:
    """Everything that may take long or fail: sources on this disk, secrets in memory. Before any lock or slot."""
    mounts = tuple(sorted((mount for mount in op.mounts if _is_ours(mount)), key=lambda mount: mount.dest))
    shown: dict[Mount, Shown] = {}
    caches: dict[Mount, Cache] = {}
    for mount in mounts:
        if mount.cache is not None and mount.input < 0:
            caches[mount] = Cache(mount.cache.id, "")
        elif mount.type in (MountType.BIND, MountType.CACHE):
            result = inputs[mount.input] if mount.input >= 0 else Rootfs(())
            shown[mount] = await show(result, select.clean(mount.selector), context)
            if mount.type == MountType.CACHE:
                caches[mount] = await _cache(mount, shown[mount], inputs, context)
    wanted = {each.rootfs for each in shown.values()}
    await aio.all_of([context.store.roots.prepare(rootfs, progress=progress) for rootfs in wanted])
    secrets = await _secrets(mounts, context)
    return Prepared(
        mounts=tuple([mount for mount in mounts if await _is_given(mount, secrets, context)]),
        shown=shown,
        caches=caches,
        secrets=secrets,
        variables=await _variables(op, context),
    )


def _is_ours(mount: Mount) -> bool:
    """All but the root, and the size of /dev/shm, which the sandbox makes itself."""
    return mount.dest != ROOT and not is_shared_memory(mount)


def is_shared_memory(mount: Mount) -> bool:
    return mount.dest == "/dev/shm" and mount.type == MountType.TMPFS  # noqa: S108 - the container's own


async def show(result: Result, path: str, context: StepContext) -> Shown:
    """`path` of a result as part of a root that can be mounted: of a client's folder what is shown becomes a layer.

    The folder itself is never mounted: a step could write to it, or see it change. Whoever copies checks every file
    against what entered the key.
    """
    view = await context.view(result)
    source = source_at(view, path)
    if source.entry.kind not in (FILE, FOLDER):
        raise Denied(f"mount /{path}: it is neither a file nor a folder")
    is_folder = source.entry.kind == FOLDER
    if isinstance(result, Rootfs):
        return Shown(result, source.followed, is_folder)
    files = select.files(view.tree, [source])
    contents = await view.digests(files)
    entries = EntryList.of(
        msgspec.structs.replace(entry, digest=contents.get(entry.path, "")) for entry in view.tree.walk(source.followed)
    )
    layer = await context.store.layers.add(entries, await view.origins(files))
    return Shown(Rootfs((layer,)), source.followed, is_folder)


async def _cache(mount: Mount, shown: Shown, inputs: Sequence[Result], context: StepContext) -> Cache:
    assert mount.cache is not None
    if not shown.is_folder:
        raise Denied(f"mount cache at {mount.dest}: /{shown.path} is no folder")
    view = await context.view(inputs[mount.input])
    source = source_at(view, select.clean(mount.selector))
    contents = await view.digests(select.files(view.tree, [source]))
    return Cache(mount.cache.id, select.digest(view.tree, [source], contents, "whole"))


async def _secrets(mounts: Sequence[Mount], context: StepContext) -> dict[Mount, bytes]:
    found = {}
    for mount in mounts:
        if mount.secret is not None and mount.type == MountType.SECRET:
            value = await _secret(mount.secret.id, context, optional=mount.secret.optional)
            if value is not None:
                found[mount] = value
    return found


async def _secret(identifier: str, context: StepContext, *, optional: bool) -> bytes | None:
    value = await context.secrets.get(identifier)
    if value is None and not optional:
        raise NotFound(
            f"secret {identifier}: not found",
            hint=f"give it with --secret id={identifier},src=FILE or --secret id={identifier},env=VARIABLE",
        )
    return value


async def _variables(op: ExecOp, context: StepContext) -> tuple[str, ...]:
    found = []
    for wanted in op.secret_env:
        value = await _secret(wanted.id, context, optional=wanted.optional)
        if value is None:
            continue
        try:
            text = value.decode()
        except UnicodeDecodeError:
            text = "\0"
        if "\0" in text:
            raise Denied(f"secret {wanted.id}: it is no text, which a variable has to be", hint="mount it as a file")
        found.append(f"{wanted.name}={text}")
    return tuple(found)


async def _is_given(mount: Mount, secrets: dict[Mount, bytes], context: StepContext) -> bool:
    """False for a secret or an agent that may be missing and is; NotFound for an agent that must not be."""
    if mount.type == MountType.SECRET:
        return mount in secrets
    if mount.type != MountType.SSH or mount.ssh is None or await context.agents.check(agent_id(mount)):
        return True
    if mount.ssh.optional:
        return False
    raise NotFound(f"ssh agent {agent_id(mount)}: not given", hint=f"give it with --ssh {agent_id(mount)}")


def agent_id(mount: Mount) -> str:
    return (mount.ssh.id if mount.ssh is not None else "") or "default"


@asynccontextmanager
async def hold_caches(prepared: Prepared, context: StepContext, what: str) -> AsyncIterator[dict[Cache, str]]:
    """The folders of the cache mounts, locked as they ask for it; a step that mounts one twice has it once."""
    wanted: dict[Cache, list[Mount]] = {}
    for mount, cache in prepared.caches.items():
        wanted.setdefault(cache, []).append(mount)
    held: dict[Cache, str] = {}
    async with AsyncExitStack() as stack:
        for cache in sorted(wanted, key=lambda each: (each.id, each.seed)):
            mounts = wanted[cache]
            asked = {_SHARING[mount.cache.sharing] for mount in mounts if mount.cache is not None}
            held[cache] = await stack.enter_async_context(
                context.store.cache_mounts.hold(
                    cache.id,
                    next(each for each in _STRICTEST if each in asked),
                    seed=cache.seed,
                    fill=_filler(prepared.shown[mounts[0]], context) if cache.seed else None,
                    description=f'cached mount {mounts[0].dest} from {what} with id "{cache.id}"',
                )
            )
        yield held


def _filler(shown: Shown, context: StepContext) -> Fill:
    async def fill(folder: str) -> None:
        from trimaran.steps.staging import copy_shown

        async with context.store.roots.mount(shown.rootfs, writable=False) as mounted:
            await aio.in_thread(copy_shown, mounted.path, shown.path, folder)

    return fill
