from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from namespaces import in_mount_namespace, in_user_namespace

from trimaran.store.snapshots.copy import CopySnapshots
from trimaran.store.store import Store, open_store


@pytest.fixture
def store(tmp_path) -> Iterator[Store]:
    with open_store(str(tmp_path / "store")) as opened:
        yield opened


@pytest.fixture
def run():
    """Run a coroutine to its end."""
    return asyncio.run


@pytest.fixture(params=["overlay", "copy", "user"])
def stacks(request, tmp_path):
    """Run `work(store)` (a coroutine function) where stacks are shown by this member, in namespaces of its own."""
    root = tmp_path / "store"

    def show(work):
        def inside():
            with open_store(str(root), user_xattrs=request.param == "user") as store:
                if request.param == "copy":
                    store.snapshots._chosen = CopySnapshots(store.snapshots.folders)
                else:
                    assert store.snapshots.name == "overlay", store.snapshots.refusal
                asyncio.run(work(store))

        if request.param == "user":
            in_user_namespace(inside)
        else:
            in_mount_namespace(inside)

    return show
