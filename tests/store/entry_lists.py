"""Random entry lists for the laws of the store."""

from __future__ import annotations

import msgspec
from hypothesis import strategies as st

from trimaran.digest import Digest
from trimaran.store.entries import (
    BLOCK,
    CHARACTER,
    FIFO,
    FILE,
    FOLDER,
    HARDLINK,
    SYMLINK,
    WHITEOUT,
    Entry,
    EntryList,
    order,
)

NAMES = ["a", "b", "a.b", "a-b", "ä", "\udcff", "x" * 120, "c\nd", "e f", "…"]
OWNERS = st.sampled_from([0, 1000, 65534, 2_097_152])
MODES = st.sampled_from([0o644, 0o755, 0o600, 0o4755, 0o2755, 0o1777, 0])
TIMES = st.sampled_from([0, 10**18, 10**18 + 123_456_789, 2**31 * 10**9, 1])
CAPABILITY = bytes.fromhex("0100000200040000000000000000000000000000")[:20]
XATTRS = st.sampled_from([(), (), (("security.capability", CAPABILITY),)])


def contents(seed: int) -> bytes:
    return bytes([seed % 251]) * (seed * 397 % 3001)


@st.composite
def entry_lists(draw, *, whiteouts=True, devices=True, opaque=False, links=True, root=True, max_size=25, names=NAMES):
    """(EntryList with digests, {path: content})."""
    data: dict[str, bytes] = {}
    entries: dict[str, Entry] = {}
    folders = [""]
    kinds = [FILE, FILE, FOLDER, FOLDER, SYMLINK, FIFO]
    if whiteouts:
        kinds.append(WHITEOUT)
    if devices:
        kinds += [CHARACTER, BLOCK]
    if links:
        kinds += [HARDLINK]
    files: list[str] = []
    unlisted: set[str] = set()
    if root and draw(st.booleans()):
        entries[""] = Entry("", FOLDER, draw(MODES), draw(OWNERS), draw(OWNERS), draw(TIMES))
    for _ in range(draw(st.integers(0, max_size))):
        folder = draw(st.sampled_from(folders))
        name = draw(st.sampled_from(names))
        path = f"{folder}/{name}" if folder else name
        if path in entries or path in unlisted or any(p.startswith(path + "/") for p in entries):
            continue
        kind = draw(st.sampled_from(kinds))
        entry = Entry(path, kind, draw(MODES), draw(OWNERS), draw(OWNERS), draw(TIMES))
        fields = {f: getattr(entry, f) for f in entry.__struct_fields__}
        if kind == FILE:
            data[path] = contents(draw(st.integers(0, 255)))
            fields |= {"size": len(data[path]), "digest": Digest.of(data[path]), "xattrs": draw(XATTRS)}
            files.append(path)
        elif kind == FOLDER:
            folders.append(path)
            if draw(st.integers(0, 4)) == 0:  # left out: implied as soon as something is in it
                unlisted.add(path)
                continue
        elif kind == SYMLINK:
            fields |= {"target": draw(st.sampled_from(["a", "../..", "/a/b", "b/../a", "ä" * 80, "\udcfe"]))}
        elif kind in (CHARACTER, BLOCK):
            fields |= {"major": draw(st.integers(1, 200)), "minor": draw(st.integers(0, 255))}
        elif kind == HARDLINK:
            if not files:
                continue
            fields |= {"target": draw(st.sampled_from(files))}
        entries[path] = Entry(**fields)
    listed = links_first(entries.values())
    # a link that became the file takes the content along
    moved = {e.path: data[e.path if e.path in data else entries[e.path].target] for e in listed if e.kind == FILE}
    hiding = [f for f in folders if f and opaque and draw(st.integers(0, 3)) == 0]
    return EntryList.of(listed, hiding), moved


def links_first(entries):
    """Make the first name (in tree order) of every hard-linked file the FILE entry and the others links to it."""
    by_path = {entry.path: entry for entry in entries}
    names = {}
    for entry in list(by_path.values()):
        if entry.kind == HARDLINK:
            names.setdefault(entry.target, [entry.target]).append(entry.path)
    for target, group in names.items():
        file, first = by_path[target], min(group, key=order)
        for name in group:
            by_path[name] = msgspec.structs.replace(file, path=name, kind=HARDLINK, target=first, size=0, digest="")
        by_path[first] = msgspec.structs.replace(file, path=first)
    return list(by_path.values())
