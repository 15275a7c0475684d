"""Runs a graph: starts what the plan calls ready, serves from records what was done before.

Law: a hit is a promise, not bytes. Whoever finds a promised layer gone raises `ResultGone`; the solver then forgets the
record, runs the step that made it again, and everything above it that reads a new id. That ends: no step is made again
more than a few times, and what no step here gave is an error at once. Equal work runs once: in this process by
`aio.Once`, between processes under the key's lock. No lock and no slot is held while waiting for another step.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from trimaran import aio
from trimaran.digest import Digest
from trimaran.errors import NotFound, located
from trimaran.events import Sink
from trimaran.graph.vertex import Edge, Vertex
from trimaran.solver.keys import key_of
from trimaran.solver.plan import Plan, reachable, readers
from trimaran.solver.protocols import (
    Accounted,
    CacheRecord,
    Explainer,
    Index,
    KeyInput,
    Matches,
    Miss,
    Observer,
    Result,
    ResultGone,
    Results,
    SharedCache,
    Step,
)
from trimaran.solver.work import Work, vertex_event

if TYPE_CHECKING:
    from trimaran.solver.foresight import Foresight

T = TypeVar("T")

_ADOPTABLE = 4
"""Results of a step that it is compared with after it ran."""
_RERUNS = 3
"""How often what a step gives may vanish under one build before that is an error of its own."""


class _Forgotten(Exception):
    """Another request found gone, and dropped, what this one counts on: it has to plan anew."""


class Solver:
    """One build's view of its graph: results by vertex, shared by all requests of that build."""

    def __init__(
        self,
        *,
        make_step: Callable[[Vertex], Step],
        index: Index,
        results: Results,
        sink: Sink,
        explainer: Callable[[], Explainer] | None = None,
        shared: SharedCache | None = None,
        observer: Observer | None = None,
    ) -> None:
        """`explainer` is asked for one at the first miss."""
        self._make_step = make_step
        self._make_explainer = explainer
        self._explainer: Explainer | None = None
        self._lost: dict[Digest, CacheRecord] = {}
        """Vertices whose own record promised what is gone."""
        self._broken: dict[Digest, str] = {}
        """Vertices whose record promised what is gone, and where that record was (`Miss.broken`)."""
        self._foresight = _foresight(shared)
        self._index = index
        self._results = results
        self._sink = sink
        self._observer = observer
        self._done: dict[Digest, tuple[Result, ...]] = {}
        self._vertices: dict[Digest, Vertex] = {}
        self._records: dict[Digest, CacheRecord] = {}
        self._vanished: Counter[Digest] = Counter()
        """How often what a vertex gave was found gone."""
        self._forgotten: set[str] = set()
        """Parts that were found gone: a second request that misses one has only to plan anew."""
        self._once = aio.Once()
        self.executed = 0
        self.cached = 0
        self.shared = 0
        """Vertices served from the shared cache."""

    async def solve(self, edges: Sequence[Edge]) -> list[Result]:
        """The result of each edge. Results are promises: `need` is the way to their bytes."""
        return await self.need(edges, _as_they_are)

    async def need(self, edges: Sequence[Edge], use: Callable[[list[Result]], Awaitable[T]]) -> T:
        """Solve `edges` and `use` their results; when one turns out gone, make it again and use anew."""
        seen: Counter[str] = Counter()
        while True:
            try:
                await self._run(edges)
                return await use([self._result(edge) for edge in edges])
            except _Forgotten:
                continue  # each was counted by who forgot it
            except ResultGone as gone:
                seen[gone.part] += 1
                if seen[gone.part] > _RERUNS or not self._forget(gone):
                    raise

    def known(self, vertex: Vertex) -> tuple[Result, ...] | None:
        """After solving: what the vertex gives, made, found or promised; None for what nobody had to make."""
        done = self._done.get(vertex.digest)
        return done if done is not None or self._foresight is None else self._foresight.promised(vertex)

    def matches(self, vertex: Vertex) -> tuple[Matches, ...]:
        """What of the shared cache the vertex is."""
        return () if self._foresight is None else self._foresight.matches(vertex)

    async def _run(self, edges: Sequence[Edge]) -> None:
        for vertex in reachable(edges, self._done):
            self._announce(vertex)
        if self._foresight is not None:
            await self._look_ahead(edges, self._foresight)
        plan = Plan(edges, self._done)
        finished: asyncio.Queue[Digest] = asyncio.Queue()
        async with aio.TaskGroup() as group:
            while not plan.complete:
                for vertex in plan.take():
                    group.start(self._finish(vertex, finished))
                plan.finish(await finished.get())

    async def _look_ahead(self, edges: Sequence[Edge], foresight: Foresight) -> None:
        """Serve from the shared cache what it has nearest to `edges`: what lies below need not be made at all."""
        order = reachable(edges, self._done)
        foresight.expect(order)
        await aio.all_of([self._once.run(v.digest, partial(self._solve_vertex, v)) for v in order if not v.inputs])
        for vertex in order:
            inputs = self.inputs(vertex)
            if vertex.digest not in self._done and None not in inputs:
                await self._serve(vertex, [result for result in inputs if result is not None])
            await foresight.see(vertex, inputs)
        served, skipped = foresight.serve(edges, self._done)
        for vertex in order:
            if vertex.digest in served:
                self._done[vertex.digest] = served[vertex.digest]
                self.shared += 1
            if vertex.digest in served or vertex.digest in skipped:
                self.cached += 1
                now = time.time_ns()
                origin = foresight.origin(vertex) if vertex.digest in served else ""
                self._sink(vertex_event(vertex, started=now, completed=now, cached=True, origin=origin))

    def inputs(self, vertex: Vertex) -> list[Result | None]:
        """What the vertex reads, as far as it was made or found; nothing is asked for it."""
        known = [(self._done.get(edge.vertex.digest), edge.index) for edge in vertex.inputs]
        return [None if results is None else results[index] for results, index in known]

    async def _serve(self, vertex: Vertex, inputs: Sequence[Result]) -> None:
        """Serve a vertex whose inputs are known from our own records, if they have it."""
        step = self._make_step(vertex)
        if not step.remembered:
            await self._once.run(vertex.digest, partial(self._solve_vertex, vertex))
        elif not vertex.hints.ignore_cache:
            reads = await step.reads(inputs)
            if self._look_up(vertex, key_of(step.op, reads)) is not None:
                await self._once.run(vertex.digest, partial(self._solve_vertex, vertex))

    async def _finish(self, vertex: Vertex, finished: asyncio.Queue[Digest]) -> None:
        try:
            await self._once.run(vertex.digest, lambda: self._solve_vertex(vertex))
        except asyncio.CancelledError as error:
            ours = asyncio.current_task()
            if ours is None or ours.cancelling():
                raise
            # A task group takes this for a wish of ours, and the plan would wait for the vertex for ever.
            raise RuntimeError(f"{vertex.hints.name} was cancelled by nobody") from error
        finished.put_nowait(vertex.digest)

    async def _solve_vertex(self, vertex: Vertex) -> None:
        if vertex.digest in self._done:
            return
        step = self._make_step(vertex)
        inputs = [self._result(edge) for edge in vertex.inputs]
        work = Work(vertex, step, self._sink)
        with located(vertex.hints.where), work:
            results = await self._results_of(vertex, step, inputs, work)
        self._done[vertex.digest] = results
        if self._observer is not None:
            self._observer.gives(vertex, results)

    def _result(self, edge: Edge) -> Result:
        results = self._done.get(edge.vertex.digest)
        if results is None:
            raise _Forgotten
        return results[edge.index]

    async def _results_of(self, vertex: Vertex, step: Step, inputs: Sequence[Result], work: Work) -> tuple[Result, ...]:
        if not step.remembered:
            return await work.run(step, inputs)
        reads = await step.reads(inputs)
        key = work.key = key_of(step.op, reads)
        if not vertex.hints.ignore_cache:
            found = self._look_up(vertex, key) or await self._shared_result(vertex, inputs, work)
            if found is not None:
                work.cached = True
                self.cached += 1
                return found
        before = time.time_ns()
        async with self._index.lock(key):
            again = None if vertex.hints.ignore_cache else self._look_up(vertex, key)
            if again is not None:
                work.cached = True
                self.cached += 1
                return again
            results = await self._renewed(vertex, step, inputs, work)
            if results is not None:
                return results
            known = await self._explain(vertex, step, key, reads, inputs)
            if self._observer is not None:
                self._observer.runs(vertex)
            results = await work.run(step, inputs)
            self.executed += 1
            return await self._remember(vertex, step.op, key, reads, results, (time.time_ns() - before) / 1e9, known)

    async def _renewed(
        self, vertex: Vertex, step: Step, inputs: Sequence[Result], work: Work
    ) -> tuple[Result, ...] | None:
        """A hit whose bytes nobody kept, since no result of that build needed them: read again what it read.

        None where there is no such record, or what comes of it is not what the record says; then that is dropped.
        """
        lost = self._lost.pop(vertex.digest, None)
        if lost is None:
            return None
        if step.renewable:
            results = await work.run(step, inputs)
            if tuple(self._results.parts(result) for result in results) == lost.results:
                work.cached = True
                self.cached += 1
                self._broken.pop(vertex.digest, None)
                self._records[vertex.digest] = lost
                return results
        self._index.drop(lost.key)
        return None

    async def _explain(
        self, vertex: Vertex, step: Step, key: Digest, reads: tuple[KeyInput, ...], inputs: Sequence[Result]
    ) -> Accounted:
        if self._make_explainer is None:
            return Accounted()
        if self._explainer is None:
            self._explainer = self._make_explainer()
        miss = Miss(
            vertex=vertex,
            key=key,
            op=step.op,
            reads=reads,
            step=step,
            inputs=inputs,
            graph=self._vertices.values(),
            broken=self._broken.get(vertex.digest),
        )
        return await self._explainer.missed(miss)

    async def _shared_result(self, vertex: Vertex, inputs: Sequence[Result], work: Work) -> tuple[Result, ...] | None:
        """Now that the inputs are there, their content may lead to what their definition did not."""
        if self._foresight is None:
            return None
        await self._foresight.see(vertex, inputs)
        promised = self._foresight.promised(vertex)
        if promised is not None:
            work.origin = self._foresight.origin(vertex)
            self.shared += 1
        return promised

    def _look_up(self, vertex: Vertex, key: Digest) -> tuple[Result, ...] | None:
        record = self._index.find(key)
        if record is None:
            return None
        results = self._results.restore(record)
        if results is None:
            self._lost[vertex.digest] = record
            self._broken[vertex.digest] = ""
            return None
        self._lost.pop(vertex.digest, None)
        self._records[vertex.digest] = record
        return results

    async def _remember(
        self,
        vertex: Vertex,
        op: Digest,
        key: Digest,
        reads: tuple[KeyInput, ...],
        results: tuple[Result, ...],
        seconds: float,
        known: Accounted,
    ) -> tuple[Result, ...]:
        ran, results = results, await self._adopt(op, results)
        if ran != results and self._explainer is not None:
            self._explainer.adopted(vertex)
        record = CacheRecord(
            key=key,
            op=op,
            inputs=reads,
            results=tuple(self._results.parts(result) for result in results),
            description=vertex.hints.name,
            created=time.time_ns(),
            seconds=seconds,
            account=known.account,
        )
        self._index.save(record, known.pages)
        self._records[vertex.digest] = record
        return results

    async def _adopt(self, op: Digest, ran: tuple[Result, ...]) -> tuple[Result, ...]:
        """`ran`, or what it equals of the latest different results of the same op: branches of a project take turns."""
        tried: set[tuple[str, ...]] = set()
        for earlier in self._index.alike(op):
            newest = tuple(parts[-1] for parts in earlier.results if parts)
            if newest in tried:
                continue
            tried.add(newest)
            adopted = await self._results.adopt(earlier, ran)
            same = tuple(self._results.parts(result) for result in ran) == earlier.results
            if adopted != ran or same or len(tried) == _ADOPTABLE:
                return adopted
        return ran

    def _forget(self, gone: ResultGone) -> bool:
        """Drop what promised that part and everything that reads it; False when nothing here ever did.

        Raises when the same step's results vanish again and again: something else takes them away.
        """
        self._results.gone(gone.part)
        promised = self._foresight.gone(gone.part) if self._foresight is not None else None
        makers = {
            digest
            for digest, vertex in self._vertices.items()
            if digest in self._done and gone.part in self._new_parts(vertex)
        }
        if not makers:
            return gone.part in self._forgotten
        self._forgotten.add(gone.part)
        everything = reachable([vertex.edge() for vertex in self._vertices.values()])
        for digest in readers(everything, makers):
            self._done.pop(digest, None)
            record = self._records.pop(digest, None)
            if record is not None and digest in makers:
                self._index.drop(record.key)
            if digest in makers and (promised is not None or record is not None):
                self._broken[digest] = promised or ""
        self._vanished.update(makers)
        for maker in makers:
            if self._vanished[maker] > _RERUNS:
                raise _vanishes(self._vertices[maker], gone)
        return True

    def _new_parts(self, vertex: Vertex) -> set[str]:
        """The parts of a vertex's results that its inputs don't have."""
        own = {part for result in self._done[vertex.digest] for part in self._results.parts(result)}
        for edge in vertex.inputs:
            if edge.vertex.digest in self._done:
                own.difference_update(self._results.parts(self._done[edge.vertex.digest][edge.index]))
        return own

    def _announce(self, vertex: Vertex) -> None:
        if vertex.digest not in self._vertices:
            self._vertices[vertex.digest] = vertex
            self._sink(vertex_event(vertex))


def _foresight(shared: SharedCache | None) -> Foresight | None:
    if shared is None:
        return None
    from trimaran.solver.foresight import Foresight

    return Foresight(shared)


def _vanishes(vertex: Vertex, gone: ResultGone) -> NotFound:
    return NotFound(
        f"keep what {vertex.hints.name} gives: it was gone from the store each of the {_RERUNS + 1} times it was made "
        f"(last: {gone.part})",
        hint="something else removes files from the store while it is used: stop that, and build again",
        where=vertex.hints.where,
    )


async def _as_they_are(results: list[Result]) -> list[Result]:
    return results
