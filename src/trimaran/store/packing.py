"""Frozen values as bytes for database columns: MessagePack, in which a Digest is a string."""

from __future__ import annotations

import zlib
from typing import Any, TypeVar

import msgspec

from trimaran.digest import Digest

T = TypeVar("T")


def pack(value: object) -> bytes:
    return _encoder.encode(value)


def row_sum(*values: object) -> int:
    """What a row says of its columns that nothing else proves: `fsck` compares. Never 0, which is a row without one."""
    return zlib.crc32(pack(values)) or 1


def unpack(body: bytes, kind: type[T]) -> T:
    """msgspec.DecodeError or ValidationError (both MsgspecError) when `body` is no `kind`."""
    decoder = _decoders.get(kind)
    if decoder is None:
        decoder = _decoders[kind] = msgspec.msgpack.Decoder(kind, dec_hook=_decode)
    value: T = decoder.decode(body)
    return value


def _encode(value: Any) -> Any:
    if isinstance(value, str):
        return str(value)
    raise NotImplementedError(type(value))


def _decode(kind: type, value: Any) -> Any:
    if kind is Digest and isinstance(value, str):
        return Digest(value)
    raise NotImplementedError(kind)


_encoder = msgspec.msgpack.Encoder(enc_hook=_encode)
_decoders: dict[type, msgspec.msgpack.Decoder[Any]] = {}
