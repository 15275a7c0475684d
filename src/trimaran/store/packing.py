"""Frozen values as bytes for database columns: MessagePack, in which a Digest is a string; and as JSON, for files.

Law: whatever the bytes are, who unpacks them gets the value or a `MsgspecError`.
"""

from __future__ import annotations

import zlib
from typing import Any, TypeVar

import msgspec

from trimaran.digest import Digest

T = TypeVar("T")

_NO_MSGSPEC_ERRORS = (UnicodeDecodeError, RecursionError)
"""What msgspec lets through of bytes that are no UTF-8, or too deep."""


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
    try:
        value: T = decoder.decode(body)
    except _NO_MSGSPEC_ERRORS as error:
        raise msgspec.DecodeError(str(error)) from error
    return value


def unpack_json(text: bytes | str, kind: type[T]) -> T:
    """`unpack` for what was written as JSON, and holds no Digest."""
    try:
        return msgspec.json.decode(text, type=kind)
    except _NO_MSGSPEC_ERRORS as error:
        raise msgspec.DecodeError(str(error)) from error


def _encode(value: Any) -> Any:
    if isinstance(value, str):
        return str(value)
    raise NotImplementedError(type(value))


def _decode(kind: type, value: Any) -> Any:
    if kind is not Digest:
        raise NotImplementedError(kind)
    if not isinstance(value, str):
        raise TypeError("a digest is a string")  # msgspec makes it a ValidationError
    return Digest(value)


_encoder = msgspec.msgpack.Encoder(enc_hook=_encode)
_decoders: dict[type, msgspec.msgpack.Decoder[Any]] = {}
