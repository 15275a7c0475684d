"""Registration lines byte for byte, whose handlers are touched, and the real kernel in a namespace of its own."""

import os
import pwd
import struct

import pytest

from trimaran.errors import Denied, NotFound, Unsupported
from trimaran.executor import binfmt
from trimaran.executor.emulation import Handler


def test_line_is_tonistiigis():
    line = binfmt.registration(binfmt.emulator("arm64"), "/usr/bin/qemu-aarch64", preserve_argv0=False)
    assert line == (
        rb":qemu-aarch64:M:0:\x7f\x45\x4c\x46\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00"
        rb":\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff:/usr/bin/qemu-aarch64:CF"
    )
    assert binfmt.registration(binfmt.emulator("arm64"), "/q", preserve_argv0=True).endswith(b":/q:CFP")


@pytest.mark.parametrize("path", ["relative", "/with:colon", "/with\nline", "/" + "x" * 2000])
def test_paths_the_kernel_cannot_take(path):
    with pytest.raises(Unsupported):
        binfmt.registration(binfmt.emulator("arm64"), path)


@pytest.mark.parametrize("word", ["arm64", "linux/arm64", "aarch64", "qemu-aarch64", "linux/arm64/v8"])
def test_words_for_an_emulator(word):
    assert binfmt.emulator(word).suffix == "aarch64"


def test_unknown_word():
    with pytest.raises(NotFound, match="vax"):
        binfmt.emulator("vax")


class Kernel:
    """A folder that stands for binfmt_misc in the unit tests; `register` is played by hand."""

    def __init__(self, path):
        self.folder = path / "binfmt"
        self.folder.mkdir()
        (self.folder / "status").write_text("enabled\n")
        (self.folder / "register").write_text("")
        self.record = str(path / "lib" / "binfmt.json")

    def entry(self, which, interpreter, flags="OCF"):
        (self.folder / which.name).write_text(
            f"enabled\ninterpreter {interpreter}\nflags: {flags}\noffset 0\nmagic {which.magic.hex()}\nmask {which.mask.hex()}\n"
        )


@pytest.fixture
def kernel(tmp_path):
    return Kernel(tmp_path)


def test_install_leaves_what_is_there(kernel):
    which = binfmt.emulator("arm64")
    kernel.entry(which, "/theirs")
    before = (kernel.folder / which.name).read_text()
    assert binfmt.install(which, "/ours", folder=str(kernel.folder), record=kernel.record) == "already registered"
    assert (kernel.folder / which.name).read_text() == before
    assert (kernel.folder / "register").read_text() == ""
    with pytest.raises(Denied, match="another program"):
        binfmt.uninstall(which.name, folder=str(kernel.folder), record=kernel.record)
    assert (kernel.folder / which.name).read_text() == before


def test_own_architecture_is_refused(kernel):
    """Registering it would send every program of the machine through an emulator that is itself such a program."""
    own = {"x86_64": ("amd64", "386"), "aarch64": ("arm64",)}.get(os.uname().machine, ())
    for architecture in own:
        with pytest.raises(Unsupported):
            binfmt.install(binfmt.emulator(architecture), "/q", folder=str(kernel.folder), record=kernel.record)
    assert (kernel.folder / "register").read_text() == ""


def test_record_of_another_interpreter_is_not_ours(kernel):
    which = binfmt.emulator("arm64")
    ours = Handler(which.name, True, "/ours", "OCF", 0, which.magic, which.mask)
    binfmt._remember(kernel.record, ours)
    assert binfmt.is_ours(ours, kernel.record)
    assert not binfmt.is_ours(Handler(which.name, True, "/theirs", "OCF", 0, which.magic, which.mask), kernel.record)


def test_uninstall_of_nothing(kernel):
    with pytest.raises(NotFound):
        binfmt.uninstall("qemu-arm", folder=str(kernel.folder), record=kernel.record)


def test_uninstall_words():
    known = [Handler(name, True, "/q") for name in ("qemu-aarch64", "qemu-arm", "WSLInterop", "python3.11")]
    assert binfmt.named("arm64", known) == ("qemu-aarch64",)
    assert binfmt.named("arm", known) == ("qemu-arm",)
    assert binfmt.named("qemu-*", known) == ("qemu-aarch64", "qemu-arm")
    assert "WSLInterop" not in binfmt.named("*", known)
    assert binfmt.named("vax", known) == ()


def test_persist_and_unpersist(tmp_path):
    which = binfmt.emulator("arm64")
    path = binfmt.persist(which, "/usr/bin/qemu-aarch64-static", folder=str(tmp_path))
    with open(path, "rb") as file:
        assert file.read().endswith(binfmt.registration(which, "/usr/bin/qemu-aarch64-static") + b"\n")
    binfmt.persist(which, "/usr/bin/qemu-aarch64-static", folder=str(tmp_path))
    assert binfmt.unpersist(which.name, folder=str(tmp_path))
    assert not binfmt.unpersist(which.name, folder=str(tmp_path))
    (tmp_path / "trimaran-qemu-arm.conf").write_text(":theirs")
    with pytest.raises(Denied):
        binfmt.persist(binfmt.emulator("arm"), "/q", folder=str(tmp_path))
    assert not binfmt.unpersist("qemu-arm", folder=str(tmp_path))


def test_what_a_killed_one_left_is_in_nobodys_way(tmp_path):
    which = binfmt.emulator("arm64")
    (tmp_path / f"trimaran-qemu-aarch64.conf.{os.getpid()}").write_text("half")
    assert binfmt.persist(which, "/usr/bin/qemu-aarch64-static", folder=str(tmp_path))


def test_static_programs(tmp_path):
    assert binfmt.is_static("/bin/busybox")
    assert not binfmt.is_static("/bin/ls")
    assert not binfmt.is_static("/nonexistent")
    (tmp_path / "text").write_text("text")
    assert not binfmt.is_static(str(tmp_path / "text"))


def tiny_arm64(code):
    """exit(code), as a static ELF program of 132 bytes."""
    text = struct.pack("<III", 0xD2800000 | code << 5, 0xD2800BA8, 0xD4000001)  # mov x0, #code; mov x8, #93; svc #0
    head = (
        b"\x7fELF\2\1\1" + b"\0" * 9 + struct.pack("<HHIQQQIHHHHHH", 2, 183, 1, 0x400078, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    )
    return head + struct.pack("<IIQQQQQQ", 1, 5, 0, 0x400000, 0x400000, 132, 132, 4096) + text


@pytest.mark.root
def test_real_kernel_with_a_table_of_our_own(program, shared, account):
    """Register, run a foreign program in a container, status, disable, uninstall: in a user namespace, so that the
    machine's table stays as it is."""
    if not os.path.exists("/usr/bin/qemu-aarch64-static"):
        pytest.skip("no qemu-user-static")
    if tuple(int(part) for part in os.uname().release.split(".")[:2]) < (6, 7):
        pytest.skip("binfmt_misc has no tables per user namespace before Linux 6.7")
    (shared / "rootfs" / "bin").mkdir(parents=True)
    (shared / "rootfs" / "bin" / "seven").write_bytes(tiny_arm64(7))
    (shared / "rootfs" / "bin" / "seven").chmod(0o755)
    for path in (shared / "rootfs", shared / "rootfs" / "bin"):
        os.chown(path, pwd.getpwnam(account).pw_uid, -1)
    result = program(
        f"""
import asyncio, os, sys
from trimaran.linux.enter import enter
entered = enter()
from trimaran.executor import binfmt, emulation
from trimaran.executor.runtimes import open_runtime
from trimaran.executor.spec import ExecSpec
from trimaran.errors import TrimaranError
from trimaran.linux import syscalls
runtime = open_runtime(entered, {str(shared / "state")!r}, "crun")
spec = ExecSpec(args=("/bin/seven",), environment=("PATH=/bin",))
def run():
    try:
        return asyncio.run(runtime.run(spec, {str(shared / "rootfs")!r}, output=lambda s, d: None)).code
    except TrimaranError as error:
        return str(error)
root = os.open({str(shared / "rootfs")!r}, os.O_PATH)
seven = emulation.find_program(root, ["/bin/seven"])
print(seven.architecture)
made = binfmt.use_own_table()
print("qemu-aarch64" in made, run(), emulation.needed_handler(seven, "amd64").name)
os.mkdir({str(shared / "of-another")!r})
syscalls.mount("binfmt_misc", {str(shared / "of-another")!r}, "binfmt_misc")
syscalls.umount(binfmt.BINFMT_FOLDER)
print("qemu-aarch64" in binfmt.use_own_table(), emulation.needed_handler(seven, "amd64").name, run())
state = binfmt.status("amd64")
print("linux/arm64" in state.supported, "qemu-aarch64" in state.emulators)
open(binfmt.BINFMT_FOLDER + "/qemu-aarch64", "w").write("0")
print(emulation.needed_handler(seven, "amd64").reason)
open(binfmt.BINFMT_FOLDER + "/qemu-aarch64", "w").write("-1")
print(emulation.needed_handler(seven, "amd64").reason, type(run()).__name__)
record = {str(shared / "state" / "binfmt.json")!r}
which = binfmt.emulator("arm64")
print(binfmt.install(which, "/usr/bin/qemu-aarch64-static", record=record), run())
print(binfmt.install(which, "/usr/bin/qemu-aarch64-static", record=record))
binfmt.uninstall("qemu-aarch64", record=record)
print(os.path.exists(binfmt.BINFMT_FOLDER + "/qemu-aarch64"))
""",
        account=account,
    )
    assert result.stdout.splitlines() == [
        "arm64",
        "True 7 qemu-aarch64",
        "True qemu-aarch64 7",  # another engine made it, in the same user namespace
        "True True",
        "disabled",
        "unregistered str",
        "installed 7",
        "already registered",
        "False",
    ], result.stderr
