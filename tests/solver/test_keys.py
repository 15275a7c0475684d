from hypothesis import given
from hypothesis import strategies as st

from trimaran.digest import Digest
from trimaran.solver.keys import key_of
from trimaran.solver.protocols import KeyInput

OP = Digest.of(b"op")
values = st.lists(st.text(max_size=5), max_size=4)


def read(values: list[str], name: str = "rootfs") -> list[KeyInput]:
    return [KeyInput(f"{name} {number}", value, number) for number, value in enumerate(values)]


@given(values, values)
def test_different_reads_have_different_keys(one, other):
    assert (key_of(OP, read(one)) == key_of(OP, read(other))) == (one == other)


@given(values)
def test_names_are_for_people_and_not_in_the_key(values):
    assert key_of(OP, read(values)) == key_of(OP, read(values, "other"))


def test_the_op_is_in_the_key():
    assert key_of(OP, ()) != key_of(Digest.of(b"another"), ())


def test_fields_cannot_run_into_each_other():
    assert key_of(OP, read(["a", "bc"])) != key_of(OP, read(["ab", "c"]))
