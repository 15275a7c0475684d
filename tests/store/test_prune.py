"""The decisions of `prune`, apart from any disk."""

from __future__ import annotations

import pytest

from trimaran.errors import UsageError
from trimaran.store.prune import PruneOptions, candidates, keep_bytes
from trimaran.store.usage import INTERNAL, UsageRecord

NOW = 10_000

RECORDS = [
    UsageRecord(id="old", last_used=10, usage_count=1, description="RUN make"),
    UsageRecord(id="popular", last_used=20, usage_count=9),
    UsageRecord(id="new", created=9_900, description="RUN apt-get update", parents=("old",)),
    UsageRecord(id="used", last_used=1, in_use=True),
    UsageRecord(id="image", last_used=1, shared=True),
    UsageRecord(id="inner", last_used=1, type=INTERNAL),
]


def ids(**options) -> list[str]:
    return [record.id for record in candidates(RECORDS, PruneOptions(**options), now=NOW)]


def test_without_all_internal_and_shared_records_stay():
    assert set(ids()) == {"old", "popular", "new"}
    assert set(ids(all=True)) == {"old", "popular", "new", "image", "inner"}


def test_the_least_used_goes_first():
    assert ids()[0] == "old"


def test_what_was_used_lately_stays():
    assert set(ids(keep_duration=200)) == {"old", "popular"}


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("id=old", {"old"}),
        ("id==old", {"old"}),
        ("id!=old", {"popular", "new"}),
        ("description~=apt|make", {"old", "new"}),
        ("description~=apt,description~=update", {"new"}),
        ("parents=old", {"new"}),
        ("type=regular", {"old", "popular", "new"}),
        ("mutable", set()),
        ("immutable", {"old", "popular", "new"}),
        ("private=true", {"old", "popular", "new"}),
    ],
)
def test_filters(text, left):
    assert set(ids(filters=(text,))) == left


def test_shared_records_can_be_asked_for():
    assert ids(all=True, filters=("shared",)) == ["image"]


@pytest.mark.parametrize("text", ["colour=red", "id~=(", "=x", "id<5"])
def test_what_is_no_filter_is_refused(text):
    with pytest.raises(UsageError):
        ids(filters=(text,))


@pytest.mark.parametrize(
    ("options", "total", "free", "kept"),
    [
        ({}, 100, 0, None),
        ({"max_used": 30}, 100, 1000, 30),
        ({"min_free": 50}, 100, 20, 70),
        ({"min_free": 50}, 100, 60, 100),
        ({"min_free": 50, "max_used": 80}, 100, 20, 70),
        ({"min_free": 50, "reserved": 90}, 100, 20, 90),
        ({"reserved": 40}, 100, 20, 40),
    ],
)
def test_how_much_may_stay(options, total, free, kept):
    assert keep_bytes(PruneOptions(**options), total=total, free=free) == kept
