"""Ranges of subordinate users and groups: /etc/subuid and /etc/subgid, the maps made of them, and our umask."""

from __future__ import annotations

import os

import msgspec


class IdRange(msgspec.Struct, frozen=True):
    """One line of a uid_map or gid_map: `length` ids from `inside` on are those from `outside` on."""

    inside: int
    outside: int
    length: int

    def __str__(self) -> str:
        return f"{self.inside} {self.outside} {self.length}"


def parse_subordinate(text: str, name: str, uid: int) -> tuple[tuple[int, int], ...]:
    """The (start, length) ranges that belong to the account, by name or number (subuid(5)); bad lines are skipped."""
    ranges = []
    for line in text.splitlines():
        fields = line.strip().split(":")
        if len(fields) != 3 or fields[0] not in {name, str(uid)}:
            continue
        if fields[1].isdigit() and fields[2].isdigit() and int(fields[2]) > 0:
            ranges.append((int(fields[1]), int(fields[2])))
    return tuple(ranges)


def subordinate(path: str, name: str, uid: int) -> tuple[tuple[int, int], ...]:
    """`parse_subordinate` of a file; no file, no ranges."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return parse_subordinate(file.read(), name, uid)
    except OSError:
        return ()


def id_map(own: int, ranges: tuple[tuple[int, int], ...]) -> tuple[IdRange, ...]:
    """0 is the account itself, 1 and up are its subordinate ids in the order of the file."""
    result = [IdRange(0, own, 1)]
    following = 1
    for start, length in ranges:
        result.append(IdRange(following, start, length))
        following += length
    return tuple(result)


def parse_id_map(text: str) -> tuple[IdRange, ...]:
    """The content of /proc/PID/uid_map or gid_map."""
    return tuple(IdRange(*(int(word) for word in line.split())) for line in text.splitlines() if line.strip())


def current_maps() -> tuple[tuple[IdRange, ...], tuple[IdRange, ...]]:
    """The maps (users, groups) of the namespace this process is in."""
    maps = []
    for name in ("uid_map", "gid_map"):
        with open(f"/proc/self/{name}", encoding="ascii") as file:
            maps.append(parse_id_map(file.read()))
    return maps[0], maps[1]


def outside(maps: tuple[IdRange, ...], number: int) -> int:
    """What an id of this namespace is in the one around it; itself where it is not mapped."""
    for entry in maps:
        if entry.inside <= number < entry.inside + entry.length:
            return entry.outside + number - entry.inside
    return number


def several(users: tuple[IdRange, ...]) -> bool:
    """Whether there are more users than one."""
    return sum(entry.length for entry in users) > 1


def is_mapped(maps: tuple[IdRange, ...], number: int) -> bool:
    """Whether the id exists inside."""
    return any(entry.inside <= number < entry.inside + entry.length for entry in maps)


def account_name(uid: int) -> str:
    """The account's name, or its number where there is none."""
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def own_subordinates() -> tuple[tuple[tuple[int, int], ...], tuple[tuple[int, int], ...]]:
    """The subordinate (user, group) ranges of who runs this process."""
    uid = os.getuid()
    name = account_name(uid)
    return subordinate("/etc/subuid", name, uid), subordinate("/etc/subgid", name, uid)


def close_to_others() -> None:
    """Whatever umask we were started with: what this process and its children make is not everybody's to change (T49).

    For programs of our own, at their start, before there are threads. What users and groups may do stays as they said.
    """
    os.umask(os.umask(0o077) | 0o002)
