"""BuildKit's cache config: read, written back, and what a hostile one comes to."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from goldens.caches import contexts
from trimaran.caches import config as configs
from trimaran.caches.config import CHAIN_LIMIT, CacheConfig, CacheLayer, CacheLink, CacheRecord, CacheResult
from trimaran.digest import Digest
from trimaran.errors import Corrupt

GOLDENS = sorted((Path(contexts.__file__).parent / "configs").iterdir())
D = Digest.of(b"x")


def test_there_are_goldens():
    assert len(GOLDENS) >= 3


@pytest.mark.parametrize("path", GOLDENS, ids=lambda path: path.stem)
def test_what_buildkit_wrote_is_written_back_the_same(path):
    assert configs.encode(configs.parse(path.read_bytes())) == path.read_bytes()


def test_a_chained_result_and_layers_without_a_manifest_come_back():
    layers = (CacheLayer(D, -1, "application/vnd.oci.image.layer.v1.tar+gzip", str(D), 7, "2024-01-01T00:00:00Z"),)
    record = CacheRecord(
        digest=str(D),
        results=(CacheResult((0, 0), "2024-01-01T00:00:00Z", chained=True),),
        inputs=((CacheLink(0, "s"),),),
    )
    config = CacheConfig(layers, (record,))
    assert configs.parse(configs.encode(config)) == config
    assert config.stack(record.results[0]) == (0, 0)


def layers(count: int, parent) -> list[dict[str, object]]:
    return [{"blob": str(D), "parent": parent(number)} for number in range(count)]


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ("[", "parse cache config"),
        ([], "parse cache config"),
        ({"layers": [{"blob": "sha256:short", "parent": -1}]}, "digest"),
        ({"layers": [{"blob": str(D), "parent": 1}]}, "parent 1 is out of range"),
        ({"layers": [{"blob": str(D)}]}, "no end"),  # its own parent: Go leaves a zero out
        ({"layers": layers(2, lambda n: 1 - n)}, "no end"),
        ({"layers": layers(CHAIN_LIMIT + 2, lambda n: n - 1)}, "layers"),
        ({"records": [{"digest": "d", "inputs": [[{"link": 1}]]}]}, "link 1 is out of range"),
        ({"records": [{"digest": "d", "inputs": [[{"link": -1}]]}]}, "link -1 is out of range"),
        ({"records": [{"digest": "d", "layers": [{"layer": 0}]}]}, "layer 0 is out of range"),
        ({"records": [{"digest": "d", "chains": [{"layers": []}]}]}, "0 layers"),
        ({"records": [{"digest": "d", "chains": [{"layers": [3]}]}]}, "layer 3 is out of range"),
        ({"records": [{"digest": 7}]}, "parse cache config"),
    ],
)
def test_a_broken_config_is_refused_in_words(document, words):
    raw = document.encode() if isinstance(document, str) else json.dumps(document).encode()
    with pytest.raises(Corrupt, match=words):
        configs.parse(raw)


def test_a_config_that_is_too_large_is_not_even_parsed():
    with pytest.raises(Corrupt, match="more than the"):
        configs.parse(b" " * (configs.LIMIT + 1))


def test_deep_nesting_is_refused():
    with pytest.raises(Corrupt):
        configs.parse(b"[" * 100_000)


def test_a_large_config_is_read_in_linear_time():
    records = [
        {"digest": str(number), "inputs": [[{"link": max(number - 1, 0)}]], "layers": [{"layer": number % 900}]}
        for number in range(20_000)
    ]
    config = configs.parse(json.dumps({"layers": layers(900, lambda n: n - 1), "records": records}).encode())
    assert len(config.records) == 20_000
    assert len(config.stack(config.records[899].results[0])) == 900
