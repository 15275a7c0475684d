"""However the engine ends, in the middle of a step: no process, no mount, no control group stays (5 s)."""

import os
import signal
import subprocess
import sys
import time

import pytest

import inside
from contracts.test_runtime import PRELUDE, Box

pytestmark = pytest.mark.root


@pytest.fixture(params=["crun", "runc", "crun-rootless"])
def box(request, shared):
    runtime, _, rootless = request.param.partition("-")
    return Box(shared, runtime, request.getfixturevalue("account") if rootless else None)


def start(box, text):
    import pwd

    python, folders = inside.python_for_anyone() if box.account else (sys.executable, [inside.SOURCE])
    prelude = PRELUDE.format(folder=str(box.folder), rootfs=str(box.rootfs), runtime=box.runtime)
    options = {}
    if box.account:
        entry = pwd.getpwnam(box.account)
        options = {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
    environment = {
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "PYTHONPATH": ":".join(folders),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    return subprocess.Popen(
        [python, "-c", prelude + text],
        env=environment,
        stdout=subprocess.PIPE,
        start_new_session=True,
        cwd="/",
        **options,
    )


def processes(marker):
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


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGHUP, signal.SIGTERM])
def test_nothing_stays(box, number):
    seconds = str(100000 + int.from_bytes(os.urandom(2)))
    process = start(
        box,
        f"""
spec = ExecSpec(args=("/bin/sh", "-c", "trap '' TERM HUP INT; echo ready; sleep {seconds} & sleep {seconds}"), environment=PATH)
asyncio.run(runtime.run(spec, rootfs, output=lambda stream, data: os.write(1, data)))
""",
    )
    try:
        assert process.stdout.readline() == b"ready\n"
        assert processes(seconds)
        before = time.monotonic()
        os.kill(process.pid, number)
        process.wait(timeout=10)
        while processes(seconds) and time.monotonic() - before < 10:
            time.sleep(0.02)
        assert time.monotonic() - before < 5
        assert processes(seconds) == []
        with open("/proc/self/mountinfo") as file:
            assert str(box.folder) not in file.read()
        assert os.listdir(box.folder / "run") == []
    finally:
        process.kill()
        process.communicate()


def test_limits_are_set_or_refused(box):
    """By cgroup v2, or by v1 where that has the controllers; an account to which none is delegated is told so."""
    out = box(
        """
import os
from trimaran.linux import cgroups, step_groups
from trimaran.linux.limits import Limits
try:
    end = show("dd if=/dev/zero of=/dev/null bs=200M count=1", limits=Limits(memory=64 << 20, memory_swap=0))
    print("limited", end.code != 0, end.oom, 32 << 20 < end.peak_memory <= 65 << 20)
    parents = [f"{root}/trimaran" for root in (cgroups.hierarchy(), step_groups.own_group_v1("memory")) if root]
    print([path for path in parents if os.path.isdir(path) and not any(each.is_dir() for each in os.scandir(path))])
except TrimaranError as error:
    print("refused", error)
"""
    )
    if "refused" in out:
        assert "controller" in out or "cgroup" in out
        assert box.account, out
    else:
        assert out.splitlines()[-2:] == ["limited True True True", "[]"]


@pytest.mark.parametrize("runtime", ["crun", "runc"])
def test_insecure_has_the_devices_and_sandbox_has_not(shared, runtime):
    box = Box(shared, runtime, None)
    out = box(
        """
node = "mknod /tmp/kmsg c 1 11 2>/dev/null; dd if=/tmp/kmsg of=/dev/null bs=1 count=0 && echo open"
print(show(node, security="insecure").code)
print(show("dd if=/tmp/kmsg of=/dev/null bs=1 count=0 2>/dev/null || echo refused").code)
print(show("umount /dev/shm && echo unmounted", security="insecure").code)
"""
    )
    lines = [line for line in out.splitlines() if "record" not in line]
    assert lines == ["open", "0", "refused", "0", "unmounted", "0"]
