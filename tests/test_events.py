"""A piece of work that is no vertex of a graph is reported as one, however it ends."""

import asyncio

import pytest

from trimaran.errors import NotFound
from trimaran.events import vertex


@pytest.mark.parametrize(
    ("raised", "words"),
    [
        (NotFound('pull "x": not there'), 'pull "x": not there'),
        (ValueError("odd"), "ValueError: odd"),
        (asyncio.CancelledError(), "context canceled"),  # displays say CANCELED, as buildx, not ERROR
    ],
)
def test_the_end_is_told(raised, words):
    events = []
    with pytest.raises(type(raised)), vertex(events.append, "[internal] load metadata for x"):
        raise raised
    assert [bool(event.completed) for event in events] == [False, False, True]
    assert events[-1].error == words
