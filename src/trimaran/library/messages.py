"""What a program and its engine process say to each other: typed values in frames over a socket pair. Pure.

A frame is its body's length (4 bytes, big-endian), the number of its type, and the body in msgpack. The program sends
one Order; the engine answers with any number of events and, last, one Done, Failed or Bug.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from typing import Any, cast, get_args

import msgspec

from trimaran import errors, events
from trimaran.builders.options import BuildOptions, BuildResult
from trimaran.digest import Digest
from trimaran.errors import Corrupt, Location, NotCached, StepFailed, TrimaranError
from trimaran.events import Event
from trimaran.misses import Reason

_HEAD = 5
_LONGEST = 256 << 20
"""Bytes of one frame: more than any value here has."""


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """One build. What may be secret is here, and so neither in a command line nor in an environment."""

    options: BuildOptions
    environment: tuple[tuple[bytes, bytes], ...]
    """The program's: what `BuildOptions` and settings take from variables."""
    secrets: tuple[tuple[str, bytes], ...] = ()
    wants_events: bool = False

    def __repr__(self) -> str:
        return f"Order({self.options!r})"


class Done(msgspec.Struct, frozen=True):
    result: BuildResult


class Failed(msgspec.Struct, frozen=True, kw_only=True):
    """A TrimaranError, by the name of its kind in `errors`."""

    kind: str
    message: str
    hint: str = ""
    where: Location | None = None
    exit_code: int = 0
    vertex: str = ""
    tail: tuple[str, ...] = ()
    reasons: tuple[Reason, ...] = ()

    @classmethod
    def of(cls, error: TrimaranError) -> Failed:
        kind = next(kind.__name__ for kind in type(error).__mro__ if getattr(errors, kind.__name__, None) is kind)
        step = error if isinstance(error, StepFailed) else None
        return cls(
            kind=kind,
            message=error.message,
            hint=error.hint,
            where=error.where,
            exit_code=step.exit_code if step else 0,
            vertex=step.vertex if step else "",
            tail=step.tail if step else (),
            reasons=cast("tuple[Reason, ...]", error.reasons) if isinstance(error, NotCached) else (),
        )

    def error(self) -> TrimaranError:
        """The same error, to be raised here."""
        kind: type[TrimaranError] = getattr(errors, self.kind)
        if kind is StepFailed:
            return StepFailed(
                self.message,
                exit_code=self.exit_code,
                vertex=self.vertex,
                tail=self.tail,
                hint=self.hint,
                where=self.where,
            )
        if kind is NotCached:
            error = NotCached(self.message, reasons=self.reasons)
            error.hint, error.where = self.hint, self.where
            return error
        return kind(self.message, hint=self.hint, where=self.where)


class Bug(msgspec.Struct, frozen=True):
    """An error that is no TrimaranError, with its traceback."""

    text: str

    @classmethod
    def of(cls, error: BaseException) -> Bug:
        return cls("".join(traceback.format_exception(error)))

    def error(self) -> RuntimeError:
        return RuntimeError(f"this is a bug in trimaran; please report it:\n{self.text}")


Message = Order | Done | Failed | Bug | Event
_TYPES: tuple[type[Any], ...] = (Order, Done, Failed, Bug, *get_args(Event))
vars(events).setdefault("Reason", Reason)  # named there for type checkers alone; a decoder looks for it there
_NUMBERS = {kind: number for number, kind in enumerate(_TYPES)}
_ENCODER = msgspec.msgpack.Encoder(enc_hook=str)
"""Digests are written as plain text: the encoder takes no subclass of str by itself."""


def encode(message: Message) -> bytes:
    """One frame. Text that is no Unicode (of a path, say) loses what is wrong with it."""
    try:
        body = _ENCODER.encode(message)
    except UnicodeEncodeError:
        body = _ENCODER.encode(_replaced(msgspec.to_builtins(message, builtin_types=(bytes,), enc_hook=str)))
    return len(body).to_bytes(_HEAD - 1) + bytes([_NUMBERS[type(message)]]) + body


def _replaced(value: Any) -> Any:
    """The same with U+FFFD for bytes that are no UTF-8; values here are a few levels deep."""
    if isinstance(value, str):
        return value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    if isinstance(value, dict):
        return {key: _replaced(item) for key, item in value.items()}
    return [_replaced(item) for item in value] if isinstance(value, list | tuple) else value


class Frames:
    """Takes bytes as they arrive, gives whole messages. Corrupt for what is none."""

    __slots__ = ("_buffer",)

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[Message]:
        self._buffer += data
        while len(self._buffer) >= _HEAD:
            length = int.from_bytes(self._buffer[: _HEAD - 1])
            number = self._buffer[_HEAD - 1]
            if length > _LONGEST or number >= len(_TYPES):
                raise Corrupt(f"read a message of the engine process: type {number}, {length} bytes")
            if len(self._buffer) < _HEAD + length:
                return
            body = bytes(memoryview(self._buffer)[_HEAD : _HEAD + length])
            del self._buffer[: _HEAD + length]
            yield decode(number, body)


def decode(number: int, body: bytes) -> Message:
    try:
        message: Message = msgspec.msgpack.decode(body, type=_TYPES[number], dec_hook=_digest)
    except msgspec.MsgspecError as error:
        raise Corrupt(f"read a message of the engine process: {error}") from error
    return message


def _digest(kind: type, value: Any) -> Any:
    if kind is Digest:
        return Digest(value)
    raise NotImplementedError(kind)
