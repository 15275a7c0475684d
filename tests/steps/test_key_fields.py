"""That nothing is forgotten in keys: each field of each op, entry, flag, mount option and build option has to be there,
or to be named here with the reason why it is not. A new one without a word fails these tests.
"""

from __future__ import annotations

import re
import sys
from enum import IntEnum

import msgspec
import pytest

sys.path.insert(0, __file__.rpartition("/")[0])
from key_cases import BOUND, CHANGES, SAME, VARIANTS

from trimaran.digest import Digest
from trimaran.dockerfile.flags import FLAGS
from trimaran.dockerfile.mounts import KEYS
from trimaran.dockerfile.parse import KEYWORDS
from trimaran.graph import ops
from trimaran.graph.frontend import FrontendRequest
from trimaran.graph.ops import (
    CacheOptions,
    Constraints,
    CopyAction,
    DiffOp,
    ExecMeta,
    ExecOp,
    FileAction,
    FileOp,
    HostIP,
    MergeOp,
    MkDirAction,
    MkFileAction,
    Mount,
    NamedUser,
    Owner,
    RmAction,
    SecretEnv,
    SecretOptions,
    SshOptions,
    SymlinkAction,
    Ulimit,
)
from trimaran.platforms import Platform
from trimaran.steps import select
from trimaran.steps.aspects import aspects
from trimaran.steps.identity import exec_op_identity, file_op_identity, plain_identity
from trimaran.store.entries import CHARACTER, FILE, FOLDER, SYMLINK, Entry, EntryList
from trimaran.store.tree import Tree

HOST = Platform("linux", "arm", "v7", "1", ("f",))
NAMED = NamedUser("n", 0)
OWNER = Owner(NAMED, NAMED)
MOUNT = Mount(
    input=0,
    selector="s",
    dest="/m",
    output=0,
    tmpfs_size=1,
    cache=CacheOptions("c"),
    secret=SecretOptions("s", 1, 1, 1),
    ssh=SshOptions("a", 1, 1, 1),
    result_id="r",
    content_cache=1,
)
COPY = CopyAction(
    src="s",
    dest="/d",
    owner=OWNER,
    mode_text="u+x",
    include_patterns=("i",),
    exclude_patterns=("e",),
    required_paths=("r",),
)
SAMPLES = {
    ExecOp: ExecOp(
        meta=ExecMeta(
            args=("a",),
            env=("A=1",),
            user="u",
            proxy_env=(("HTTP_PROXY", "p"),),
            extra_hosts=(HostIP("h", "1"),),
            hostname="h",
            ulimits=(Ulimit("n", 1, 1),),
            cgroup_parent="c",
            valid_exit_codes=(1,),
        ),
        mounts=(MOUNT,),
        secret_env=(SecretEnv("s", "S"),),
        cdi_devices=(("d", True),),
    ),
    FileOp: FileOp(
        (
            FileAction(work=COPY),
            FileAction(work=MkFileAction(path="/f", data=b"d", owner=OWNER)),
            FileAction(work=MkDirAction(path="/d", owner=OWNER)),
            FileAction(work=RmAction(path="/r")),
            FileAction(work=SymlinkAction(old_path="o", new_path="n", owner=OWNER)),
        )
    ),
    MergeOp: MergeOp((0, 1)),
    DiffOp: DiffOp(0, 1),
    Constraints: Constraints(platform=HOST, filter=("f",)),
}
NOT_TRIED = {
    "SourceOp": "a source is asked what it is now by every build; what it gives is read by content or id",
    "Owner": "its parts are",
}
NOT_IN_KEYS = {
    "ExecMeta.proxy_env": "how the network is reached is no part of the result (BuildKit too)",
    "HostIP.ip": "an address may change with the network (BuildKit too)",
    "CacheOptions.id": "what is in a cache is no part of the result, nor which one it is (BuildKit too)",
    "CacheOptions.sharing": "the same",
    "CopyAction.src": "what is found there is read: see `select.digest`",
    "Mount.selector": "the same: see `mounts.reads`",
    "Platform.os_version": "Linux has none",
    "Platform.os_features": "the same",
    "Constraints.filter": "it chooses a machine, not a result",
}
UNNAMED = {"Mount.input": "what is read says it"}
"""Fields in keys of which no aspect tells."""


def identity(op: object) -> Digest:
    if isinstance(op, ExecOp):
        return exec_op_identity(op, HOST)
    if isinstance(op, FileOp):
        return file_op_identity(op)
    if isinstance(op, Constraints):
        return exec_op_identity(SAMPLES[ExecOp], op.platform)
    return plain_identity(type(op).__name__.encode(), op)


def changed(value: object) -> object:
    """Another value of the same kind. What is empty or None must be given a value in the samples above."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, IntEnum):
        return next(each for each in type(value) if each != value)
    if isinstance(value, int):
        return value + 1
    if isinstance(value, str | bytes):
        return value + (b"x" if isinstance(value, bytes) else "x")
    assert value, "a field without a value in SAMPLES cannot be tried"
    assert isinstance(value, tuple)
    return value[:-1]


def fields(value: object, rebuild=lambda changed: changed):
    """("Mount.dest", the whole op with that one changed) of a struct and all below it."""
    for field in getattr(value, "__struct_fields__", ()):
        old = getattr(value, field)

        def with_new(new, field=field):
            return rebuild(msgspec.structs.replace(value, **{field: new}))

        if not isinstance(old, msgspec.Struct):
            yield f"{type(value).__name__}.{field}", (old, with_new)
        if isinstance(old, tuple):
            for number, each in enumerate(old):
                yield from fields(each, lambda new, n=number, old=old, w=with_new: w((*old[:n], new, *old[n + 1 :])))
        else:
            yield from fields(old, with_new)


ALL = [(name, op, change) for op in SAMPLES.values() for name, change in fields(op)]


@pytest.mark.parametrize(("name", "op", "change"), ALL, ids=[name for name, *_ in ALL])
def test_each_field_of_each_op_is_in_the_key_or_says_why_not(name, op, change):
    old, whole = change
    other = whole(changed(old))
    assert (identity(other) != identity(op)) == (name not in NOT_IN_KEYS)
    if isinstance(op, ExecOp | FileOp) and identity(other) != identity(op):
        told = aspects(other, HOST) != aspects(op, HOST)
        assert told == (name not in UNNAMED), "what is in the key can be told when it changes"


def test_every_op_is_tried():
    every = {name for name, each in vars(ops).items() if isinstance(each, type) and issubclass(each, msgspec.Struct)}
    tried = {name.partition(".")[0] for name, *_ in ALL}
    assert every | {"Platform"} == tried | set(NOT_TRIED)
    assert {name for name, *_ in ALL} >= {*NOT_IN_KEYS, *UNNAMED}


ENTRIES = {
    FILE: Entry("d/p", FILE, 0o644, 1, 1, 1, 1, xattrs=(("security.capability", b"c"),), digest="sha256:1"),
    SYMLINK: Entry("d/p", SYMLINK, 0o777, 1, 1, 1, target="t"),
    CHARACTER: Entry("d/p", CHARACTER, 0o644, 1, 1, 1, major=1, minor=1),
    FOLDER: Entry("d/p", FOLDER, 0o755, 1, 1, 1),
}
OF_ENTRIES = {
    FILE: {"path", "kind", "mode", "uid", "gid", "xattrs", "digest"},
    SYMLINK: {"path", "kind", "uid", "gid", "target"},
    CHARACTER: {"path", "kind", "mode", "uid", "gid", "major", "minor"},
    FOLDER: {"path", "kind", "mode", "uid", "gid"},
}
NOT_OF_ENTRIES = {"mtime": "times do not count", "size": "the content has it", "mode": "a symlink has none"}


def read(*entries: Entry, folders: select.Folders = "content") -> Digest:
    tree = Tree.stack([EntryList.of([Entry("d", FOLDER, 0o755), *entries])])
    contents = {entry.path: entry.digest for entry in entries if entry.kind == FILE}
    return select.digest(tree, [select.at(tree, "d")], contents, folders)


@pytest.mark.parametrize("kind", ENTRIES)
@pytest.mark.parametrize("field", Entry.__struct_fields__)
def test_each_field_of_an_entry_is_in_what_a_copy_reads_or_says_why_not(kind, field):
    entry = ENTRIES[kind]
    value = getattr(entry, field)
    if not value:
        assert field not in OF_ENTRIES[kind], "only what such a thing can have"
        return
    other = "fifo" if field == "kind" else changed(value)
    counts = read(msgspec.structs.replace(entry, **{field: other})) != read(entry)
    assert counts == (field in OF_ENTRIES[kind])
    assert counts or field in NOT_OF_ENTRIES


def test_what_counts_of_the_folder_itself():
    entries = [Entry("d", FOLDER, mode, uid, 0) for mode, uid in ((0o755, 0), (0o700, 0), (0o755, 1))]
    for folders, count in (("content", 1), ("whole", 3), ("named", 3)):
        trees = [Tree.stack([EntryList.of([entry])]) for entry in entries]
        assert len({select.digest(tree, [select.at(tree, "d")], {}, folders) for tree in trees}) == count


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("ab", "c"), ("a", "bc")),
        (("a",), ("a", "a ")),
        (("a\n",), ("a",)),
        (("\udcff",), ("\udcfe",)),
        (("\u00e9",), ("e\u0301",)),  # composed and not
        (("A",), ("a",)),
    ],
)
def test_names_are_bytes_and_no_two_lists_are_read_as_one(one, other):
    def listed(names):
        return read(*(Entry(f"d/{name}", FILE, 0o644, digest="sha256:1") for name in names))

    assert listed(one) != listed(other)


ROWS = {*CHANGES, *SAME, *VARIANTS, *(f"bound {name}" for name in BOUND)}
FLAG_ROWS = {
    "ADD --checksum": "the source is asked for it",
    "ADD --keep-git-dir": "the source is",
    "ADD --unpack": "ADD --unpack",
    "COPY --from": "COPY --from another path",
    "FROM --platform": "the platform of another stage",
    "HEALTHCHECK": "settings of the image",
    "RUN --device": "refused",
    "RUN --mount": "a bind mount",
}


def test_every_flag_of_an_instruction_is_tried():
    for keyword, flags in FLAGS.items():
        for flag in flags:
            same_as_copy = f"{keyword.replace('ADD', 'COPY')} --{flag}"
            row = FLAG_ROWS.get(f"{keyword} --{flag}") or FLAG_ROWS.get(keyword) or same_as_copy
            elsewhere = row.startswith("the source") or row == "refused"
            assert row in ROWS or elsewhere, f"{keyword} --{flag} is in no row of test_key_mutations.py"


INSTRUCTIONS_OF_THE_IMAGE = set("CMD ENTRYPOINT EXPOSE HEALTHCHECK LABEL MAINTAINER ONBUILD STOPSIGNAL VOLUME".split())


def test_every_instruction_is_tried():
    texts = " ".join(getattr(each, "text", "") for each in SAME.values())
    assert all(re.search(rf"(?m)^{each}\b", texts) for each in INSTRUCTIONS_OF_THE_IMAGE)
    changing = " ".join([*CHANGES, *(getattr(case, "text", "") for case, _ in CHANGES.values())])
    for keyword in set(KEYWORDS) - INSTRUCTIONS_OF_THE_IMAGE:
        assert re.search(rf"\b{keyword}\b", changing), f"{keyword} is in no row of test_key_mutations.py"


MOUNT_ALIASES = {"src": "source", "dst": "target", "destination": "target", "ro": "readonly", "readwrite": "rw"}
MOUNT_DEFAULTS = {"readonly": "binds are read-only; caches and tmpfs are not, which `rw` tries", "gid": "as uid"}


def test_every_option_of_a_mount_is_tried():
    texts = " ".join(f"{one} {other}" for one, other, _ in VARIANTS.values())
    for key in KEYS:
        name = MOUNT_ALIASES.get(key, key)
        assert re.search(rf"[=,]{name}\b", texts) or name in MOUNT_DEFAULTS, f"--mount={key}= is in no row"


OPTIONS_ELSEWHERE = {
    "as its fields say": ("graphs", "subrequest", "source_date_epoch", "reproducible"),
    "where files come from, not what they are": (
        *("filename", "dockerfile_local", "context_local", "context_url", "context_is_archive", "context_subdir"),
        *("dockerfile_is_local", "named_contexts"),
    ),
    "which steps there are": ("target", "no_cache_stages", "build_platform", "multi_platform"),
}


def test_every_option_of_a_build_is_tried():
    cases = [*SAME.values(), *(case for case, _ in CHANGES.values())]
    tried = {name for case in cases for name in getattr(case, "options", {})} - {"ignore"}
    assert tried | {name for names in OPTIONS_ELSEWHERE.values() for name in names} == set(
        FrontendRequest.__struct_fields__
    )
