"""The decisions of `prune`, apart from any disk."""

from __future__ import annotations

import pytest

from trimaran.errors import UsageError
from trimaran.store.prune import PruneOptions, candidates, choose, keep_bytes
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


TREE = [
    UsageRecord(id="base", last_used=100, usage_count=9, shared=True, size=30, kept=30, description="pulled from x"),
    UsageRecord(id="made", last_used=50, usage_count=1, parents=("base",), size=20, description="RUN a b,c"),
    UsageRecord(id="top", last_used=40, usage_count=1, parents=("made",), size=10, description="COPY"),
    UsageRecord(id="mount", last_used=30, usage_count=2, mutable=True, type="exec.cachemount", size=5),
    UsageRecord(id="busy", last_used=20, usage_count=1, in_use=True, size=7),
    UsageRecord(id="docs", type=INTERNAL, size=3, mutable=True),
]
STACKS = {"made": ["base"], "top": ["base", "made"]}


def chosen(free: int = 10**9, **options) -> list[str]:
    return [record.id for record in choose(TREE, PruneOptions(**options), STACKS, free=free, now=NOW)]


@pytest.mark.parametrize(
    ("text", "left"),
    [
        # What real buildx said of a store with the same kinds of records, but for the bare flags, which it refuses.
        ("type=regular", {"base", "made", "top"}),
        ("type!=regular", {"mount", "docs"}),
        ("type~=^exec", {"mount"}),
        ("id~=^[a-m]", {"base", "made", "mount", "docs"}),
        ("id!=zz", {"base", "made", "top", "mount", "docs"}),
        ("parents=made", {"top"}),
        ("parents!=made", {"base", "made", "mount", "docs"}),
        ("parents=zz", set()),
        ("description~=RUN", {"made"}),
        ("description=COPY", {"top"}),
        ("description!=x", {"base", "made", "top", "mount", "docs"}),
        ("mutable!=true", {"base", "made", "top"}),
        ("mutable=false", set()),
        ("shared!=true", {"made", "top", "mount", "docs"}),
        ("private!=true", {"base"}),
        ("immutable!=true", {"mount", "docs"}),
        ("inuse!=true", {"base", "made", "top", "mount", "docs"}),
        ("inuse", set()),
        ("inuse=true", set()),
        ("type=regular,shared", {"base"}),
        ("type=regular,shared!=true", {"made", "top"}),
        ('type="exec.cachemount"', {"mount"}),
    ],
)
def test_each_filter_on_a_store_where_it_matters(text, left):
    found = candidates(TREE, PruneOptions(all=True, filters=(text,)), now=NOW)
    assert {record.id for record in found} == left, "what is in use is never among them"


def test_of_several_filters_one_is_enough_as_in_a_rule_of_buildkitd():
    assert set(ids(filters=("id=old", "id=new"))) == {"old", "new"}


def test_all_is_what_takes_shared_and_internal_records_and_a_stack_goes_from_its_top():
    assert set(chosen()) == {"top", "made", "mount"}
    assert chosen().index("top") < chosen().index("made")
    assert set(chosen(all=True)) == {"top", "made", "base", "mount", "docs"}
    assert chosen(all=True, filters=("id=made",)) == [], "something stands on it"
    assert chosen(all=True, filters=("id~=made|top",)) == ["top", "made"]


@pytest.mark.parametrize(
    ("options", "free", "gone"),
    [
        # 45 bytes are no image's: 20 + 10 + 5 + 7 + 3.
        ({"max_used": 45}, 0, []),
        ({"max_used": 44}, 0, ["top"]),
        ({"max_used": 30}, 0, ["top", "mount"]),
        ({"max_used": 1}, 0, ["top", "mount", "made"]),
        ({"max_used": 1, "reserved": 40}, 0, ["top"]),
        ({"reserved": 100}, 0, []),
        ({"min_free": 100}, 100, []),
        ({"min_free": 100}, 90, ["top"]),
        ({"min_free": 100, "reserved": 45}, 0, []),
        ({"max_used": 1, "keep_duration": NOW - 35}, 0, ["mount"]),
        ({"max_used": 44, "whole": True}, 0, ["top", "mount", "made"]),
        ({"max_used": 74, "whole": True}, 0, ["top"]),
    ],
)
def test_sizes_of_rules(options, free, gone):
    """As BuildKit: the least used first, what images share neither counts nor goes, what is reserved stays."""
    assert chosen(free, **options) == gone
