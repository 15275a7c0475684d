from hypothesis import given
from hypothesis import strategies as st

from trimaran.linux import ids

TEXT = """# comment
alice:100000:65536
bob:200000:65536
1000:300000:10
alice:bad:1
alice:1:0
alice:400000:5
"""


def test_by_name_and_number():
    assert ids.parse_subordinate(TEXT, "alice", 1000) == ((100000, 65536), (300000, 10), (400000, 5))
    assert ids.parse_subordinate(TEXT, "carol", 7) == ()


def test_no_file():
    assert ids.subordinate("/nonexistent/subuid", "alice", 1) == ()


def test_map_is_dense_from_zero():
    entries = ids.id_map(1000, ((100000, 3), (500, 2)))
    assert [str(entry) for entry in entries] == ["0 1000 1", "1 100000 3", "4 500 2"]
    assert ids.is_mapped(entries, 5)
    assert not ids.is_mapped(entries, 6)


@given(st.lists(st.tuples(st.integers(0, 2**31), st.integers(1, 2**16)), max_size=5))
def test_map_text_round_trips(ranges):
    entries = ids.id_map(1000, tuple(ranges))
    assert ids.parse_id_map("\n".join(map(str, entries))) == entries


def test_current_maps_contain_us():
    import os

    users, groups = ids.current_maps()
    assert ids.is_mapped(users, os.geteuid())
    assert ids.is_mapped(groups, os.getegid())
