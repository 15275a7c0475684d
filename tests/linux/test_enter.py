"""`enter` with real namespaces, as root and as an ordinary account."""

import os
import signal
import subprocess
import sys
import time

import pytest

from inside import SOURCE, python_for_anyone

pytestmark = pytest.mark.root

PRELUDE = """
import os, sys, signal, time
from trimaran.linux.enter import enter
e = enter({arguments})
"""


@pytest.fixture(params=["root", "root-user-namespace", "account"])
def inside(request, program):
    if os.geteuid() != 0:
        pytest.skip("needs root")
    name = request.getfixturevalue("account") if request.param == "account" else None
    arguments = "rootless=True" if request.param == "root-user-namespace" else ""

    def run(text, **options):
        return program(PRELUDE.format(arguments=arguments) + text, account=name, **options)

    run.kind = request.param
    return run


def test_process_one_with_its_own_proc(inside):
    result = inside(
        "print(os.getpid(), os.readlink('/proc/self'), sorted(int(p) for p in os.listdir('/proc') if p.isdigit()))"
    )
    assert result.stdout == "1 1 [1]\n", result.stderr


def test_facts(inside):
    result = inside("print(e.rootless, e.user_namespace, e.subuids, e.pid_namespace, os.getuid(), e.can_mknod)")
    expected = {
        "root": "False False True True 0 True\n",
        "root-user-namespace": "False True True True 0 False\n",
        "account": "True True True True 0 False\n",
    }
    assert result.stdout == expected[inside.kind], result.stderr


def test_mounts_and_owners(inside, shared):
    """Mounting works and stays inside; the second user of the namespace can own files."""
    folder = shared / "m"
    folder.mkdir()
    folder.chmod(0o777)
    result = inside(
        f"""
from trimaran.linux import mounts
mounts.attach_tmpfs({str(folder)!r}, size=1 << 20)
open({str(folder / "file")!r}, "w").close()
os.chown({str(folder / "file")!r}, 1, 1)
print(os.stat({str(folder / "file")!r}).st_uid)
"""
    )
    assert result.stdout == "1\n", result.stderr
    assert os.listdir(folder) == []


@pytest.mark.parametrize("code", [0, 3, 255])
def test_exit_code(inside, code):
    assert inside(f"sys.exit({code})").returncode == code


def test_own_signal(inside):
    """A fault of the inner process is the outer one's death too."""
    result = inside("import ctypes; ctypes.string_at(0)")
    assert result.returncode == -signal.SIGSEGV


def test_streams_are_not_doubled(program):
    result = program("print('before', end=''); from trimaran.linux.enter import enter; enter(); print('after')")
    assert result.stdout == "beforeafter\n", result.stderr


def start(text, **options):
    environment = {**os.environ, "PYTHONPATH": SOURCE}
    return subprocess.Popen(
        [sys.executable, "-c", PRELUDE.format(arguments="") + text],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        **options,
    )


COUNT = """
arrived = []
def handler(number, frame):
    arrived.append(time.monotonic())
    print("signal", number, flush=True)
signal.signal(signal.{name}, handler)
print("ready", flush=True)
end = time.monotonic() + 60
while time.monotonic() < (arrived[0] + {stays} if arrived else end):
    time.sleep(0.02)
print("count", len(arrived))
sys.exit(9)
"""
"""Waits as long as need be for a signal, and `stays` seconds after it for one that must not come."""


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGWINCH"])
@pytest.mark.parametrize("whole_group", [False, True])
def test_signal_arrives_once(name, whole_group):
    """Also when the whole process group gets it, as from a terminal or `timeout`."""
    process = start(COUNT.format(name=name, stays=0.4))
    assert process.stdout.readline() == "ready\n"
    (os.killpg if whole_group else os.kill)(process.pid, getattr(signal, name))
    out, err = process.communicate(timeout=20)
    assert "count 1\n" in out, (out, err)
    assert process.returncode == 9


def test_second_interrupt_kills():
    process = start(COUNT.format(name="SIGINT", stays=300))
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    assert "signal" in process.stdout.readline()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130


def test_terminate_without_handler_ends():
    process = start("print('ready', flush=True); time.sleep(300)")
    process.stdout.readline()
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 143


def test_terminate_is_enforced():
    process = start("signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); time.sleep(300)")
    process.stdout.readline()
    before = time.monotonic()
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 143
    assert time.monotonic() - before > 3, "it had time to end by itself"


def processes_with(marker):
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/cmdline", "rb") as file:
                    if marker.encode() in file.read():
                        found.append(int(name))
            except OSError:
                continue
    return found


def test_kill_of_the_outer_leaves_nothing(tmp_path):
    """No process, no mount, and the next engine removes the control group."""
    marker = f"trimaran-test-{os.urandom(6).hex()}"
    process = start(
        f"""
from trimaran.linux import mounts
import subprocess
mounts.attach_tmpfs({str(tmp_path)!r})
subprocess.Popen(["setsid", "sleep", "1000", ], executable="/usr/bin/setsid")
subprocess.Popen(["python-{marker}", "-c", "import time; time.sleep(1000)"], executable={sys.executable!r})
print("ready", flush=True)
time.sleep(1000)
"""
    )
    assert process.stdout.readline() == "ready\n", process.stderr.read()
    assert processes_with(marker)
    process.kill()
    process.wait()
    deadline = time.monotonic() + 5
    while processes_with(marker) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert processes_with(marker) == []
    with open("/proc/self/mountinfo") as file:
        assert str(tmp_path) not in file.read()
    process.communicate()
    start("sys.exit(0)").communicate(timeout=10)
    from trimaran.linux import cgroups

    parent = cgroups.own_group()
    if parent:
        assert not any(name.startswith(f"trimaran-{process.pid}-") for name in os.listdir(parent))


def test_devices_are_filtered(program):
    """Root in the engine's group cannot open a disk it can name; harmless devices work."""
    result = program(
        PRELUDE.format(arguments="")
        + """
import tempfile
assert e.confinement.filtered()
folder = tempfile.mkdtemp()
try:
    os.mknod(folder + "/kmsg", 0o600 | 0o020000, os.makedev(1, 11))
    os.mknod(folder + "/zero", 0o600 | 0o020000, os.makedev(1, 5))
    print(open(folder + "/zero", "rb").read(1))
    try:
        open(folder + "/kmsg", "rb")
    except PermissionError:
        print("refused")
finally:
    for name in os.listdir(folder):
        os.unlink(folder + "/" + name)
    os.rmdir(folder)
"""
    )
    assert result.stdout == "b'\\x00'\nrefused\n", result.stderr


def test_single_user_without_subordinate_ids(program, tmp_path):
    """An account that has none still gets a namespace; `subuids` says that RUN is limited."""
    if python_for_anyone()[0] is None:
        pytest.skip("no interpreter another account may start")
    name = "trimaran-nosub"
    subprocess.run(
        ["useradd", "-M", "-K", "SUB_UID_COUNT=0", "-K", "SUB_GID_COUNT=0", "--", name], check=True, capture_output=True
    )
    try:
        result = program(PRELUDE.format(arguments="") + "print(e.subuids, os.getuid(), e.users)", account=name)
    finally:
        subprocess.run(["userdel", "--", name], check=False, capture_output=True)
    assert result.stdout.startswith("False 0 "), result.stderr
