"""Who signed a certificate that was refused: on company networks that is the proxy whose CA is missing.

Reads just enough DER (ITU-T X.690) to find the issuer's name in a certificate (RFC 5280, 4.1). Pure; it judges nothing.
"""

from __future__ import annotations

_SEQUENCE, _SET, _OID, _VERSION = 0x30, 0x31, 0x06, 0xA0
_SHOWN = {bytes.fromhex("550403"): "CN", bytes.fromhex("55040a"): "O"}
_TEXTS = {0x0C: "utf-8", 0x13: "ascii", 0x14: "latin-1", 0x16: "ascii", 0x1E: "utf-16-be"}


def issuer_of(certificate: bytes) -> str:
    """`CN=…, O=…` of the issuer; "" when it has neither or the bytes are no certificate."""
    try:
        (outer,) = _items(certificate, _SEQUENCE)
        body = _items(outer, _SEQUENCE)[0]
        fields = [(tag, part) for tag, part in _parts(body) if tag != _VERSION]
        names = _items_of(fields[2])  # after the serial number and the algorithm
        found = [pair for name in names for pair in _pairs(name)]
    except (IndexError, ValueError):
        return ""
    return ", ".join(f"{kind}={text}" for kind, text in found)


def _parts(data: bytes) -> list[tuple[int, bytes]]:
    """(tag, content) of each element; ValueError when a length leads out of the data."""
    found = []
    while data:
        tag, size, head = data[0], data[1], 2
        if size & 0x80:
            count = size & 0x7F
            size, head = int.from_bytes(data[2 : 2 + count]), 2 + count
        if head + size > len(data):
            raise ValueError("no DER")
        found.append((tag, data[head : head + size]))
        data = data[head + size :]
    return found


def _items(data: bytes, tag: int) -> list[bytes]:
    return [part for kind, part in _parts(data) if kind == tag]


def _items_of(field: tuple[int, bytes]) -> list[bytes]:
    tag, content = field
    return _items(content, _SET) if tag == _SEQUENCE else []


def _pairs(name: bytes) -> list[tuple[str, str]]:
    """What of a relative distinguished name is shown, control characters left out."""
    found = []
    for attribute in _items(name, _SEQUENCE):
        (kind, oid), (tag, value) = _parts(attribute)[:2]
        if kind == _OID and oid in _SHOWN and tag in _TEXTS:
            text = value.decode(_TEXTS[tag], "replace")
            found.append((_SHOWN[oid], "".join(c for c in text[:100] if c.isprintable())))
    return found
