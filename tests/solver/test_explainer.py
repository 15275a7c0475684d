"""When the solver asks its explainer, and what it does with the answer: fake steps, real solver."""

from __future__ import annotations

import asyncio
import sys

import pytest

sys.path.insert(0, __file__.rpartition("/")[0])
from fakes import FakeStep, World, vertex

from trimaran.errors import NotCached
from trimaran.solver.protocols import Account, Accounted
from trimaran.solver.solver import Solver

PAGES = ((b"id", b"body"),)


class Asked:
    """An explainer that notes what it is asked."""

    def __init__(self, refuse: str = "") -> None:
        self.refuse = refuse
        self.misses = []
        self.adoptions = []
        self.made = 0

    def __call__(self) -> Asked:
        self.made += 1
        return self

    async def missed(self, miss):
        self.misses.append((miss.vertex.hints.name, miss.broken))
        if miss.vertex.hints.name == self.refuse:
            raise NotCached("no", reasons=())
        return Accounted(Account(place=miss.vertex.hints.name), PAGES)

    def adopted(self, vertex):
        self.adoptions.append(vertex.hints.name)


class KeepingWorld(World):
    def __init__(self) -> None:
        super().__init__()
        self.pages = []

    def save(self, record, pages=()):
        self.pages.append(pages)
        super().save(record)


def solve(world, asked, *edges):
    solver = Solver(
        make_step=lambda v: FakeStep(v, world), index=world, results=world, sink=world.events.append, explainer=asked
    )
    return asyncio.run(solver.solve(list(edges)))


def chain(tag: str = ""):
    return vertex("top", vertex("middle", vertex("local base", tag=tag))).edge()


def test_asked_once_for_each_step_that_runs_and_never_for_a_hit():
    world, asked = KeepingWorld(), Asked()
    solve(world, asked, chain())
    assert asked.misses == [("middle", None), ("top", None)], "sources have no key to miss"
    assert [record.account for record in world.records.values()] == [Account(place="middle"), Account(place="top")]
    assert world.pages == [PAGES, PAGES]


def test_nobody_is_made_who_has_nothing_to_explain():
    world = KeepingWorld()
    top = vertex("top", vertex("middle")).edge()
    solve(world, Asked(), top)
    asked = Asked()
    solve(world, asked, top)
    assert (asked.made, asked.misses) == (0, [])


def test_told_of_adoption_and_not_of_a_result_that_is_new():
    world, asked = KeepingWorld(), Asked()
    for tag in ("1", "2"):  # a source of which nothing but the id is new
        solve(world, asked, chain(tag))
    assert asked.misses == [("middle", None), ("top", None)] * 2
    assert asked.adoptions == ["middle", "top"]
    world.outcome = lambda name, count: f"{name} {count}"
    solve(world, asked, chain("3"))
    assert len(asked.misses) == 6
    assert asked.adoptions == ["middle", "top"]


def test_a_record_whose_result_is_gone_is_said_to_be_broken():
    world = KeepingWorld()
    top = vertex("top", vertex("middle")).edge()
    solve(world, Asked(), top)
    world.layers.clear()
    asked = Asked()
    solve(world, asked, vertex("more", vertex("top", vertex("middle"))).edge())
    found, *again = asked.misses  # who needs the layer finds that it is gone
    assert found == ("more", None)
    assert again == [("middle", ""), ("top", None), ("more", None)], "what was made again is new to those above"


def test_who_refuses_keeps_the_step_from_running():
    world = KeepingWorld()
    with pytest.raises(NotCached):
        solve(world, Asked(refuse="top"), chain())
    assert world.ran == ["local base", "middle"]
