"""The only door to a running container: it asks what was allowed, and joins the network that steps get.

Law: entitlements are checked here and nowhere else, at every run, whoever asks (a RUN, a debug shell, a container of
another frontend: CVE-2024-23653). `require` is the same question before the work begins.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING

import msgspec

from trimaran.errors import Denied, TrimaranError, UsageError
from trimaran.executor.isolation import Isolation

if TYPE_CHECKING:  # a step that is a hit asks `require` alone
    from trimaran.executor.network import Choice, Private
    from trimaran.executor.process import Output
    from trimaran.executor.runtime import Exit, Runtime, Signals, Terminal
    from trimaran.executor.spec import ExecSpec

NETWORK_HOST = "network.host"
SECURITY_INSECURE = "security.insecure"
ENTITLEMENTS = (NETWORK_HOST, SECURITY_INSECURE)
_CONTAINER = Isolation("container")


class Networks:
    """The network of steps that ask for none: chosen once, and connected when the first step needs it.

    `folder` keeps the namespace's name; it is to be one that dies with the engine.
    """

    def __init__(self, folder: str, *, rootless: bool) -> None:
        self._folder = folder
        self._rootless = rootless
        self._choice: Choice | None = None
        self._private: Private | None = None
        self._lock = asyncio.Lock()
        self.warning = ""
        """Why the private network could not be had; "" while nothing is wrong."""

    @property
    def choice(self) -> Choice:
        if self._choice is None:
            from trimaran.executor.network import choose

            self._choice = choose(rootless=self._rootless)
        return self._choice

    async def join(self, spec: ExecSpec) -> ExecSpec:
        """`spec` with network `default` replaced by what the machine gives."""
        if spec.network != "default":
            return spec
        async with self._lock:
            private = await self._connected()
        if private is None:
            return msgspec.structs.replace(spec, network="host")
        return msgspec.structs.replace(
            spec, network="private", network_namespace=private.namespace, nameservers=private.nameservers
        )

    async def _connected(self) -> Private | None:
        if self.choice.mode == "private" and self._private is None:
            from trimaran.executor.network import Choice, open_private

            try:
                self._private = await open_private(self.choice, self._folder)
            except TrimaranError as error:
                self.warning = f"steps use the machine's network: {error.message}"
                self._choice = Choice("host", why=error.message)
        return self._private


class Sandbox:
    """Runs containers within what was `granted` (`--allow`). `open_runtime` is called on first use.

    `isolation`: what this place has for a container, asked at every run too.
    """

    def __init__(
        self,
        open_runtime: Callable[[], Runtime],
        networks: Networks,
        granted: Collection[str] = (),
        *,
        isolation: Isolation = _CONTAINER,
    ) -> None:
        self._open_runtime = open_runtime
        self.networks = networks
        self.isolation = isolation
        self._granted = frozenset(granted)

    def require(self, *, network: str, security: str) -> None:
        """Denied when a process asks for what nobody allowed; UsageError for what is no mode at all (GHSA-7236)."""
        if security not in {"sandbox", "insecure"}:
            raise UsageError(f'run a process: unknown security mode "{security}"')
        if network not in {"default", "host", "none", "private"}:
            raise UsageError(f'run a process: unknown network mode "{network}"')
        if security == "insecure":
            self._require(SECURITY_INSECURE)
        if network == "host":
            self._require(NETWORK_HOST)

    def _require(self, entitlement: str) -> None:
        if entitlement not in self._granted:
            raise Denied(f"run a process: {entitlement} is not allowed", hint=f"allow it with --allow {entitlement}")

    async def run(
        self,
        spec: ExecSpec,
        rootfs: str,
        *,
        output: Output,
        stdin: int | None = None,
        terminal: Terminal | None = None,
        signals: Signals | None = None,
    ) -> Exit:
        """See `Runtime.run`. `spec.network` may be `default`."""
        self.require(network=spec.network, security=spec.security)
        self.isolation.require()
        runtime = self._open_runtime()
        joined = await self.networks.join(spec)
        return await runtime.run(joined, rootfs, output=output, stdin=stdin, terminal=terminal, signals=signals)
