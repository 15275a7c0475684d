"""What a RUN may and may not: network, entitlements, limits, names; as root and as an ordinary account."""

from __future__ import annotations

import json
import os
import re

import pytest
from stage.namespaces import mount_namespace

from trimaran.linux import cgroups


def build(command, context, text, *words, **options):
    """Build; the lines that steps wrote, and all that was said."""
    context.dockerfile(text)
    said = command("build", "--progress=plain", "--no-cache", *words, ".", cwd=context.folder, **options).stderr
    return [match[1] for match in re.finditer(r"^#\d+ \d+\.\d+ (.*)$", said, re.MULTILINE)], said


INTERFACES = "echo $(tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' ' | sort)"
"""Said in one piece: of what comes in two, the beginning may be shown alone, and again with the rest of its line."""


def test_no_network_is_loopback_only(either, bases, context):
    lines, _ = build(either, context, f"FROM alpine\nRUN --network=none {INTERFACES}\nRUN cat /etc/resolv.conf | wc -l\n",
                     "--network=none")  # fmt: skip
    assert lines == ["lo", "0"]


def test_the_hosts_network_has_to_be_allowed(either, bases, context):
    text = f"FROM alpine\nRUN --network=host {INTERFACES}\n"
    lines, said = build(either, context, text, exit_code=1)
    assert lines == []
    assert "network.host is not allowed" in said
    assert "--allow network.host" in said
    here = " ".join(sorted(os.listdir("/sys/class/net")))
    assert build(either, context, text, "--allow", "network.host")[0] == [here]
    assert build(either, context, text.replace("--network=host ", ""), "--network=host")[0] == [here]


def test_what_was_refused_is_refused_when_cached_too(trimaran, bases, context):
    context.dockerfile("FROM alpine\nRUN --network=host true\n")
    trimaran("build", "--allow=network.host", ".", cwd=context.folder)
    assert "not allowed" in trimaran("build", ".", cwd=context.folder, exit_code=1).stderr


def test_rootless_steps_have_a_network_of_their_own_where_the_machine_has_the_means(rootless, bases, context, tmp_path):
    tun = tmp_path / "tun"
    os.mknod(tun, 0o666 | 0o020000, os.makedev(10, 200))
    tun.chmod(0o666)
    registry = bases.rpartition(":")[2]
    fetch = f"wget -q -T 2 -O - http://127.0.0.1:{registry}/v2/ && echo reached || echo refused"
    text = f"FROM alpine\nRUN readlink /proc/self/ns/net && {INTERFACES}\nRUN {fetch}\nRUN readlink /proc/self/ns/net\n"
    own = os.readlink("/proc/self/ns/net")
    with mount_namespace() as inside:
        inside.run("mount", "--bind", str(tun), "/dev/net/tun")
        command = inside.inside(rootless)
        assert "private (pasta)" in command("inspect").stdout
        lines, _ = build(command, context, text)
        assert lines[0] == lines[-1] != own, "one namespace, made once"
        assert len(lines[1].split()) == 2
        assert lines[2:-1][-1] == "refused", "services of this machine are not the step's"
        assert build(command, context, text, "--network=host")[0][0] == own
        assert command("run", "alpine", "readlink", "/proc/self/ns/net").stdout.strip() != own
    tun.chmod(0o600)
    with mount_namespace() as inside:
        inside.run("mount", "--bind", str(tun), "/dev/net/tun")
        command = inside.inside(rootless)
        assert build(command, context, text)[0][0] == own, "without /dev/net/tun"
        assert "/dev/net/tun" in command("inspect").stdout


def test_insecure_has_to_be_allowed(either, bases, context):
    """T04, T05: one place decides."""
    text = "FROM alpine\nRUN --security=insecure grep -E 'CapEff|Seccomp:' /proc/self/status\nRUN grep Seccomp: /proc/self/status\n"
    lines, said = build(either, context, text, exit_code=1)
    assert lines == []
    assert "security.insecure is not allowed" in said
    assert "--allow security.insecure" in said
    lines, _ = build(either, context, text, "--allow", "security.insecure")
    capabilities = int(lines[0].split()[1], 16)
    assert capabilities >> 21 & 1, "CAP_SYS_ADMIN"
    assert [line.split() for line in lines[1:]] == [["Seccomp:", "0"], ["Seccomp:", "2"]]


@pytest.mark.parametrize("words", [("--allow", "security.insecure"), ()])
def test_an_insecure_step_can_mount(trimaran, bases, context, words):
    text = "FROM alpine\nRUN --security=insecure mount -t tmpfs none /mnt && touch /mnt/f && umount /mnt && echo did\n"
    lines, _ = build(trimaran, context, text, *words, exit_code=None)
    assert lines == (["did"] if words else [])


def test_shared_memory_limits_and_names(either, bases, context):
    text = """FROM alpine
RUN df -k /dev/shm | tail -1 | awk '{print $2}'; ulimit -n; ulimit -Hn; grep -Ew 'db|six' /etc/hosts; hostname
"""
    words = ("--shm-size=8m", "--ulimit=nofile=64:128", "--add-host=db:10.1.2.3", "--add-host=six=[fd00::1]")
    lines, _ = build(either, context, text, *words)
    assert lines == ["8192", "64", "128", "10.1.2.3\tdb", "fd00::1\tsix", "buildkitsandbox"]
    assert build(either, context, text)[0][0] == "65536"


def test_an_address_of_a_name_is_not_in_the_key(trimaran, bases, context):
    context.dockerfile("FROM alpine\nRUN grep db /etc/hosts\n")
    for address, cached in (("10.0.0.1", False), ("10.0.0.2", True)):
        said = trimaran("build", f"--add-host=db:{address}", "--progress=plain", ".", cwd=context.folder).stderr
        assert ("CACHED" in said) == cached


def test_cgroup_parent(trimaran, bases, context):
    text = "FROM alpine\nRUN grep ^0:: /proc/self/cgroup\n"
    for parent in ("/builds-of-tests/parent", "builds-of-tests"):
        lines, _ = build(trimaran, context, text, f"--cgroup-parent={parent}")
        assert re.fullmatch(rf"0::/{parent.strip('/')}/trimaran-[0-9a-f]+(/.*)?", lines[0]), lines
        os.rmdir(f"{cgroups.hierarchy()}/{parent.strip('/')}")
    lines, _ = build(trimaran, context, text, "--cgroup-parent=builds-of-tests", "--build-resource=memory=100m")
    assert re.fullmatch(r"0::/builds-of-tests/trimaran-build-[0-9a-f]+/trimaran-[0-9a-f]+(/.*)?", lines[0]), lines
    os.rmdir(f"{cgroups.hierarchy()}/builds-of-tests")
    said = build(trimaran, context, text, "--cgroup-parent=../..", exit_code=1)[1]
    assert "is no path in the hierarchy" in said


def test_metadata_says_nothing_of_what_was_allowed(trimaran, bases, context, tmp_path):
    context.dockerfile("FROM alpine\nRUN --network=host true\n")
    words = ("--allow=network.host", "--metadata-file", str(tmp_path / "m"), "-t", "app:1")
    trimaran("build", *words, ".", cwd=context.folder)
    assert "network.host" not in json.dumps(json.loads((tmp_path / "m").read_text()))
