"""What lives as long as the process: the store, the registry client, the sandbox, and what the machine allows."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from trimaran.engine.folder import state_folder
from trimaran.linux.enter import Entered
from trimaran.platforms import Platform, default
from trimaran.registry.client import Registry
from trimaran.settings import Settings
from trimaran.store.store import Store, open_store

if TYPE_CHECKING:
    from trimaran.executor.isolation import Isolation
    from trimaran.executor.runtime import Runtime
    from trimaran.executor.sandbox import Networks, Sandbox

__all__ = ["Engine", "open_engine", "state_folder"]


class Engine:
    """Open one with `open_engine`."""

    def __init__(self, *, store: Store, registry: Registry, settings: Settings, entered: Entered) -> None:
        self.store = store
        self.registry = registry
        self.settings = settings
        self.entered = entered
        self.host: Platform = default()
        self._runtime: Runtime | None = None
        self._networks: Networks | None = None

    @property
    def slots(self) -> int:
        """Processes of RUN steps that may be running at once."""
        return self.settings.worker.max_parallelism or 2 * (os.cpu_count() or 2)

    @property
    def networks(self) -> Networks:
        """How steps that ask for no network reach one."""
        from trimaran.executor.sandbox import Networks

        if self._networks is None:
            folder = os.path.join(self._runtime_folder, "run")
            self._networks = Networks(folder, rootless=self.entered.rootless or self.entered.user_namespace)
        return self._networks

    def sandbox(self, granted: Collection[str] = ()) -> Sandbox:
        """The one way to run a process, within what was granted (`--allow`)."""
        from trimaran.executor.sandbox import Sandbox

        return Sandbox(self._open_runtime, self.networks, granted, isolation=self.isolation)

    @property
    def isolation(self) -> Isolation:
        """What keeps steps from the rest of this place. UsageError for a setting that names none."""
        from trimaran.executor.isolation import choose, weakest_accepted

        return choose(self.entered.place, weakest_accepted(self.settings.worker))

    @property
    def _runtime_folder(self) -> str:
        return os.path.join(self.store.root, "runtime")

    def _open_runtime(self) -> Runtime:
        """Probed on first use: a build without RUN needs none."""
        from trimaran.executor.runtimes import open_runtime

        if self._runtime is None:
            wanted = self.settings.worker.binary or None
            self._runtime = open_runtime(self.entered, self._runtime_folder, wanted, self.isolation)
        return self._runtime


@contextmanager
def open_engine(root: str, settings: Settings, entered: Entered) -> Iterator[Engine]:
    """The engine on the store in `root`; closed (pins dropped, temp files removed) at the end."""
    user_xattrs = entered.user_namespace or not entered.mount_namespace
    with open_store(root, user_xattrs=user_xattrs) as store:
        limit_store(store, settings)
        yield Engine(store=store, registry=Registry(settings), settings=settings, entered=entered)


def limit_store(store: Store, settings: Settings, limit: int = 0) -> None:
    """Hold the store below `limit` bytes (`--cache-limit`), else the settings'. Who has no limit is not counted."""
    disk = os.statvfs(store.root)
    store.ceiling.limit = limit or settings.cache_limit.resolve(disk.f_blocks * disk.f_frsize)
    if not store.ceiling.limit:
        store.ceiling.disown()
        return
    from trimaran.executor.halting import halted

    store.ceiling.halted = halted
