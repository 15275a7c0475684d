"""What an op says, thing by thing and comparably, so that a changed op can be told by what changed of it.

Pure. The fields are those of the op's identity (`identity.py`): what is not in the key is no aspect. Values are short
digests: arguments and variables may hold what nobody should find in the store's records.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator
from typing import Any

import msgspec

from trimaran.graph.ops import CopyAction, ExecOp, FileOp, MkFileAction, Op
from trimaran.platforms import Platform
from trimaran.solver.protocols import INSTRUCTION, Aspect
from trimaran.solver.reasons import ORDER_OF_FILES
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
    "attempt_unpack": "unpacking",
}
"""Fields of a file action by what people call them; all else is an "option"."""
_MAKE = {"path": "path", "data": "content", "old_path": "target", "new_path": "path"}


def aspects(op: Op, platform: Platform | None, arguments: Collection[str] = (), name: str = "") -> tuple[Aspect, ...]:
    """`arguments`: which of a process's variables are build arguments; `name`: the step's, which has its flags."""
    if isinstance(op, ExecOp):
        found = [*_of_exec(comparable_exec(op), frozenset(arguments))]
        if platform is not None:
            found.append(_aspect("platform", "", [platform.os, platform.architecture, platform.variant]))
        return tuple(found)
    return tuple(_of_files(op, linked="--link" in name.split())) if isinstance(op, FileOp) else ()


def _of_exec(op: ExecOp, arguments: frozenset[str]) -> Iterator[Aspect]:
    meta = op.meta
    yield _aspect(INSTRUCTION, "", "run")
    yield _aspect("command", "", meta.args)
    for number, variable in enumerate(meta.env):
        name, _, value = variable.partition("=")
        yield _aspect("argument" if name in arguments else "variable", name, value)
        if number == len(meta.env) - 1:
            yield _aspect("order of variables", "", [each.partition("=")[0] for each in meta.env])
    yield _aspect("folder", "", meta.cwd)
    yield _aspect("user", "", meta.user)
    for mount in op.mounts:
        what = "shared memory" if is_shared_memory(mount) else "mount"
        # which input it is, and whether "/" is one at all, is said by what is read
        read = mount.input >= 0 or mount.dest == "/"
        yield _aspect(what, mount.dest, msgspec.structs.replace(mount, input=0) if read else mount)
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


def _of_files(op: FileOp, *, linked: bool) -> Iterator[Aspect]:
    """Once for all actions: those of one instruction are alike, and how many they are is said by what they read."""
    copies = any(isinstance(action.work, CopyAction | MkFileAction) for action in op.actions)
    yield _aspect(INSTRUCTION, "", "copy" if copies else [type(action.work).__name__ for action in op.actions])
    order = [[each.input, each.secondary_input, each.output, type(each.work).__name__] for each in op.actions]
    yield _aspect(ORDER_OF_FILES, "", order)
    yield _aspect("--link", "", linked and op.actions[0].input < 0)
    values: dict[str, list[Any]] = {}
    for action in op.actions:
        work = without_source(action.work) if isinstance(action.work, CopyAction) else action.work
        names = _COPY if isinstance(work, CopyAction) else {**_COPY, **_MAKE}
        for field in work.__struct_fields__:
            said = [type(work).__name__, field, msgspec.to_builtins(getattr(work, field))]
            known = values.setdefault(names.get(field, "option"), [])
            if said not in known:
                known.append(said)
    for kind, value in values.items():
        yield _aspect(kind, "", value)


def _aspect(kind: str, name: str, value: Any) -> Aspect:
    """Equal values, equal aspects; surrogates of names that are no UTF-8 are escaped."""
    data = repr(msgspec.to_builtins(value)).encode("utf-8", "backslashreplace")
    return Aspect(kind, name.encode("utf-8", "backslashreplace").decode(), hashlib.sha256(data).hexdigest()[:_DIGITS])
