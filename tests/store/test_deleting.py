"""Many rows at once: those that are named, and no others, also where as many are named as there are."""

from __future__ import annotations

import sqlite3

import pytest

from trimaran.store.deleting import delete_rows


@pytest.mark.parametrize(
    ("there", "named", "left"),
    [
        (["a"], ["a"], []),
        (["a"], ["gone"], ["a"]),
        (["a", "b"], ["a", "a"], ["b"]),
        (["a", "b"], ["b", "gone", "a"], []),
        (["a"], [], ["a"]),
        ([str(number) for number in range(502)], [str(number) for number in range(1, 503)], ["0"]),
    ],
)
def test_what_is_named_goes_and_nothing_else(there, named, left):
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE TABLE things(name TEXT PRIMARY KEY)")
    connection.executemany("INSERT INTO things VALUES(?)", [(each,) for each in there])
    delete_rows(connection, "things", "name", named)
    assert [name for (name,) in connection.execute("SELECT name FROM things ORDER BY name")] == left
