"""What differs between two accounts, as reasons: a table."""

from __future__ import annotations

import msgspec
import pytest

from trimaran.digest import Digest
from trimaran.misses import (
    FileChange,
    FilesChanged,
    InputChange,
    OpChange,
    SecretChange,
    SourceChange,
    SourceReplaced,
    StepChange,
)
from trimaran.solver.protocols import Account, Aspect, CacheRecord, KeyInput, ReadList
from trimaran.solver.reasons import SHOWN, difference, split_source, without_platform

A, B = (f"docker-image://docker.io/library/alpine:3@sha256:{letter * 64}" for letter in "ab")
STEP = "[linux/amd64 build 2/3] RUN make"
COPY = "copy 0: src"


def record(op: str = "op", *reads: KeyInput, aspects=(), below=(), lists=()) -> CacheRecord:
    account = Account(
        aspects=tuple(Aspect(kind, name, value) for kind, name, value in aspects),
        below=below,
        lists=tuple(ReadList(number, b"top", count) for number, count in lists),
    )
    return CacheRecord(
        key=Digest.of(repr((op, reads)).encode()), op=Digest.of(op.encode()), inputs=reads, results=(), account=account
    )


def said(*aspects: tuple[str, str, str]) -> CacheRecord:
    return record(repr(aspects), KeyInput("rootfs 0", "1", 0), aspects=aspects, below=(A,))


OPS = {
    "command": (("command", "", "1"), ("command", "", "2"), OpChange("command")),
    "argument": (("argument", "A", "1"), ("argument", "A", "2"), OpChange("argument", "A")),
    "moved": (("variable", "A", "1"), ("argument", "A", "1"), None),
}


@pytest.mark.parametrize(("before", "after", "reason"), OPS.values(), ids=OPS)
def test_what_changed_of_the_op(before, after, reason):
    expected = (reason,) if reason else (OpChange("argument", "A", "added"), OpChange("variable", "A", "removed"))
    assert difference(said(after), said(before), {}) == expected


def test_an_op_that_changed_in_what_has_no_name_changed_all_the_same():
    assert difference(record("one"), record("other"), {}) == (OpChange("definition"),)
    order = (("order of variables", "", "1"),), (("order of variables", "", "2"),)
    assert difference(said(*order[1]), said(*order[0]), {}) == (OpChange("order of variables"),)


def test_the_order_of_variables_is_no_news_when_one_was_added():
    one = said(("variable", "A", "1"), ("order of variables", "", "1"))
    two = said(("variable", "A", "1"), ("variable", "B", "1"), ("order of variables", "", "2"))
    assert difference(two, one, {}) == (OpChange("variable", "B", "added"),)


BELOW = {
    "a base that moved": (A, B, SourceChange("alpine:3", f"sha256:{'a' * 64}", f"sha256:{'b' * 64}")),
    "another base": (A, B.replace("alpine", "debian"), SourceReplaced("alpine:3", "debian:3")),
    "a step": (STEP, STEP, StepChange("[build 2/3] RUN make")),
    "a step where a base was": (A, STEP, StepChange("[build 2/3] RUN make")),
    "the same base with other layers": (A, A, InputChange("rootfs 0")),
    "nothing known": ("", "", InputChange("rootfs 0")),
}


@pytest.mark.parametrize(("before", "after", "reason"), BELOW.values(), ids=BELOW)
def test_what_is_below(before, after, reason):
    one = record("op", KeyInput("rootfs 0", "1", 0), below=(before,))
    two = record("op", KeyInput("rootfs 0", "2", 0), below=(after,))
    assert difference(two, one, {}) == (reason,)
    assert difference(two, two, {}) == ()


def test_the_same_input_read_twice_is_said_once():
    one = record("op", KeyInput("rootfs 0", "1", 0), KeyInput("mount /m: ", "1", 0), below=(STEP,))
    two = record("op", KeyInput("rootfs 0", "2", 0), KeyInput("mount /m: ", "2", 0), below=(STEP,))
    assert len(difference(two, one, {})) == 1


@pytest.mark.parametrize(
    ("below", "origin"), [("local://context", ""), (STEP, "[build 2/3] RUN make"), (A, "alpine:3")]
)
def test_files(below, origin):
    one = record("op", KeyInput("rootfs 0", "1", 0), KeyInput(COPY, "1", 1), below=(A, below), lists=[(1, 8)])
    two = record("op", KeyInput("rootfs 0", "1", 0), KeyInput(COPY, "2", 1), below=(A, below), lists=[(1, 9)])
    changes = tuple(FileChange(f"f{number}", "content") for number in range(SHOWN + 2))
    reason = FilesChanged("src", 9, SHOWN + 2, changes[:SHOWN], origin)
    assert difference(two, one, {1: changes}) == (reason,)
    (unknown,) = difference(two, one, {})
    assert unknown == msgspec.structs.replace(reason, changed=0, files=())


def test_secrets_are_told_by_name():
    one = record("op", KeyInput("secret s", "1"))
    two = record("op", KeyInput("secret s", "2"))
    assert difference(two, one, {}) == (SecretChange("s"),)
    assert difference(two, record("op"), {}) == (SecretChange("s"),), "it was not given before"


def test_a_copy_from_a_folder_that_was_moved_is_compared_with_it():
    one = record("op", KeyInput("copy 0: old", "1", 0), below=("local://context",), lists=[(0, 1)])
    two = record("op", KeyInput("copy 0: new", "2", 0), below=("local://context",), lists=[(0, 1)])
    change = (FileChange("f", "content"),)
    assert difference(two, one, {0: change}) == (FilesChanged("new", 1, 1, change),)


def test_records_without_accounts_can_be_compared():
    bare = CacheRecord(key=Digest.of(b"1"), op=Digest.of(b"op"), inputs=(KeyInput("rootfs 0", "1"),), results=())
    assert difference(msgspec.structs.replace(bare, inputs=(KeyInput("rootfs 0", "2"),)), bare, {}) == (
        InputChange("rootfs 0"),
    )


def test_names():
    assert split_source("docker-image://ghcr.io/a/b:1@sha256:c") == ("ghcr.io/a/b:1", "sha256:c")
    assert split_source("docker-image://docker.io/a/b:1") == ("a/b:1", "")
    assert split_source("git://host/a#main") == ("git://host/a", "main")
    assert without_platform("[linux/amd64->arm64 build 2/3] RUN x") == "[build 2/3] RUN x"
    assert without_platform("[build 2/3] RUN x") == "[build 2/3] RUN x"
    assert without_platform("RUN a/b c") == "RUN a/b c"
