"""OpenSSH: keys, agents of whoever runs the program, and a server that lets one key do one thing, read repositories."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from stage.program import Trimaran
from stage.watching import until
from trimaran.builders.agents import listens


def make_key(folder: Path, name: str = "key", phrase: str = "") -> Path:
    """A private key in `folder`, owned by who owns that; the public one lies beside it."""
    path = folder / name
    words = ("ssh-keygen", "-q", "-t", "ed25519", "-N", phrase, "-C", "of the test", "-f", str(path))
    subprocess.run(words, check=True)
    owner = folder.stat()
    for each in (path, folder / f"{name}.pub"):
        os.chown(each, owner.st_uid, owner.st_gid)
    return path


@contextlib.contextmanager
def agent(command: Trimaran, key: Path) -> Iterator[Path]:
    """An ssh-agent of whoever runs `command`, with that key: its socket. It has to have the key at the end, too."""
    as_owner = command.command[:-1]
    path = command.home / "agent.sock"
    process = subprocess.Popen([*as_owner, "ssh-agent", "-D", "-a", path], stdout=subprocess.DEVNULL)
    environment = {**os.environ, "SSH_AUTH_SOCK": str(path)}
    try:
        until(lambda: listens(str(path)), "the agent listens")
        subprocess.run([*as_owner, "ssh-add", "-q", key], env=environment, check=True)
        yield path
        words = [*as_owner, "ssh-add", "-l"]
        listed = subprocess.run(words, env=environment, capture_output=True, text=True, check=True)
        assert "of the test" in listed.stdout, "nobody may take keys away"
    finally:
        process.terminate()
        process.wait()


class SshServer:
    """A real sshd on 127.0.0.1 that runs git for who has the key; `said` is its log."""

    def __init__(self, folder: Path, authorized: Path) -> None:
        folder.mkdir()
        self._folder = folder
        self._host_key = make_key(folder, "host")
        self._authorized = authorized.with_name(authorized.name + ".pub").read_text()
        # sshd wants to be told its port. Kept as long as it serves, for nobody else to get it; who lets an address be
        # used again, as sshd does, may listen there, since this never listens.
        self._kept = socket.socket()
        self._kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._kept.bind(("127.0.0.1", 0))
        self.port = self._kept.getsockname()[1]

    def url(self, path: Path) -> str:
        return f"ssh://root@127.0.0.1:{self.port}{path}"

    @property
    def known_hosts(self) -> str:
        kind, key, _ = (self._folder / "host.pub").read_text().split(" ", 2)
        return f"[127.0.0.1]:{self.port} {kind} {key}\n"

    @property
    def said(self) -> str:
        return (self._folder / "log").read_text()

    @contextlib.contextmanager
    def serving(self) -> Iterator[SshServer]:
        Path("/run/sshd").mkdir(exist_ok=True)  # its own, for the part that has no rights
        allowed = self._folder / "authorized"
        # restrict: no terminal, no forwarding; git-shell runs nothing but git's own servers.
        allowed.write_text(f'restrict,command="git-shell -c \\"$SSH_ORIGINAL_COMMAND\\"" {self._authorized}')
        config = self._folder / "config"
        config.write_text(
            f"ListenAddress 127.0.0.1\nPort {self.port}\nHostKey {self._host_key}\nAuthorizedKeysFile {allowed}\n"
            "PidFile none\nUsePAM no\nStrictModes no\nPermitRootLogin prohibit-password\nPasswordAuthentication no\n"
            "KbdInteractiveAuthentication no\nUseDNS no\n"
            "LogLevel VERBOSE\n"
        )
        with (self._folder / "log").open("w") as log:
            process = subprocess.Popen(["/usr/sbin/sshd", "-D", "-e", "-f", config], stderr=log)
        try:
            until(lambda: self._answers(process), "sshd answers")
            yield self
        finally:
            process.terminate()
            process.wait()
            self._kept.close()

    def _answers(self, process: subprocess.Popen[bytes]) -> bool:
        assert process.poll() is None, self.said
        time.sleep(0.02)
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1) as connection:
            return connection.recv(4) == b"SSH-"
        return False
