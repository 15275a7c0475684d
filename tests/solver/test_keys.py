from hypothesis import given
from hypothesis import strategies as st

from trimaran.digest import Digest
from trimaran.solver.keys import key_of
from trimaran.solver.protocols import KeyInput

OP = Digest.of(b"op")
inputs = st.lists(st.builds(KeyInput, st.text(max_size=5), st.text(max_size=5)), max_size=4)


@given(inputs, inputs)
def test_different_reads_have_different_keys(one, other):
    assert (key_of(OP, one) == key_of(OP, other)) == (one == other)


def test_the_op_is_in_the_key():
    assert key_of(OP, ()) != key_of(Digest.of(b"another"), ())


def test_fields_cannot_run_into_each_other():
    assert key_of(OP, [KeyInput("a", "bc")]) != key_of(OP, [KeyInput("ab", "c")])
