"""What a namespace's own table of emulators would hold, decided from the machine's: nothing is mounted here."""

import os

import pytest

from trimaran.executor import binfmt
from trimaran.executor.emulation import Handler

ARM64, S390X = binfmt.emulator("arm64"), binfmt.emulator("s390x")
ACCOUNT = 1000


@pytest.fixture
def new_kernel(monkeypatch):
    monkeypatch.setattr(binfmt.kernel, "release", lambda: (6, 7))
    monkeypatch.setattr(binfmt, "is_native", lambda which: which.architecture not in {"arm64", "s390x"})


@pytest.fixture
def machine(tmp_path):
    """Its folder of programs, with a static QEMU for s390x (a copy of busybox)."""
    with open("/bin/busybox", "rb") as file:
        program = file.read()
    (tmp_path / "qemu-s390x-static").write_bytes(program)
    (tmp_path / "qemu-s390x-static").chmod(0o755)
    return tmp_path


def handler(which, interpreter, flags="F"):
    return Handler(which.name, True, interpreter, flags, 0, which.magic, which.mask)


def test_what_the_machine_lacks_is_added_and_what_it_has_stays(new_kernel, machine):
    theirs = handler(ARM64, "/bin/busybox")
    found = binfmt.foreseen([theirs], ACCOUNT, [str(machine)])
    assert {each.name: each.interpreter for each in found} == {
        "qemu-aarch64": "/bin/busybox",
        "qemu-s390x": str(machine / "qemu-s390x-static"),
    }


def test_a_table_that_would_lose_one_is_not_made(new_kernel, machine):
    """Docker's installer registers paths of its image, which can't be opened a second time."""
    theirs = handler(ARM64, "/usr/bin/of-an-image/qemu-aarch64")
    assert binfmt.foreseen([theirs], ACCOUNT, [str(machine)]) == (theirs,)


def test_a_machine_that_lacks_nothing_is_left_alone(new_kernel, machine):
    both = (handler(ARM64, "/nowhere"), handler(S390X, "/nowhere"))
    assert binfmt.foreseen(both, ACCOUNT, [str(machine)]) == both


def test_root_has_the_machines_table(new_kernel, machine):
    if binfmt.in_user_namespace():
        pytest.skip("this root is of a namespace")
    assert binfmt.foreseen([], 0, [str(machine)]) == ()
    assert binfmt.use_own_table([str(machine)], folder=os.devnull) == ()


def test_older_kernels_have_none(new_kernel, machine, monkeypatch):
    monkeypatch.setattr(binfmt.kernel, "release", lambda: (6, 6))
    assert binfmt.foreseen([], ACCOUNT, [str(machine)]) == ()
