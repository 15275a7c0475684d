"""A machine in a folder: its own /etc, /proc and programs, which the doctor's commands are run against."""

import os
import subprocess

import pytest

from trimaran.doctor.machine import Machine

DEBIAN = 'ID=debian\nPRETTY_NAME="Debian"\n'
FULL = "CapEff:\t000001ffffffffff\n"
NONE = "CapEff:\t0000000000000000\n"


class Place:
    def __init__(self, folder):
        self.root = str(folder / "root")
        self.bin = str(folder / "bin")
        self.home = str(folder / "home")
        for path in (self.root, self.bin, self.home):
            os.mkdir(path)
        self.environment = {"HOME": self.home, "XDG_CONFIG_HOME": f"{self.home}/.config", "PATH": self.bin}
        self.environment["TRIMARAN_ROOT"] = str(folder / "state")
        self.write("/etc/os-release", DEBIAN)
        self.write("/proc/self/status", FULL)

    def write(self, path, text):
        os.makedirs(os.path.dirname(self.root + path), exist_ok=True)
        with open(self.root + path, "w") as file:
            file.write(text)

    def program(self, name, script):
        """A shell script among the machine's programs."""
        path = f"{self.bin}/{name}"
        with open(path, "w") as file:
            file.write(f"#!/bin/sh\n{script}\n")
        os.chmod(path, 0o755)
        return path

    def find(self, name):
        path = f"{self.bin}/{name}"
        return path if os.access(path, os.X_OK) else None

    def machine(self, uid=0, user="me"):
        return Machine(root=self.root, environment=self.environment, uid=uid, user=user, find=self.find)

    def mend(self, command):
        """Paste the command into a shell, whose /etc and /proc are this machine's."""
        for folder in ("/etc/", "/proc/", "/sys/"):
            command = command.replace(f" {folder}", f" {self.root}{folder}")
        environment = {**self.environment, "PATH": f"{self.bin}:/usr/bin:/bin"}
        done = subprocess.run(["sh", "-c", command], env=environment, capture_output=True, text=True)
        assert done.returncode == 0, (command, done.stderr)


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.delenv("TRIMARAN_ROOT", raising=False)
    return Place(tmp_path)
