"""An account on a machine where root has registered no emulator: builds register them for themselves alone.

The machine is a user namespace with a table of its own, which is empty: what the real machine has is not seen in it.
"""

from __future__ import annotations

import os

import pytest
from stage import reading
from stage.namespaces import user_namespace

pytestmark = [pytest.mark.root, pytest.mark.emulated]

TABLE = "/proc/sys/fs/binfmt_misc"


@pytest.fixture
def machine():
    if tuple(int(part) for part in os.uname().release.split(".")[:2]) < (6, 7):
        pytest.skip("user namespaces have no table of their own before Linux 6.7")
    with user_namespace() as namespace:
        namespace.run("mount", "-t", "binfmt_misc", "none", TABLE)
        yield namespace


@pytest.fixture
def bare(machine, rootless):
    """The program as an account of that machine."""
    return machine.inside(rootless)


def test_foreign_steps_run_where_nothing_is_registered(machine, bare, bases, context, tmp_path):
    context.dockerfile("FROM alpine\nRUN uname -m >/made && sh -c 'uname -m' >>/made\n")
    name = f"{bases}/own-emulators:1"
    built = bare("build", "--platform=linux/arm64,linux/s390x,linux/amd64", "-t", name, "--push", ".", cwd=context)
    assert "emulated" in built.stderr
    for architecture, said in (("arm64", "aarch64"), ("s390x", "s390x"), ("amd64", "x86_64")):
        root = reading.unpack(f"docker://{name}", tmp_path / architecture, architecture=architecture)
        assert (root / "made").read_text() == f"{said}\n" * 2
    machine.run("test", "!", "-e", f"{TABLE}/qemu-aarch64")  # its own table is as empty as before


def test_what_would_run_is_told_before(bare):
    assert "linux/arm64" in bare("inspect").stdout
    found = bare("doctor", exit_code=None).stdout
    assert "registered for each of your builds alone" in found
