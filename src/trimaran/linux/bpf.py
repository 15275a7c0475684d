"""The device filter of a control group: which devices its processes may open, as a small kernel program.

The rules are Docker's default device rules: every node may be made, the harmless character devices may be opened.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct

from trimaran.linux import syscalls

_NUMBERS = {
    "x86_64": 321,
    "aarch64": 280,
    "riscv64": 280,
    "loongarch64": 280,
    "armv7l": 386,
    "armv6l": 386,
    "i686": 357,
    "s390x": 351,
    "ppc64le": 361,
}
_PROG_LOAD, _PROG_ATTACH = 5, 8
_PROG_TYPE_CGROUP_DEVICE = 15
_ATTACH_TYPE_DEVICE = 6
_MKNOD_ONLY, _CHARACTER = 1, 2

#: (major, minor or None for all): null, zero, full, random, urandom, tty, console, ptmx, pseudo terminals, tun
OPENABLE: tuple[tuple[int, int | None], ...] = (
    (1, 3),
    (1, 5),
    (1, 7),
    (1, 8),
    (1, 9),
    (5, 0),
    (5, 1),
    (5, 2),
    (136, None),
    (10, 200),
)


def _instruction(code: int, destination: int = 0, source: int = 0, offset: int = 0, value: int = 0) -> bytes:
    return struct.pack("<BBhi", code, destination | source << 4, offset, value)


_LOAD_WORD, _AND_VALUE, _SHIFT_RIGHT = 0x61, 0x57, 0x77
_JUMP_EQUAL, _JUMP_NOT_EQUAL, _MOVE_VALUE, _EXIT, _MOVE = 0x15, 0x55, 0xB7, 0x95, 0xBF


def device_program() -> bytes:
    """r2 = access and type, r4 = major, r5 = minor; the result 1 allows (struct bpf_cgroup_dev_ctx, linux/bpf.h)."""
    allow = _instruction(_MOVE_VALUE, 0, value=1) + _instruction(_EXIT)
    program = [
        _instruction(_LOAD_WORD, 2, 1, 0),
        _instruction(_LOAD_WORD, 4, 1, 4),
        _instruction(_LOAD_WORD, 5, 1, 8),
        _instruction(_MOVE, 3, 2),
        _instruction(_SHIFT_RIGHT, 3, value=16),
        _instruction(_JUMP_NOT_EQUAL, 3, offset=2, value=_MKNOD_ONLY),
        allow,
        _instruction(_AND_VALUE, 2, value=0xFFFF),
        _instruction(_JUMP_EQUAL, 2, offset=2, value=_CHARACTER),
        _instruction(_MOVE_VALUE, 0, value=0),
        _instruction(_EXIT),
    ]
    for major, minor in OPENABLE:
        if minor is None:
            program += [_instruction(_JUMP_NOT_EQUAL, 4, offset=2, value=major), allow]
        else:
            program += [
                _instruction(_JUMP_NOT_EQUAL, 4, offset=3, value=major),
                _instruction(_JUMP_NOT_EQUAL, 5, offset=2, value=minor),
                allow,
            ]
    program += [_instruction(_MOVE_VALUE, 0, value=0), _instruction(_EXIT)]
    return b"".join(program)


def _bpf(command: int, attribute: bytes) -> int:
    number = _NUMBERS.get(os.uname().machine)
    if number is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    buffer = ctypes.create_string_buffer(attribute, 128)
    return syscalls.raw(number, command, ctypes.byref(buffer), 128)


def attach_device_filter(group: int) -> None:
    """Filter the devices of the group whose folder is `group`. OSError where kernel or rights do not allow it."""
    code = ctypes.create_string_buffer(device_program(), len(device_program()))
    licence = ctypes.create_string_buffer(b"Apache-2.0")
    count = len(device_program()) // 8
    load = struct.pack("=IIQQ", _PROG_TYPE_CGROUP_DEVICE, count, ctypes.addressof(code), ctypes.addressof(licence))
    program = _bpf(_PROG_LOAD, load)
    try:
        _bpf(_PROG_ATTACH, struct.pack("=IIII", group, program, _ATTACH_TYPE_DEVICE, 0))
    finally:
        os.close(program)
