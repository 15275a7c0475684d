"""Lets the programs of a foreign architecture run while a base image is made.

Where a handler is registered already it is used. Where none is, one is registered under a name of our own and taken
away at the end, so that making a base changes nothing on the machine and does not depend on the program under test.
"""

from __future__ import annotations

import contextlib
import errno
import subprocess
from collections.abc import Iterator
from pathlib import Path

REGISTRY = Path("/proc/sys/fs/binfmt_misc")
# Debian architecture -> the ELF machine number (little endian) and the name of QEMU's program.
MACHINES = {"amd64": (62, "x86_64"), "arm64": (183, "aarch64")}


@contextlib.contextmanager
def foreign(architecture: str, sample: Path) -> Iterator[None]:
    """Programs of `architecture` run inside this context; `sample` is one that exits with 0 when given "true"."""
    if _runs(sample):
        yield
        return
    name = f"trimaran-bases-{architecture}"
    mounted = _mount()
    (REGISTRY / "register").write_bytes(_line(name, architecture))
    try:
        if not _runs(sample):
            raise OSError(errno.ENOEXEC, f"run {sample}: the handler {name} was registered and does not serve it")
        yield
    finally:
        (REGISTRY / name).write_text("-1")
        if mounted:
            subprocess.run(["umount", "--", str(REGISTRY)], check=False)


def _mount() -> bool:
    if (REGISTRY / "register").exists():
        return False
    subprocess.run(["mount", "-t", "binfmt_misc", "binfmt_misc", str(REGISTRY)], check=True)
    return True


def _line(name: str, architecture: str) -> bytes:
    """The kernel's registration line (admin-guide/binfmt-misc): flag F opens QEMU now, so a chroot needs no copy."""
    machine, program = MACHINES[architecture]
    magic = b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x02\x00" + machine.to_bytes(2, "little")
    mask = b"\xff" * 7 + b"\x00" + b"\xff" * 8 + b"\xfe\xff" + b"\xff" * 2
    escaped = ["".join(f"\\x{byte:02x}" for byte in part) for part in (magic, mask)]
    return f":{name}:M::{escaped[0]}:{escaped[1]}:/usr/bin/qemu-{program}-static:OCF".encode()


def _runs(sample: Path) -> bool:
    try:
        return subprocess.run([str(sample), "true"], check=False, capture_output=True).returncode == 0
    except OSError as problem:
        if problem.errno != errno.ENOEXEC:
            raise
        return False
