"""The first process of a step where no PID namespace can be had; run as a program of its own (`python -I -S`).

It takes what the step leaves behind as its own children (a subreaper), ends all of them when the step's program ends or
when the engine does, by whatever signal, and exits as that program did. `exec FILE ARGV…` starts a runtime that writes
the program's process id to FILE; `chroot` reads what to start from descriptor 3 and shuts it into a folder first. Only
the standard library is loaded, and it before the folder is entered: nothing of the image is ever imported.
"""

import base64
import ctypes
import errno
import json
import os
import select
import signal
import struct
import sys
from typing import Any

SPEC, ERRORS = 3, 4
"""Descriptors: where the JSON comes from, and where one line goes when the program cannot be started."""
_PDEATHSIG, _SUBREAPER, _NO_NEW_PRIVILEGES, _SECCOMP, _DROP_BOUND = 1, 36, 38, 22, 24
_FILTER = 2
_PAUSE = 5  # milliseconds between two looks for the program's process id
_CAPSET_VERSION = 0x20080522
_LANDLOCK_CREATE, _LANDLOCK_ADD, _LANDLOCK_RESTRICT = 444, 445, 446
_ACCESS_BY_ABI = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 5: (1 << 16) - 1}
_SCOPE_ABI, _SCOPES = 6, 0b11  # abstract sockets and signals stay inside
_PATHS = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_libc = ctypes.CDLL(None, use_errno=True)
_syscall = _libc.syscall
_syscall.restype = ctypes.c_long


def init_command(*words: str) -> list[str]:
    """The command that starts this program, for the engine."""
    return [sys.executable, "-I", "-S", __file__, *words]


def main() -> int:
    parent = os.getppid()
    signal.signal(signal.SIGTERM, _leave)
    _prctl(_SUBREAPER, 1)
    _prctl(_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        return 143  # the engine died before the kernel was told
    spec = _read_spec() if sys.argv[1] == "chroot" else None
    pid = os.fork()
    if pid == 0:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if spec is None:
            os.execv(sys.argv[3], sys.argv[3:])  # noqa: S606 - a runtime that the engine chose
        _start(spec)
    if spec is not None:
        os.close(ERRORS)
    else:
        _watch_program(pid, sys.argv[2])
    status = _wait(pid)
    _end_all()
    return 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


def _leave(number: int, _frame: object) -> None:
    _end_all()
    os._exit(128 + number)


def _wait(pid: int) -> int:
    while True:
        ended, status = os.waitpid(-1, 0)
        if ended == pid:
            return status


def _watch_program(runtime: int, file: str) -> None:
    """Until the runtime or its program has ended. What the program leaves running goes: a runtime may wait for it."""
    ended = select.poll()
    ended.register(os.pidfd_open(runtime), select.POLLIN)
    while not ended.poll(_PAUSE):
        try:
            with open(file, encoding="ascii") as found:
                program = os.pidfd_open(int(found.read()))
        except ProcessLookupError:  # it was quick, and the runtime has reaped it already
            break
        except (OSError, ValueError):  # not started yet
            continue
        ended.register(program, select.POLLIN)
        ended.poll()
        break
    for pid in _below():
        if pid != runtime:
            _kill(pid)


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _end_all() -> None:
    """Kill everything below us until nothing is: whoever loses its parent becomes our child."""
    while True:
        for pid in _below():
            _kill(pid)
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


def _below() -> list[int]:
    table: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", "rb") as file:
                    above = int(file.read().rpartition(b")")[2].split()[1])
            except OSError:
                continue
            table.setdefault(above, []).append(int(name))
    found: list[int] = []
    pending = [os.getpid()]
    while pending:
        children = table.get(pending.pop(), [])
        found += children
        pending += children
    return found


def _read_spec() -> dict[str, Any]:
    with os.fdopen(SPEC, "rb") as file:
        spec: dict[str, Any] = json.load(file)
        return spec


def _start(spec: dict[str, Any]) -> None:
    """Become the step's program; does not return."""
    what = "shut the step in"
    try:
        os.setsid()
        _prctl(_NO_NEW_PRIVILEGES, 1)
        for name, soft, hard in spec["limits"]:
            import resource

            resource.setrlimit(getattr(resource, f"RLIMIT_{name.upper()}"), (soft, hard))
        root = os.open(spec["root"], os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        rules = _landlock(root)
        os.fchdir(root)
        os.chroot(".")
        what = f'enter working folder "{spec["cwd"]}"'
        os.chdir(spec["cwd"])
        what = "give up rights"
        os.umask(0o022)
        _drop_bounds(spec["capabilities"])
        os.setgroups(spec["groups"])
        os.setresgid(spec["gid"], spec["gid"], spec["gid"])
        os.setresuid(spec["uid"], spec["uid"], spec["uid"])
        _keep_capabilities(spec["capabilities"] if spec["uid"] == 0 else 0)
        if rules >= 0:
            _checked(_syscall(_LANDLOCK_RESTRICT, rules, 0))
        os.set_inheritable(ERRORS, False)
        for fd in range(5, 256):
            _close(fd)
        _filter(base64.b64decode(spec["seccomp"]))
        what = ""
        _execute(spec["args"], spec["environment"])
    except OSError as error:
        code = 126 if error.errno in {errno.EACCES, errno.ENOEXEC, errno.EISDIR} else 127
        line = {"what": what, "errno": error.errno, "message": error.strerror, "code": 125 if what else code}
        os.write(ERRORS, json.dumps(line).encode())
    os._exit(125)


def _execute(args: list[str], variables: list[str]) -> None:
    environment = dict(variable.partition("=")[::2] for variable in variables)
    program = args[0]
    if "/" in program:
        os.execve(program, args, environment)  # noqa: S606 - the step's own words, inside its folder
    refused = OSError(errno.ENOENT, os.strerror(errno.ENOENT))
    for folder in environment.get("PATH", _PATHS).split(":"):
        try:
            os.execve(f"{folder or '.'}/{program}", args, environment)  # noqa: S606 - as above
        except FileNotFoundError:
            continue
        except NotADirectoryError:
            continue
        except PermissionError as error:
            refused = error
    raise refused


def _close(fd: int) -> None:
    try:
        os.close(fd)
    except OSError:
        return


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def _prctl(option: int, argument: int, pointer: object = None) -> None:
    zero = ctypes.c_ulong(0)
    _checked(_libc.prctl(option, ctypes.c_ulong(argument), pointer or zero, zero, zero))


def _landlock(root: int) -> int:
    """A rule set that leaves the folder and what is in it, and nothing else; -1 where the kernel has no Landlock."""
    version = _syscall(_LANDLOCK_CREATE, None, ctypes.c_size_t(0), 1)
    if version < 1:
        return -1
    access = _ACCESS_BY_ABI[max(abi for abi in _ACCESS_BY_ABI if abi <= version)]
    scopes = _SCOPES if version >= _SCOPE_ABI else 0
    attributes = struct.pack("=QQQ", access, 0, scopes)
    size = 24 if version >= _SCOPE_ABI else 8
    rules = _checked(_syscall(_LANDLOCK_CREATE, attributes[:size], ctypes.c_size_t(size), 0))
    beneath = struct.pack("=Qi", access, root)
    _checked(_syscall(_LANDLOCK_ADD, rules, 1, beneath, 0))
    return rules


def _drop_bounds(kept: int) -> None:
    number = 0
    while True:
        if not kept >> number & 1:
            try:
                _prctl(_DROP_BOUND, number)
            except OSError as error:
                if error.errno == errno.EINVAL:
                    return  # the last one the kernel knows was before
                raise
        number += 1


def _keep_capabilities(kept: int) -> None:
    low, high = kept & 0xFFFFFFFF, kept >> 32
    header = struct.pack("=Ii", _CAPSET_VERSION, 0)
    data = struct.pack("=IIIIII", low, low, 0, high, high, 0)
    _checked(_libc.capset(header, data))


def _filter(program: bytes) -> None:
    buffer = ctypes.create_string_buffer(program, len(program))

    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p))

    program_header = Program(len(program) // 8, ctypes.cast(buffer, ctypes.c_void_p))
    _prctl(_SECCOMP, _FILTER, ctypes.byref(program_header))


if __name__ == "__main__":
    os._exit(main())
