"""What steps of one build share: the store, the sources, the sandbox, and how many processes may run at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from trimaran.digest import Digest
from trimaran.platforms import Platform
from trimaran.solver.protocols import Result
from trimaran.sources import Source
from trimaran.sources.given import Client
from trimaran.sources.local import LocalRoot
from trimaran.store.rootfs import Rootfs
from trimaran.store.store import Store

if TYPE_CHECKING:
    from trimaran.executor.sandbox import Sandbox
    from trimaran.steps.limiting import Limiting
    from trimaran.store.views import View


class StepContext:
    """One per build. `now` (ns) is the mtime of what the build itself makes: one time, so that equal is equal."""

    def __init__(
        self,
        *,
        store: Store,
        sources: Mapping[str, Source],
        sandbox: Callable[[], Sandbox],
        slots: int,
        limiting: Limiting | None = None,
        now: int,
        host: Platform,
        client: Client,
    ) -> None:
        self.store = store
        self.sources = sources
        self._open_sandbox = sandbox
        self._sandbox: Sandbox | None = None
        self._told = False
        self._said: set[str] = set()
        self.slots = asyncio.Semaphore(slots)
        self._limiting = limiting
        self.now = now
        self.host = host
        self.secrets = client.secrets
        self.agents = client.agents
        self.authorities = client.authorities
        self.source_keys: dict[Digest, tuple[str, ...]] = {}
        """By vertex: what sources said they are (`Fetched.cache_keys`); shared caches are entered by it."""

    @property
    def sandbox(self) -> Sandbox:
        """Running in it is NotFound where RUN cannot run: neither crun nor runc."""
        if self._sandbox is None:
            self._sandbox = self._open_sandbox()
        return self._sandbox

    @property
    def limiting(self) -> Limiting:
        if self._limiting is None:
            from trimaran.steps.limiting import Limiting

            self._limiting = Limiting(None, None)
        return self._limiting

    def once(self, words: str) -> str:
        """`words` when they are first said in this build, else ""."""
        if words in self._said:
            return ""
        self._said.add(words)
        return words

    def notices(self) -> tuple[str, ...]:
        """What a build says once of how its steps run here: in what, on what, without which limits asked for."""
        limits, self.limiting.notice = self.limiting.notice, ""
        if self._told:
            return (limits,) if limits else ()
        self._told = True
        refusal = self.store.snapshots.refusal
        copies = f"steps run on copies of their files, since overlayfs is refused here: {refusal}" if refusal else ""
        return tuple(line for line in (self.sandbox.isolation.notice, copies, limits) if line)

    async def view(self, result: Result) -> View:
        """What of `result` can be read."""
        if isinstance(result, LocalRoot):
            return result
        from trimaran.store.views import RootfsView

        assert isinstance(result, Rootfs)
        return RootfsView(self.store, result, await self.store.roots.tree(result))
