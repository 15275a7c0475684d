"""Matching against imported records, whatever they look like."""

from __future__ import annotations

from trimaran.caches.cache_map import CONTENT, Dependency, record_digest
from trimaran.caches.config import CacheConfig, CacheLayer, CacheLink, CacheRecord, CacheResult
from trimaran.caches.links import NO_MATCHES, Links, RemoteLayer
from trimaran.digest import Digest
from trimaran.oci.descriptor import Descriptor

A, B, C = (Digest.of(text.encode()) for text in "abc")
PLAIN = Dependency()


def record(digest: str, *inputs: tuple[CacheLink, ...], layer: int | None = None) -> CacheRecord:
    results = () if layer is None else (CacheResult((layer,), "2024-01-01T00:00:00Z"),)
    return CacheRecord(digest=digest, inputs=inputs, results=results)


def remote(text: str) -> RemoteLayer:
    digest = Digest.of(text.encode())
    return RemoteLayer(Descriptor(media_type="t/t", digest=digest, size=1), digest, source=None)  # type: ignore[arg-type]


def test_roots_of_two_caches_are_one_and_what_hangs_on_them_meets():
    root, op = record_digest(A, 0), record_digest(B, 0)
    links = Links()
    for name in ("one", "two"):
        config = CacheConfig((CacheLayer(C),), (record(root), record(op, (CacheLink(0),), layer=0)))
        links.add(config, [remote(name)], name)
    matches = links.readers(B, 0, 0, PLAIN, links.sources([A]))
    assert len(matches) == 2
    assert {result.origin for result in links.results(matches)} == {"one", "two"}


def test_a_selector_and_an_input_number_have_to_be_the_same():
    root, op = record_digest(A, 0), record_digest(B, 0)
    links = Links()
    links.add(CacheConfig((), (record(root), record(op, (CacheLink(0, "s"),), (CacheLink(0),)))), [], "x")
    source = links.sources([A])
    assert links.readers(B, 0, 0, PLAIN, source) == NO_MATCHES
    assert links.readers(B, 0, 0, Dependency(selector="s"), source)
    assert links.readers(B, 0, 1, PLAIN, source)
    assert links.readers(B, 1, 1, PLAIN, source) == NO_MATCHES


def test_content_enters_without_a_selector():
    content, op = record_digest(C, CONTENT), record_digest(B, 0)
    links = Links()
    links.add(CacheConfig((), (record(content), record(op, (CacheLink(0),)))), [], "x")
    assert links.content_readers(B, 0, 0, C)
    assert links.content_readers(B, 0, 0, A) == NO_MATCHES


def test_records_in_a_circle_do_no_harm():
    one, two = record_digest(A, 0), record_digest(B, 0)
    links = Links()
    links.add(CacheConfig((), (record(one, (CacheLink(1),)), record(two, (CacheLink(0), CacheLink(1))))), [], "x")
    assert links.sources([A, B]) == NO_MATCHES
    assert links.readers(A, 0, 0, PLAIN, frozenset({1, 2})) <= {1, 2}


def test_a_result_whose_layer_cannot_be_had_is_none():
    root, op = record_digest(A, 0), record_digest(B, 0)
    links = Links()
    config = CacheConfig((CacheLayer(C), CacheLayer(A, 0)), (record(root), record(op, (CacheLink(0),), layer=1)))
    links.add(config, [None, remote("x")], "x")
    assert links.results(links.readers(B, 0, 0, PLAIN, links.sources([A]))) == []
