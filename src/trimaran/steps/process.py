"""How the process of an ExecOp runs: mount the root, start it in the sandbox, keep what it changed as a layer."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from trimaran import aio
from trimaran.errors import Denied, NotFound, StepFailed, Unsupported
from trimaran.events import Progress
from trimaran.executor import stubs
from trimaran.executor.examine import is_emulated
from trimaran.executor.runtime import Exit
from trimaran.executor.spec import DEFAULT_HOSTNAME, DEFAULT_SHM_SIZE, ExecSpec, HostAlias, Ulimit
from trimaran.executor.spec import Mount as SpecMount
from trimaran.graph.ops import ExecOp, NetMode
from trimaran.graph.vertex import Vertex
from trimaran.linux import paths
from trimaran.platforms import Platform
from trimaran.solver.protocols import Result
from trimaran.steps.context import StepContext
from trimaran.steps.exec import NETWORK, SECURITY
from trimaran.steps.mounts import Prepared, hold_caches, is_shared_memory, prepare
from trimaran.steps.users import Identity, exec_identity, foreign_owner
from trimaran.store.entries import EMPTY
from trimaran.store.layer_rows import LayerId
from trimaran.store.rootfs import MountedRootfs, Rootfs

if TYPE_CHECKING:
    from trimaran.steps.masking import Needles

CROSS = "->"
"""How a vertex name tells a stage that runs on the build platform for another one (reference §3.7)."""
_SMALL_FILE = 4 << 20
_TAIL = 10
_DEFAULT_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Process:
    """One run of an ExecOp's process. `execution` says afterwards how it ran: native, cross or emulated."""

    def __init__(self, op: ExecOp, vertex: Vertex, context: StepContext) -> None:
        self._op = op
        self._name = vertex.hints.name
        self._platform: Platform = vertex.constraints.platform or context.host
        self._context = context
        self._isolation = context.sandbox.isolation
        self._is_cross = CROSS in vertex.hints.name.partition("]")[0]
        self.execution = ""

    async def run(self, inputs: Sequence[Result], progress: Progress) -> tuple[Result, ...]:
        from trimaran.steps.staging import staged

        self._isolation.require()
        root = self._root(inputs)
        if self._isolation.only_root:
            await self._require_root_owners(inputs)
        identity = await self._identity(root)
        store = self._context.store
        prepared = await prepare(self._op, inputs, self._context, progress)
        if prepared.mounts and not self._isolation.mounts:
            raise Unsupported(
                f"run a process in a {self._isolation.kind}: RUN --mount needs a mount, which this place refuses",
                hint="`trimaran doctor` says what would give steps a container",
            )
        await store.roots.prepare(root, progress=progress)
        async with (
            hold_caches(prepared, self._context, f"exec {' '.join(self._op.meta.args)}") as caches,
            self._context.slots,
            store.roots.mount(root, writable=True) as mounted,
        ):
            for notice in self._context.notices():
                progress.warn(notice)
            self._examine(mounted.path)
            wanted = self._secrets(prepared)
            async with staged(prepared, caches, mounted.path, self._context) as mounts:
                spec = self.spec(identity, mounts, prepared.variables)
                spec = await self._trusting(spec, mounted.path, progress)
                await self._execute(mounted, spec, wanted, progress)
            layer = await mounted.commit(description=self._name)
        if layer is None:
            layer = await store.layers.add(EMPTY, {})
        elif wanted:
            await self._search(layer, wanted, progress)
        return (Rootfs((*root.layers, layer)),)

    def _root(self, inputs: Sequence[Result]) -> Rootfs:
        """What is mounted at "/": the only output this version keeps."""
        for mount in self._op.mounts:
            if mount.dest == "/":
                root = inputs[mount.input] if mount.input >= 0 else Rootfs(())
                assert isinstance(root, Rootfs)
                return root
        raise NotFound("run a process: no mount at /")

    async def _identity(self, root: Rootfs) -> Identity:
        user = self._op.meta.user
        if user in ("", "root", "0", "0:0", "root:root"):
            return exec_identity(user, b"root:x:0:0:\n", await self._small(root, "etc/group"))
        return exec_identity(user, await self._small(root, "etc/passwd"), await self._small(root, "etc/group"))

    async def _require_root_owners(self, inputs: Sequence[Result]) -> None:
        """Where there is one user alone, what belongs to another cannot be shown as it is."""
        for result in inputs:
            if isinstance(result, Rootfs):
                entry = foreign_owner(await self._context.store.roots.tree(result))
                if entry is not None:
                    raise Denied(
                        f"run a process: /{entry.path} belongs to user {entry.uid} and group {entry.gid}, "
                        f"and {self._isolation.why}",
                        hint="give it some (`trimaran doctor` says how), or set TRIMARAN_SANDBOX=one-user: steps then "
                        "see all files as root's, and owners they give are not kept",
                    )

    async def _small(self, root: Rootfs, path: str) -> bytes:
        try:
            return await self._context.store.roots.read_file(root, path, _SMALL_FILE)
        except NotFound:
            return b""

    def _examine(self, rootfs: str) -> None:
        """Say native, cross or emulated; refuse before the start what this machine cannot run."""
        emulated = is_emulated(
            rootfs,
            self._op.meta.args,
            self._environment(),
            cwd=self._op.meta.cwd or "/",
            machine=self._context.host.architecture,
            what=self._name,
        )
        self.execution = "emulated" if emulated else "cross" if self._is_cross else "native"

    async def _execute(self, mounted: MountedRootfs, spec: ExecSpec, wanted: Needles, progress: Progress) -> None:
        from trimaran.steps.masking import masked

        tail: deque[bytes] = deque(maxlen=_TAIL + 1)

        def output(stream: int, data: bytes) -> None:
            tail.extend(data.splitlines(keepends=True)[-_TAIL - 1 :])
            progress.log(data, stream)

        _make_missing_folders(mounted.path, spec, None if self._isolation.one_user else (spec.uid, spec.gid))
        with stubs.vanishing(mounted.path, (mount.target for mount in spec.mounts)), masked(wanted, output) as told:
            stubs.make(mounted.path, spec.mounts)
            exit_status = await self._context.sandbox.run(spec, mounted.path, output=told)
        said = (self._context.sandbox.networks.warning, *self._context.notices(), self._proxy_out_of_reach(spec))
        for warning in said:
            if warning:
                progress.warn(warning)
        if exit_status.code not in (self._op.meta.valid_exit_codes or (0,)):
            raise self._failed(exit_status, b"".join(tail))
        if exit_status.oom:
            died, hint = self._context.limiting.explain(exit_status)
            progress.warn(f"a process of the step was {died}; the step went on without it, and ended well: {hint}")

    def _secrets(self, prepared: Prepared) -> Needles:
        """What of the secrets that the step is given must be neither in its output nor in its layer."""
        if not (prepared.secrets or prepared.variables):
            return {}
        from trimaran.steps.leaks import needles_of

        return needles_of(self._op, prepared)

    async def _search(self, layer: LayerId, wanted: Needles, progress: Progress) -> None:
        """Say which secret the step has left in its layer."""
        from trimaran.steps import leaks

        layers = self._context.store.layers
        listed = await layers.entries(layer)
        await layers.readable(layer)
        for leak in await aio.in_thread(leaks.search, listed, partial(layers.open_file, layer), wanted):
            progress.warn(str(leak), detail=leaks.WAY_OUT)

    def spec(self, identity: Identity, mounts: tuple[SpecMount, ...] = (), variables: tuple[str, ...] = ()) -> ExecSpec:
        """The process for the runtime: the op's own words, the secrets it has as `variables`, and nothing of ours."""
        op, meta = self._op, self._op.meta
        limits, within = self._context.limiting.of_step(meta.cgroup_parent)
        return ExecSpec(
            args=meta.args,
            environment=(*self._with_home(identity), *variables),
            cwd=meta.cwd or "/",
            uid=identity.uid,
            gid=identity.gid,
            additional_gids=identity.additional_gids,
            hostname=meta.hostname or DEFAULT_HOSTNAME,
            mounts=mounts,
            network=NETWORK[op.network],
            security=SECURITY[op.security],
            ulimits=tuple(Ulimit(limit.name, limit.soft, limit.hard) for limit in meta.ulimits),
            shm_size=next((m.tmpfs_size for m in op.mounts if is_shared_memory(m)), 0) or DEFAULT_SHM_SIZE,
            extra_hosts=tuple(HostAlias(host.host, host.ip) for host in meta.extra_hosts),
            cgroup_parent=meta.cgroup_parent,
            limits=limits,
            within=within,
        )

    def _proxy_out_of_reach(self, spec: ExecSpec) -> str:
        """Said once: a proxy on this machine's loopback, given to a step that has a loopback of its own.

        A step without any network is meant to reach nobody.
        """
        if self._op.network != NetMode.UNSET or self._context.sandbox.networks.choice.mode != "private":
            return ""
        from trimaran.registry.proxy import on_loopback

        place = on_loopback(spec.environment)
        if not place:
            return ""
        return self._context.once(
            f"the proxy {place} is out of reach for RUN, whose network is its own: let it listen on an address of this "
            "machine that is not loopback, or build with --network=host"
        )

    async def _trusting(self, spec: ExecSpec, rootfs: str, progress: Progress) -> ExecSpec:
        """`spec` with what the client gave to be trusted; law of `steps/authorities.py`."""
        given = self._context.authorities
        if not given.given:
            return spec
        from trimaran.steps import authorities

        if authorities.are_covered(spec.mounts):
            progress.warn("a mount of the step lies over /dev/shm, so that it trusts no --build-ca")
            return spec
        environment = (*spec.environment, *authorities.variables(spec.environment))
        files = await aio.in_thread(authorities.files, rootfs, given)
        return msgspec.structs.replace(spec, environment=environment, files=files)

    def _environment(self) -> tuple[str, ...]:
        """Proxies first, in both spellings: an ENV of the image wins over them."""
        proxies = [
            f"{word}={value}" for name, value in self._op.meta.proxy_env for word in (name.upper(), name.lower())
        ]
        environment = (*dict.fromkeys(proxies), *self._op.meta.env)
        return environment if any(v.startswith("PATH=") for v in environment) else (_DEFAULT_PATH, *environment)

    def _with_home(self, identity: Identity) -> tuple[str, ...]:
        """The runtime reads HOME from passwd; runc alone says "/" where passwd does not know the user."""
        environment = self._environment()
        if identity.is_known or any(variable.startswith("HOME=") for variable in environment):
            return environment
        return (*environment, "HOME=/")

    def _failed(self, exit_status: Exit, tail: bytes) -> StepFailed:
        words = " ".join(self._op.meta.args)
        message = f'process "{words}" did not complete successfully: exit code: {exit_status.code}'
        hint = ""
        if exit_status.oom:
            told, hint = self._context.limiting.explain(exit_status)
            message += f": {told}"
        elif exit_status.code == 139 and self.execution == "emulated":
            hint = f"it crashed under emulation of {self._platform}: cross-compile with FROM --platform=$BUILDPLATFORM"
        lines = tail.decode("utf-8", "replace").splitlines()[-_TAIL:]
        return StepFailed(message, exit_code=exit_status.code, vertex=self._name, tail=tuple(lines), hint=hint)


def _make_missing_folders(rootfs: str, spec: ExecSpec, owner: tuple[int, int] | None) -> None:
    """What runtimes make each in their own way: a missing WORKDIR of the base image belongs to who works in it.

    What is in the way the runtime will tell.
    """
    root = os.open(rootfs, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with suppress(OSError):
            for mount_point in ("dev", "proc", "sys"):
                paths.make_folders(root, mount_point, 0o755, (0, 0))
            paths.make_folders(root, spec.cwd, 0o755, owner)
    finally:
        os.close(root)
