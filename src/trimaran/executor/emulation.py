"""Whether this machine can run a program, read from the program: its ELF header and the kernel's binfmt_misc table.

Nothing is executed to find out, so no root is needed and a missing emulator is known before the step starts.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Literal

import msgspec

from trimaran.errors import Unsupported
from trimaran.linux import paths

BINFMT_FOLDER = "/proc/sys/fs/binfmt_misc"
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

_HEADER_SIZE = 256  # what the kernel looks at (BINPRM_BUF_SIZE)
_MAX_SCRIPTS = 5  # and how many #! it follows
_NOT_HANDLERS = frozenset({"register", "status"})

#: ELF e_machine -> Go architecture by (class 64?, little endian?); gABI and each processor's supplement
_MACHINES: dict[int, dict[tuple[bool, bool], str]] = {
    3: {(False, True): "386"},
    8: {(True, True): "mips64le", (True, False): "mips64", (False, True): "mipsle", (False, False): "mips"},
    20: {(False, False): "ppc"},
    21: {(True, True): "ppc64le", (True, False): "ppc64"},
    22: {(True, False): "s390x", (False, False): "s390"},
    40: {(False, True): "arm", (False, False): "armbe"},
    62: {(True, True): "amd64", (False, True): "amd64p32"},
    183: {(True, True): "arm64", (True, False): "arm64be"},
    243: {(True, True): "riscv64", (False, True): "riscv"},
    258: {(True, True): "loong64"},
}


class Handler(msgspec.Struct, frozen=True):
    """One entry of binfmt_misc. Flag `F`: the interpreter was opened at registration, so it works in any rootfs."""

    name: str
    enabled: bool
    interpreter: str
    flags: str = ""
    offset: int = 0
    magic: bytes = b""
    mask: bytes = b""

    def matches(self, header: bytes) -> bool:
        """Whether the kernel would give a program that begins with `header` to this handler."""
        if not self.magic:
            return False  # by file extension: not what images need
        part = header[self.offset : self.offset + len(self.magic)]
        if len(part) < len(self.magic):
            return False
        mask = self.mask or b"\xff" * len(self.magic)
        return all((byte ^ want) & bits == 0 for byte, want, bits in zip(part, self.magic, mask, strict=True))


class Program(msgspec.Struct, frozen=True):
    """What will really be started: its path in the rootfs, its architecture ("" when it is no ELF file), its header."""

    path: str
    architecture: str
    header: bytes


Reason = Literal["unregistered", "disabled", "not fixed"]


class Missing(msgspec.Struct, frozen=True):
    """Why a program cannot run here. `handler`: the one that matches but does not serve."""

    architecture: str
    reason: Reason
    handler: str = ""
    interpreter: str = ""

    def error(self, what: str) -> Unsupported:
        """The error to show instead of starting; `what` names the step or program."""
        if self.reason == "disabled":
            text = f"emulator {self.handler} is registered but disabled"
            hint = f"echo 1 | sudo tee {BINFMT_FOLDER}/{self.handler}"
        elif self.reason == "not fixed":
            text = (
                f"emulator {self.handler} was registered without flag F: {self.interpreter} is looked for in the image"
            )
            hint = f"register it anew: sudo trimaran binfmt --uninstall {self.handler} --install {self.architecture}"
        else:
            text = f"no emulator for {self.architecture} is registered"
            hint = f"sudo trimaran binfmt --install {self.architecture}"
        return Unsupported(f"run {what} for {self.architecture}: {text}", hint=hint)


def elf_architecture(header: bytes) -> str:
    """The Go architecture of an ELF file; "" for anything else, `elf-N` for a machine not known here."""
    if header[:4] != b"\x7fELF" or len(header) < 20 or header[4] not in {1, 2} or header[5] not in {1, 2}:
        return ""
    little = header[5] == 1
    machine = int.from_bytes(header[18:20], "little" if little else "big")
    return _MACHINES.get(machine, {}).get((header[4] == 2, little), f"elf-{machine}")


def find_program(root: int, args: Sequence[str], environment: Iterable[str] = (), cwd: str = "/") -> Program | None:
    """What `args` will start in the rootfs: PATH searched, `#!` followed, all inside. None when it is not there."""
    name = args[0]
    path = name if "/" in name else _search(root, name, environment, cwd)
    for _ in range(_MAX_SCRIPTS):
        if path is None:
            return None
        if not path.startswith("/"):
            path = f"{cwd.rstrip('/')}/{path}"
        header = _read_header(root, path)
        if header is None:
            return None
        if header[:2] != b"#!":
            return Program(path, elf_architecture(header), header)
        words = header[2:].split(b"\n", 1)[0].split(None, 1)
        path = os.fsdecode(words[0]) if words else None
    return None


def _search(root: int, name: str, environment: Iterable[str], cwd: str) -> str | None:
    folders = DEFAULT_PATH
    for entry in environment:
        if entry.startswith("PATH="):
            folders = entry[5:]
    for folder in folders.split(":"):
        path = f"{folder or cwd}/{name}"
        if not path.startswith("/"):
            path = f"{cwd.rstrip('/')}/{path}"
        if _read_header(root, path) is not None:
            return path
    return None


def _read_header(root: int, path: str) -> bytes | None:
    """The first bytes of an executable regular file in the root; a FIFO or device is looked at but never opened."""
    try:
        place = paths.open_in_root(root, path, os.O_PATH)
        try:
            facts = os.fstat(place)
            if not stat.S_ISREG(facts.st_mode) or not facts.st_mode & 0o111:
                return None
            fd = os.open(f"/proc/self/fd/{place}", os.O_RDONLY | os.O_CLOEXEC)
        finally:
            os.close(place)
        try:
            return os.read(fd, _HEADER_SIZE)
        finally:
            os.close(fd)
    except (OSError, ValueError):
        return None


def parse_handler(name: str, text: str) -> Handler:
    """The text of /proc/sys/fs/binfmt_misc/NAME (kernel: fs/binfmt_misc.c, entry_status)."""
    fields = {"interpreter": "", "flags:": "", "offset": "0", "magic": "", "mask": ""}
    lines = text.splitlines()
    for line in lines[1:]:
        key, _, value = line.partition(" ")
        if key in fields:
            fields[key] = value.strip()
    return Handler(
        name=name,
        enabled=bool(lines) and lines[0].strip() == "enabled",
        interpreter=fields["interpreter"],
        flags=fields["flags:"],
        offset=int(fields["offset"]),
        magic=bytes.fromhex(fields["magic"]),
        mask=bytes.fromhex(fields["mask"]),
    )


def read_handlers(folder: str = BINFMT_FOLDER) -> tuple[Handler, ...]:
    """All handlers, the latest registered (which the kernel asks first) as listed; () when not mounted."""
    found = []
    try:
        with open(f"{folder}/status", encoding="ascii") as file:
            if file.read().strip() != "enabled":
                return ()
        names = os.listdir(folder)
    except OSError:
        return ()
    for name in names:
        if name in _NOT_HANDLERS:
            continue
        try:
            with open(f"{folder}/{name}", encoding="utf-8", errors="replace") as file:
                found.append(parse_handler(name, file.read()))
        except (OSError, ValueError):
            continue
    return tuple(found)


@lru_cache(maxsize=1)
def native_architectures(machine: str) -> frozenset[str]:
    """What the processor and kernel of a `machine` (Go architecture) run without help."""
    if machine == "amd64":
        return frozenset({"amd64", "386"} if _runs(_TINY_386) else {"amd64"})
    if machine == "arm64":
        return frozenset({"arm64", "arm"} if _has_32_bit_arm() else {"arm64"})
    return frozenset({machine})


def _word(value: int, size: int = 4) -> bytes:
    return value.to_bytes(size, "little")


#: an ELF program of one segment: exit(0)
_TINY_386 = (
    b"\x7fELF\x01\x01\x01" + b"\0" * 9
    + _word(2, 2) + _word(3, 2) + _word(1) + _word(0x08048054) + _word(52) + _word(0) + _word(0)
    + _word(52, 2) + _word(32, 2) + _word(1, 2) + _word(0, 2) + _word(0, 2) + _word(0, 2)
    + _word(1) + _word(0) + _word(0x08048000) + _word(0x08048000) + _word(96) + _word(96) + _word(5) + _word(4096)
    + b"\x31\xdb\x31\xc0\x40\xcd\x80\x90\x90\x90\x90\x90"
)  # fmt: skip


def _runs(program: bytes) -> bool:
    fd = os.memfd_create("probe")
    try:
        os.write(fd, program)
        pid = os.posix_spawn(f"/proc/self/fd/{fd}", ["probe"], {})
        return os.waitpid(pid, 0)[1] == 0
    except OSError:
        return False
    finally:
        os.close(fd)


def _has_32_bit_arm() -> bool:
    """arm64 refuses the 32-bit personality where its cores cannot run such programs (arm64_personality, kernel)."""
    import ctypes

    libc = ctypes.CDLL(None)
    old = libc.personality(ctypes.c_ulong(0xFFFFFFFF))
    if libc.personality(ctypes.c_ulong(0x0008)) < 0:
        return False
    libc.personality(ctypes.c_ulong(old))
    return True


def needed_handler(
    program: Program, machine: str, handlers: Iterable[Handler] | None = None, root: int | None = None
) -> Handler | Missing | None:
    """What runs the program: None when the machine itself does, else a handler that will, else why none does.

    A handler without flag F serves when its interpreter is in the rootfs `root`. What is no ELF file is left to the
    kernel's own answer (None).
    """
    if not program.architecture or program.architecture in native_architectures(machine):
        return None
    matching = [each for each in (read_handlers() if handlers is None else handlers) if each.matches(program.header)]
    best: Missing | None = None
    for handler in matching:
        if not handler.enabled:
            best = best or Missing(program.architecture, "disabled", handler.name, handler.interpreter)
        elif "F" in handler.flags or (root is not None and _read_header(root, handler.interpreter) is not None):
            return handler
        else:
            best = Missing(program.architecture, "not fixed", handler.name, handler.interpreter)
    return best or Missing(program.architecture, "unregistered")


#: BuildKit's order (reference §7.2): native first, then these
_PROBED = ("amd64", "arm64", "riscv64", "ppc64", "ppc64le", "s390x", "386", "mips64le", "mips64", "loong64", "arm")
_SAMPLE_MACHINES = {
    "amd64": (62, True, True),
    "arm64": (183, True, True),
    "riscv64": (243, True, True),
    "ppc64": (21, True, False),
    "ppc64le": (21, True, True),
    "s390x": (22, True, False),
    "386": (3, False, True),
    "mips64le": (8, True, True),
    "mips64": (8, True, False),
    "loong64": (258, True, True),
    "arm": (40, False, True),
}


def sample_header(architecture: str) -> bytes:
    """How a program of the architecture begins: what a handler must match to be its emulator."""
    machine, wide, little = _SAMPLE_MACHINES[architecture]
    order: Literal["little", "big"] = "little" if little else "big"
    head = b"\x7fELF" + bytes((2 if wide else 1, 1 if little else 2, 1)) + b"\0" * 9
    return (head + (2).to_bytes(2, order) + machine.to_bytes(2, order) + (1).to_bytes(4, order)).ljust(64, b"\0")


def supported_platforms(machine: str, level: int = 1, handlers: Iterable[Handler] | None = None) -> tuple[str, ...]:
    """The platforms whose programs run here, native first, in BuildKit's order and form (`linux/arm/v7` and `/v6`).

    `level`: the machine's x86-64 level (`platforms.amd64_level`). An emulator gives amd64 up to v2.
    """
    known = tuple(read_handlers() if handlers is None else handlers)
    native = native_architectures(machine)
    result: list[str] = []
    for architecture in (machine, *(each for each in _PROBED if each != machine)):
        sample = Program("", architecture, sample_header(architecture)) if architecture in _SAMPLE_MACHINES else None
        runs = architecture in native or (sample and isinstance(needed_handler(sample, machine, known), Handler))
        if not runs:
            continue
        if architecture == "amd64":
            top = level if machine == "amd64" else 2
            result += ["linux/amd64", *(f"linux/amd64/v{number}" for number in range(2, top + 1))]
        elif architecture == "arm":
            result += ["linux/arm/v7", "linux/arm/v6"]
        else:
            result.append(f"linux/{architecture}")
    return tuple(result)
