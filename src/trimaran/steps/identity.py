"""What names an op in a cache key: its fields, less those that don't decide the result.

Pure (reference §4.2). Left out: proxies, secrets' and ssh sockets' contents (they are never here), addresses of extra
hosts, ids of cache mounts, paths in mounted inputs, and of a copy's source path all but its shape: moving a folder is
no reason to copy again.
"""

from __future__ import annotations

import hashlib

import msgspec

from trimaran.digest import Digest
from trimaran.graph.ops import (
    CacheOptions,
    CopyAction,
    ExecOp,
    FileOp,
    HostIP,
    Mount,
    Op,
)
from trimaran.platforms import Platform


def exec_op_identity(op: ExecOp, platform: Platform | None, isolation: str = "") -> Digest:
    """`isolation`: less than a container, in which a process may come to another result; "" for a container."""
    where = [platform.os, platform.architecture, platform.variant] if platform else []
    return _digest(b"exec", comparable_exec(op), [*where, isolation] if isolation else where)


def comparable_exec(op: ExecOp) -> ExecOp:
    """Without what does not decide the result."""
    meta = msgspec.structs.replace(
        op.meta, proxy_env=(), extra_hosts=tuple(HostIP(host.host, "") for host in op.meta.extra_hosts)
    )
    return msgspec.structs.replace(op, meta=meta, mounts=tuple(_mount(mount) for mount in op.mounts))


def file_op_identity(op: FileOp) -> Digest:
    actions = []
    for action in op.actions:
        work = action.work
        if isinstance(work, CopyAction):
            work = without_source(work)
        actions.append(msgspec.structs.replace(action, work=work))
    return _digest(b"file", FileOp(tuple(actions)), [])


def without_source(work: CopyAction) -> CopyAction:
    """What is at the source is read (`select.digest`): its path says nothing more."""
    return msgspec.structs.replace(work, src="")


def plain_identity(kind: bytes, op: Op) -> Digest:
    return _digest(kind, op, [])


def _mount(mount: Mount) -> Mount:
    """Without the cache's id, and without where in an input it is: what is shown there is read (`mounts.reads`)."""
    if mount.cache is not None:
        mount = msgspec.structs.replace(mount, cache=CacheOptions(""))
    return msgspec.structs.replace(mount, selector="") if mount.input >= 0 and mount.dest != "/" else mount


def _digest(kind: bytes, op: Op, extra: list[str]) -> Digest:
    hasher = hashlib.sha256(b"trimaran." + kind + b".1\0")
    hasher.update(msgspec.msgpack.encode([msgspec.to_builtins(op), extra]))
    return Digest.of_hash(hasher)
