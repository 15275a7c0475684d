"""`binfmt`: its messages, JSON and exit codes over a folder that stands for the kernel's."""

import json
import os

import pytest

from trimaran import platforms
from trimaran.cli import binfmt as command
from trimaran.cli.invocation import Invocation
from trimaran.cli.options import parse
from trimaran.errors import NotFound, Unavailable
from trimaran.executor import binfmt, emulation

NATIVE = platforms.default().architecture
FOREIGN = [
    name for name in ("arm64", "s390x", "amd64", "riscv64") if name not in emulation.native_architectures(NATIVE)
]


class Kernel:
    def __init__(self, folder, monkeypatch):
        self.folder = folder / "binfmt_misc"
        self.qemu = folder / "bin"
        self.conf = folder / "binfmt.d"
        for path in (self.folder, self.qemu):
            path.mkdir()
        (self.folder / "status").write_text("enabled\n")
        (self.folder / "register").write_text("")
        self.environment = {"QEMU_BINARY_PATH": str(self.qemu)}
        self.fetched = []
        monkeypatch.setattr(os, "geteuid", lambda: 0)
        record = str(folder / "record.json")
        for function in (binfmt.install, binfmt.uninstall):
            monkeypatch.setitem(function.__kwdefaults__, "record", record)
        for function in (binfmt.persist, binfmt.unpersist):
            monkeypatch.setitem(function.__kwdefaults__, "folder", str(self.conf))
        monkeypatch.setattr(command, "_fetch", self.fetch)
        monkeypatch.setattr(binfmt, "_write_once", self.write)
        self.image = {}

    def fetch(self, image, missing):
        self.fetched.append((image, [each.architecture for each in missing]))
        if isinstance(self.image, Exception):
            raise self.image
        return {each: self.image[each.architecture] for each in missing if each.architecture in self.image}

    def program(self, architecture):
        path = self.qemu / f"qemu-{binfmt.emulator(architecture).suffix}-static"
        path.write_bytes(emulation._TINY_386)
        path.chmod(0o755)
        return path

    def write(self, path, content):
        """What the real kernel does with a line written to it."""
        if content == b"-1":
            os.unlink(path)
        else:
            _, name, _, _, magic, mask, interpreter, flags = content.decode().split(":")
            magic, mask = (text.replace("\\x", "") for text in (magic, mask))
            text = f"enabled\ninterpreter {interpreter}\nflags: {flags}\noffset 0\nmagic {magic}\nmask {mask}\n"
            (self.folder / name).write_text(text)

    def run(self, *words):
        flags = parse(command.COMMAND.flags, [*words, f"--mount={self.folder}"], environment={})
        return command.run(flags, Invocation(argv=("binfmt", *words), environment=self.environment))


@pytest.fixture
def kernel(tmp_path, monkeypatch):
    return Kernel(tmp_path, monkeypatch)


def test_status_alone(kernel, capsys):
    assert kernel.run() == 0
    document = json.loads(capsys.readouterr().out)
    assert list(document) == ["supported", "emulators"]
    assert document["supported"][0] == f"linux/{NATIVE}"
    assert document["emulators"] == []


def test_install_from_this_machine_and_again(kernel, capsys):
    kernel.program(FOREIGN[0])
    assert kernel.run("--install", f"linux/{FOREIGN[0]}") == 0
    assert capsys.readouterr().err == f"installing: {FOREIGN[0]} OK\n"
    assert kernel.run("--install", FOREIGN[0]) == 0
    said = capsys.readouterr()
    name = binfmt.emulator(FOREIGN[0]).name
    assert said.err == f"installing: {FOREIGN[0]} {name} already registered\n"
    assert json.loads(said.out)["emulators"] == [name]
    assert f"linux/{FOREIGN[0]}" in json.loads(said.out)["supported"]
    assert kernel.fetched == []


def test_what_the_machine_lacks_comes_from_the_image(kernel, capsys):
    kernel.image = {FOREIGN[0]: str(kernel.program(FOREIGN[0]).rename(kernel.qemu / "elsewhere"))}
    assert kernel.run("--install", FOREIGN[0], "--image", "x.io/q") == 0
    assert kernel.fetched == [("x.io/q", [FOREIGN[0]])]
    assert capsys.readouterr().err == f"installing: {FOREIGN[0]} OK\n"


def test_neither_here_nor_there_is_a_failure(kernel, capsys):
    assert kernel.run("--install", FOREIGN[0]) == 1
    assert "neither this machine nor the image" in capsys.readouterr().err
    kernel.image = Unavailable("pull x: connection refused", hint="check the network")
    assert kernel.run("--install", FOREIGN[0]) == 1
    assert "connection refused" in capsys.readouterr().err


def test_all_is_all_there_are(kernel, capsys):
    kernel.program(FOREIGN[0])
    assert kernel.run("--install", "all") == 0
    assert capsys.readouterr().err == f"installing: {FOREIGN[0]} OK\n"
    assert NATIVE not in kernel.fetched[0][1]
    assert kernel.run("--install", "all") == 0, "to run it again is harmless"
    kernel.image = Unavailable("pull x: connection refused")
    assert kernel.run("--install", "all") == 0
    assert capsys.readouterr().err == "WARNING: pull x: connection refused\n"


def test_all_of_nothing_is_a_failure(kernel, capsys):
    kernel.image = Unavailable("pull x: connection refused")
    assert kernel.run("--install", "all") == 1
    assert f"installing: {FOREIGN[0]} pull x: connection refused" in capsys.readouterr().err


def test_unknown_architecture(kernel):
    with pytest.raises(NotFound, match="unknown architecture"):
        kernel.run("--install", "pdp11")


def test_persist_and_uninstall(kernel, capsys):
    kernel.program(FOREIGN[0])
    assert kernel.run("--install", FOREIGN[0], "--persist") == 0
    (conf,) = kernel.conf.iterdir()
    assert binfmt.emulator(FOREIGN[0]).name in conf.read_text()
    capsys.readouterr()
    assert kernel.run("--uninstall", FOREIGN[0]) == 0
    assert capsys.readouterr().err == f"uninstalling: {binfmt.emulator(FOREIGN[0]).name} OK\n"
    assert list(kernel.conf.iterdir()) == []
    assert not (kernel.folder / binfmt.emulator(FOREIGN[0]).name).exists()


def test_handlers_of_others_are_left(kernel, capsys):
    (kernel.folder / "qemu-foo").write_text("enabled\ninterpreter /usr/bin/foo\nflags: F\noffset 0\nmagic 00\n")
    before = (kernel.folder / "qemu-foo").read_text()
    assert kernel.run("--uninstall", "qemu-*") == 1
    assert "registered by another program" in capsys.readouterr().err
    assert (kernel.folder / "qemu-foo").read_text() == before
    assert kernel.run("--uninstall", "nothing") == 0
    assert capsys.readouterr().err == "uninstalling: nothing not found\n"


def test_without_root_the_sudo_line_is_printed(kernel, capsys, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 7)
    monkeypatch.setattr("sys.argv", ["/home/me/bin/trimaran"])
    assert kernel.run("--install", "all") == 1
    said = capsys.readouterr()
    assert "sudo /home/me/bin/trimaran binfmt --install all\n" in said.err
    assert json.loads(said.out)["supported"]
    assert kernel.run() == 0
