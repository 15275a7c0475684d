"""Trying things in a child process with namespaces of its own: whatever it mounts or maps dies with it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable

from trimaran.errors import TrimaranError
from trimaran.linux import mounts, syscalls


def in_child(function: Callable[[], None]) -> str:
    """Run `function` in a forked child; what went wrong there, "" when nothing did. No thread may run."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        problem = "the probe died"
        try:
            os.close(reader)
            function()
            problem = ""
        except OSError as error:
            problem = error.strerror or str(error)
        except TrimaranError as error:
            problem = str(error)
        finally:
            os.write(writer, problem.encode()[:4000])
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as file:
        problem = file.read().decode(errors="replace")
    _, status = os.waitpid(pid, 0)
    return problem or ("" if status == 0 else f"the probe ended with status {status}")


def become_namespace_root() -> None:
    """A user namespace in which we are root, one id mapped: what every account may have where it is not forbidden."""
    uid, gid = os.geteuid(), os.getegid()
    syscalls.unshare(syscalls.CLONE_NEWUSER)
    for name, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
        with open(f"/proc/self/{name}", "w", encoding="utf-8") as file:
            file.write(text)


def try_overlay(folder: str, *, rootless: bool) -> str:
    """Mount an overlay whose layers lie in `folder`, change and remove files in it; "" or what the kernel refused.

    Raises OSError when no folder can be made in `folder`.
    """
    with tempfile.TemporaryDirectory(prefix=".trimaran-doctor-", dir=folder, ignore_cleanup_errors=True) as scratch:
        for name in ("lower", "base", "upper", "work", "target"):
            os.mkdir(f"{scratch}/{name}")
        for name in ("changed", "removed"):
            with open(f"{scratch}/lower/{name}", "wb") as file:
                file.write(b"lower")

        def probe() -> None:
            if rootless:
                become_namespace_root()
            syscalls.unshare(syscalls.CLONE_NEWNS)
            syscalls.mount("none", "/", None, syscalls.MS_REC | syscalls.MS_PRIVATE)
            target = f"{scratch}/target"
            layers = [f"{scratch}/lower", f"{scratch}/base"]
            with mounts.overlay(layers, f"{scratch}/upper", f"{scratch}/work", target, user_namespace=rootless):
                with open(f"{target}/changed", "ab") as file:
                    file.write(b"upper")
                os.unlink(f"{target}/removed")  # makes a whiteout

        return in_child(probe)
