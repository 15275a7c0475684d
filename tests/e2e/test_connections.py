"""No telemetry, no search for updates: whatever a command connects to, somebody asked for it.

The commands run in a network of their own, in which every packet is seen.
"""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from stage.connections import Connections, watched_network
from stage.contexts import Context
from stage.program import Trimaran

from bases.registry import serve

pytestmark = pytest.mark.root

AT_HOME = (
    "--help",
    "--version",
    "version",
    "help build",
    "build --help",
    "ls",
    "inspect",
    "settings",
    "doctor",
    "images",
    "du",
    "du --verbose",
    "logs",
    "explain",
    "cache-mounts ls",
    "fsck",
    "completion bash",
    "rmi app",
    "prune --all --force",
)
"""Commands that have nobody to ask; in this order, after a build."""


class Place(NamedTuple):
    connections: Connections
    registry: str


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with watched_network() as connections, serve(tmp_path / "registry") as address:
        connections.taken()
        yield Place(connections, address)


def test_the_recorder_sees_a_name_an_address_and_a_child(place: Place) -> None:
    """What it is for, done by programs that do it."""
    look = "import socket; socket.setdefaulttimeout(0.2)\n"
    tries = ('socket.getaddrinfo("telemetry.example", 443)', 'socket.create_connection(("192.0.2.1", 443))')
    tries += ('socket.create_connection(("2001:db8::1", 443))', 'socket.create_connection(("127.0.0.1", 9))')
    env = {"RES_OPTIONS": "timeout:1 attempts:1"}
    for line in tries:
        subprocess.run([sys.executable, "-c", look + line], check=False, capture_output=True, timeout=60, env=env)
    seen = place.connections.taken()
    assert [one for one in seen if one.startswith("udp ") and one.endswith(":53")], "a name is looked up"
    assert {"tcp 192.0.2.1:443", "tcp [2001:db8::1]:443", "tcp 127.0.0.1:9"} <= set(seen)
    with contextlib.suppress(OSError):
        socket.create_connection(("192.0.2.2", 443), timeout=0.2)
    assert place.connections.taken() == ["tcp 192.0.2.2:443"]


def test_nobody_is_asked_but_who_was_named(place: Place, trimaran: Trimaran, context: Context) -> None:
    registry = f"tcp {place.registry}"
    context.write("busybox", Path("/bin/busybox").read_bytes()).chmod(0o755)
    context.dockerfile('FROM scratch\nCOPY busybox /bin/\nRUN ["/bin/busybox", "ln", "-s", "busybox", "/bin/sh"]\n')
    trimaran("build", "-t", f"{place.registry}/busybox", "--push", context)
    assert place.connections.taken() == [registry]
    trimaran("rmi", f"{place.registry}/busybox")
    context.dockerfile(f"FROM {place.registry}/busybox\nCOPY Dockerfile /\nRUN echo made >/made\n")
    name = f"{place.registry}/app:1"
    for words in (
        ("build", "-t", "app", context),
        ("build", "-t", name, "--push", context),
        ("push", name),
        ("imagetools", "inspect", name),
    ):
        trimaran(*words)
        assert place.connections.taken() == [registry], words
    context.dockerfile(f"FROM {place.registry}/busybox\nRUN exit 1\n")
    trimaran("build", context, exit_code=1)
    assert place.connections.taken() == [registry]
    context.dockerfile("FROM scratch\nCOPY Dockerfile /\n")
    for words in (
        ("build", "-t", "app", context),
        ("build", "--check", context),
        ("run", "app", "/none"),
        ("diff", name, "app"),
    ):
        trimaran(*words, exit_code=None)
        assert place.connections.taken() == [], words
    for line in AT_HOME:
        done = trimaran(*line.split(), exit_code=None)
        assert "Traceback" not in done.stderr
        assert "unknown command" not in done.stderr.lower()
        assert place.connections.taken() == [], line
