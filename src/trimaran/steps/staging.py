"""Where a runtime finds what it shall bind: a folder in memory, ours alone, gone with the step or with the engine.

Law: a runtime gets no path that a step (this or another one) could lead elsewhere. Everything is opened by descriptor
inside the root it belongs to, no symlink on the way, and bound from that descriptor to a place in this folder; its path
is what the runtime is told (CVE-2024-23651). Secrets are written here and nowhere else: this is no disk.
"""

from __future__ import annotations

import os
import stat
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager

from trimaran import aio
from trimaran.aio import Cancel
from trimaran.errors import Denied
from trimaran.executor import stubs
from trimaran.executor.spec import Mount as SpecMount
from trimaran.graph.ops import Mount, MountType
from trimaran.linux import mounts, paths
from trimaran.steps import select
from trimaran.steps.context import StepContext
from trimaran.steps.forwarding import forwarded
from trimaran.steps.mounts import Cache, Prepared, agent_id

_PATH = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC


@asynccontextmanager
async def staged(
    prepared: Prepared, caches: dict[Cache, str], rootfs: str, context: StepContext
) -> AsyncIterator[tuple[SpecMount, ...]]:
    """The mounts of a step as its runtime is told them, in the order of their targets, on the mounted `rootfs`."""
    if not prepared.mounts:
        yield ()
        return
    places = await aio.in_thread(_places, rootfs, prepared.mounts)
    async with AsyncExitStack() as stack:
        roots = await _mounted_roots(prepared, context, stack)
        folder = context.store.pins.temporary("mounts")
        opened = stack.enter_context(_memory(folder))
        for number, mount in enumerate(prepared.mounts):
            if mount.type == MountType.SSH and mount.ssh is not None:
                socket = forwarded(opened, str(number), agent_id(mount), mount.ssh, context.agents)
                await stack.enter_async_context(socket)
        made = await aio.in_thread(_stage, folder, opened, prepared, caches, roots, places)
        stack.enter_context(_no_stubs_in_caches(prepared, {each.target: each.source for each in made}, places))
        yield tuple(sorted(made, key=lambda mount: mount.target))


@contextmanager
def _memory(folder: str) -> Iterator[int]:
    """An empty file system in memory at `folder`: a descriptor of it. All that is bound below it goes with it."""
    os.mkdir(folder, 0o700)
    try:
        with mounts.tmpfs(folder, mode=0o700):
            fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                yield fd
            finally:
                os.close(fd)
    finally:
        os.rmdir(folder)


async def _mounted_roots(prepared: Prepared, context: StepContext, stack: AsyncExitStack) -> dict[Mount, str]:
    """Per bind mount the path of the root it shows a part of; one that may be written to has its own, thrown away."""
    readonly: dict[object, str] = {}
    found: dict[Mount, str] = {}
    for mount in prepared.mounts:
        if mount.type != MountType.BIND:
            continue
        rootfs = prepared.shown[mount].rootfs
        if not mount.readonly or rootfs not in readonly:
            mounted = await stack.enter_async_context(context.store.roots.mount(rootfs, writable=not mount.readonly))
            found[mount] = mounted.path
            if mount.readonly:
                readonly[rootfs] = mounted.path
        else:
            found[mount] = readonly[rootfs]
    return found


def _stage(
    cancel: Cancel,
    folder: str,
    opened: int,
    prepared: Prepared,
    caches: dict[Cache, str],
    roots: dict[Mount, str],
    places: dict[Mount, str],
) -> list[SpecMount]:
    made = []
    for number, mount in enumerate(prepared.mounts):
        cancel.check()
        source = f"{folder}/{number}"
        target = places[mount]
        if mount.type == MountType.TMPFS:
            size = mount.tmpfs_size or None
            made.append(SpecMount(target=target, kind="tmpfs", size=size, readonly=mount.readonly))
            continue
        if mount.type in (MountType.SECRET, MountType.SSH):
            if mount.type == MountType.SECRET:
                _write_secret(opened, str(number), mount, prepared.secrets[mount])
            made.append(SpecMount(target=target, source=source, readonly=True, executable=False))
            continue
        if mount.type == MountType.CACHE:
            # What it was begun with is all of it; else the source is a path in it, whatever is there by now.
            inside = select.clean(mount.selector) if mount.input < 0 else ""
            _bind(_open_cached(caches[prepared.caches[mount]], inside), source)
        else:
            _bind(open_shown(roots[mount], prepared.shown[mount].path), source)
        made.append(SpecMount(target=target, source=source, readonly=mount.readonly))
    return made


def _bind(fd: int, place: str) -> None:
    """Bind what the descriptor is of to `place`, and close it."""
    try:
        if stat.S_ISDIR(os.fstat(fd).st_mode):
            os.mkdir(place, 0o700)
        else:
            os.close(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        mounts.attach_bind(fd, place)
    finally:
        os.close(fd)


def _open_cached(folder: str, path: str) -> int:
    """A descriptor of `path` in a cache mount, which other steps may change: no link of it leads out (T02, T09)."""
    top = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        return _file_or_folder(paths.open_in_root(top, path, os.O_PATH | os.O_CLOEXEC), path)
    except FileNotFoundError:
        error = select.MissingSource(path)
        error.hint = "the cache mount has no such folder yet: a step has to make it"
        raise error from None
    except OSError as error:
        raise Denied(f"mount /{path} of a cache mount: {error.strerror}") from error
    finally:
        os.close(top)


def open_shown(root: str, path: str) -> int:
    """A descriptor of a file or folder of a mounted root, symlinks not followed: Denied for anything else."""
    top = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fd = paths.open_beneath(top, path or ".", _PATH)
    except OSError as error:
        raise Denied(f"mount /{path}: {error.strerror}") from error
    finally:
        os.close(top)
    return _file_or_folder(fd, path)


def _file_or_folder(fd: int, path: str) -> int:
    mode = os.fstat(fd).st_mode
    if not (stat.S_ISDIR(mode) or stat.S_ISREG(mode)):
        os.close(fd)
        raise Denied(f"mount /{path}: it is neither a file nor a folder")
    return fd


def _write_secret(folder: int, name: str, mount: Mount, value: bytes) -> None:
    assert mount.secret is not None
    fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=folder)
    with os.fdopen(fd, "wb") as file:
        file.write(value)
        file.flush()
        give(fd, mount.secret.uid, mount.secret.gid, mount.secret.mode, f"secret {mount.secret.id}")


def give(place: int | str, uid: int, gid: int, mode: int, what: str) -> None:
    """Owner and mode of something staged; Denied where this account has no such user to give."""
    try:
        if (uid, gid) != (os.geteuid(), os.getegid()):
            os.chown(place, uid, gid)
        os.chmod(place, stat.S_IMODE(mode))
    except OSError as error:
        raise Denied(
            f"{what}: give it to user {uid} and group {gid}: {error.strerror}",
            hint="this account has no subordinate ids for them: `trimaran doctor` says how to get some",
        ) from error


def _places(cancel: Cancel, rootfs: str, wanted: Sequence[Mount]) -> dict[Mount, str]:
    """Where each target really is, symlinks of the image followed inside it: the runtime meets none then.

    Denied for / and for /proc, by way of whose files a runtime could be led astray (CVE-2019-19921).
    """
    root = os.open(rootfs, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    found = {}
    try:
        for mount in wanted:
            cancel.check()
            try:
                place = paths.real_place(root, mount.dest)
            except OSError as error:
                raise Denied(f"mount at {mount.dest}: {error.strerror}") from error
            if place.partition("/")[0] in {"", "proc"}:
                raise Denied(f"mount at {mount.dest}: it leads to /{place}", hint="choose another target")
            found[mount] = f"/{place}"
    finally:
        os.close(root)
    return found


@contextmanager
def _no_stubs_in_caches(prepared: Prepared, sources: dict[str, str], places: dict[Mount, str]) -> Iterator[None]:
    """A mount inside a cache mount needs a place in it, which shall not stay there. `sources`: by target."""
    with ExitStack() as stack:
        for mount in prepared.caches:
            above = f"{places[mount]}/"
            inner = [place.removeprefix(above) for place in places.values() if place.startswith(above)]
            if inner and not mount.readonly:
                root = os.open(sources[places[mount]], os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
                stack.callback(os.close, root)
                stack.callback(stubs.remove, root, stubs.absent(root, inner))
        yield


def copy_shown(cancel: Cancel, root: str, path: str, folder: str) -> None:
    """Fill the empty `folder` with the folder `path` of a mounted root, its own mode and owner too."""
    from trimaran.store.snapshots.copy import copy_stack

    fd = open_shown(root, path)
    try:
        copy_stack(cancel, [f"/proc/self/fd/{fd}/."], folder, user_xattrs=False)
    finally:
        os.close(fd)


__all__ = ["copy_shown", "give", "open_shown", "staged"]
