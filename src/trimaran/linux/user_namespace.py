"""A user namespace of our own: the ids mapped into it, and whether one is to be had at all."""

from __future__ import annotations

import os

from trimaran.errors import Denied, Unsupported
from trimaran.linux import ids, syscalls


def make() -> str:
    """A user namespace with root = who we are, and the subordinate ids where the machine has given us some.

    What the kernel answers where it grants none; "" when it is made.
    """
    users, groups = wanted_maps()
    helpers = _map_writers(users, groups) if ids.several(users) else []
    own_user, own_group = os.geteuid(), os.getegid()
    try:
        syscalls.unshare(syscalls.CLONE_NEWUSER)
    except OSError as error:
        for _, write_end, _ in helpers:  # all of them first: the later children hold the ends of the earlier ones
            os.close(write_end)
        for _, _, pid in helpers:
            os.waitpid(pid, 0)
        return f"make user namespace: {error.strerror}"
    if not helpers:
        _write_single_map(own_user, own_group)
        return ""
    for name, write_end, pid in helpers:
        os.write(write_end, b"1")
        os.close(write_end)
        _, status = os.waitpid(pid, 0)
        if status:
            raise Unsupported(
                f"map users into the namespace: {name} ended with {os.waitstatus_to_exitcode(status)}",
                hint="check that newuidmap and newgidmap are set-uid root and that /etc/subuid and /etc/subgid have "
                "ranges for this account that overlap nobody else's",
            )
    return ""


def wanted_maps() -> tuple[tuple[ids.IdRange, ...], tuple[ids.IdRange, ...]]:
    if os.geteuid() == 0:  # root of a container, or a test: all it has
        users, groups = ids.current_maps()
        return (
            tuple(ids.IdRange(entry.inside, entry.inside, entry.length) for entry in users),
            tuple(ids.IdRange(entry.inside, entry.inside, entry.length) for entry in groups),
        )
    user_ranges, group_ranges = ids.own_subordinates()
    if not user_ranges or not group_ranges or not (_program("newuidmap") and _program("newgidmap")):
        return (ids.IdRange(0, os.geteuid(), 1),), (ids.IdRange(0, os.getegid(), 1),)
    return ids.id_map(os.geteuid(), user_ranges), ids.id_map(os.getegid(), group_ranges)


def _program(name: str) -> str | None:
    """A set-uid helper is looked for in the system's folders only: PATH is the caller's to set."""
    for folder in ("/usr/bin", "/bin", "/usr/sbin", "/sbin", "/usr/local/bin", "/run/wrappers/bin"):
        if os.access(f"{folder}/{name}", os.X_OK):
            return f"{folder}/{name}"
    return None


def _map_writers(users: tuple[ids.IdRange, ...], groups: tuple[ids.IdRange, ...]) -> list[tuple[str, int, int]]:
    """Children forked while we still are in the old user namespace; each waits for one byte, then maps us."""
    return [_map_writer("newuidmap", "uid_map", users), _map_writer("newgidmap", "gid_map", groups)]


def _map_writer(program: str, file: str, entries: tuple[ids.IdRange, ...]) -> tuple[str, int, int]:
    target = os.getpid()
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid:
        os.close(read_end)
        return program, write_end, pid
    try:
        os.close(write_end)
        if os.read(read_end, 1) != b"1":
            os._exit(1)
        if os.geteuid() == 0:
            _write_once(f"/proc/{target}/{file}", "\n".join(map(str, entries)))
            os._exit(0)
        path = _program(program) or program
        words = [word for entry in entries for word in str(entry).split()]
        # Nothing of our environment: it may hold a secret of the build.
        os.execve(path, [program, str(target), *words], {})  # noqa: S606 - a fixed program of the system's folders
    except OSError:
        os._exit(1)


def _write_single_map(user: int, group: int) -> None:
    try:
        _write_once("/proc/self/setgroups", "deny")
        _write_once("/proc/self/uid_map", f"0 {user} 1")
        _write_once("/proc/self/gid_map", f"0 {group} 1")
    except OSError as error:
        raise Denied(
            f"map this account into the namespace: {error.strerror}",
            hint="AppArmor may restrict user namespaces: see `trimaran doctor`",
        ) from error


def _write_once(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


def refused() -> str:
    """What is answered to whoever makes a user namespace and mounts in it, "" when nothing is refused."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        said = ""
        try:
            said = _try_namespaces()
        finally:
            os.write(writer, said.encode())
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as file:
        said = file.read().decode(errors="replace")
    os.waitpid(pid, 0)
    return said


def _try_namespaces() -> str:
    own_user, own_group = os.geteuid(), os.getegid()
    what = "make user namespace"
    try:
        syscalls.unshare(syscalls.CLONE_NEWUSER)
        _write_single_map(own_user, own_group)
        what = "mount in a user namespace"
        syscalls.unshare(syscalls.CLONE_NEWNS)
        syscalls.mount("none", "/", None, syscalls.MS_REC | syscalls.MS_SLAVE)
    except OSError as error:
        return f"{what}: {error.strerror}"
    except Denied as error:
        return error.message
    return ""


def restricted() -> str:
    """AppArmor lets a user namespace be made and takes all rights in it: seen only by trying, where it may be so."""
    try:
        with open("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", encoding="ascii") as file:
            return refused() if file.read().strip() == "1" else ""
    except OSError:
        return ""
