"""Random graphs, several builders on one store, some cancelled, some killed, some pruned under: as one cold build."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile

from chaos_worker import build
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st
from test_crash import STAGES

from trimaran.aio import Cancel
from trimaran.events import VertexEvent
from trimaran.store.fsck import fsck
from trimaran.store.prune import PruneOptions
from trimaran.store.store import open_store

HERE = os.path.dirname(__file__)
DEATHS = sorted(
    {place for work, place in STAGES if work in {"copied", "committed"}} - {"record saved", "layer blob row"}
)


@st.composite
def graphs(draw):
    graph = []
    for number in range(draw(st.integers(1, 7))):
        inputs = draw(st.lists(st.integers(0, number - 1), max_size=3, unique=True)) if number else []
        graph.append((draw(st.sampled_from(["copy", "run"])), inputs))
    return graph


chaos = given(
    graph=graphs(),
    cancels=st.lists(st.integers(0, 120), min_size=2, max_size=3),
    death=st.tuples(st.sampled_from(DEATHS), st.integers(1, 4)),
    prunes=st.booleans(),
)
bounded = settings(
    max_examples=3,
    derandomize=True,
    deadline=None,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=list(HealthCheck),
)


def killed(root: str, graph, place: str, count: int) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([HERE, *filter(None, sys.path)])}
    environment["TRIMARAN_FAILPOINT"] = f"{place}=kill@{count}"
    command = [sys.executable, os.path.join(HERE, "chaos_worker.py"), root, json.dumps(graph)]
    done = subprocess.run(command, env=environment, capture_output=True, timeout=60)
    assert done.returncode in {0, -9}, done.stderr.decode()


async def cancelled_after(steps: int, coroutine) -> str | None:
    """The coroutine's result, or None when it was cancelled after so many turns of the loop."""
    task = asyncio.ensure_future(coroutine)
    for _ in range(steps):
        if task.done():
            break
        await asyncio.sleep(0.0005)
    if not task.done():
        task.cancel()
    try:
        return await task
    except asyncio.CancelledError:
        return None


@bounded
@chaos
@example(
    graph=[("run", []), ("copy", [0]), ("run", [0]), ("copy", [1, 2])],
    cancels=[3, 9],
    death=("snapshot row", 1),
    prunes=True,
)
def test_whatever_happens_the_result_is_that_of_one_cold_build(graph, cancels, death, prunes):
    with tempfile.TemporaryDirectory() as folder:
        with open_store(f"{folder}/cold") as store:
            cold = asyncio.run(build(store, graph, []))
        root = f"{folder}/shared"
        killed(root, graph, *death)
        stores = [open_store(root) for _ in cancels]

        async def all_at_once():
            return await asyncio.gather(
                *(cancelled_after(steps, build(store, graph, [])) for steps, store in zip(cancels, stores, strict=True))
            )

        assert set(asyncio.run(all_at_once())) <= {cold, None}
        for store in stores:
            store.close()
        if prunes:
            with open_store(root) as store:
                list(store.collector.prune(Cancel(), PruneOptions(max_used=1)))
        with open_store(root) as store:
            assert asyncio.run(build(store, graph, [])) == cold
        ran: list[str] = []
        with open_store(root) as store:
            assert asyncio.run(build(store, graph, ran)) == cold
        assert ran == [], "what was built is found"
        assert fsck(Cancel(), root, repair=False, tell=lambda damage: None).damages == ()


# -- Bugs that solvers had (BuildKit's numbers) ---------------------------------------------------------------------

DIAMOND = [("run", []), ("copy", [0]), ("run", [0]), ("copy", [1, 2])]


def test_builds_that_share_a_base_run_it_once_and_keep_it(tmp_path):
    """#4674, #6954: concurrent builds with a shared base lost results that were there."""
    graphs_on_base = [[*DIAMOND, ("run", [3]), ("copy", [4, number])] for number in range(3)]
    stores = [open_store(str(tmp_path)) for _ in graphs_on_base]
    ran: list[str] = []

    async def all_at_once():
        return await asyncio.gather(*(build(s, g, ran) for s, g in zip(stores, graphs_on_base, strict=True)))

    results = asyncio.run(all_at_once())
    assert len([name for name in ran if name in {"run 0", "copy 1", "run 2", "copy 3", "run 4"}]) == 5, ran
    for store, graph, result in zip(stores, graphs_on_base, results, strict=True):
        again: list[str] = []
        assert asyncio.run(build(store, graph, again)) == result
        assert again == []
        store.close()


def test_cancelling_one_build_takes_nothing_from_another(tmp_path):
    """#4419: a cancelled build's leases were another's, too."""
    graph = [*DIAMOND, ("run", [3])]
    for turns in range(0, 60, 12):
        root = str(tmp_path / str(turns))
        first, second = open_store(root), open_store(root)

        async def both(first=first, second=second, turns=turns):
            return await asyncio.gather(cancelled_after(turns, build(first, graph, [])), build(second, graph, []))

        _, result = asyncio.run(both())
        first.close()
        with open_store(root) as pruner:
            list(pruner.collector.prune(Cancel(), PruneOptions(all=True)))
        assert asyncio.run(build(second, graph, [])) == result
        second.close()


def test_every_vertex_is_told_to_its_end_to_every_builder(tmp_path):
    """#4330: builds at the same time lost status messages."""
    stores = [open_store(str(tmp_path)) for _ in range(3)]
    events: list[list[VertexEvent]] = [[], [], []]

    async def all_at_once():
        await asyncio.gather(*(build(s, DIAMOND, [], e) for s, e in zip(stores, events, strict=True)))

    asyncio.run(all_at_once())
    for told in events:
        names = {event.name for event in told if isinstance(event, VertexEvent)}
        ended = {event.name for event in told if isinstance(event, VertexEvent) and event.completed and not event.error}
        assert names == ended == {"run 0", "copy 1", "run 2", "copy 3"}
    for store in stores:
        store.close()


def test_many_processes_of_which_some_are_killed(tmp_path):
    """Nine on one store; those that live agree, each step was done once more at most per death, and all is sound."""
    deaths = ["snapshot row", "before rows", "blob synced", "snapshot numbered", "layer row"]
    root = str(tmp_path / "store")
    graph = [("run", []), *((kind, [number]) for number, kind in enumerate(["copy", "run"] * 4)), ("copy", [8, 4])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([HERE, *filter(None, sys.path)])}
    command = [sys.executable, os.path.join(HERE, "chaos_worker.py"), root, json.dumps(graph)]
    processes = []
    for number in range(9):
        failpoint = {"TRIMARAN_FAILPOINT": f"{deaths[number]}=kill"} if number < len(deaths) else {}
        process = subprocess.Popen(command, env=environment | failpoint, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        processes.append(process)
    ended = [(process.communicate(timeout=120), process.returncode) for process in processes]
    assert all(code in {0, -9} for _, code in ended), ended
    with open_store(str(tmp_path / "cold")) as store:
        cold = asyncio.run(build(store, graph, []))
    assert {out.decode().strip() for (out, _), code in ended if not code} == {cold}
    with open_store(root) as store:
        ran: list[str] = []
        assert asyncio.run(build(store, graph, ran)) == cold
        assert ran == []
    assert fsck(Cancel(), root, repair=False, tell=lambda damage: None).damages == ()
