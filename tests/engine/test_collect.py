"""What the settings let the collector take, and that it does."""

import asyncio
import os

import pytest

from trimaran.aio import Cancel
from trimaran.engine import collect
from trimaran.settings import Settings, parse
from trimaran.store.entries import FILE, Entry, EntryList
from trimaran.store.folder import Inline
from trimaran.store.store import open_store

GIB = 1 << 30


def rules(text="", total=1000 * GIB):
    return collect.policies(parse(text.encode(), "f") if text else Settings(), total)


def test_defaults_are_buildkitds():
    kinds, aged, limits, everything = rules()
    assert kinds.filters == ("type==source.local", "type==exec.cachemount", "type==source.git.checkout")
    assert (kinds.keep_duration, kinds.max_used) == (48 * 3600 * 10**9, 512_000_000)
    assert (limits.reserved, limits.max_used, limits.min_free) == (10 * GIB, 100 * GIB, 200 * GIB)
    assert aged.keep_duration == 60 * 86_400 * 10**9
    assert everything.all


def test_one_ceiling_over_everything():
    limits = rules('cache-limit = "5GB"')[-1]
    assert limits.max_used == 5 * GIB
    assert limits.reserved <= limits.max_used


def test_off_and_own_rules():
    assert rules("[worker]\ngc = false") == ()
    (own,) = rules('[[worker.gcpolicy]]\nall = true\nmaxUsedSpace = 7\nkeepDuration = "1s"')
    assert (own.all, own.max_used, own.keep_duration) == (True, 7, 10**9)


def test_each_field_of_a_rule_is_handed_on_as_it_is_written():
    """What each does is held by `tests/store/test_prune.py`."""
    text = """[[worker.gcpolicy]]
    filters = ["type==source.local", "type==exec.cachemount,id~=^a"]
    keepDuration = "48h"
    reservedSpace = "10GB"
    maxUsedSpace = "20%"
    minFreeSpace = 5
    [[worker.gcpolicy]]
    all = true
    keepDuration = 60
    """
    first, second = rules(text)
    assert first.filters == ("type==source.local", "type==exec.cachemount,id~=^a")
    assert (first.keep_duration, second.keep_duration) == (48 * 3600 * 10**9, 60 * 10**9)
    assert first.reserved == 10 * GIB
    assert (first.max_used, first.min_free) == (201 * 10**9, 5)
    assert (first.all, second.all) == (False, True)
    assert not first.whole, "what named images share is no cache"
    assert rules('cache-limit = "5GB"')[-1].whole, "but it takes room"


@pytest.fixture
def root(tmp_path):
    """A store with a megabyte that nobody uses."""
    data = os.urandom(1 << 20)
    from trimaran.digest import Digest

    entry = Entry("f", FILE, 0o644, size=len(data), digest=Digest.of(data))
    with open_store(str(tmp_path / "root")) as store:

        async def fill():
            layer = await store.layers.add(EntryList.of([entry]), {"f": Inline(data)})
            await store.layers.settle([layer])
            await store.sync()

        asyncio.run(fill())
    return str(tmp_path / "root")


def test_over_the_limit_it_frees_and_under_it_does_not(root):
    with open_store(root) as store:
        assert collect.collect(Cancel(), store, parse(b"cache-limit = 100_000_000_000", "f")) == 0
        os.unlink(os.path.join(root, "collected"))
        assert collect.collect(Cancel(), store, parse(b"cache-limit = 1000", "f")) > 1 << 20


def test_it_looks_once_in_a_while(root):
    with open_store(root) as store:
        collect.collect(Cancel(), store, parse(b"cache-limit = 100_000_000_000", "f"))
        assert collect.collect(Cancel(), store, parse(b"cache-limit = 1000", "f")) == 0
