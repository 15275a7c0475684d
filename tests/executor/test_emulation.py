"""Which program starts, of which architecture, and who runs it."""

import os
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimaran.executor import binfmt, emulation
from trimaran.executor.emulation import Handler, Missing, Program

#: (name, class, data, machine) -> Go architecture; the numbers are those of the ELF specifications
MACHINES = [
    (2, 1, 62, "amd64"), (1, 1, 3, "386"), (2, 1, 183, "arm64"), (1, 1, 40, "arm"), (2, 2, 22, "s390x"),
    (2, 1, 21, "ppc64le"), (2, 2, 21, "ppc64"), (2, 1, 243, "riscv64"), (2, 1, 8, "mips64le"), (2, 2, 8, "mips64"),
    (2, 1, 258, "loong64"),
]  # fmt: skip


def header(wide, data, machine, kind=2):
    order = "<" if data == 1 else ">"
    return (b"\x7fELF" + bytes((wide, data, 1)) + b"\0" * 9 + struct.pack(order + "HHI", kind, machine, 1)).ljust(
        64, b"\0"
    )


def write_program(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    path.chmod(0o755)


@pytest.fixture
def rootfs(tmp_path):
    path = tmp_path / "rootfs"
    path.mkdir()
    return path


@pytest.fixture
def root(rootfs):
    fd = os.open(rootfs, os.O_PATH | os.O_DIRECTORY)
    yield fd
    os.close(fd)


@pytest.mark.parametrize(("wide", "data", "machine", "expected"), MACHINES)
def test_architecture(wide, data, machine, expected):
    assert emulation.elf_architecture(header(wide, data, machine)) == expected
    assert emulation.sample_header(expected)[4:6] == bytes((wide, data))
    assert emulation.elf_architecture(emulation.sample_header(expected)) == expected


@given(st.binary(max_size=300))
def test_any_bytes_have_an_answer(content):
    assert isinstance(emulation.elf_architecture(content), str)
    assert isinstance(emulation.elf_architecture(b"\x7fELF" + content), str)


def test_own_program_is_native():
    from trimaran import platforms

    with open("/proc/self/exe", "rb") as file:
        architecture = emulation.elf_architecture(file.read(64))
    assert architecture in emulation.native_architectures(platforms.default().architecture)


def test_program_by_path_search_and_script(rootfs, root):
    write_program(rootfs / "bin" / "sh", header(2, 1, 183))
    write_program(rootfs / "usr" / "bin" / "env", header(2, 1, 243))
    write_program(rootfs / "app" / "run", b"#!/bin/sh -e\necho\n")
    write_program(rootfs / "app" / "deep", b"#! /app/run\n")
    write_program(rootfs / "app" / "python", b"#!\t/usr/bin/env python\n")

    def find(*args, **options):
        return emulation.find_program(root, args, **options)

    assert find("/bin/sh").architecture == "arm64"
    assert find("sh", environment=["PATH=/nowhere:/bin"]).path == "/bin/sh"
    assert find("sh").architecture == "arm64"
    assert find("/app/run").path == "/bin/sh"
    assert find("/app/deep").architecture == "arm64"
    assert find("/app/python").architecture == "riscv64"
    assert find("./run", cwd="/app").architecture == "arm64"
    assert find("bin/sh", cwd="/").architecture == "arm64"
    assert find("nothing") is None
    assert find("sh", environment=["PATH=/nowhere"]) is None


def test_program_that_is_no_program(rootfs, root):
    (rootfs / "folder").mkdir()
    (rootfs / "plain").write_text("text")
    os.mkfifo(rootfs / "fifo", 0o755)
    write_program(rootfs / "ring", b"#!/ring\n")
    write_program(rootfs / "empty", b"")
    write_program(rootfs / "bare", b"#!\n")
    for name in ("folder", "plain", "fifo", "ring", "bare"):
        assert emulation.find_program(root, [f"/{name}"]) is None
    assert emulation.find_program(root, ["/empty"]).architecture == ""


def test_links_of_the_image_stay_inside(rootfs, root):
    """/bin -> usr/bin is Debian's; /bin/sh -> /etc/passwd of the host must not be read."""
    write_program(rootfs / "usr" / "bin" / "dash", header(2, 1, 183))
    (rootfs / "bin").symlink_to("usr/bin")
    (rootfs / "usr" / "bin" / "sh").symlink_to("/usr/bin/dash")
    (rootfs / "usr" / "bin" / "host").symlink_to("/bin/busybox")
    (rootfs / "usr" / "bin" / "climb").symlink_to("../../../../../../../../bin/true")
    assert emulation.find_program(root, ["/bin/sh"]).architecture == "arm64"
    assert emulation.find_program(root, ["/bin/host"]) is None
    assert emulation.find_program(root, ["/bin/climb"]) is None


ENTRY = """enabled
interpreter /usr/bin/qemu-aarch64-static
flags: OCF
offset 0
magic 7f454c460201010000000000000000000200b700
mask ffffffffffffff00fffffffffffffffffeffffff
"""


def test_parse_entry():
    handler = emulation.parse_handler("qemu-aarch64", ENTRY)
    assert handler.enabled
    assert (handler.interpreter, handler.flags, handler.offset) == ("/usr/bin/qemu-aarch64-static", "OCF", 0)
    assert handler.matches(header(2, 1, 183))
    assert handler.matches(header(2, 1, 183, kind=3))
    assert not handler.matches(header(2, 1, 62))
    assert not handler.matches(b"\x7fELF")


def test_extension_entry_matches_nothing():
    assert not emulation.parse_handler("jar", "enabled\ninterpreter /usr/bin/java\nflags: \nextension .jar\n").matches(
        b"PK\3\4"
    )


@pytest.mark.parametrize("which", binfmt.EMULATORS, ids=lambda each: each.architecture)
def test_table_matches_its_architecture_only(which):
    handler = Handler(which.name, True, "/q", "F", 0, which.magic, which.mask)
    for each in binfmt.EMULATORS:
        sample = emulation.sample_header(each.architecture)
        shared = sample[:7] + b"\0" * 9 + (3).to_bytes(2, "little" if sample[5] == 1 else "big") + sample[18:]
        assert handler.matches(sample) == (each is which)
        assert handler.matches(shared) == (each is which)


ARM64 = Program("/bin/sh", "arm64", header(2, 1, 183))


def handler(**changes):
    base = emulation.parse_handler("qemu-aarch64", ENTRY)
    fields = {name: getattr(base, name) for name in base.__struct_fields__} | changes
    return Handler(**fields)


def test_native_needs_nothing():
    assert emulation.needed_handler(Program("/x", "amd64", header(2, 1, 62)), "amd64", ()) is None
    assert emulation.needed_handler(Program("/x", "", b"text"), "amd64", ()) is None


def test_386_is_native_on_amd64():
    if os.uname().machine != "x86_64":
        pytest.skip("not an amd64 machine")
    assert emulation.needed_handler(Program("/x", "386", header(1, 1, 3)), "amd64", ()) is None


def test_who_serves(rootfs, root):
    assert emulation.needed_handler(ARM64, "amd64", ()) == Missing("arm64", "unregistered")
    assert emulation.needed_handler(ARM64, "amd64", [handler()]) == handler()
    off = emulation.needed_handler(ARM64, "amd64", [handler(enabled=False)])
    assert (off.reason, off.handler) == ("disabled", "qemu-aarch64")
    loose = handler(flags="OC")
    missing = emulation.needed_handler(ARM64, "amd64", [loose], root)
    assert missing.reason == "not fixed"
    assert "F" in str(missing.error("step"))
    assert emulation.needed_handler(ARM64, "amd64", [handler(enabled=False), handler()]) == handler()
    write_program(rootfs / "usr" / "bin" / "qemu-aarch64-static", header(2, 1, 62))
    assert emulation.needed_handler(ARM64, "amd64", [loose], root) == loose


def test_error_names_the_way_out():
    error = Missing("arm64", "unregistered").error("/bin/sh -c x")
    assert "trimaran binfmt --install arm64" in error.hint
    assert "arm64" in str(error)


def test_supported_platforms_order():
    arm = Handler("qemu-arm", True, "/q", "F", 0, binfmt.emulator("arm").magic, binfmt.emulator("arm").mask)
    found = emulation.supported_platforms("arm64", handlers=[arm])
    assert found[0] == "linux/arm64"
    assert found[-2:] == ("linux/arm/v7", "linux/arm/v6")
    found = emulation.supported_platforms("amd64", 3, [handler()])
    assert found[:4] == ("linux/amd64", "linux/amd64/v2", "linux/amd64/v3", "linux/arm64")


def test_read_handlers_from_a_folder(tmp_path):
    (tmp_path / "status").write_text("enabled\n")
    (tmp_path / "register").write_text("")
    (tmp_path / "qemu-aarch64").write_text(ENTRY)
    (tmp_path / "odd").write_text("enabled\nmagic zz\n")
    assert [each.name for each in emulation.read_handlers(str(tmp_path))] == ["qemu-aarch64"]
    (tmp_path / "status").write_text("disabled\n")
    assert emulation.read_handlers(str(tmp_path)) == ()
    assert emulation.read_handlers(str(tmp_path / "none")) == ()
