from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from trimaran.store.store import Store, open_store


@pytest.fixture
def store(tmp_path) -> Iterator[Store]:
    with open_store(str(tmp_path / "store")) as opened:
        yield opened


@pytest.fixture
def run():
    """Run a coroutine to its end."""
    return asyncio.run
