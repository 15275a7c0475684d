"""Run a function of a test in a mount namespace of its own, so that no mount of a test reaches the machine."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import traceback
from collections.abc import Callable

from trimaran import aio
from trimaran.linux import syscalls
from trimaran.store import lanes


def in_mount_namespace(work: Callable[[], None]) -> None:
    """Fork, unshare, run `work`; its failure is this test's failure."""
    _in_child(work, prepare=lambda: None)


def in_user_namespace(work: Callable[[], None]) -> None:
    """The same in a user namespace of 65,536 ids: overlay must use user xattrs there."""
    ready, mapped = os.pipe(), os.pipe()

    def prepare() -> None:
        syscalls.unshare(syscalls.CLONE_NEWUSER)
        os.write(ready[1], b"x")
        os.read(mapped[0], 1)
        os.setgroups([])
        os.setresgid(0, 0, 0)
        os.setresuid(0, 0, 0)

    def outside(pid: int) -> None:
        os.read(ready[0], 1)
        for name in ("uid_map", "gid_map"):
            with open(f"/proc/{pid}/{name}", "w") as file:
                file.write("0 0 65536\n")
        os.write(mapped[1], b"x")

    try:
        _in_child(work, prepare=prepare, outside=outside)
    finally:
        for fd in (*ready, *mapped):
            os.close(fd)


def _forget_threads() -> None:
    """A fork has none of its parent's threads, but believes in its pools."""
    aio._pool = None
    lanes._pool = None
    asyncio.set_event_loop(None)


def _in_child(work, *, prepare, outside=lambda pid: None) -> None:
    reader, writer = os.pipe()
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        code = 1
        signal.alarm(60)
        try:
            _forget_threads()
            prepare()
            syscalls.unshare(syscalls.CLONE_NEWNS)
            syscalls.mount("none", "/", None, syscalls.MS_REC | syscalls.MS_PRIVATE)
            work()
            code = 0
        except BaseException:
            os.write(writer, traceback.format_exc().encode()[-60000:])
        finally:
            os._exit(code)
    os.close(writer)
    outside(pid)
    with open(reader, "rb") as file:
        said = file.read().decode(errors="replace")
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0, said
