"""What every Runtime promises, with the real crun and runc, as root and as an ordinary account."""

import json
import os
import shutil
from pathlib import Path

import pytest

import inside

pytestmark = pytest.mark.root

PRELUDE = """
import asyncio, json, os, signal, sys, time
from trimaran.linux.enter import enter
entered = enter()
from trimaran.executor.runtimes import open_runtime
from trimaran.executor.spec import ExecSpec, Mount, Ulimit, HostAlias
from trimaran.executor.runtime import Exit, Terminal
from trimaran.errors import TrimaranError
folder, rootfs = {folder!r}, {rootfs!r}
runtime = open_runtime(entered, folder, {runtime!r})
PATH = ("PATH=/bin",)
async def run(*args, cwd="/", stdin=None, terminal=None, environment=PATH, **options):
    streams = {{1: b"", 2: b""}}
    def output(stream, data): streams[stream] += data
    end = await runtime.run(ExecSpec(args=args, environment=environment, cwd=cwd, **options), rootfs, output=output, stdin=stdin, terminal=terminal)
    return end, streams[1].decode(errors="replace"), streams[2].decode(errors="replace")
def sh(text, **options):
    return asyncio.run(run("/bin/sh", "-c", text, **options))
def show(text, **options):
    end, out, err = sh(text, **options)
    print(out + err, end="")
    return end
"""
APPLETS = "sh nc printf tail true false cat ls id echo sleep stat env pwd mknod dd head wc mount umount unshare hostname readlink touch mkdir rm ulimit stty tty yes chroot ip nslookup grep ps chown".split()


def make_rootfs(path, owner):
    (path / "bin").mkdir(parents=True)
    shutil.copy("/bin/busybox", path / "bin" / "busybox")
    for name in APPLETS:
        (path / "bin" / name).symlink_to("busybox")
    (path / "tmp").mkdir()
    (path / "tmp").chmod(0o1777)
    for folder, _, files in os.walk(path):
        for each in (folder, *(os.path.join(folder, file) for file in files)):
            os.chown(each, *owner, follow_symlinks=False)
    return path


class Box:
    """A rootfs, a folder for the runtime, and who runs it."""

    def __init__(self, base, runtime, account):
        import pwd

        entry = pwd.getpwnam(account) if account else None
        self.owner = (entry.pw_uid, entry.pw_gid) if entry else (0, 0)
        self.account, self.runtime = account, runtime
        self.rootfs = make_rootfs(base / "rootfs", self.owner)
        self.folder = base / "state"
        self.folder.mkdir()
        os.chown(self.folder, *self.owner)

    def __call__(self, text, expect=0, **options):
        prelude = PRELUDE.format(folder=str(self.folder), rootfs=str(self.rootfs), runtime=self.runtime)
        result = inside.run_program(prelude + text, account=self.account, **options)
        assert result.returncode == expect, result.stderr + result.stdout
        return result.stdout


@pytest.fixture(params=["crun", "runc", "crun-rootless", "runc-rootless"])
def box(request, shared):
    runtime, _, rootless = request.param.partition("-")
    account = request.getfixturevalue("account") if rootless else None
    return Box(shared, runtime, account)


def test_exit_codes_and_streams(box):
    out = box(
        """
for text in ("exit 0", "exit 3", "echo out; echo err >&2; exit 255"):
    print(sh(text))
"""
    )
    assert out.splitlines() == [
        "(Exit(code=0, signal=0, oom=False, peak_memory=None), '', '')",
        "(Exit(code=3, signal=0, oom=False, peak_memory=None), '', '')",
        "(Exit(code=255, signal=0, oom=False, peak_memory=None), 'out\\n', 'err\\n')",
    ]


def test_killed_by_a_signal(box):
    """Process 1 of a container has no default actions; its child has, and a shell says so."""
    assert (
        box("""end, _, _ = sh("sh -c 'kill -15 $$'; exit $?"); print(end.code, end.signal, end.oom)""")
        == "143 15 False\n"
    )


def test_output_is_complete(box):
    """Eight MiB on each stream at the same time: nothing lost, no deadlock."""
    out = box(
        """
end, out, err = sh("head -c 8388608 /dev/zero & head -c 8388608 /dev/zero >&2; wait")
print(end.code, len(out), len(err))
"""
    )
    assert out == f"0 {8 << 20} {8 << 20}\n"


def test_stdin(box):
    out = box(
        """
r, w = os.pipe(); os.write(w, b"hello"); os.close(w)
show("cat; echo; cat", stdin=r)
show("cat; echo end")
"""
    )
    assert out == "hello\nend\n"


def test_environment_is_only_what_was_given(box):
    """T19: nothing of ours, of the engine's or of the caller's environment."""
    out = box("os.environ['SECRET'] = 'token'; show('env; cat /proc/1/environ', environment=('PATH=/bin', 'A=b c'))")
    assert "token" not in out
    names = {line.partition("=")[0] for line in out.split("\0")[0].splitlines() if "=" in line}
    assert names <= {"PATH", "A", "HOME", "PWD", "SHLVL", "OLDPWD", "HOSTNAME"}
    assert "A=b c" in out


def test_no_descriptor_leaks(box, tmp_path):
    out = box(
        """
leak = os.open("/", os.O_RDONLY); os.set_inheritable(leak, True); os.dup2(leak, 77)
show("ls /proc/self/fd")
"""
    )
    assert set(out.split()) <= {"0", "1", "2", "3"}  # 3 is the folder that ls reads


def test_identity(box):
    out = box(
        "show('id -u; id -g; id -G; grep -E \"Cap(Inh|Amb)\" /proc/self/status', uid=1000, gid=1001, additional_gids=(7, 8))"
    )
    assert out.split() == ["1000", "1001", "1001", "7", "8", "CapInh:", "0" * 16, "CapAmb:", "0" * 16]


def test_no_groups_left_over(box):
    assert box("show('id -G')") == "0\n"


def test_capabilities(box):
    out = box("show('grep CapEff /proc/self/status')")
    assert int(out.split()[1], 16) | 1 << 27 == 0xA80425FB


@pytest.mark.parametrize(
    "command",
    ["mount -t tmpfs none /tmp", "unshare -m true", "hostname other", "umount /proc", "mount -o remount,rw /sys"],
)
def test_sandbox_refuses(box, command):
    assert box(f"print(show({command!r}).code)").split()[-1] != "0"


def test_system_is_readonly(box):
    out = box(
        "show('touch /proc/sys/x; echo 1 > /proc/sys/kernel/printk; touch /sys/x; echo > /proc/sysrq-trigger; true')"
    )
    words = ("read-only", "denied", "not permitted", "nonexistent", "no such file")
    assert sum(any(word in line.lower() for word in words) for line in out.splitlines()) == 4, out


def test_kernel_memory_is_masked(box):
    assert box("show('dd if=/proc/kcore bs=1 count=1 2>/dev/null | wc -c')").strip() == "0"


def test_devices(box):
    out = box(
        "show('for d in null zero full random urandom tty; do ls /dev/$d; done; head -c 3 /dev/zero | wc -c; ls /dev/shm /dev/pts; echo x > /dev/null')"
    )
    assert out.split() == [
        *(f"/dev/{d}" for d in "null zero full random urandom tty".split()),
        "3",
        "/dev/pts:",
        "ptmx",
        "/dev/shm:",
    ]


def test_made_device_cannot_be_opened(box):
    """A step may make a node where its capability is left, but never open a disk or the kernel log with it."""
    out = box("show('mknod /tmp/kmsg c 1 11 && dd if=/tmp/kmsg bs=1 count=1; echo; ls /tmp')")
    assert "not permitted" in out.lower() or "denied" in out.lower()


def test_hostname_hosts_and_resolver(box):
    out = box("show('hostname; cat /etc/hosts', extra_hosts=(HostAlias('db', '10.0.0.1'),))")
    assert out == (
        "buildkitsandbox\n127.0.0.1\tlocalhost buildkitsandbox\n::1\tlocalhost ip6-localhost ip6-loopback\n10.0.0.1\tdb\n"
    )
    own = Path("/etc/resolv.conf").read_text() if os.path.exists("/etc/resolv.conf") else ""
    assert box("show('cat /etc/resolv.conf')") == own


def test_no_network_means_loopback_and_no_resolver(box):
    out = box("show('ls /sys/class/net; cat /etc/resolv.conf', network='none')")
    assert out == "lo\n"


def test_working_folder_is_made_and_used(box):
    assert box("show('pwd', cwd='/work/deep')") == "/work/deep\n"
    assert (box.rootfs / "work" / "deep").is_dir()


@pytest.mark.parametrize("target", ["/proc/self/fd/3", "/proc/self/fd/8", "/proc/1/cwd", "/proc/../proc/self/fd/7"])
@pytest.mark.parametrize("through_link", [False, True])
def test_working_folder_in_proc_is_refused(box, target, through_link):
    """T01 (CVE-2024-21626)."""
    if through_link:
        (box.rootfs / "link").symlink_to(target)
    out = box(
        f"""
try:
    show('ls', cwd={"/link" if through_link else target!r})
except TrimaranError as error:
    print("refused", error)
"""
    )
    assert out.startswith("refused")


def test_relative_looking_link_as_working_folder_works(box):
    """Look-alike of the exploit: a symlink to a folder of the image is a normal working folder."""
    (box.rootfs / "real").mkdir()
    os.chown(box.rootfs / "real", *box.owner)
    (box.rootfs / "link").symlink_to("../real")
    assert box("show('pwd -P', cwd='/link')") == "/real\n"


def test_mounts(box, shared):
    source = shared / "source"
    source.mkdir()
    source.chmod(0o777)
    (source / "file").write_text("content")
    out = box(
        f"""
end = show("cat /in/file; touch /in/new; touch /out/new; ls /out; stat -f -c %T /memory; touch /memory/x", mounts=(
    Mount(target="/in", source={str(source)!r}, readonly=True),
    Mount(target="/out", source={str(source)!r}),
    Mount(target="/memory", kind="tmpfs", size=4096),
))
"""
    )
    assert "content" in out
    assert "Read-only" in out
    assert "tmpfs" in out
    assert "new" in os.listdir(source)


def test_readonly_rootfs(box):
    assert "Read-only" in box("show('touch /x', readonly_rootfs=True)")


def test_ulimits(box):
    assert box("show('ulimit -n; ulimit -Hn', ulimits=(Ulimit('nofile', 100, 200),))") == "100\n200\n"


def test_shared_memory_size(box):
    out = box("show('dd if=/dev/zero of=/dev/shm/x bs=1024 count=64 2>&1', shm_size=32 << 10)")
    assert "No space" in out


@pytest.mark.parametrize(
    ("args", "code"), [(("/nothing",), 127), (("nothing",), 127), (("/tmp",), 126), (("/tmp/notexecutable",), 126)]
)
def test_program_that_cannot_start(box, args, code):
    (box.rootfs / "tmp" / "notexecutable").touch()
    out = box(
        f"""
try:
    print(asyncio.run(run(*{args!r})))
except TrimaranError as error:
    print(type(error).__name__, error.code, error)
"""
    )
    assert out.startswith(f"ContainerNotStarted {code} "), out


def test_foreign_program_is_named(box):
    content = bytearray(Path("/bin/busybox").read_bytes()[:4096])
    content[18:20] = (254).to_bytes(2, "little")  # a machine nobody has
    path = box.rootfs / "bin" / "foreign"
    path.write_bytes(content)
    path.chmod(0o755)
    out = box(
        "try: print(asyncio.run(run('/bin/foreign')))\nexcept TrimaranError as error: print(error, '|', error.hint)"
    )
    assert "another architecture" in out
    assert "trimaran binfmt" in out


def test_missing_interpreter_is_told(box):
    path = box.rootfs / "bin" / "script"
    path.write_text("#!/bin/nosuch\n")
    path.chmod(0o755)
    out = box(
        """
try: print(asyncio.run(run('/bin/script')))
except TrimaranError as error: print(error.code, error, '|', error.hint)
"""
    )
    assert out.startswith('127 start "/bin/script": exec /bin/script: no such file or directory | '), out
    assert "the interpreter that its first line names" in out


def test_program_may_speak_of_a_missing_file(box):
    """Look-alikes: what a step prints is its own."""
    assert box("print(sh('echo exec /x: no such file or directory >&2; exit 1')[0].code)") == "1\n"
    assert box('print(sh(\'echo {\\"msg\\":\\"exec container process: fine\\"} >&2; exit 1\')[2])').startswith("{")


def test_program_may_say_so_itself(box):
    """Look-alike: a step that prints such words and more is a failing step."""
    assert box("print(sh('echo trying; echo x: exec format error >&2; exit 1')[0].code)") == "1\n"


def test_cancel_kills_everything(box):
    out = box(
        """
from trimaran.executor import process
async def main():
    started = asyncio.Event()
    async def one():
        def output(stream, data): started.set()
        await runtime.run(ExecSpec(args=("/bin/sh", "-c", "trap '' TERM INT; sleep 1000 & sleep 1000 & echo; sleep 1000; sleep 1000"), environment=PATH), rootfs, output=output)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(one())
        await started.wait()
        assert len(process.descendants(os.getpid())) >= 3
        before = time.monotonic()
        task.cancel()
    print(time.monotonic() - before < 10, process.descendants(os.getpid()))
    print(os.listdir(folder + "/run/state"), [n for n in os.listdir(folder + "/run") if n.startswith("trimaran-")])
asyncio.run(main())
"""
    )
    assert out == "True []\n[] []\n"


def test_cancel_while_starting(box):
    """At any moment of the start: nothing is left."""
    out = box(
        """
from trimaran.executor import process
async def main():
    for milliseconds in range(0, 40, 2):
        task = asyncio.get_running_loop().create_task(run("/bin/sleep", "1000"))
        await asyncio.sleep(milliseconds / 1000)
        task.cancel()
        try: await task
        except asyncio.CancelledError: pass
    process.reap_orphans()
    await asyncio.sleep(0.3)
    process.reap_orphans()
    print(process.descendants(os.getpid()))
    print([n for n in os.listdir(folder + "/run") if n.startswith("trimaran-")])
asyncio.run(main())
"""
    )
    assert out == "[]\n[]\n"


def test_many_at_once(box):
    out = box(
        """
async def main():
    tasks = [asyncio.get_running_loop().create_task(run("/bin/sh", "-c", f"echo {n}; exit {n}")) for n in range(8)]
    print([(end.code, out.strip()) for end, out, _ in [await task for task in tasks]])
asyncio.run(main())
"""
    )
    assert out == str([(n, str(n)) for n in range(8)]) + "\n"


def test_terminal(box):
    out = box(
        """
from trimaran.executor.spec import ExecSpec
async def main():
    reader, writer = os.pipe()
    os.write(writer, b"word\\n")
    got = b""
    def output(stream, data):
        nonlocal got
        assert stream == 1
        got += data
    spec = ExecSpec(args=("/bin/sh", "-c", "tty; stty size; read line; echo got $line; test -t 1 && echo both; exit 4"), environment=PATH, terminal=True)
    end = await runtime.run(spec, rootfs, output=output, stdin=reader, terminal=Terminal(30, 100))
    print(json.dumps([end.code, got.decode()]))
asyncio.run(main())
"""
    )
    code, text = json.loads(out)
    assert code == 4
    lines = [line.strip() for line in text.splitlines()]
    assert any(line.startswith("/dev/") for line in lines)
    assert "30 100" in lines
    assert "got word" in lines
    assert "both" in lines


def test_resized_terminal(box):
    out = box(
        """
async def main():
    terminal = Terminal(30, 100)
    asyncio.get_running_loop().call_later(0.5, terminal.resize, 12, 34)
    got = []
    spec = ExecSpec(args=("/bin/sh", "-c", "sleep 1; stty size"), environment=PATH, terminal=True)
    end = await runtime.run(spec, rootfs, output=lambda stream, data: got.append(data), terminal=terminal)
    print(b"".join(got).decode().strip())
asyncio.run(main())
"""
    )
    assert out == "12 34\n"


def test_long_and_many_mounts(box, shared):
    """T11: the length of paths and the number of mounts are no way out."""

    deep = shared / "source" / ("d" * 200) / ("e" * 200)
    deep.mkdir(parents=True)
    (deep / "file").write_text("deep")
    out = box(
        f"""
mounts = tuple(Mount(target=f"/m/{{n}}", source={str(deep)!r}, readonly=True) for n in range(150))
print(show("cat /m/149/file; ls /m | wc -l", mounts=mounts).code)
"""
    )
    assert out == "deep150\n0\n"
