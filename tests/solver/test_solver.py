"""Which steps run, in which order, and which are served: asserted on the list of what ran."""

from __future__ import annotations

import asyncio
import sys

import pytest

sys.path.insert(0, __file__.rpartition("/")[0])
from fakes import World, vertex

from trimaran.events import VertexEvent
from trimaran.graph.vertex import Edge, Vertex


def solve(world: World, *tops: Vertex) -> list[str]:
    """Solve in a new solver (a new build); what ran because of it."""
    before = len(world.ran)
    asyncio.run(world.solver().solve([Edge(top) for top in tops]))
    return world.ran[before:]


def test_inputs_run_before_what_reads_them():
    world = World()
    src = vertex("src")
    top = vertex("link", vertex("compile a", src), vertex("compile b", src))
    ran = solve(world, top)
    assert ran[0] == "src"
    assert sorted(ran[1:3]) == ["compile a", "compile b"]
    assert ran[3:] == ["link"]


def test_second_build_runs_nothing():
    world = World()
    top = vertex("run", vertex("src"))
    assert solve(world, top) == ["src", "run"]
    assert solve(world, top) == []


def test_what_is_not_wanted_does_not_run():
    world = World()
    src = vertex("src")
    vertex("unwanted", src)
    assert solve(world, vertex("wanted", src)) == ["src", "wanted"]


def test_equal_work_in_two_vertices_runs_once():
    world = World()
    world.delay["copy"] = 0.02
    src = vertex("src")
    assert solve(world, vertex("copy", src, tag="amd64"), vertex("copy", src, tag="arm64")) == ["src", "copy"]


def test_no_cache_runs_again_and_adopts_an_equal_result():
    world = World()
    src = vertex("src")
    solve(world, vertex("after", vertex("run", src)))
    assert solve(world, vertex("after", vertex("run", src, ignore_cache=True))) == ["run"]


def test_branches_that_take_turns_adopt_each_their_own():
    """What is above hits, though the latest run of the same step gave something else."""
    world = World()
    for tag, outcome in (("main 1", "m"), ("feature 1", "f"), ("main 2", "m"), ("feature 2", "f")):
        world.outcome = lambda name, count, outcome=outcome: f"{name} {outcome if name == 'run' else ''}"
        ran = solve(world, vertex("after", vertex("run", vertex("base"), vertex("local context", tag=tag))))
        assert ("after" in ran) == tag.endswith("1")
        assert "run" in ran


def test_no_cache_with_another_result_runs_what_is_above():
    world = World()
    world.outcome = lambda name, count: f"{name} {count}"
    src = vertex("src")
    solve(world, vertex("after", vertex("run", src)))
    assert solve(world, vertex("after", vertex("run", src, ignore_cache=True))) == ["run", "after"]


def test_unremembered_steps_always_run_but_do_not_spoil_what_reads_equal_ids():
    world = World()
    top = vertex("copy", vertex("local context"))
    assert solve(world, top) == ["local context", "copy"]
    assert solve(world, top)[0] == "local context"


def test_gone_layer_is_made_again_and_everything_above_it():
    world = World()
    world.outcome = lambda name, count: f"{name} {count}"
    base = vertex("base")
    one = vertex("one", base)
    solve(world, vertex("two", one))
    (gone,) = [layer for layer in world.layers if layer.startswith("one")]
    world.layers.discard(gone)
    assert solve(world, vertex("three", vertex("two", one))) == ["one", "two", "three"]


def test_gone_while_exporting_is_made_again():
    world = World()
    world.outcome = lambda name, count: f"{name} {count}"
    top = vertex("one", vertex("base"))
    solve(world, top)
    world.layers = {layer for layer in world.layers if not layer.startswith("one")}

    async def export() -> list[str]:
        from trimaran.solver.protocols import ResultGone

        async def use(results):
            for layer in results[0].layers:
                if layer not in world.layers:
                    raise ResultGone(layer)
            return list(results[0].layers)

        return await world.solver().need([Edge(top)], use)

    layers = asyncio.run(export())
    assert world.ran == ["base", "one", "one"]
    assert layers[-1] in world.layers


def test_a_result_that_stays_gone_is_an_error_not_a_loop():
    world = World()
    top = vertex("one", vertex("base"))

    async def export() -> None:
        from trimaran.solver.protocols import ResultGone

        async def use(results):
            raise ResultGone(results[0].layers[-1])

        await world.solver().need([Edge(top)], use)

    with pytest.raises(Exception, match="gone from the store"):
        asyncio.run(export())


def test_first_failure_is_raised_and_siblings_are_cancelled():
    world = World()
    world.fails.add("bad")
    world.delay["slow"] = 10
    with pytest.raises(RuntimeError, match="bad failed"):
        solve(world, vertex("slow"), vertex("bad"))
    assert world.cancelled == ["slow"]


def test_shared_step_goes_on_while_one_waiter_remains():
    """Two requests of one build wait for a step; one leaves: the step must not be cancelled."""
    world = World()
    world.delay["shared"] = 0.05

    async def both() -> None:
        solver = world.solver()
        first = asyncio.ensure_future(solver.solve([Edge(vertex("shared"))]))
        second = asyncio.ensure_future(solver.solve([Edge(vertex("shared"))]))
        await asyncio.sleep(0.01)
        first.cancel()
        await second

    asyncio.run(both())
    assert world.ran == ["shared"]
    assert world.cancelled == []


def test_cancelling_the_only_waiter_cancels_the_step():
    world = World()
    world.delay["slow"] = 10

    async def leave() -> None:
        task = asyncio.ensure_future(world.solver().solve([Edge(vertex("slow"))]))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(leave())
    assert world.cancelled == ["slow"]


def test_events_tell_announced_started_and_cached():
    world = World()
    top = vertex("run", vertex("src"))
    solve(world, top)
    world.events.clear()
    solve(world, top)
    last = [e for e in world.events if isinstance(e, VertexEvent) and e.completed]
    assert [(e.name, e.cached) for e in last] == [("src", True), ("run", True)]


def test_a_long_chain_of_steps_does_not_recurse():
    world = World()
    length = 3 * sys.getrecursionlimit()
    top = vertex("0")
    for number in range(1, length):
        top = vertex(str(number), top)
    assert len(solve(world, top)) == length
