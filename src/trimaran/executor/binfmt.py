"""Registering QEMU's user-mode emulators with the kernel, as tonistiigi/binfmt does (reference §7.1), and undoing it.

Law: only handlers made here are ever removed: their names and contents are kept in a record file, and an entry that no
longer equals its record is somebody else's.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import Literal

import msgspec

from trimaran import platforms
from trimaran.errors import Denied, NotFound, TrimaranError, Unsupported
from trimaran.executor import emulation
from trimaran.executor.emulation import BINFMT_FOLDER, Handler
from trimaran.linux import kernel, syscalls
from trimaran.linux.mounts import in_user_namespace
from trimaran.store.packing import unpack_json

RECORD_FILE = "/var/lib/trimaran/binfmt.json"
PERSIST_FOLDER = "/etc/binfmt.d"
_PERSIST_MARK = "# written by trimaran binfmt --persist\n"
_LONGEST_LINE = 1920  # MAX_REGISTER_LENGTH, fs/binfmt_misc.c
_OWN_TABLES = (6, 7)
"""The kernel from which on a user namespace can have a table of its own."""


class Emulator(msgspec.Struct, frozen=True):
    """How the kernel knows programs of an architecture; `suffix` is QEMU's name for it."""

    architecture: str
    suffix: str
    magic: bytes
    mask: bytes

    @property
    def name(self) -> str:
        return f"qemu-{self.suffix}"


def _emulator(architecture: str, suffix: str, magic: str, mask: str) -> Emulator:
    return Emulator(architecture, suffix, b"\x7fELF" + bytes.fromhex(magic), bytes.fromhex(mask))


_ANY_ABI = "ffffffffffffff00"
EMULATORS: tuple[Emulator, ...] = (
    _emulator("amd64", "x86_64", "02010100000000000000000002003e00", "fffffffffffefe00fffffffffffffffffeffffff"),
    _emulator("arm64", "aarch64", "0201010000000000000000000200b700", f"{_ANY_ABI}fffffffffffffffffeffffff"),
    _emulator("arm", "arm", "01010100000000000000000002002800", f"{_ANY_ABI}fffffffffffffffffeffffff"),
    _emulator("s390x", "s390x", "02020100000000000000000000020016", f"{_ANY_ABI}fffffffffffffffffffeffff"),
    _emulator("ppc64le", "ppc64le", "02010100000000000000000002001500", f"{_ANY_ABI}fffffffffffffffffeffff00"),
    _emulator("riscv64", "riscv64", "0201010000000000000000000200f300", f"{_ANY_ABI}fffffffffffffffffeffffff"),
    _emulator("386", "i386", "01010100000000000000000002000300", "fffffffffffefe00fffffffffffffffffeffffff"),
    _emulator("mips64le", "mips64el", "02010100000000000000000002000800", f"{_ANY_ABI}00fffffffffffffffeffffff"),
    _emulator("mips64", "mips64", "02020100000000000000000000020008", f"{_ANY_ABI}00fffffffffffffffffeffff"),
    _emulator("loong64", "loongarch64", "02010100000000000000000002000201", "fffffffffffffffc00fffffffffffffffeffffff"),
)


def emulator(word: str) -> Emulator:
    """By architecture (`arm64`), platform (`linux/arm64`), QEMU's name (`aarch64`) or handler (`qemu-aarch64`)."""
    name = word.strip().removeprefix("linux/").split("/")[0].removeprefix("qemu-")
    for each in EMULATORS:
        if name in {each.architecture, each.suffix}:
            return each
    raise NotFound(
        f'find emulator "{word}": unknown architecture', hint=f"known: {' '.join(e.architecture for e in EMULATORS)}"
    )


def registration(which: Emulator, interpreter: str, *, preserve_argv0: bool | None = None) -> bytes:
    """The line for the kernel, to be written at once: opened now (F), with the program's own credentials (C).

    `preserve_argv0` (P) keeps what a program is called by, which busybox and others go by; None: where the kernel can
    tell QEMU of it (5.12; QEMU understands since 5.2).
    """
    if preserve_argv0 is None:
        preserve_argv0 = kernel.release() >= (5, 12)
    if ":" in interpreter or "\n" in interpreter or not interpreter.startswith("/"):
        raise Unsupported(f'register {which.name}: the kernel cannot take the path "{interpreter}"')
    magic, mask = ("".join(f"\\x{byte:02x}" for byte in data) for data in (which.magic, which.mask))
    flags = "CF" + ("P" if preserve_argv0 else "")
    line = f":{which.name}:M:0:{magic}:{mask}:{interpreter}:{flags}".encode()
    if len(line) > _LONGEST_LINE:
        raise Unsupported(f'register {which.name}: the path "{interpreter}" is too long for the kernel')
    return line


def find_interpreter(which: Emulator, folders: Sequence[str] = ("/usr/bin",), prefix: str = "") -> str | None:
    """A static QEMU of the machine; one that needs shared libraries cannot run in another rootfs and is passed over."""
    for folder in folders:
        for name in (f"{prefix}qemu-{which.suffix}-static", f"{prefix}qemu-{which.suffix}"):
            path = f"{folder}/{name}"
            if os.access(path, os.X_OK) and is_static(path):
                return path
    return None


def is_static(path: str) -> bool:
    """Whether an ELF program needs no loader (it has no PT_INTERP)."""
    try:
        with open(path, "rb") as file:
            header = file.read(64)
            if header[:4] != b"\x7fELF" or header[4] not in {1, 2}:
                return False
            wide = header[4] == 2
            order: Literal["little", "big"] = "little" if header[5] == 1 else "big"
            place, size, count = ((32, 8), (54, 2), (56, 2)) if wide else ((28, 4), (42, 2), (44, 2))
            offset, step, number = (int.from_bytes(header[at : at + n], order) for at, n in (place, size, count))
            file.seek(offset)
            table = file.read(step * number)
            return not any(int.from_bytes(table[i : i + 4], order) == 3 for i in range(0, len(table), step or 1))
    except OSError:
        return False


def mount(folder: str = BINFMT_FOLDER) -> bool:
    """Mount binfmt_misc where it is not; True when this call did. Raises Denied without the right to."""
    if os.path.exists(f"{folder}/register"):
        return False
    try:
        syscalls.mount("binfmt_misc", folder, "binfmt_misc")
    except OSError as error:
        raise Denied(
            f'mount binfmt_misc at "{folder}": {error.strerror}',
            hint="run it as root: sudo trimaran binfmt …; the kernel needs CONFIG_BINFMT_MISC (modprobe binfmt_misc)",
        ) from error
    return True


def foreseen(handlers: Sequence[Handler], uid: int, folders: Sequence[str] = ("/usr/bin",)) -> tuple[Handler, ...]:
    """The handlers that steps of user `uid` will find: `handlers`, the machine's, or those of `use_own_table`."""
    if kernel.release() < _OWN_TABLES or not (uid or in_user_namespace()):
        return tuple(handlers)
    if all(is_native(each) or any(_serves(one, each) for one in handlers) for each in EMULATORS):
        return tuple(handlers)
    own = [Handler(e.name, True, path, "CF", 0, e.magic, e.mask) for e, path in _plan_own_table(handlers, folders)]
    return tuple(own) or tuple(handlers)


def use_own_table(folders: Sequence[str] = ("/usr/bin",), *, folder: str = BINFMT_FOLDER) -> tuple[str, ...]:
    """In a user namespace of Linux 6.7 or later: a table of our own with every emulator the machine has a QEMU for.

    Needs no root and changes nothing outside of the namespace; handlers of the machine are registered again in it, and
    where one of them could not be, none is. The names registered, also by another engine of the same user namespace,
    whose mount of the table is not ours to see; () where nothing is changed: the kernel has no such tables, there is
    one that knows no emulator of ours, or this is the user namespace of the machine.
    """
    if not in_user_namespace():
        return ()
    planned = _plan_own_table(emulation.read_handlers(folder), folders)
    if not planned:
        return ()
    try:
        syscalls.mount("binfmt_misc", folder, "binfmt_misc")
    except OSError:
        return ()
    if there := emulation.read_handlers(folder):  # made before: by another engine, or by who made the namespace
        served = tuple(which.name for which, _ in planned if any(_serves(each, which) for each in there))
        if not served:
            syscalls.umount(folder)
        return served
    made = []
    for which, interpreter in planned:
        try:
            _write_once(f"{folder}/register", registration(which, interpreter))
        except (OSError, TrimaranError):
            continue
        made.append(which.name)
    return tuple(made)


def _plan_own_table(handlers: Sequence[Handler], folders: Sequence[str]) -> list[tuple[Emulator, str]]:
    """Each emulator and its QEMU: as the machine has it registered, else as found; [] if one of the machine's is lost.

    The table of a namespace hides the machine's as a whole. Docker's emulators are registered by paths of an image.
    """
    planned = []
    for which in EMULATORS:
        if is_native(which):
            continue
        serving = [each.interpreter for each in handlers if _serves(each, which)]
        usable = [path for path in serving if os.access(path, os.X_OK) and is_static(path)]
        interpreter = usable[0] if usable else find_interpreter(which, folders)
        if interpreter is not None:
            planned.append((which, interpreter))
        elif serving:
            return []
    return planned


def _serves(handler: Handler, which: Emulator) -> bool:
    sample = emulation.sample_header(which.architecture)
    return handler.enabled and "F" in handler.flags and handler.matches(sample)


def is_native(which: Emulator) -> bool:
    """Whether this machine runs the architecture itself; a handler for it would catch every program of the machine."""
    return which.architecture in emulation.native_architectures(platforms.default().architecture)


Installed = Literal["installed", "already registered"]


def install(
    which: Emulator,
    interpreter: str,
    *,
    folder: str = BINFMT_FOLDER,
    record: str = RECORD_FILE,
    preserve_argv0: bool | None = None,
) -> Installed:
    """Register an emulator, once: a handler of that name, whoever made it, is left as it is.

    Raises Unsupported for what the machine runs itself, Denied, or TrimaranError with the kernel's reason.
    """
    if is_native(which):
        raise Unsupported(f"register {which.name}: this machine runs {which.architecture} programs itself")
    if os.path.exists(f"{folder}/{which.name}"):
        return "already registered"
    line = registration(which, interpreter, preserve_argv0=preserve_argv0)
    try:
        _write_once(f"{folder}/register", line)
    except FileExistsError:
        return "already registered"
    except PermissionError as error:
        raise Denied(
            f"register {which.name}: {error.strerror}",
            hint=f"run it as root: sudo trimaran binfmt --install {which.architecture}",
        ) from error
    except FileNotFoundError as error:
        raise NotFound(f'register {which.name}: "{error.filename}" is not there: is binfmt_misc mounted?') from error
    except OSError as error:
        raise TrimaranError(f"register {which.name} with {interpreter}: {error.strerror}") from error
    made = _read_one(folder, which.name)
    if made is not None:
        _remember(record, made)
    return "installed"


def uninstall(name: str, *, folder: str = BINFMT_FOLDER, record: str = RECORD_FILE) -> None:
    """Remove a handler we made. NotFound when there is none, Denied when it is not ours or we may not."""
    present = _read_one(folder, name)
    if present is None:
        _forget(record, name)
        raise NotFound(f"remove emulator {name}: it is not registered")
    if not is_ours(present, record):
        raise Denied(
            f"remove emulator {name}: it was registered by another program ({present.interpreter})",
            hint=f"to remove it all the same: echo -1 | sudo tee {folder}/{name}",
        )
    try:
        _write_once(f"{folder}/{name}", b"-1")
    except OSError as error:
        raise Denied(
            f"remove emulator {name}: {error.strerror}", hint=f"run it as root: sudo trimaran binfmt --uninstall {name}"
        ) from error
    _forget(record, name)


def named(word: str, handlers: Iterable[Handler]) -> tuple[str, ...]:
    """The handlers a word of `--uninstall` means: a name, an architecture, or a glob (`qemu-*`), never WSL's own."""
    from fnmatch import fnmatchcase

    known = [each.name for each in handlers if each.name != "WSLInterop"]
    try:
        wanted = emulator(word).name
    except NotFound:
        wanted = word
    return tuple(each for each in known if each == wanted or fnmatchcase(each, wanted) or each.endswith(f"-{wanted}"))


class Status(msgspec.Struct, frozen=True):
    """What `trimaran binfmt` prints as JSON with an indent of two."""

    supported: tuple[str, ...]
    emulators: tuple[str, ...]


def status(machine: str, level: int = 1, *, folder: str = BINFMT_FOLDER) -> Status:
    handlers = emulation.read_handlers(folder)
    return Status(
        supported=emulation.supported_platforms(machine, level, handlers),
        emulators=tuple(sorted(each.name for each in handlers if each.enabled)),
    )


def persist(
    which: Emulator, interpreter: str, *, folder: str = PERSIST_FOLDER, preserve_argv0: bool | None = None
) -> str:
    """Have systemd register it at each boot; the file written. One of that name that is not ours is left (Denied)."""
    path = f"{folder}/trimaran-{which.name}.conf"
    try:
        with open(path, encoding="utf-8") as file:
            if not file.read().startswith(_PERSIST_MARK):
                raise Denied(f'persist {which.name}: "{path}" was written by another program')
    except FileNotFoundError:
        pass
    line = registration(which, interpreter, preserve_argv0=preserve_argv0).decode()
    try:
        os.makedirs(folder, 0o755, exist_ok=True)
        _replace(path, f"{_PERSIST_MARK}{line}\n".encode(), 0o644)
    except OSError as error:
        raise Denied(
            f'persist {which.name}: write "{path}": {error.strerror}', hint="run it as root with sudo"
        ) from error
    return path


def unpersist(name: str, *, folder: str = PERSIST_FOLDER) -> bool:
    """Remove our file for a handler; False when there is none of ours."""
    path = f"{folder}/trimaran-{name}.conf"
    try:
        with open(path, encoding="utf-8") as file:
            if not file.read().startswith(_PERSIST_MARK):
                return False
        os.unlink(path)
    except FileNotFoundError:
        return False
    return True


def is_ours(handler: Handler, record: str = RECORD_FILE) -> bool:
    """Whether the entry is, byte for byte, one we made."""
    return _records(record).get(handler.name) == _content(handler)


def _content(handler: Handler) -> list[str]:
    return [handler.interpreter, handler.flags, handler.magic.hex(), handler.mask.hex()]


def _records(path: str) -> dict[str, list[str]]:
    try:
        with open(path, "rb") as file:
            return unpack_json(file.read(), dict[str, list[str]])
    except (OSError, msgspec.MsgspecError):
        return {}


def _remember(path: str, handler: Handler) -> None:
    os.makedirs(os.path.dirname(path), 0o755, exist_ok=True)
    _replace(path, msgspec.json.encode({**_records(path), handler.name: _content(handler)}), 0o644)


def _forget(path: str, name: str) -> None:
    records = _records(path)
    if records.pop(name, None) is not None:
        _replace(path, msgspec.json.encode(records), 0o644)


def _replace(path: str, content: bytes, mode: int) -> None:
    temporary = f"{path}.{os.urandom(8).hex()}"  # in a PID namespace of its own each of us is process 1
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    with os.fdopen(fd, "wb") as file:
        file.write(content)
    os.replace(temporary, path)


def _read_one(folder: str, name: str) -> Handler | None:
    if "/" in name:
        return None
    try:
        with open(f"{folder}/{name}", encoding="utf-8", errors="replace") as file:
            return emulation.parse_handler(name, file.read())
    except (OSError, ValueError):
        return None


def _write_once(path: str, content: bytes) -> None:
    """One write(2): the kernel takes each as a whole command."""
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, content)
    finally:
        os.close(fd)
