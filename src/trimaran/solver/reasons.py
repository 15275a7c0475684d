"""Why a step's key is another than an earlier one's: the difference of two accounts.

Pure. What changed of the op comes first, then what changed of its inputs, in the order in which the step reads them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

from trimaran.misses import (
    FileChange,
    FilesChanged,
    How,
    InputChange,
    OpChange,
    Reason,
    SecretChange,
    SourceChange,
    SourceReplaced,
    StepChange,
    What,
)
from trimaran.solver.protocols import INSTRUCTION, Account, Aspect, CacheRecord, KeyInput


class ListChange(msgspec.Struct, frozen=True):
    """What differs of a list of files; `besides`: how many of these are no files of the later one."""

    changes: tuple[FileChange, ...]
    besides: int = 0


Files = Mapping[int, ListChange]
"""Per input of the later record: what differs of its list; one that cannot be compared is left out."""
SHOWN = 5
"""Changed files that a reason names."""
_LOCAL = "local://"
_SECRET = "secret "  # noqa: S105 - how a key input is called
_ROOT = "rootfs "
_COPY = "copy "
_IMAGE = "docker-image://"
_SCRATCH = "scratch"
_LINK = "--link"
_ORDER = "order of "
ORDER_OF_FILES = "order of files"
"""How a copy's actions hang together: what is read says it better."""


def difference(now: CacheRecord, earlier: CacheRecord, files: Files) -> tuple[Reason, ...]:
    """Empty when the two have the same key, or differ in what no account says."""
    own, other = now.account or Account(), earlier.account or Account()
    if now.op != earlier.op and instruction(own) != instruction(other):
        return (OpChange(INSTRUCTION),)
    ops = _op_changes(own, other) if now.op != earlier.op else []
    reads = list(_read_changes(now, earlier, files, linked=any(_what(each) == _LINK for each in ops)))
    clear = [each for each in ops if not _what(each).startswith(_ORDER)]
    ops = clear or [each for each in ops if not reads or _what(each) != ORDER_OF_FILES]
    if now.op != earlier.op and not ops and not reads:
        ops = [OpChange("definition")]
    return tuple(dict.fromkeys((*ops, *reads)))


def distance(now: CacheRecord, earlier: CacheRecord) -> int:
    """How many things differ: of several records a step may be an edit of, the nearest one explains it best."""
    ops = _op_changes(now.account or Account(), earlier.account or Account()) if now.op != earlier.op else ()
    return len(ops) + sum(before is None or read.value != before.value for read, before in pairs(now, earlier).values())


def instruction(account: Account) -> str:
    """Of two steps with different ones, neither is an edit of the other."""
    return next((aspect.value for aspect in account.aspects if aspect.kind == INSTRUCTION), "")


def _what(reason: Reason) -> str:
    return reason.what if isinstance(reason, OpChange) else ""


def _op_changes(now: Account, earlier: Account) -> list[Reason]:
    was = {_key(aspect): aspect for aspect in earlier.aspects}
    is_ = {_key(aspect): aspect for aspect in now.aspects}
    found: list[Reason] = []
    for key in dict.fromkeys((*is_, *was)):
        before, after = was.get(key), is_.get(key)
        known = after or before
        if known is not None and (before is None or after is None or before.value != after.value):
            how: How = "added" if before is None else "removed" if after is None else "changed"
            found.append(OpChange(known.kind, known.name, how))
    return found


def _key(aspect: Aspect) -> tuple[str, str]:
    """A build argument is a variable to the process: which of them it is makes no difference."""
    return "variable" if aspect.kind == "argument" else aspect.kind, aspect.name


def pairs(now: CacheRecord, earlier: CacheRecord) -> dict[int, tuple[KeyInput, KeyInput | None]]:
    """Each input of `now` with what it is compared with: what plays the same part; a copy's source by its path, or,
    if that is all that is left of both, the other one."""
    by_part: dict[str, list[KeyInput]] = {}
    for read in earlier.inputs:
        by_part.setdefault(_part(read), []).append(read)
    found: dict[int, tuple[KeyInput, KeyInput | None]] = {}
    for number, read in enumerate(now.inputs):
        same = by_part.get(_part(read))
        found[number] = (read, same.pop(0) if same else None)
    alone = [number for number, (read, before) in found.items() if before is None and read.name.startswith(_COPY)]
    left = [read for reads in by_part.values() for read in reads if read.name.startswith(_COPY)]
    if len(alone) == len(left) == 1:
        found[alone[0]] = (now.inputs[alone[0]], left[0])
    return found


def _part(read: KeyInput) -> str:
    """`copy 0: src` is the copy of src, `mount /m: src` what is shown at /m."""
    part, colon, path = read.name.partition(": ")
    return f"{_COPY}{path}" if colon and part.startswith(_COPY) else part


def path_read(read: KeyInput) -> str:
    """Which path of its input a step reads."""
    return read.name.partition(": ")[2]


def _read_changes(now: CacheRecord, earlier: CacheRecord, files: Files, *, linked: bool) -> Iterator[Reason]:
    compared = pairs(now, earlier)
    for number, (read, before) in compared.items():
        if before is None:
            yield from _new_input(now, read, linked=linked)
        elif read.value != before.value:
            yield from _input_change(number, now, before, earlier.account or Account(), files)
    seen = {before for _, before in compared.values()}
    for before in earlier.inputs:
        if before not in seen:
            yield from _lost_input(earlier, before, linked=linked)
    paths = [[path_read(each) for each in record.inputs if each.name.startswith(_COPY)] for record in (now, earlier)]
    if paths[0] != paths[1] and sorted(paths[0]) == sorted(paths[1]):
        yield OpChange("order of sources")


def _new_input(now: CacheRecord, read: KeyInput, *, linked: bool) -> Iterator[Reason]:
    """What the op's own change does not tell."""
    if read.name.startswith(_SECRET):
        yield SecretChange(read.name.removeprefix(_SECRET), "added")
    elif read.name.startswith(_COPY):
        yield OpChange("source", path_read(read) or ".", "added")
    elif read.name.startswith(_ROOT) and not linked:
        below = _below(now.account or Account(), read.number)
        yield SourceReplaced(_SCRATCH, _plain(below)) if _is_source(below) else StepChange(without_platform(below))


def _lost_input(earlier: CacheRecord, before: KeyInput, *, linked: bool) -> Iterator[Reason]:
    if before.name.startswith(_SECRET):
        yield SecretChange(before.name.removeprefix(_SECRET), "removed")
    elif before.name.startswith(_COPY):
        yield OpChange("source", path_read(before) or ".", "removed")
    elif before.name.startswith(_ROOT) and not linked:
        yield SourceReplaced(_plain(_below(earlier.account or Account(), before.number)), _SCRATCH)


def _other_path(read: KeyInput, before: KeyInput) -> Iterator[Reason]:
    if read.name.startswith(_COPY):
        yield OpChange("source", path_read(read) or ".", "added")
        yield OpChange("source", path_read(before) or ".", "removed")


def _input_change(number: int, now: CacheRecord, old: KeyInput, earlier: Account, files: Files) -> Iterator[Reason]:
    read = now.inputs[number]
    own = now.account or Account()
    after, before = _below(own, read.number), _below(earlier, old.number)
    listed = {each.number: each for each in own.lists}
    what: What = "base" if read.name.startswith(_ROOT) else "source"
    if read.name.startswith(_SECRET):
        yield SecretChange(read.name.removeprefix(_SECRET))
    elif _are_others(after, before):
        yield SourceReplaced(_plain(before), _plain(after), what)
    elif number in listed:
        yield from _files_changed(read, old, listed[number].count, files.get(number), after)
    elif not _is_source(after):
        yield StepChange(without_platform(after)) if after else InputChange(read.name)
    elif not before or after == before:
        yield InputChange(read.name)
    elif not _is_source(before):
        yield SourceReplaced(_plain(before), _plain(after), what)
    else:
        yield SourceChange(split_source(after)[0], split_source(before)[1], split_source(after)[1], what)


def _are_others(after: str, before: str) -> bool:
    """Two sources with different names; folders of the client may be called what they like."""
    both = _is_source(after) and _is_source(before) and not after.startswith(_LOCAL) and not before.startswith(_LOCAL)
    return both and split_source(after)[0] != split_source(before)[0]


def _files_changed(
    read: KeyInput, old: KeyInput, count: int, change: ListChange | None, below: str
) -> Iterator[Reason]:
    """Of another path only if it is nearly the same that is there."""
    change = change or ListChange(())
    total, changed = count + change.besides, len(change.changes)
    if path_read(read) != path_read(old) and not 0 < 2 * changed <= total:
        yield from _other_path(read, old) if read.name.startswith(_COPY) else (OpChange(*_mount(read)),)
        return
    yield FilesChanged(
        source=path_read(read),
        total=total,
        changed=changed,
        files=change.changes[:SHOWN],
        origin="" if below.startswith(_LOCAL) else _plain(below),
    )


def _mount(read: KeyInput) -> tuple[str, str]:
    what, _, where = read.name.partition(": ")[0].partition(" ")
    return what, where


def _below(account: Account, number: int) -> str:
    return account.below[number] if 0 <= number < len(account.below) else ""


def without_platform(name: str) -> str:
    """A step's name as it is on all platforms: `[linux/amd64 build 2/3] RUN make` less the first word."""
    head, space, rest = name.partition(" ")
    return f"[{rest}" if space and head.startswith("[") and "/" in head and "]" not in head else name


def _is_source(below: str) -> bool:
    """A URL; the name of a step may have one in it."""
    scheme, colon, _ = below.partition("://")
    return bool(colon) and scheme.replace("-", "").isalnum()


def _plain(below: str) -> str:
    return split_source(below)[0] if _is_source(below) else without_platform(below)


def split_source(identifier: str) -> tuple[str, str]:
    """A source's URL as a name for people and its pin: `docker-image://docker.io/library/alpine:3@sha256:…`."""
    name = identifier.removeprefix(_IMAGE)
    if name != identifier:
        name, _, pin = name.partition("@")
        for prefix in ("docker.io/library/", "docker.io/"):
            name = name.removeprefix(prefix)
        return name, pin
    name, _, pin = name.partition("#")
    return name, pin
