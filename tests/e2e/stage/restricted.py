"""Ubuntu's rule about user namespaces, enforced by a seccomp supervisor: by which program asks, as AppArmor does it."""

from __future__ import annotations

import array
import ctypes
import fcntl
import os
import select
import socket
import struct
import subprocess
import threading
from collections.abc import Sequence

MACHINES = {"x86_64": (272, 56, 435), "aarch64": (97, 220, 435)}  # unshare, clone, clone3
NEW_USER = 0x10000000
RECEIVE, SEND = 0xC0502100, 0xC0182101
CONTINUE, EPERM, ENOSYS = 1, 1, 38
ALLOW, ERRNO, NOTIFY = 0x7FFF0000, 0x00050000, 0x7FC00000


def program() -> bytes:
    unshare, clone, clone3 = MACHINES[os.uname().machine]

    def line(code: int, yes: int, no: int, value: int) -> bytes:
        return struct.pack("=HBBI", code, yes, no, value)

    return b"".join(
        [
            line(0x20, 0, 0, 0),  # the call's number
            line(0x15, 5, 0, clone3),
            line(0x15, 1, 0, unshare),
            line(0x15, 0, 2, clone),
            line(0x20, 0, 0, 16),  # its first argument
            line(0x45, 2, 0, NEW_USER),
            line(0x06, 0, 0, ALLOW),
            line(0x06, 0, 0, ERRNO | ENOSYS),  # its flags cannot be read: the C library goes on with clone
            line(0x06, 0, 0, NOTIFY),
        ]
    )


def restrict(wanted: socket.socket) -> None:
    """Put the filter on this process and give its listener away."""
    code = program()
    buffer = ctypes.create_string_buffer(code, len(code))
    header = struct.pack("=HxxxxxxQ", len(code) // 8, ctypes.addressof(buffer))
    number = {"x86_64": 317, "aarch64": 277}[os.uname().machine]
    listener = ctypes.CDLL(None, use_errno=True).syscall(number, 1, 8, header)
    if listener < 0:
        raise OSError(ctypes.get_errno(), "seccomp")
    socket.send_fds(wanted, [b"1"], [listener])
    os.close(listener)


def run(words: Sequence[str], allowed: Sequence[str], **options: object) -> subprocess.CompletedProcess[str]:
    """Run a command under the rule; `allowed` are names of programs that may make user namespaces."""
    ours, theirs = socket.socketpair()
    process = subprocess.Popen(
        words,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: restrict(theirs),  # noqa: PLW1509 - no thread is started before
        **options,  # type: ignore[call-overload]
    )
    listener = socket.recv_fds(ours, 1, 1)[1][0]
    over = threading.Event()
    supervisor = threading.Thread(target=_supervise, args=(listener, allowed, over))
    supervisor.start()
    try:
        output, errors = process.communicate(timeout=60)
    finally:
        process.kill()
        over.set()
        supervisor.join()
        os.close(listener)
        ours.close()
        theirs.close()
    return subprocess.CompletedProcess(words, process.returncode, output, errors)


def _supervise(listener: int, allowed: Sequence[str], over: threading.Event) -> None:
    asked = select.poll()
    asked.register(listener, select.POLLIN)
    while not over.is_set():
        if not any(event & select.POLLIN for _, event in asked.poll(50)):
            continue
        question = array.array("B", bytes(80))
        try:
            fcntl.ioctl(listener, RECEIVE, question)
            identity, pid = struct.unpack_from("=QI", question)
            answer = (0, 0, CONTINUE) if _may(pid, allowed) else (0, -EPERM, 0)
            fcntl.ioctl(listener, SEND, struct.pack("=QqiI", identity, *answer))
        except OSError:
            continue  # who asked is gone


def _may(pid: int, allowed: Sequence[str]) -> bool:
    """By its program; a runtime that goes on from a copy in memory keeps what it was, as with AppArmor's labels."""
    program = os.readlink(f"/proc/{pid}/exe")
    return program.startswith("/memfd:") and bool(allowed) or os.path.basename(program) in allowed
