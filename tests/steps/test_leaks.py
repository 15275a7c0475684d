"""Secrets in what a step prints and in what it leaves: found whole and in pieces, and nothing else is taken for one."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimaran.aio import Cancel
from trimaran.digest import Digest
from trimaran.steps import leaks
from trimaran.steps.masking import MASK, Masking
from trimaran.store.entries import FILE, SYMLINK, Entry, EntryList

TOKEN = b"ghp_0123456789"
KEY = b"-----BEGIN KEY-----\n" + b"A" * 64 + b"\n" + b"B" * 64 + b"\nCC==\n-----END KEY-----\n"


def test_what_is_looked_for():
    assert leaks.needles(b" " + TOKEN + b"\n") == (TOKEN,)
    assert leaks.needles(b"short\n") == ()
    assert leaks.needles(KEY) == (KEY.strip(), b"A" * 64, b"B" * 64)
    plain = b"[global]\nindex-url = https://example.org/a/path/that/is/long/enough/to/be/a/key\n"
    assert leaks.needles(plain) == (plain.strip(),), "lines of a settings file are no keys"


def printed(wanted, pieces):
    told = []
    masking = Masking(wanted, lambda stream, data: told.append((stream, data)))
    for piece in pieces:
        masking(1, piece)
    masking.end()
    assert all(data for _, data in told)
    return b"".join(data for _, data in told)


@given(st.lists(st.sampled_from([TOKEN, TOKEN[:5], TOKEN[5:], b"g", b"\n", b"0123"]), max_size=12), st.integers(1, 20))
def test_no_piece_is_too_small_for_the_mask(words, size):
    text = b"".join(words)
    pieces = [text[at : at + size] for at in range(0, len(text), size)]
    assert printed([TOKEN], pieces) == text.replace(TOKEN, MASK)


@pytest.mark.parametrize("size", range(1, 30))
def test_of_secrets_that_begin_or_end_with_another_no_rest_is_told(size):
    longer, ending = TOKEN + b"-and-more", b"89-and-mine"
    text = b"." + TOKEN + b"." + longer + b"." + TOKEN + b"-and-mine" + b"." + ending + TOKEN
    pieces = [text[at : at + size] for at in range(0, len(text), size)]
    assert printed([TOKEN, longer, ending], pieces) == b".***.***.***-and-mine.******"


def test_only_what_may_be_the_beginning_of_a_secret_waits():
    told = []
    masking = Masking([TOKEN], lambda stream, data: told.append((stream, data)))
    masking(1, b"Password: ")
    masking(2, b"ghp")
    masking(1, b"ghp_01")
    masking(2, b"ost\n")
    assert told == [(1, b"Password: "), (2, b"ghpost\n")]
    masking.end()
    assert told[-1] == (1, b"ghp_01")


@pytest.fixture
def layer(tmp_path):
    files = {
        "etc/netrc": b"machine x password " + TOKEN + b"\n",
        "over/chunks": b"." * ((1 << 20) - 5) + TOKEN + b"." * 9,
        "harmless": TOKEN[:-1],
        "key": b"A" * 64,
    }
    entries = [Entry("link", SYMLINK, target="/tmp/" + TOKEN.decode())]
    for path, data in files.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_bytes(data)
        entries.append(Entry(path, FILE, 0o644, size=len(data), digest=Digest.of(data)))
    return EntryList.of(entries), lambda path: os.open(tmp_path / path, os.O_RDONLY)


def test_files_links_and_what_lies_between_two_reads(layer):
    wanted = {"token": leaks.needles(TOKEN), "key": leaks.needles(KEY), "other": leaks.needles(b"not to be found")}
    found = leaks.search(Cancel(), *layer, wanted)
    assert [(leak.secret, leak.paths) for leak in found] == [
        ("key", ("key",)),
        ("token", ("etc/netrc", "link", "over/chunks")),
    ]
    assert str(found[0]) == "secret key is in the layer of this step: /key"


def test_many_paths_are_counted():
    assert str(leaks.Leak("t", ("a", "b", "c", "d", "e"))).endswith(": /a, /b, /c and 2 more")
