"""Records become results again, and new results are compared with earlier ones: `solver.protocols.Results`."""

from __future__ import annotations

from typing import cast

from trimaran.errors import TrimaranError
from trimaran.solver.protocols import CacheRecord, Result
from trimaran.store.entries import FILE, NANOSECONDS, EntryList
from trimaran.store.layers import LayerId
from trimaran.store.rootfs import Rootfs
from trimaran.store.store import Store


class StoreResults:
    """Results are stacks of layers of one store."""

    def __init__(self, store: Store, *, adopts: bool = True) -> None:
        self._store = store
        self._adopts = adopts
        self.latest: int | None = None
        """Seconds: results are exported with no later time, so that earlier ones count. None: no time does."""
        self._present: set[LayerId] = set()
        """Found and pinned by this build: asked once, though each step of a chain names all layers below it."""

    def restore(self, record: CacheRecord) -> tuple[Result, ...] | None:
        """None when a layer's promise cannot be kept any more."""
        stacks = cast("tuple[tuple[LayerId, ...], ...]", record.results)
        for layer in dict.fromkeys(layer for stack in stacks for layer in stack if layer not in self._present):
            if not self._store.layers.present(layer):
                return None
            self._present.add(layer)
        return tuple(Rootfs(stack) for stack in stacks)

    def gone(self, part: str) -> None:
        self._present.discard(LayerId(part))

    def parts(self, result: Result) -> tuple[str, ...]:
        return result.layers if isinstance(result, Rootfs) else ()

    async def adopt(self, earlier: CacheRecord, now: tuple[Result, ...]) -> tuple[Result, ...]:
        """See the protocol. Only the newest layer of each result is compared: what is below it is an input."""
        if not self._adopts or len(earlier.results) != len(now):
            return now
        adopted = []
        for parts, result in zip(earlier.results, now, strict=True):
            assert isinstance(result, Rootfs)
            if parts and result.layers and await self._same(LayerId(parts[-1]), result.layers[-1]):
                adopted.append(Rootfs((*result.layers[:-1], LayerId(parts[-1]))))
            else:
                adopted.append(result)
        return tuple(adopted)

    async def _same(self, earlier: LayerId, now: LayerId) -> bool:
        """Whether two layers have equal entry lists but for mtime, and what is exported of that. Headers first:
        contents are hashed only then."""
        layers = self._store.layers
        if earlier == now:
            return True
        if not layers.present(earlier):
            return False
        try:
            before, after = await layers.entries(earlier), await layers.entries(now)
            if len(before) != len(after) or _headers(before) != _headers(after):
                return False
            if self.latest is not None and _times(before, self.latest) != _times(after, self.latest):
                return False
            files = [entry.path for entry in after if entry.kind == FILE]
            return await layers.digests(earlier, files) == await layers.digests(now, files)
        except TrimaranError:
            return False


def _headers(entries: EntryList) -> list[object]:
    return [
        (e.path, e.kind, e.mode, e.uid, e.gid, e.size if e.kind == FILE else 0, e.target, e.major, e.minor, e.xattrs)
        for e in entries
    ]


def _times(entries: EntryList, latest: int) -> list[int]:
    return [min(entry.mtime // NANOSECONDS, latest) for entry in entries]
