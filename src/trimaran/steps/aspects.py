"""What an op says, thing by thing and comparably, so that a changed op can be told by what changed of it.

Pure. The fields are those of the op's identity (`identity.py`): what is not in the key is no aspect. Values are short
digests: arguments and variables may hold what nobody should find in the store's records.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator
from typing import Any

import msgspec

from trimaran.graph.ops import CopyAction, ExecOp, FileAction, FileOp, Op
from trimaran.platforms import Platform
from trimaran.solver.protocols import Aspect
from trimaran.steps.identity import comparable_exec, without_source
from trimaran.steps.mounts import is_shared_memory

_DIGITS = 16
_COPY = {
    "dest": "destination",
    "owner": "owner",
    "mode": "mode",
    "mode_text": "mode",
    "include_patterns": "pattern",
    "exclude_patterns": "pattern",
    "timestamp": "timestamp",
}
"""Fields of a file action by what people call them; all else is an "option"."""
_MAKE = {"path": "path", "data": "content", "old_path": "target", "new_path": "path"}


def aspects(op: Op, platform: Platform | None, arguments: Collection[str] = ()) -> tuple[Aspect, ...]:
    """`arguments`: which of a process's variables are build arguments."""
    if isinstance(op, ExecOp):
        found = [*_of_exec(comparable_exec(op), frozenset(arguments))]
        if platform is not None:
            found.append(_aspect("platform", "", [platform.os, platform.architecture, platform.variant]))
        return tuple(found)
    return tuple(_of_files(op)) if isinstance(op, FileOp) else ()


def _of_exec(op: ExecOp, arguments: frozenset[str]) -> Iterator[Aspect]:
    meta = op.meta
    yield _aspect("command", "", meta.args)
    for number, variable in enumerate(meta.env):
        name, _, value = variable.partition("=")
        yield _aspect("argument" if name in arguments else "variable", name, value)
        if number == len(meta.env) - 1:
            yield _aspect("order of variables", "", [each.partition("=")[0] for each in meta.env])
    yield _aspect("folder", "", meta.cwd)
    yield _aspect("user", "", meta.user)
    for mount in op.mounts:
        yield _aspect("shared memory" if is_shared_memory(mount) else "mount", mount.dest, mount)
    for secret in op.secret_env:
        yield _aspect("secret variable", secret.name, secret)
    yield _aspect("network", "", op.network)
    yield _aspect("security", "", op.security)
    for limit in meta.ulimits:
        yield _aspect("ulimit", limit.name, limit)
    for host in meta.extra_hosts:
        yield _aspect("host", host.host, host)
    yield _aspect("hostname", "", meta.hostname)
    yield _aspect("cgroup parent", "", meta.cgroup_parent)
    yield _aspect("option", "", [meta.remove_mount_stubs_recursive, meta.valid_exit_codes, op.cdi_devices])


def _of_files(op: FileOp) -> Iterator[Aspect]:
    yield _aspect("sources", "", [[a.input, a.secondary_input, a.output, type(a.work).__name__] for a in op.actions])
    for number, action in enumerate(op.actions):
        yield from _of_action(number, action)


def _of_action(number: int, action: FileAction) -> Iterator[Aspect]:
    work = without_source(action.work) if isinstance(action.work, CopyAction) else action.work
    names = _COPY if isinstance(work, CopyAction) else {**_COPY, **_MAKE}
    values: dict[str, list[Any]] = {}
    for field in work.__struct_fields__:
        values.setdefault(names.get(field, "option"), []).append(getattr(work, field))
    for kind, value in values.items():
        yield _aspect(kind, str(number) if number else "", value)


def _aspect(kind: str, name: str, value: Any) -> Aspect:
    """Equal values, equal aspects; surrogates of names that are no UTF-8 are escaped."""
    data = repr(msgspec.to_builtins(value)).encode("utf-8", "backslashreplace")
    return Aspect(kind, name.encode("utf-8", "backslashreplace").decode(), hashlib.sha256(data).hexdigest()[:_DIGITS])
