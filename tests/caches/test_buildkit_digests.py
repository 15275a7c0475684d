"""Our cache maps and content keys are BuildKit's, byte for byte: compared with configs that it exported itself."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from dockerfile.bridge import FakeBridge
from goldens.caches import contexts
from trimaran.caches.cache_map import CONTENT, cache_map, record_digest
from trimaran.caches.content_hash import content_digest
from trimaran.digest import Digest
from trimaran.dockerfile.convert import convert
from trimaran.events import Progress, discard
from trimaran.graph.frontend import FrontendRequest
from trimaran.graph.ops import SourceOp
from trimaran.platforms import Platform
from trimaran.solver.plan import reachable
from trimaran.sources.image import chain_id
from trimaran.sources.local import LocalSource
from trimaran.store.store import open_store

GOLDENS = Path(contexts.__file__).parent
AMD64 = Platform("linux", "amd64")
NAMES = ("files", "runs", "whole")
GIVEN = {
    "runs": {"extra_hosts": (("foo", "1.2.3.4"),), "ulimits": (("nofile", 1000, 2000),)},
}


def records(name: str) -> set[str]:
    config = json.loads((GOLDENS / "configs" / f"{name}.json").read_bytes())
    return {record["digest"] for record in config["records"]}


def selectors(name: str) -> set[str]:
    config = json.loads((GOLDENS / "configs" / f"{name}.json").read_bytes())
    return {link.get("selector", "") for r in config["records"] for links in r.get("inputs", ()) for link in links}


def graph(name: str):
    text = (GOLDENS / "dockerfiles" / name).read_bytes()
    bridge = FakeBridge({"dockerfile": {"Dockerfile": text}, "context": {}}, {"*": {}})
    request = FrontendRequest(filename="Dockerfile", platforms=(AMD64,), build_platform=AMD64, **GIVEN.get(name, {}))
    made = asyncio.run(convert(request, bridge))
    return reachable([built.edge for built in made.built])


def keys(vertex) -> list[str]:
    return [record_digest(digest, 0) for digest in cache_map(vertex, AMD64).digests]


@pytest.mark.parametrize("name", NAMES)
def test_every_op_has_buildkits_digest(name):
    known = records(name)
    missing = [vertex.hints.name for vertex in graph(name) if not known.issuperset(keys(vertex))]
    assert missing == []


@pytest.mark.parametrize("name", NAMES)
def test_every_selector_of_a_stage_is_buildkits(name):
    """A local context has no key, so BuildKit links nothing to it by a selector."""
    known = selectors(name)
    for vertex in graph(name):
        for edge, dependency in zip(vertex.inputs, cache_map(vertex, AMD64).inputs, strict=True):
            of_context = isinstance(edge.vertex.op, SourceOp) and edge.vertex.op.scheme == "local"
            assert of_context or dependency.selector in known, vertex.hints.name


@pytest.mark.parametrize("name", NAMES)
def test_every_content_of_the_context_has_buildkits_digest(name, tmp_path):
    folder = contexts.write(tmp_path / "context")
    known = records(name)
    compared = 0
    with open_store(str(tmp_path / "store")) as store:
        for vertex in graph(name):
            for edge, dependency in zip(vertex.inputs, cache_map(vertex, AMD64).inputs, strict=True):
                op = edge.vertex.op
                if isinstance(op, SourceOp) and op.scheme == "local" and dependency.reads is not None:
                    digest = asyncio.run(_content(store, folder, op, dependency.reads))
                    assert record_digest(digest, CONTENT) in known, (vertex.hints.name, dependency.reads)
                    compared += 1
    assert compared >= (30 if name == "files" else 3)


async def _content(store, folder, op, reads):
    class Files:
        def folder(self, _name):
            return str(folder)

    source = LocalSource(Files(), store.stat_cache)
    scanned = await source.fetch(op, None, Progress(discard, Digest.of(b"")))
    return await content_digest(scanned.result, reads, is_context=True)


def test_a_change_of_anything_that_counts_changes_the_content_and_a_time_does_not(tmp_path):
    folder = contexts.write(tmp_path / "context")
    (op,) = {vertex.op for vertex in graph("whole") if isinstance(vertex.op, SourceOp)}
    (reads,) = {
        dependency.reads
        for vertex in graph("whole")
        for edge, dependency in zip(vertex.inputs, cache_map(vertex, AMD64).inputs, strict=True)
        if edge.vertex.op == op and "/pkg" in vertex.hints.name
    }
    with open_store(str(tmp_path / "store")) as store:
        seen = [asyncio.run(_content(store, folder, op, reads))]
        import os

        os.utime(folder / "pkg/other", (1, 1))
        assert asyncio.run(_content(store, folder, op, reads)) == seen[0]
        changes = (
            lambda: (folder / "pkg/other").write_text("z\n"),
            lambda: (folder / "pkg/other").chmod(0o600),
            lambda: (folder / "pkg").chmod(0o700),
            lambda: (folder / "pkg/other").rename(folder / "pkg/another"),
            lambda: (folder / "pkg/link").symlink_to("another"),
        )
        for change in changes:
            change()
            seen.append(asyncio.run(_content(store, folder, op, reads)))
    assert len(set(seen)) == len(seen)


def test_chain_id_of_one_layer_is_its_diff_id_and_of_two_names_both():
    one, two = Digest.of(b"1"), Digest.of(b"2")
    assert chain_id([one]) == one
    assert chain_id([one, two]) == Digest.of(f"{one} {two}".encode())
