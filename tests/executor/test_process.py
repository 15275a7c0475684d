"""What runs a step is started apart from the machine's abstract sockets (T42)."""

import asyncio
import os
import socket
import sys

import pytest

from trimaran.executor import process
from trimaran.linux import landlock

CONNECT = "import socket, sys; socket.socket(socket.AF_UNIX).connect(sys.argv[1].replace('@', '\\0'))"
AMONG_THEMSELVES = """
import os, socket
name, heard = "\\0of-the-step", socket.socket(socket.AF_UNIX)
heard.bind(name), heard.listen()
if not os.fork():
    socket.socket(socket.AF_UNIX).connect(name), os._exit(0)
heard.accept(), os._exit(os.waitstatus_to_exitcode(os.wait()[1]))
"""


def code_of(spawn, script, *arguments):
    """Asked by a process of its own: who starts a step does not come back."""

    async def run():
        null = os.open(os.devnull, os.O_RDWR)
        words = [sys.executable, "-c", script, *arguments]
        return await process.watch(spawn(words, environment={}, descriptors={0: null, 1: null, 2: null}))

    return in_child(lambda: asyncio.run(run()))


def in_child(work):
    pid = os.fork()
    if not pid:
        code = 99
        try:
            code = work()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.fixture
def confining():
    """Skip where the kernel has no such domains (Linux 6.12) or grants them to nobody without rights."""
    if in_child(lambda: not landlock.leave_abstract_sockets()):
        pytest.skip("Landlock cannot keep abstract sockets away here")


@pytest.mark.root
def test_t42_a_step_reaches_no_abstract_socket_of_the_machine(confining):
    with socket.socket(socket.AF_UNIX) as service:
        service.bind(f"\0trimaran-{os.getpid()}")
        service.listen()
        name = f"@trimaran-{os.getpid()}"
        assert code_of(process.spawn, CONNECT, name) == 0
        assert code_of(process.spawn_step, CONNECT, name) == 1


@pytest.mark.root
def test_t42_sockets_with_a_path_and_those_of_the_step_itself_work(confining, tmp_path):
    path = str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX) as service:
        service.bind(path)
        service.listen()
        assert code_of(process.spawn_step, CONNECT, path) == 0
    assert code_of(process.spawn_step, AMONG_THEMSELVES) == 0


@pytest.mark.root
def test_a_session_bus_that_is_one_can_be_reached(confining, monkeypatch):
    with socket.socket(socket.AF_UNIX) as bus:
        bus.bind(f"\0trimaran-bus-{os.getpid()}")
        bus.listen()
        monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", f"unix:abstract=trimaran-bus-{os.getpid()}")
        assert code_of(process.spawn_step, CONNECT, f"@trimaran-bus-{os.getpid()}") == 0
