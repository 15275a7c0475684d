"""The store's key is one key, whoever makes it at the same time: engines all have the process id 1, in namespaces."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from trimaran.store import secret_key as room
from trimaran.store.secret_key import secret_key


def test_all_who_come_first_have_the_same_key(tmp_path: Path) -> None:
    """Threads have one process id too."""
    for number in range(20):
        root = tmp_path / str(number)
        root.mkdir()
        with ThreadPoolExecutor(8) as pool:
            keys = set(pool.map(secret_key, [str(root)] * 8))
        assert keys == {(root / "secret.key").read_bytes()}
        assert os.listdir(root) == ["secret.key"]


def test_a_key_that_was_cut_off_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "secret.key").write_bytes(b"short")
    key = secret_key(str(tmp_path))
    assert len(key) == room._BYTES
    assert secret_key(str(tmp_path)) == key
