"""What steps of one build share: the store, the sources, the sandbox, and how many processes may run at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from trimaran.platforms import Platform
from trimaran.solver.protocols import Result
from trimaran.sources import Source
from trimaran.sources.local import LocalRoot
from trimaran.store.rootfs import Rootfs
from trimaran.store.store import Store

if TYPE_CHECKING:
    from trimaran.executor.sandbox import Sandbox
    from trimaran.sources.given import Agents, Secrets
    from trimaran.steps.views import View


class StepContext:
    """One per build. `now` (ns) is the mtime of what the build itself makes: one time, so that equal is equal."""

    def __init__(
        self,
        *,
        store: Store,
        sources: Mapping[str, Source],
        sandbox: Callable[[], Sandbox],
        slots: int,
        now: int,
        host: Platform,
        secrets: Secrets,
        agents: Agents,
    ) -> None:
        self.store = store
        self.sources = sources
        self._open_sandbox = sandbox
        self._sandbox: Sandbox | None = None
        self.slots = asyncio.Semaphore(slots)
        self.now = now
        self.host = host
        self.secrets = secrets
        self.agents = agents

    @property
    def sandbox(self) -> Sandbox:
        """Running in it is NotFound where RUN cannot run: neither crun nor runc."""
        if self._sandbox is None:
            self._sandbox = self._open_sandbox()
        return self._sandbox

    async def view(self, result: Result) -> View:
        """What of `result` can be read."""
        if isinstance(result, LocalRoot):
            return result
        from trimaran.steps.views import RootfsView

        assert isinstance(result, Rootfs)
        return RootfsView(self.store, result, await self.store.roots.tree(result))
