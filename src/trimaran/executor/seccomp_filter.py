"""A seccomp profile as the kernel's own program, compiled once by libseccomp and kept in a file.

A runtime compiles the profile anew for each container, which costs more than all the rest (12 of 20 ms with crun). crun
takes a ready program instead; ours is also a binary tree, so a system call costs 9 comparisons and not 380.

Law: what is kept begins with its digest, for it is what keeps steps in. A file that a full disk cut off, that a machine
that went down left empty, or in which a bit flipped is compiled anew.
"""

from __future__ import annotations

import ctypes
import os
from hashlib import sha256
from typing import Any

import msgspec

_OPTIMIZE, _NO_NEW_PRIVILEGES = 8, 3
_BINARY_TREE = 2
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_UNKNOWN_CALL = -1
_OPERATORS = {"SCMP_CMP_NE": 1, "SCMP_CMP_EQ": 4, "SCMP_CMP_MASKED_EQ": 7}
_LARGEST_PROGRAM = 4096 * 8  # BPF_MAXINSNS instructions of 8 bytes
_SUM = 32


class _Compare(ctypes.Structure):
    _fields_ = (
        ("argument", ctypes.c_uint),
        ("operator", ctypes.c_int),
        ("first", ctypes.c_uint64),
        ("second", ctypes.c_uint64),
    )


class _Version(ctypes.Structure):
    _fields_ = (("major", ctypes.c_uint), ("minor", ctypes.c_uint), ("micro", ctypes.c_uint))


def program(profile: dict[str, Any], folder: str) -> bytes | None:
    """The program of a profile, from `folder` (only we may write there) or compiled; None without libseccomp 2.5."""
    try:
        library = ctypes.CDLL("libseccomp.so.2", use_errno=True)
    except OSError:
        return None
    library.seccomp_version.restype = ctypes.POINTER(_Version)
    version = library.seccomp_version().contents
    if (version.major, version.minor) < (2, 5):
        return None
    identity = f"{version.major}.{version.minor}.{version.micro}/{os.uname().machine}/".encode()
    name = f"{folder}/seccomp-{sha256(identity + msgspec.json.encode(profile)).hexdigest()[:32]}.kept"
    kept = _read(name)
    if kept:
        return kept
    made = compile_profile(library, profile)
    if made:
        _keep(name, made)
    return made


def _read(name: str) -> bytes | None:
    """A kept program, if it is one: ours, written by nobody else, and all that was written."""
    try:
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        facts = os.fstat(fd)
        if facts.st_uid != os.geteuid() or facts.st_mode & 0o022:
            return None
        content = os.read(fd, _SUM + _LARGEST_PROGRAM)
    except OSError:
        return None
    finally:
        os.close(fd)
    proof, kept = content[:_SUM], content[_SUM:]
    return kept if sha256(kept).digest() == proof else None


def _keep(name: str, content: bytes) -> None:
    temporary = f"{name}.{os.getpid()}"
    try:
        # One that a killed process left is written over; two that write it at once give what `_read` refuses.
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            os.write(fd, sha256(content).digest() + content)
        finally:
            os.close(fd)
        os.replace(temporary, name)
    except OSError:
        return  # a cache: the next run compiles again


def compile_profile(library: Any, profile: dict[str, Any]) -> bytes | None:
    """Compile with libseccomp (20 ms); None when it refuses, so that the runtime does it and says why."""
    library.seccomp_init.restype = ctypes.c_void_p
    library.seccomp_arch_resolve_name.restype = ctypes.c_uint32
    default = _ERRNO | int(profile["defaultErrnoRet"])
    context = ctypes.c_void_p(library.seccomp_init(ctypes.c_uint32(default)))
    if not context:
        return None
    try:
        for name in profile.get("architectures", ())[1:]:
            architecture = library.seccomp_arch_resolve_name(_architecture(name))
            if not architecture or library.seccomp_arch_add(context, ctypes.c_uint32(architecture)):
                return None
        library.seccomp_attr_set(context, _NO_NEW_PRIVILEGES, ctypes.c_uint32(0))
        library.seccomp_attr_set(context, _OPTIMIZE, ctypes.c_uint32(_BINARY_TREE))
        for rule in profile["syscalls"]:
            if not _add_rule(library, context, rule):
                return None
        return _export(library, context)
    finally:
        library.seccomp_release(context)


def _architecture(name: str) -> bytes:
    return name.removeprefix("SCMP_ARCH_").lower().encode()


def _add_rule(library: Any, context: ctypes.c_void_p, rule: dict[str, Any]) -> bool:
    allowed = rule["action"] == "SCMP_ACT_ALLOW"
    action = ctypes.c_uint32(_ALLOW if allowed else _ERRNO | int(rule["errnoRet"]))
    arguments = rule.get("args", ())
    compares = (_Compare * max(len(arguments), 1))(
        *(_Compare(a["index"], _OPERATORS[a["op"]], a["value"], a.get("valueTwo", 0)) for a in arguments)
    )
    for name in rule["names"]:
        number = library.seccomp_syscall_resolve_name(name.encode())
        if number == _UNKNOWN_CALL:
            continue  # newer than this library: the default answer, ENOSYS
        if library.seccomp_rule_add_array(context, action, number, len(arguments), compares):
            return False
    return True


def _export(library: Any, context: ctypes.c_void_p) -> bytes | None:
    fd = os.memfd_create("seccomp")
    try:
        if library.seccomp_export_bpf(context, fd):
            return None
        return os.pread(fd, _LARGEST_PROGRAM, 0)
    finally:
        os.close(fd)
