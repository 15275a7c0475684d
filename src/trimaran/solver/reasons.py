"""Why a step's key is another than an earlier one's: the difference of two accounts.

Pure. What changed of the op comes first, then what changed of its inputs, in the order in which the step reads them.
"""

from __future__ import annotations

from collections.abc import Mapping

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
)
from trimaran.solver.protocols import Account, CacheRecord, KeyInput

Files = Mapping[int, tuple[FileChange, ...]]
"""Per input of the later record: what differs of its list; one that cannot be compared is left out."""
SHOWN = 5
"""Changed files that a reason names."""
_LOCAL = "local://"
_SECRET = "secret "  # noqa: S105 - how a key input is called
_IMAGE = "docker-image://"


def difference(now: CacheRecord, earlier: CacheRecord, files: Files) -> tuple[Reason, ...]:
    """Empty when the two have the same key, or differ in what no account says."""
    found: list[Reason] = []
    if now.op != earlier.op:
        found += op_changes(now.account or Account(), earlier.account or Account())
    for number, (read, before) in pairs(now, earlier).items():
        if before is not None and read.value == before.value:
            continue
        reason = _input_change(number, now, earlier, files) if before is not None else _new_input(read)
        if reason is not None:
            found.append(reason)
    return tuple(dict.fromkeys(found))


def distance(now: CacheRecord, earlier: CacheRecord) -> int:
    """How many things differ: of several records a step may be an edit of, the nearest one explains it best."""
    ops = op_changes(now.account or Account(), earlier.account or Account()) if now.op != earlier.op else ()
    return len(ops) + sum(before is None or read.value != before.value for read, before in pairs(now, earlier).values())


def op_changes(now: Account, earlier: Account) -> list[Reason]:
    """At least one: an op that is another, and says the same, changed in what has no name."""
    was = {(aspect.kind, aspect.name): aspect.value for aspect in earlier.aspects}
    is_ = {(aspect.kind, aspect.name): aspect.value for aspect in now.aspects}
    found: list[Reason] = []
    for kind, name in dict.fromkeys((*is_, *was)):
        before, after = was.get((kind, name)), is_.get((kind, name))
        if before != after:
            how: How = "added" if before is None else "removed" if after is None else "changed"
            found.append(OpChange(kind, name, how))
    own = [each for each in found if isinstance(each, OpChange) and each.what != "order of variables"]
    return list(own or found or [OpChange("definition")])


def pairs(now: CacheRecord, earlier: CacheRecord) -> dict[int, tuple[KeyInput, KeyInput | None]]:
    """Each input of `now` with what it is compared with: the same place of the same op, else what has the same name."""
    if now.op == earlier.op and len(now.inputs) == len(earlier.inputs):
        return dict(enumerate(zip(now.inputs, earlier.inputs, strict=True)))
    by_name = {read.name: read for read in earlier.inputs}
    return {number: (read, by_name.get(read.name)) for number, read in enumerate(now.inputs)}


def _new_input(read: KeyInput) -> Reason | None:
    """What the op's own change does not tell."""
    return SecretChange(read.name.removeprefix(_SECRET)) if read.name.startswith(_SECRET) else None


def _input_change(number: int, now: CacheRecord, earlier: CacheRecord, files: Files) -> Reason:
    read = now.inputs[number]
    if read.name.startswith(_SECRET):
        return SecretChange(read.name.removeprefix(_SECRET))
    own = now.account or Account()
    after, before = _below(own, read.number), _below(earlier.account or Account(), read.number)
    listed = {each.number: each for each in own.lists}
    if number in listed:
        changed = files.get(number, ())
        return FilesChanged(
            source=read.name.partition(": ")[2],
            total=listed[number].count,
            changed=len(changed),
            files=changed[:SHOWN],
            origin="" if after.startswith(_LOCAL) else _plain(after),
        )
    if "://" not in after:
        return StepChange(without_platform(after)) if after else InputChange(read.name)
    if "://" not in before or after == before:
        return (
            InputChange(read.name) if after == before or not before else SourceReplaced(_plain(before), _plain(after))
        )
    name, pin = split_source(after)
    name_before, pin_before = split_source(before)
    return SourceChange(name, pin_before, pin) if name == name_before else SourceReplaced(name_before, name)


def _below(account: Account, number: int) -> str:
    return account.below[number] if 0 <= number < len(account.below) else ""


def without_platform(name: str) -> str:
    """A step's name as it is on all platforms: `[linux/amd64 build 2/3] RUN make` less the first word."""
    head, space, rest = name.partition(" ")
    return f"[{rest}" if space and head.startswith("[") and "/" in head and "]" not in head else name


def _plain(below: str) -> str:
    return split_source(below)[0] if "://" in below else without_platform(below)


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
