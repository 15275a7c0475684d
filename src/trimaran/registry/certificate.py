"""What a certificate says of itself: whose it is, who signed it, from when until when, for which names.

For people who are told that it was refused: on company networks who signed is the proxy whose CA is missing. Reads just
enough DER (ITU-T X.690) of a certificate (RFC 5280, 4.1). Pure; it judges nothing.
"""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec

_INTEGER, _OCTETS, _SEQUENCE, _SET, _OID, _VERSION, _EXTENSIONS = 0x02, 0x04, 0x30, 0x31, 0x06, 0xA0, 0xA3
_SHOWN = {bytes.fromhex("550403"): "CN", bytes.fromhex("55040a"): "O"}
_TEXTS = {0x0C: "utf-8", 0x13: "ascii", 0x14: "latin-1", 0x16: "ascii", 0x1E: "utf-16-be"}
_OTHER_NAMES = bytes.fromhex("551d11")
_DNS_NAME, _ADDRESS = 0x82, 0x87
_UTC_TIME, _GENERALIZED_TIME = 0x17, 0x18


class Certificate(msgspec.Struct, frozen=True, kw_only=True):
    """`subject` and `issuer`: `CN=…, O=…`, "" when they have neither. `names`: host names and addresses it is for."""

    subject: str
    issuer: str
    begins: datetime
    ends: datetime
    names: tuple[str, ...] = ()


def parse(certificate: bytes) -> Certificate | None:
    """None when the bytes are no certificate."""
    try:
        (outer,) = _items(certificate, _SEQUENCE)
        fields = [(tag, part) for tag, part in _parts(_items(outer, _SEQUENCE)[0]) if tag != _VERSION]
        if fields[0][0] != _INTEGER:
            return None
        _, _, issuer, (_, validity), subject, *rest = fields
        begins, ends = (_time(tag, part) for tag, part in _parts(validity))
        extensions = [part for tag, part in rest if tag == _EXTENSIONS]
        return Certificate(
            subject=_name(subject),
            issuer=_name(issuer),
            begins=begins,
            ends=ends,
            names=tuple(_names(extensions[0])) if extensions else (),
        )
    except (IndexError, ValueError):
        return None


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


def _name(field: tuple[int, bytes]) -> str:
    tag, content = field
    if tag != _SEQUENCE:
        raise ValueError("no name")
    pairs = [pair for part in _items(content, _SET) for pair in _pairs(part)]
    return ", ".join(f"{kind}={text}" for kind, text in pairs)


def _pairs(name: bytes) -> list[tuple[str, str]]:
    """What of a relative distinguished name is shown."""
    found = []
    for attribute in _items(name, _SEQUENCE):
        (kind, oid), (tag, value) = _parts(attribute)[:2]
        if kind == _OID and oid in _SHOWN and tag in _TEXTS:
            found.append((_SHOWN[oid], _clean(value.decode(_TEXTS[tag], "replace"))))
    return found


def _clean(text: str) -> str:
    """Fit for a terminal: without control characters, and not too long."""
    return "".join(c for c in text[:100] if c.isprintable())


def _time(tag: int, value: bytes) -> datetime:
    text = value.decode("ascii")
    if tag == _UTC_TIME:
        text = ("20" if int(text[:2]) < 50 else "19") + text  # RFC 5280, 4.1.2.5.1
    elif tag != _GENERALIZED_TIME:
        raise ValueError("no time")
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)


def _names(extensions: bytes) -> list[str]:
    """Of the extension subjectAltName (RFC 5280, 4.2.1.6)."""
    import ipaddress

    found = []
    for extension in _items(_items(extensions, _SEQUENCE)[0], _SEQUENCE):
        if _OTHER_NAMES not in _items(extension, _OID):
            continue
        for tag, value in _parts(_items(_items(extension, _OCTETS)[0], _SEQUENCE)[0]):
            if tag == _DNS_NAME:
                found.append(_clean(value.decode("ascii", "replace")))
            elif tag == _ADDRESS:
                found.append(str(ipaddress.ip_address(value)))
    return found
