"""What is exported is what is imported: random graphs go into a config and come out of it by every key."""

from __future__ import annotations

import cProfile
import time

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from trimaran.caches import config as configs
from trimaran.caches.cache_map import CONTENT, Dependency, record_digest
from trimaran.caches.chains import ChainLayer, ChainResult, Chains
from trimaran.caches.links import NO_MATCHES, Links, RemoteLayer
from trimaran.digest import Digest
from trimaran.oci.descriptor import Descriptor

TIME = "2024-01-01T00:00:00Z"


def digest(text: object) -> Digest:
    return Digest.of(str(text).encode())


def layer(name: object) -> ChainLayer:
    return ChainLayer(
        blob=digest(f"blob {name}"), media_type="t/t", diff_id=digest(f"diff {name}"), size=1, created=TIME
    )


@st.composite
def graphs(draw):
    """Vertices: (op, [(input vertex, selector, content or None)], result). Equal ops and contents are wanted."""
    vertices = [("source", [], None)]
    for number in range(draw(st.integers(1, 12))):
        inputs = []
        for _ in range(draw(st.integers(1, 3))):
            below = draw(st.integers(0, number))
            inputs.append((below, draw(st.sampled_from(["", "s"])), draw(st.sampled_from([None, None, "c", "d"]))))
        content = [each[2] for each in inputs]
        # What is read by content alone gives equal results, however it was come to: that is BuildKit's premise.
        result = f"of {content}" if all(content) else f"vertex {number}"
        vertices.append(
            (f"{draw(st.sampled_from('xyz'))}{len(inputs)}", inputs, result if draw(st.booleans()) else None)
        )
    return vertices


def export(vertices, order=None) -> bytes:
    chains = Chains()
    nodes: dict[int, int] = {}
    for number in order or range(len(vertices)):
        op, inputs, result = vertices[number]
        if not inputs:
            nodes[number] = chains.root(record_digest(digest(op), 0))
            continue
        links = []
        for below, selector, content in inputs:
            found = {(nodes[below], selector)}
            if content:
                found.add((chains.root(record_digest(digest(content), CONTENT)), ""))
            links.append(found)
        given = None if result is None else ChainResult((layer("base"), layer(result)), TIME)
        nodes[number] = chains.add(record_digest(digest(op), 0), links, given)
    return configs.encode(chains.config())


def matches(links: Links, vertices):
    found = {}
    for number, (op, inputs, _) in enumerate(vertices):
        if not inputs:
            found[number] = links.sources([digest(op)])
            continue
        all_inputs = None
        for position, (below, selector, content) in enumerate(inputs):
            here = links.readers(digest(op), 0, position, Dependency(selector=selector), found[below])
            if content:
                here |= links.content_readers(digest(op), 0, position, digest(content))
            all_inputs = here if all_inputs is None else all_inputs & here
        found[number] = all_inputs or NO_MATCHES
    return found


def imported(raw: bytes) -> Links:
    config = configs.parse(raw)
    links = Links()
    remote = [
        RemoteLayer(Descriptor(media_type="t/t", digest=each.blob, size=1), each.blob, source=None)  # type: ignore[arg-type]
        for each in config.layers
    ]
    links.add(config, remote, "x")
    return links


@settings(max_examples=150, deadline=None)
@given(graphs())
def test_every_vertex_is_found_again_with_a_result(vertices):
    """Of what is one to BuildKit (an op twice over one input) one result is kept.

    An op over its own result may be one with it, and then has no link of its own: it is found by content at most.
    """
    links = imported(export(vertices))
    found = matches(links, vertices)
    below: list[set[str]] = []
    odd: set[int] = set()
    for number, (op, inputs, result) in enumerate(vertices):
        below.append({op}.union(*(below[each[0]] for each in inputs)))
        if any(each[0] in odd or op in below[each[0]] for each in inputs):
            odd.add(number)
            continue
        assert found[number], (number, op)
        if result is not None and inputs:
            given = {each.layers[-1].descriptor.digest for each in links.results(found[number])}
            same = {f"blob {other}" for name, _, other in vertices if name == op}
            assert given
            assert given <= {digest(each) for each in same}


@settings(max_examples=150, deadline=None)
@given(graphs(), st.lists(st.integers(0, 3), min_size=12, max_size=12))
def test_export_and_import_is_the_identity(vertices, results):
    """Also where two paths gave the very same bytes."""
    plain = [
        (f"{op}{number}", inputs, f"r{results[number - 1]}" if inputs else None)
        for number, (op, inputs, _) in enumerate(vertices)
    ]
    links = imported(export(plain))
    for number, matched in matches(links, plain).items():
        given = {each.layers[-1].descriptor.digest for each in links.results(matched)}
        assert given == ({digest(f"blob {plain[number][2]}")} if plain[number][1] else set())


@settings(max_examples=100, deadline=None)
@given(graphs())
def test_no_two_records_are_one_to_buildkit(vertices):
    """It takes a cache for broken when two records of one op share a link at every input; and circles are none."""
    config = configs.parse(export(vertices))
    by_digest: dict[str, list] = {}
    for record in config.records:
        by_digest.setdefault(record.digest, []).append(record)
    for same in by_digest.values():
        for number, one in enumerate(same):
            for other in same[number + 1 :]:
                assert not all(set(a) & set(b) for a, b in zip(one.inputs, other.inputs, strict=True))
    done: set[int] = set()
    while len(done) < len(config.records):
        ready = {
            number
            for number, record in enumerate(config.records)
            if number not in done and all(link.link in done for links in record.inputs for link in links)
        }
        assert ready, "records hang on each other in a circle"
        done |= ready


@settings(max_examples=100, deadline=None)
@given(graphs(), st.randoms())
def test_the_bytes_do_not_depend_on_the_order(vertices, random):
    """Of any order in which inputs come before what reads them; without contents, which may close circles."""
    plain = [
        (op, [(b, s, None) for b, s, _ in inputs], result and f"vertex {n}")
        for n, (op, inputs, result) in enumerate(vertices)
    ]
    plain = [(f"{op}{number}", inputs, result) for number, (op, inputs, result) in enumerate(plain)]
    order: list[int] = []
    while len(order) < len(plain):
        ready = [n for n in range(len(plain)) if n not in order and all(each[0] in order for each in plain[n][1])]
        order.append(random.choice(ready))
    assert export(plain, order) == export(plain)


def chain(count: int):
    """Steps one upon the other, that also read contents."""
    return [("source", [], None)] + [
        (f"x{number}", [(number, "", f"c{number}")], f"r{number}") for number in range(count)
    ]


def one_file_into_many(count: int):
    """The same COPY of the same content onto as many bases."""
    bases = [(f"base{number}", [], None) for number in range(count)]
    return bases + [("copy", [(number, "", None), (number, "", "c")], f"r{number}") for number in range(count)]


def twins(count: int):
    """Two chains in which every step is one with its like: each join makes the next one."""
    steps = [("x0", [(0, "", None)], "r0")] * 2
    steps += [(f"x{number // 2}", [(number - 1, "", None)], f"r{number}") for number in range(2, 2 * count)]
    return [("source", [], None), *steps]


def calls_of(vertices) -> int:
    """Function calls that it takes to export and import them."""
    profile = cProfile.Profile()
    profile.runcall(lambda: imported(export(vertices)))
    return sum(each.callcount for each in profile.getstats())


@pytest.mark.parametrize("shape", [chain, one_file_into_many, twins])
def test_ten_times_the_steps_are_ten_times_the_work(shape):
    small, large = calls_of(shape(200)), calls_of(shape(2000))
    assert 9 * small < large < 11 * small


def test_ten_thousand_records_take_seconds_at_most():
    vertices = chain(10_000)
    before = time.process_time()
    links = imported(export(vertices))
    assert time.process_time() - before < 5
    assert all(matches(links, vertices).values())
