"""Values go through the socket and come out equal, however they are cut; errors keep their kind."""

from __future__ import annotations

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimaran import errors
from trimaran.builders.options import BuildOptions, BuildResult, BuildStep, CacheOnlyOutput, ImageOutput, OciOutput
from trimaran.digest import Digest
from trimaran.errors import Corrupt, Location, NotCached, Position, Range, StepFailed, TrimaranError
from trimaran.events import (
    AdoptionEvent,
    Event,
    LogEvent,
    MissEvent,
    ProgressGroup,
    StatusEvent,
    VertexEvent,
    WarningEvent,
)
from trimaran.library.messages import Bug, Done, Failed, Frames, Order, encode
from trimaran.misses import StepChange
from trimaran.solver.protocols import ResultGone

PLACE = Location("Dockerfile", b"FROM \xff\n", (Range(Position(1), Position(1, 3)),))
OPTIONS = BuildOptions(
    context=".", build_args=(("A", None),), outputs=(ImageOutput(push=True), OciOutput(dest="x"), CacheOnlyOutput())
)
MESSAGES = [
    Order(options=OPTIONS, environment=((b"A\xff", b"\xfe"),), secrets=(("a", b"\0"),), wants_events=True),
    Done(BuildResult(digest="sha256:x", digests={"linux/amd64": "y"}, steps=(BuildStep(name="s", seconds=0.5),))),
    Failed(kind="Denied", message="no", where=PLACE),
    Bug("traceback"),
    VertexEvent(digest=Digest.of(b"a"), name="n", inputs=(Digest.of(b"b"),), progress_group=ProgressGroup("g")),
    StatusEvent(id="x", vertex=Digest.of(b"a"), current=1 << 40),
    LogEvent(vertex=Digest.of(b"a"), stream=1, data=b"\xff" * 70_000),
    WarningEvent(vertex=Digest.of(b"a"), short=b"w", where=PLACE),
    MissEvent(vertex=Digest.of(b"a"), name="n", reasons=(StepChange("s"),)),
    AdoptionEvent(vertex=Digest.of(b"a"), name="n"),
]


@given(st.lists(st.integers(1, 90_000), max_size=20))
def test_messages_arrive_as_they_were_sent(cuts: list[int]) -> None:
    data = b"".join(encode(message) for message in MESSAGES)
    frames = Frames()
    found = []
    for cut in [*cuts, len(data)]:
        found += frames.feed(data[:cut])
        data = data[cut:]
    assert found == MESSAGES
    assert isinstance(found[4], VertexEvent)
    assert isinstance(found[4].inputs[0], Digest)


def test_every_event_is_among_them() -> None:
    assert set(get_args(Event)) <= {type(message) for message in MESSAGES}


def test_text_that_is_no_unicode_loses_only_that() -> None:
    (event,) = Frames().feed(encode(VertexEvent(digest=Digest.of(b"a"), name="COPY \udcff /x")))
    assert event == VertexEvent(digest=Digest.of(b"a"), name="COPY \ufffd /x")


@pytest.mark.parametrize("data", [b"\xff" * 5, b"\0\0\0\1\7\xc1", b"\0\0\0\0\xff", b"\0\0\0\1\1\x90"])
def test_what_is_no_message_is_refused(data: bytes) -> None:
    with pytest.raises(Corrupt):
        list(Frames().feed(data))


KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, TrimaranError)]


@pytest.mark.parametrize("kind", KINDS)
def test_errors_keep_kind_and_all_they_say(kind: type[TrimaranError]) -> None:
    if kind is StepFailed:
        error: TrimaranError = StepFailed("m", exit_code=7, vertex="v", tail=("a", "b"), hint="h", where=PLACE)
    elif kind is NotCached:
        error = NotCached("m", reasons=(StepChange("[1/2] RUN x"),))
    else:
        error = kind("m", hint="h", where=PLACE)
    (message,) = Frames().feed(encode(Failed.of(error)))
    assert isinstance(message, Failed)
    again = message.error()
    assert type(again) is kind
    assert vars(again) == vars(error)


def test_a_narrower_kind_comes_as_the_one_everybody_knows() -> None:
    assert type(Failed.of(ResultGone("x")).error()) is errors.NotFound


def test_an_order_shows_no_secret() -> None:
    assert "hidden" not in repr(
        Order(options=OPTIONS, environment=((b"hidden", b"hidden"),), secrets=(("a", b"hidden"),))
    )
