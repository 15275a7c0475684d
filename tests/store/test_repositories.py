"""Kept git repositories: held by one at a time, shown by du, taken away by prune unless they are in use."""

from __future__ import annotations

import os

from trimaran.aio import Cancel
from trimaran.store import repositories
from trimaran.store.prune import PruneOptions
from trimaran.store.usage import GIT_REPOSITORY


def fill(folder):
    with open(os.path.join(folder, "pack"), "wb") as file:
        file.write(os.urandom(100_000))


def test_held_shown_and_pruned(store, run):
    async def main():
        async with repositories.hold(store.root, "https://host/x.git") as folder:
            fill(folder)
            (record,) = (one for one in store.collector.usage(Cancel()) if one.type != "internal")
            assert record.in_use
            assert record.type == GIT_REPOSITORY
            assert record.description == "git repository https://host/x.git"
            assert record.size >= 100_000
            assert not list(store.collector.prune(Cancel(), PruneOptions(all=True)))
            assert os.path.exists(os.path.join(folder, "pack"))
        return folder

    folder = run(main())
    (record,) = (one for one in store.collector.usage(Cancel()) if one.type != "internal")
    assert not record.in_use
    assert [freed.id for freed in store.collector.prune(Cancel(), PruneOptions())] == [record.id]
    assert not os.path.exists(folder)
    assert all(one.type == "internal" for one in store.collector.usage(Cancel()))


def test_it_is_made_anew_and_one_remote_has_one_folder(store, run):
    async def main():
        async with repositories.hold(store.root, "a") as first:
            fill(first)
        async with repositories.hold(store.root, "a") as again, repositories.hold(store.root, "b") as other:
            assert again == first != other
            assert os.path.exists(os.path.join(again, "pack"))
        assert repositories.condemn(store.root, os.path.basename(first)) is not None
        async with repositories.hold(store.root, "a") as anew:
            assert os.listdir(anew) == ["trimaran"]

    run(main())


def test_what_a_killed_removal_left_is_swept(store, run):
    async def main():
        async with repositories.hold(store.root, "a") as folder:
            fill(folder)
        return folder

    gone = repositories.condemn(store.root, os.path.basename(run(main())))
    assert gone is not None
    assert os.path.exists(gone)
    repositories.sweep(Cancel(), store.root)
    assert not os.path.exists(gone)
    assert not repositories.listed(Cancel(), store.root)


def test_a_folder_whose_build_was_killed_before_its_note_is_seen_and_goes(store):
    folder = os.path.join(store.root, "git", "0" * 64)
    os.makedirs(folder)
    fill(folder)
    (record,) = (one for one in store.collector.usage(Cancel()) if one.type == GIT_REPOSITORY)
    assert record.size >= 100_000
    assert list(store.collector.prune(Cancel(), PruneOptions()))
    assert not os.path.exists(folder)
