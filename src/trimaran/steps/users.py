"""Who a USER or --chown value means, read from a rootfs's own passwd and group files.

Pure. The rules are moby/sys/user's: a number wins over a name only where no name matches; a number found in passwd
takes that line's group. Files come from images: sizes are bounded by the reader, broken lines are skipped (T19b).
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from trimaran.errors import NotFound, UsageError
from trimaran.store.entries import Entry
from trimaran.store.tree import Tree

HIGHEST_ID = (1 << 31) - 1


class Identity(msgspec.Struct, frozen=True):
    uid: int = 0
    gid: int = 0
    additional_gids: tuple[int, ...] = ()
    is_known: bool = True
    """Whether passwd has a line for the user."""


def foreign_owner(tree: Tree) -> Entry | None:
    """Something that belongs to anybody but root."""
    return next((entry for layer in tree.layers for entry in layer if entry.uid or entry.gid), None)


def exec_identity(text: str, passwd: bytes, group: bytes) -> Identity:
    """Whom a process of `USER text` runs as; `text` is `user`, `user:group`, or empty for root."""
    user_text, has_group, group_text = text.partition(":")
    name, uid, gid = _user(user_text or "0", passwd)
    if has_group and group_text:
        gid = group_id(group_text, group)
        return Identity(uid, gid, (gid,), bool(name))
    extra = [number for _, number, members in _groups(group) if name and name in members]
    # The primary group too: a process could drop it else, and with it what is denied to that group (CVE-2023-25173).
    return Identity(uid, gid, tuple(dict.fromkeys((*extra, gid))), bool(name))


def user_id(text: str, passwd: bytes) -> tuple[int, int]:
    """uid and gid of a user named in a --chown without a group."""
    _, uid, gid = _user(text, passwd)
    return uid, gid


def group_id(text: str, group: bytes) -> int:
    for name, number, _ in _groups(group):
        if name == text:
            return number
    if text.isascii() and text.isdigit():
        return _checked(int(text), text)
    raise NotFound(f"look up group {text!r}: no such group in the image's /etc/group", hint="use a number, or add it")


def _user(text: str, passwd: bytes) -> tuple[str, int, int]:
    number = int(text) if text.isascii() and text.isdigit() else None
    by_number = None
    for name, uid, gid in _users(passwd):
        if name == text:
            return name, uid, gid
        if by_number is None and uid == number:
            by_number = (name, uid, gid)
    if by_number is not None:
        return by_number
    if number is not None:
        return "", _checked(number, text), 0
    raise NotFound(f"look up user {text!r}: no such user in the image's /etc/passwd", hint="use a number, or add it")


def _checked(number: int, text: str) -> int:
    if number > HIGHEST_ID:
        raise UsageError(f"read user or group id {text}: ids go from 0 to {HIGHEST_ID}")
    return number


def _users(passwd: bytes) -> Iterator[tuple[str, int, int]]:
    for line in passwd.split(b"\n"):
        fields = line.decode("utf-8", "replace").strip().split(":")
        if len(fields) >= 4 and fields[2].isdigit() and fields[3].isdigit():
            uid, gid = int(fields[2]), int(fields[3])
            if uid <= HIGHEST_ID and gid <= HIGHEST_ID:
                yield fields[0], uid, gid


def _groups(group: bytes) -> Iterator[tuple[str, int, tuple[str, ...]]]:
    for line in group.split(b"\n"):
        fields = line.decode("utf-8", "replace").strip().split(":")
        if len(fields) >= 3 and fields[2].isdigit() and int(fields[2]) <= HIGHEST_ID:
            yield fields[0], int(fields[2]), tuple(fields[3].split(",")) if len(fields) > 3 else ()
