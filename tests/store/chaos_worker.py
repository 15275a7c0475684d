"""Builds a made-up graph on a real store. Usage: chaos_worker.py ROOT GRAPH; TRIMARAN_FAILPOINT says where it dies.

A graph is a list of (kind, inputs): "copy" makes a layer from files at hand, "run" one from a folder. What a step writes
follows from its number and from what its inputs hold, so a wrong input shows in all that is above it.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import sys
from collections.abc import Sequence

from test_layers import listed

from trimaran.digest import Digest
from trimaran.graph.ops import SourceOp
from trimaran.graph.vertex import Edge, Hints, Vertex
from trimaran.solver.protocols import KeyInput
from trimaran.solver.solver import Solver
from trimaran.steps.results import StoreResults
from trimaran.store.entries import FILE
from trimaran.store.rootfs import Rootfs
from trimaran.store.store import Store, open_store

Graph = Sequence[tuple[str, Sequence[int]]]


def vertices(graph: Graph) -> list[Vertex]:
    made: list[Vertex] = []
    for number, (kind, inputs) in enumerate(graph):
        edges = tuple(Edge(made[each]) for each in inputs)
        made.append(Vertex(SourceOp(f"test://{kind}/{number}"), edges, hints=Hints(name=f"{kind} {number}")))
    return made


async def content(store: Store, result: Rootfs) -> str:
    """What the layers hold, whatever they are called and however their bytes are kept."""
    hasher = hashlib.sha256()
    for layer in result.layers:
        entries = await store.layers.entries(layer)
        files = [entry.path for entry in entries if entry.kind == FILE]
        digests = await store.layers.digests(layer, files)
        hasher.update(json.dumps(sorted((path, str(digest)) for path, digest in digests.items())).encode())
    return hasher.hexdigest()


class Step:
    remembered = True
    renewable = False
    execution = ""
    served = False

    def __init__(self, vertex: Vertex, store: Store, ran: list[str]) -> None:
        self.name = vertex.hints.name
        self.op = Digest.of(vertex.op.identifier.encode())
        self._store = store
        self._ran = ran

    async def reads(self, inputs):
        return tuple(KeyInput(f"input {number}", one.id) for number, one in enumerate(inputs))

    async def run(self, inputs, progress):
        self._ran.append(self.name)
        below = [await content(self._store, one) for one in inputs]
        data = hashlib.sha256(json.dumps([self.name, below]).encode()).hexdigest().encode() * 50
        files = {f"d/{self.name.replace(' ', '-')}": data}
        await asyncio.sleep(0)
        stack = inputs[0].layers if inputs else ()
        if self.name.startswith("copy"):
            layer = await self._store.layers.add(*listed(files))
            await self._store.layers.settle([layer])
        else:
            folder = self._store.snapshots.folders.temporary()
            for path, bytes_ in files.items():
                os.makedirs(os.path.join(folder, os.path.dirname(path)))
                with open(os.path.join(folder, path), "wb") as file:
                    file.write(bytes_)
            layer = await self._store.layers.add_upper(folder, stack)
        return (Rootfs((*stack, layer)),)


async def build(store: Store, graph: Graph, ran: list[str], events: list | None = None) -> str:
    """Solve and export: the content of the last vertex."""
    solver = Solver(
        make_step=lambda vertex: Step(vertex, store, ran),
        index=store.records,
        results=StoreResults(store),
        sink=(events if events is not None else []).append,
    )

    async def use(results):
        found = await content(store, results[0])
        await store.sync()
        return found

    return await solver.need([vertices(graph)[-1].edge()], use)


if __name__ == "__main__":
    with open_store(sys.argv[1]) as opened:
        print(asyncio.run(build(opened, json.loads(sys.argv[2]), [])))
