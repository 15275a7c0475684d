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
from trimaran.solver.reasons import SHOWN, ListChange, difference, split_source, without_platform

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
    "a variable that became an argument": (
        ("variable", "A", "1"),
        ("argument", "A", "2"),
        OpChange("argument", "A"),
    ),
    "the same value by another way": (("variable", "A", "1"), ("argument", "A", "1"), OpChange("definition")),
    "another instruction": (("instruction", "", "1"), ("instruction", "", "2"), OpChange("instruction")),
}


@pytest.mark.parametrize(("before", "after", "reason"), OPS.values(), ids=OPS)
def test_what_changed_of_the_op(before, after, reason):
    assert difference(said(after), said(before), {}) == (reason,)


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
    "a step that names a URL": (
        f"{STEP} https://host/",
        f"{STEP} https://host/",
        StepChange("[build 2/3] RUN make https://host/"),
    ),
    "a base where a step was": (STEP, A, SourceReplaced("[build 2/3] RUN make", "alpine:3")),
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
    assert difference(two, one, {1: ListChange(changes)}) == (reason,)
    (counted,) = difference(two, one, {1: ListChange(changes, besides=2)})
    assert counted == msgspec.structs.replace(reason, total=11), "files that are gone, and folders"
    (unknown,) = difference(two, one, {})
    assert unknown == msgspec.structs.replace(reason, changed=0, files=())


def copies(
    *sources: tuple[str, str], op: str = "op", base: str = "1", aspects=(), below=(A, "local://c")
) -> CacheRecord:
    """A COPY of (path, content)."""
    root = (KeyInput("rootfs 0", base, 0),) if base else ()
    reads = [KeyInput(f"copy {number}: {path}", value, 1) for number, (path, value) in enumerate(sources)]
    lists = [(number, 4) for number in range(len(root), len(root) + len(reads))]
    return record(op, *root, *reads, aspects=aspects, below=below, lists=lists)


LINK = (("--link", "", "no"),), (("--link", "", "yes"),)
ORDER = (("order of files", "", "1"),), (("order of files", "", "2"),)
COPIES = {
    "a source more": (
        copies(("a", "1"), aspects=ORDER[0]),
        copies(("a", "1"), ("b", "2"), op="2", aspects=ORDER[1]),
        (OpChange("source", "b", "added"),),
    ),
    "a source less": (
        copies(("a", "1"), ("b", "2")),
        copies(("b", "2"), op="2"),
        (OpChange("source", "a", "removed"),),
    ),
    "in another order": (
        copies(("a", "1"), ("b", "2")),
        copies(("b", "2"), ("a", "1")),
        (OpChange("order of sources"),),
    ),
    "another path with another content": (
        copies(("a", "1")),
        copies(("b", "2")),
        (OpChange("source", "b", "added"), OpChange("source", "a", "removed")),
    ),
    "another path that has the same": (copies(("a", "1"), base="0"), copies(("b", "1")), (InputChange("rootfs 0"),)),
    "on a base for the first time": (
        copies(("a", "1"), base="", aspects=ORDER[0]),
        copies(("a", "1"), op="2", aspects=ORDER[1]),
        (SourceReplaced("scratch", "alpine:3"),),
    ),
    "on a step for the first time": (
        copies(("a", "1"), base=""),
        copies(("a", "1"), op="2", below=(STEP, "local://c")),
        (StepChange("[build 2/3] RUN make"),),
    ),
    "on nothing any more": (
        copies(("a", "1")),
        copies(("a", "1"), base="", op="2"),
        (SourceReplaced("alpine:3", "scratch"),),
    ),
    "by --link": (
        copies(("a", "1"), aspects=LINK[0]),
        copies(("a", "1"), base="", op="2", aspects=LINK[1]),
        (OpChange("--link"),),
    ),
    "from another image": (
        copies(("a", "1"), below=(A, A)),
        copies(("a", "2"), below=(A, A.replace("alpine", "debian"))),
        (SourceReplaced("alpine:3", "debian:3", "source"),),
    ),
}


@pytest.mark.parametrize(("before", "after", "reasons"), COPIES.values(), ids=COPIES)
def test_what_changed_of_a_copy(before, after, reasons):
    assert difference(after, before, {}) == reasons


def test_another_folder_shown_at_the_same_place():
    one = record("op", KeyInput("mount /m: a", "1", 0), below=("local://c",), lists=[(0, 4)])
    two = record("op", KeyInput("mount /m: b", "2", 0), below=("local://c",), lists=[(0, 4)])
    assert difference(two, one, {}) == (OpChange("mount", "/m"),)


def test_secrets_are_told_by_name():
    one = record("op", KeyInput("secret s", "1"))
    two = record("op", KeyInput("secret s", "2"))
    assert difference(two, one, {}) == (SecretChange("s"),)
    assert difference(two, record("op"), {}) == (SecretChange("s", "added"),)
    assert difference(record("op"), two, {}) == (SecretChange("s", "removed"),)


def test_a_copy_from_a_folder_that_was_moved_is_compared_with_it():
    one = record("op", KeyInput("copy 0: old", "1", 0), below=("local://context",), lists=[(0, 3)])
    two = record("op", KeyInput("copy 0: new", "2", 0), below=("local://context",), lists=[(0, 3)])
    change = (FileChange("new/f", "content"),)
    assert difference(two, one, {0: ListChange(change)}) == (FilesChanged("new", 3, 1, change),)


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
