"""BuildKit's cache config (application/vnd.buildkit.cacheconfig.v0): layers and records, read and written.

Pure. A hostile one costs no more than its bytes: sizes and counts are bounded, every index points into its list, and
chains of layers end. Records may refer to each other in a circle: nobody walks them, matches are looked up.
"""

from __future__ import annotations

from typing import Any

import msgspec

from trimaran.digest import Digest
from trimaran.errors import Corrupt
from trimaran.oci import documents
from trimaran.store.packing import unpack_json

MEDIA_TYPE = "application/vnd.buildkit.cacheconfig.v0"
LIMIT = 64 << 20
"""Bytes a config may have: about 200,000 records."""
CHAIN_LIMIT = 1000
"""Layers in one result: overlay and images allow fewer."""
ZERO_TIME = "0001-01-01T00:00:00Z"
"""What Go writes for no time."""
_WHAT = "cache config"


class CacheLayer(msgspec.Struct, frozen=True):
    """A blob on the layer `parent` of the same config; -1: on nothing.

    `annotations` are its descriptor's, where no manifest has them (buckets).
    """

    blob: Digest
    parent: int = -1
    media_type: str = ""
    diff_id: str = ""
    size: int = 0
    created: str = ""


class CacheLink(msgspec.Struct, frozen=True, order=True):
    """On record `link`, of which `selector` is read."""

    link: int
    selector: str = ""


class CacheResult(msgspec.Struct, frozen=True):
    """The index of a layer, which stands on its parents; or of all layers, lowest first, when `chained`."""

    layers: tuple[int, ...]
    created: str = ZERO_TIME
    chained: bool = False


class CacheRecord(msgspec.Struct, frozen=True, kw_only=True):
    """An op's output, by its digest and what it hangs on; per input any of the links will do."""

    digest: str
    inputs: tuple[tuple[CacheLink, ...], ...] = ()
    results: tuple[CacheResult, ...] = ()


class CacheConfig(msgspec.Struct, frozen=True):
    layers: tuple[CacheLayer, ...] = ()
    records: tuple[CacheRecord, ...] = ()

    def stack(self, result: CacheResult) -> tuple[int, ...]:
        """All layers of a result, lowest first."""
        if result.chained:
            return result.layers
        stack = []
        last = result.layers[0]
        while last >= 0:
            stack.append(last)
            last = self.layers[last].parent
        return tuple(reversed(stack))


class _LayerAnnotations(msgspec.Struct, rename="camel"):
    media_type: str = ""
    diff_id: str = msgspec.field(default="", name="diffID")
    size: int = 0
    created_at: str = ""


class _Layer(msgspec.Struct):
    blob: str = ""
    parent: int = 0
    annotations: _LayerAnnotations | None = None


class _Result(msgspec.Struct):
    layer: int = 0
    created: str = msgspec.field(default=ZERO_TIME, name="createdAt")


class _Chain(msgspec.Struct):
    layers: list[int] | None = None
    created: str = msgspec.field(default=ZERO_TIME, name="createdAt")


class _Input(msgspec.Struct):
    selector: str = ""
    link: int = 0


class _Record(msgspec.Struct):
    digest: str = ""
    layers: list[_Result] | None = None
    chains: list[_Chain] | None = None
    inputs: list[list[_Input] | None] | None = None


class _Config(msgspec.Struct):
    layers: list[_Layer] | None = None
    records: list[_Record] | None = None


def parse(raw: bytes) -> CacheConfig:
    """Corrupt says what is wrong with it."""
    return _checked(_decode(raw, _Config))


def parse_records(raw: bytes, layers: tuple[CacheLayer, ...]) -> CacheConfig:
    """Of an image with an inline cache: it has the records, its manifest the layers."""
    wire = _Config(records=_decode(raw, list[_Record]))
    return _checked(wire, layers)


def _decode(raw: bytes, kind: Any) -> Any:
    if len(raw) > LIMIT:
        raise Corrupt(f"parse {_WHAT}: {len(raw)} bytes is more than the {LIMIT} allowed for it")
    try:
        return unpack_json(raw, kind)
    except msgspec.MsgspecError as error:
        raise Corrupt(f"parse {_WHAT}: {error}") from None


def _checked(wire: _Config, layers: tuple[CacheLayer, ...] | None = None) -> CacheConfig:
    if layers is None:
        layers = tuple(_layer(layer, len(wire.layers or ())) for layer in wire.layers or ())
        _check_chains(layers)
    count = len(wire.records or ())
    return CacheConfig(layers, tuple(_record(record, count, len(layers)) for record in wire.records or ()))


def _check_chains(layers: tuple[CacheLayer, ...]) -> None:
    """Every layer's parents end; in one pass over all."""
    depths = [0] * len(layers)
    for index in range(len(layers)):
        path = []
        last = index
        while last >= 0 and not depths[last]:
            path.append(last)
            if len(path) > CHAIN_LIMIT:
                raise Corrupt(f"parse {_WHAT}: a chain of layers has no end within {CHAIN_LIMIT}")
            last = layers[last].parent
        depth = depths[last] if last >= 0 else 0
        if depth + len(path) > CHAIN_LIMIT:
            raise Corrupt(f"parse {_WHAT}: a result has more than {CHAIN_LIMIT} layers")
        for distance, each in enumerate(reversed(path), 1):
            depths[each] = depth + distance


def _layer(wire: _Layer, count: int) -> CacheLayer:
    _check_index(wire.parent, count, "parent", lowest=-1)
    extra = wire.annotations or _LayerAnnotations()
    return CacheLayer(
        Digest.parse(wire.blob), wire.parent, extra.media_type, extra.diff_id, extra.size, extra.created_at
    )


def _record(wire: _Record, records: int, layers: int) -> CacheRecord:
    inputs = []
    for links in wire.inputs or ():
        for link in links or ():
            _check_index(link.link, records, "link")
        inputs.append(tuple(CacheLink(link.link, link.selector) for link in links or ()))
    results = []
    for result in wire.layers or ():
        _check_index(result.layer, layers, "layer")
        results.append(CacheResult((result.layer,), result.created))
    for chain in wire.chains or ():
        indexes = tuple(chain.layers or ())
        if not 0 < len(indexes) <= CHAIN_LIMIT:
            raise Corrupt(f"parse {_WHAT}: a result has {len(indexes)} layers, not 1 to {CHAIN_LIMIT}")
        for index in indexes:
            _check_index(index, layers, "layer")
        results.append(CacheResult(indexes, chain.created, chained=True))
    return CacheRecord(digest=wire.digest, inputs=tuple(inputs), results=tuple(results))


def _check_index(index: int, count: int, name: str, *, lowest: int = 0) -> None:
    if not lowest <= index < count:
        raise Corrupt(f"parse {_WHAT}: {name} {index} is out of range: there are {count}")


# --- writing ----------------------------------------------------------------------------------------------------------


def encode(config: CacheConfig) -> bytes:
    """As BuildKit writes it, in its order (`ordered`)."""
    wire: dict[str, Any] = {}
    if config.layers:
        wire["layers"] = [_layer_to_wire(layer) for layer in config.layers]
    if config.records:
        wire["records"] = [_record_to_wire(record) for record in config.records]
    return documents.encode(wire)


def encode_records(records: tuple[CacheRecord, ...]) -> bytes:
    """For an image with an inline cache."""
    return documents.encode([_record_to_wire(record) for record in records])


def _layer_to_wire(layer: CacheLayer) -> dict[str, Any]:
    wire: dict[str, Any] = {"blob": str(layer.blob)}
    if layer.parent:
        wire["parent"] = layer.parent
    if layer.media_type:
        wire["annotations"] = {
            "mediaType": layer.media_type,
            "diffID": str(layer.diff_id),
            "size": layer.size,
            "createdAt": layer.created or ZERO_TIME,
        }
    return wire


def _record_to_wire(record: CacheRecord) -> dict[str, Any]:
    wire: dict[str, Any] = {}
    plain = [each for each in record.results if not each.chained]
    chained = [each for each in record.results if each.chained]
    if plain:
        wire["layers"] = [{"layer": each.layers[-1], "createdAt": each.created} for each in plain]
    if chained:
        wire["chains"] = [{"layers": list(each.layers), "createdAt": each.created} for each in chained]
    wire["digest"] = str(record.digest)
    if record.inputs:
        wire["inputs"] = [[_link_to_wire(link) for link in links] for links in record.inputs]
    return wire


def _link_to_wire(link: CacheLink) -> dict[str, Any]:
    return {"selector": str(link.selector), "link": link.link} if link.selector else {"link": link.link}
