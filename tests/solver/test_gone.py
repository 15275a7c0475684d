"""What is gone and can't be made again ends a build with an error, in few attempts; never with a hang or a bug."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable

import pytest

sys.path.insert(0, __file__.rpartition("/")[0])
from fakes import Stack, World, vertex

from trimaran.errors import NotFound, TrimaranError
from trimaran.graph.vertex import Edge, Vertex
from trimaran.solver.protocols import Result, ResultGone
from trimaran.solver.solver import Solver

SECONDS = 10.0
"""A hang is a failure of its own, not of the whole run."""

Use = Callable[[list[Result]], Awaitable[object]]


@pytest.fixture
def world() -> World:
    """Results differ each time, as a RUN's do: nothing is adopted."""
    made = World()
    made.outcome = lambda name, count: f"{name} {count}"
    return made


def run(*work: Awaitable[object]) -> list[object]:
    """All at once; errors are results."""

    async def bounded() -> list[object]:
        async with asyncio.timeout(SECONDS):
            return await asyncio.gather(*work, return_exceptions=True)

    return asyncio.run(bounded())


def read_all(world: World) -> Use:
    """As an exporter does: every layer's bytes."""

    async def use(results: list[Result]) -> object:
        for stack in results:
            assert isinstance(stack, Stack)
            for layer in stack.layers:
                if layer not in world.layers:
                    raise ResultGone(layer)
        return results

    return use


def chain(length: int) -> Vertex:
    top = vertex("step 0")
    for number in range(1, length):
        top = vertex(f"step {number}", top)
    return top


@pytest.mark.parametrize("gone", ["step 0", "step 1", "step 2"])
def test_a_step_whose_layer_always_vanishes_is_named_and_ends(world: World, gone: str) -> None:
    """At the start, in the middle, and where only the exporter looks."""
    world.vanishes = lambda name: name == gone
    (error,) = run(world.solver().need([Edge(chain(3))], read_all(world)))
    assert isinstance(error, TrimaranError)
    assert gone in str(error)
    assert "each of the 4 times" in str(error)
    assert "removes files from the store" in error.hint
    assert world.ran.count(gone) == 4
    assert len(world.ran) <= 12


def test_everything_vanishes_always(world: World) -> None:
    world.vanishes = lambda name: True
    top = vertex("top", *[vertex(f"input {n}") for n in range(5)])
    (error,) = run(world.solver().need([Edge(top)], read_all(world)))
    assert isinstance(error, NotFound)
    assert len(world.ran) <= 6 * 4


def test_many_layers_that_are_found_gone_one_after_another_are_all_made_again(world: World) -> None:
    """The limit is one of each step, not of the build: a store that lost half of its files is mended in one build."""
    top = chain(8)
    run(world.solver().solve([Edge(top)]))
    world.ran.clear()
    lost = sorted(layer for layer in world.layers if layer.startswith("step") and int(layer[5]) % 2)
    world.layers.difference_update(lost)
    (results,) = run(world.solver().need([Edge(top)], read_all(world)))
    assert not isinstance(results, BaseException), results
    assert set(world.ran) == {f"step {n}" for n in range(1, 8)}
    assert max(world.ran.count(name) for name in world.ran) == 1


def test_a_layer_that_no_step_of_the_build_gave_is_an_error_at_once(world: World) -> None:
    asked = []

    async def use(results: list[Result]) -> object:
        asked.append(results)
        raise ResultGone("of another build")

    (error,) = run(world.solver().need([Edge(chain(2))], use))
    assert isinstance(error, ResultGone)
    assert "of another build: it is gone from the store" in str(error)
    assert len(asked) == 1
    assert world.ran == ["step 0", "step 1"]


def test_a_layer_of_the_same_name_that_stays_gone(world: World) -> None:
    """A COPY gives the same id each time: its promise is never kept."""
    asked = []

    async def use(results: list[Result]) -> object:
        asked.append(results)
        (stack,) = results
        assert isinstance(stack, Stack)
        raise ResultGone(stack.layers[0])

    (error,) = run(world.solver().need([Edge(vertex("local copy"))], use))
    assert isinstance(error, NotFound)
    assert len(asked) == 4


def test_two_requests_that_miss_the_same_layer_share_its_making(world: World) -> None:
    """The second to notice finds it forgotten already; that is no error."""
    top = chain(2)
    run(world.solver().solve([Edge(top)]))
    world.ran.clear()
    world.layers.discard(next(layer for layer in world.layers if layer.startswith("step 1")))
    solver = world.solver()
    together = asyncio.Barrier(2)

    async def need() -> object:
        first = True

        async def use(results: list[Result]) -> object:
            nonlocal first
            if first:
                first = False
                await together.wait()
            return await read_all(world)(results)

        return await solver.need([Edge(top)], use)

    results = run(need(), need())
    assert not [one for one in results if isinstance(one, BaseException)], results
    assert world.ran == ["step 1"]


def test_a_request_whose_inputs_are_forgotten_meanwhile_plans_anew(world: World) -> None:
    """One request runs a slow step, another finds the layer gone that the next step of the first reads."""
    base = vertex("base")
    run(world.solver().solve([Edge(base)]))
    world.ran.clear()
    solver = world.solver()
    world.delay["slow"] = 0.1
    top = vertex("top", vertex("slow"), base)

    async def other() -> object:
        await solver.solve([Edge(base)])
        await asyncio.sleep(0.03)
        world.layers.clear()
        return await solver.need([Edge(base)], read_all(world))

    async def first() -> object:
        await solver.solve([Edge(base)])
        return await solver.need([Edge(top)], read_all(world))

    results = run(first(), other())
    assert not [one for one in results if isinstance(one, BaseException)], results
    assert world.ran.count("base") == 1
    assert world.ran[-1] == "top"


def test_a_step_that_ends_cancelled_though_nobody_asked_is_an_error(world: World) -> None:
    class Lost(World):
        def solver(self) -> Solver:
            return Solver(make_step=self.make, index=self, results=self, sink=self.events.append)

        def make(self, one: Vertex) -> object:
            raise asyncio.CancelledError

    (error,) = run(Lost().solver().solve([Edge(vertex("lost"))]))
    assert isinstance(error, RuntimeError)
    assert "lost was cancelled by nobody" in str(error)
