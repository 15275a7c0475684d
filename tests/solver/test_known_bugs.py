"""Bugs that other solvers had, and the property of ours that each of them would break.

| bug (of BuildKit) | what went wrong | held by |
|---|---|---|
| #4674, #6954 | builds at once with a shared base lost results | `store/test_chaos.py`: builds that share a base |
| #2303, #3635 | edges merged of builds of which one had `--no-cache` | here: no cache for some |
| #4419 | a cancelled build took another's leases with it | `store/test_chaos.py`: cancelling one build; here: cancelled |
| #7088 | cache mounts were empty when steps ran at once | `e2e/test_run_mounts.py`: cache sharing (also between builds) |
| f89619747 | an importer lost links by the order of a map | `caches/test_chains.py`: the order; every vertex is found |
| #6558 | the collector took what was just being unpacked | `store/test_gc.py`: a build that comes; `test_processes.py` |
| #4330 | status events of builds at once were lost | `store/test_chaos.py`: every vertex is told to its end |
| (none) | what is built later takes hits from what was before | here: hits are never lost |

All of it with the installed program, real steps and signals: `e2e/test_chaos_of_builds.py`.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

sys.path.insert(0, __file__.rpartition("/")[0])
from fakes import Stack, World, vertex

from trimaran.graph.vertex import Vertex

Graph = Sequence[Sequence[int]]
"""For each vertex the earlier ones (modulo their number) that it reads."""

GRAPHS = st.lists(st.lists(st.integers(0, 7), max_size=3), min_size=1, max_size=7)
BUILDS = st.lists(st.tuples(st.integers(0, 6), st.sets(st.integers(0, 6), max_size=3)), min_size=2, max_size=5)
"""Of each build the top (modulo the number of vertices), and which vertices it has no cache for."""


def top_of(graph: Graph, top: int, uncached: frozenset[int] = frozenset(), prefix: str = "") -> Vertex:
    made: list[Vertex] = []
    for number, reads in enumerate(graph):
        below = sorted({each % number for each in reads}) if number else []
        name = f"{prefix if number == len(graph) - 1 else ''}v{number}"
        made.append(vertex(name, *(made[each] for each in below), ignore_cache=number in uncached))
    return made[top % len(made)]


def content(world: World, stack: object) -> list[str]:
    assert isinstance(stack, Stack)
    return [world.content[layer] for layer in stack.layers]


async def solved(world: World, top: Vertex) -> list[str]:
    async def use(results: list) -> list[str]:
        return content(world, results[0])

    return await world.solver().need([top.edge()], use)


def cold(graph: Graph, top: int) -> list[str]:
    return asyncio.run(solved(World(), top_of(graph, top)))


@given(GRAPHS, BUILDS)
def test_builds_at_once_of_which_some_have_no_cache_for_some(graph: Graph, wanted: list[tuple[int, set[int]]]) -> None:
    """#2303, #3635: equal vertices meet, and whether they may be cached is each build's own."""
    world = World()
    tops = [top_of(graph, top, frozenset(uncached)) for top, uncached in wanted]

    async def all_at_once() -> list[list[str]]:
        return await asyncio.gather(*(solved(world, top) for top in tops))

    found = asyncio.run(all_at_once())
    assert found == [cold(graph, top) for top, _ in wanted]
    for top, uncached in zip(tops, (uncached for _, uncached in wanted), strict=True):
        before = len(world.ran)
        asyncio.run(solved(world, top))
        below, pending = set(), [top]
        while pending:
            below.add((one := pending.pop()).hints.name)
            pending += [edge.vertex for edge in one.inputs]
        again = world.ran[before:]
        assert sorted(again) == sorted(below & {f"v{number}" for number in uncached}), "each once, and nothing else"


@given(GRAPHS, GRAPHS, st.integers(0, 6))
def test_hits_are_never_lost_by_building_something_else(graph: Graph, other: Graph, top: int) -> None:
    world = World()
    asyncio.run(solved(world, top_of(graph, top)))
    asyncio.run(solved(world, top_of(other, len(other) - 1, prefix="other ")))
    before = len(world.ran)
    assert asyncio.run(solved(world, top_of(graph, top))) == cold(graph, top)
    assert world.ran[before:] == []


@given(GRAPHS, BUILDS, st.lists(st.integers(0, 12), min_size=5, max_size=5))
def test_cancelled_builds_take_nothing_from_others(
    graph: Graph, wanted: list[tuple[int, set[int]]], turns: list[int]
) -> None:
    """#4419: the last is left alone, the others are cancelled after so many turns of the loop."""
    world = World()

    async def all_at_once() -> list[str]:
        tasks = [asyncio.ensure_future(solved(world, top_of(graph, top))) for top, _ in wanted]
        for turn in range(13):
            for task, after in zip(tasks[:-1], turns, strict=False):
                if after == turn:
                    task.cancel()
            await asyncio.sleep(0)
        await asyncio.gather(*tasks[:-1], return_exceptions=True)
        return await tasks[-1]

    assert asyncio.run(all_at_once()) == cold(graph, wanted[-1][0])
