"""The runtime's config.json: pure, and nothing unknown gets into it."""

import json

import msgspec
import pytest

from trimaran.errors import UsageError
from trimaran.executor import seccomp, seccomp_filter
from trimaran.executor.spec import ExecSpec, Host, Mount, Ulimit, runtime_config

HOST = Host(machine="amd64", can_mknod=True)
NESTED = Host(machine="amd64", user_namespace=True, tty_group=False)


def config(host=HOST, **options):
    options = {"args": ("/bin/true",)} | options
    files = {key: options.pop(key) for key in ("hosts_file", "resolver_file") if key in options}
    return json.loads(runtime_config(ExecSpec(**options), host, "/rootfs", **files))


def mount(document, target):
    return next((each for each in document["mounts"] if each["destination"] == target), None)


def test_same_values_same_bytes():
    spec = ExecSpec(args=("a",), mounts=(Mount(target="/x", source="/y"),))
    assert runtime_config(spec, HOST, "/r") == runtime_config(spec, HOST, "/r")


def test_sandbox_defaults():
    document = config()
    process = document["process"]
    assert process["noNewPrivileges"] is False
    assert "CAP_MKNOD" in process["capabilities"]["bounding"]
    assert "CAP_SYS_ADMIN" not in process["capabilities"]["bounding"]
    assert not process["capabilities"].get("inheritable")
    assert not process["capabilities"].get("ambient")
    assert document["hostname"] == "buildkitsandbox"
    assert [each["type"] for each in document["linux"]["namespaces"]] == ["pid", "ipc", "uts", "mount"]
    assert "/proc/kcore" in document["linux"]["maskedPaths"]
    assert "/proc/sys" in document["linux"]["readonlyPaths"]
    assert "ro" in mount(document, "/sys")["options"]
    assert "size=67108864" in mount(document, "/dev/shm")["options"]
    assert process["env"] == []


def test_no_mknod_without_a_device_filter():
    assert "CAP_MKNOD" not in config(Host(machine="amd64"))["process"]["capabilities"]["bounding"]


def test_insecure_is_only_what_was_asked_for():
    document = config(security="insecure")
    assert "seccomp" not in document["linux"]
    assert "CAP_SYS_ADMIN" in document["process"]["capabilities"]["bounding"]
    assert mount(document, "/dev")["type"] == "bind"
    assert mount(document, "/sys")["options"][-1] == "rw"


@pytest.mark.parametrize(
    "options",
    [
        {"security": "INSECURE"},
        {"security": 2},
        {"security": ""},
        {"network": "bridge"},
        {"network": "private"},
        {"args": ()},
        {"args": ("a\0b",)},
        {"environment": ("A=\0",)},
        {"cwd": "relative"},
        {"mounts": (Mount(target="relative", source="/x"),)},
        {"mounts": (Mount(target="/x", source="relative"),)},
        {"mounts": (Mount(target="/x", kind="overlay", source="/x"),)},
        {"ulimits": (Ulimit("nofiles", 1, 1),)},
        {"uid": 2**31},
        {"uid": -1},
        {"gid": 2**32},
        {"additional_gids": (2**31,)},
    ],
)
def test_unknown_values_are_refused(options):
    """T05: a mode that is none never means `off`; T19b: an id beyond 2^31 never wraps to root."""
    with pytest.raises(UsageError):
        config(**options)


def test_networks():
    assert {"type": "network"} in config(network="none")["linux"]["namespaces"]
    joined = config(network="private", network_namespace="/ns")["linux"]["namespaces"]
    assert {"type": "network", "path": "/ns"} in joined


def test_user_namespace():
    document = config(NESTED)
    assert mount(document, "/sys")["type"] == "bind"
    assert not any(option.startswith("gid=") for option in mount(document, "/dev/pts")["options"])
    assert mount(config(NESTED, network="none"), "/sys")["type"] == "sysfs"
    assert "gid=5" in mount(config(), "/dev/pts")["options"]


def test_mount_options_cannot_be_injected():
    """T07: every option is an element of its own, and a path is never part of one."""
    document = config(mounts=(Mount(target="/a,suid:rw", source="/b,dev", readonly=True),))
    entry = mount(document, "/a,suid:rw")
    assert (entry["source"], entry["options"]) == ("/b,dev", ["rbind", "ro"])


def test_files_emulator_and_tmpfs():
    document = config(
        hosts_file="/h",
        resolver_file="/r",
        emulator="/usr/bin/qemu-x",
        args=("/bin/sh", "-c", "x"),
        mounts=(Mount(target="/m", kind="tmpfs", size=4096, mode=0o700),),
    )
    assert mount(document, "/etc/hosts")["source"] == "/h"
    assert mount(document, "/etc/resolv.conf")["options"][:2] == ["bind", "ro"]
    assert document["process"]["args"][1:] == ["/bin/sh", "-c", "x"]
    assert mount(document, document["process"]["args"][0])["source"] == "/usr/bin/qemu-x"
    assert mount(document, "/m")["options"][-2:] == ["size=4096", "mode=700"]


def test_ulimits():
    limits = config(ulimits=(Ulimit("nofile", 5, -1),))["process"]["rlimits"]
    assert limits == [{"type": "RLIMIT_NOFILE", "soft": 5, "hard": 2**64 - 1}]


@pytest.mark.parametrize(
    "machine", ["amd64", "arm64", "arm", "386", "s390x", "ppc64le", "riscv64", "mips64le", "loong64"]
)
def test_profile_of_every_machine(machine):
    profile = seccomp.profile(machine)
    assert profile["architectures"]
    names = [name for rule in profile["syscalls"] for name in rule["names"] if not rule.get("args")]
    assert len(names) == len(set(names))
    clone = next(rule for rule in profile["syscalls"] if rule["names"] == ["clone"])
    assert clone["args"][0]["index"] == (1 if machine == "s390x" else 0)
    msgspec.json.encode(profile)


@pytest.mark.parametrize("damage", ["flipped", "cut off", "zeros", "empty"])
def test_a_damaged_program_is_compiled_anew(tmp_path, damage):
    """By a bit that flipped, a full disk, or a machine that went down: else it would let through more, or nothing start."""
    made = seccomp_filter.program(seccomp.profile("amd64"), str(tmp_path))
    if made is None:
        pytest.skip("no libseccomp 2.5")
    (kept,) = tmp_path.iterdir()
    whole = kept.read_bytes()
    flipped = whole[:-80] + bytes([whole[-80] ^ 1]) + whole[-79:]
    kept.write_bytes({"flipped": flipped, "cut off": whole[:-8], "zeros": bytes(len(whole)), "empty": b""}[damage])
    assert seccomp_filter.program(seccomp.profile("amd64"), str(tmp_path)) == made
    assert kept.read_bytes() == whole


def test_program_is_compiled_once_and_a_strange_file_is_not_trusted(tmp_path):
    profile = seccomp.profile("amd64")
    made = seccomp_filter.program(profile, str(tmp_path))
    if made is None:
        pytest.skip("no libseccomp 2.5")
    assert len(made) % 8 == 0
    (kept,) = tmp_path.iterdir()
    assert kept.stat().st_mode & 0o077 == 0
    assert seccomp_filter.program(profile, str(tmp_path)) == made
    kept.write_bytes(b"\x06\0\0\0\0\0\xff\x7f")  # "allow everything"
    kept.chmod(0o666)
    assert seccomp_filter.program(profile, str(tmp_path)) == made
    assert seccomp_filter.program(seccomp.profile("arm64"), str(tmp_path)) != made
