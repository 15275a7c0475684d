"""The main job on Debian 12's own kernel (6.1): plain control groups v2, overlayfs without what is newer, a real 9p."""

from __future__ import annotations

import json
import os
import re
import shlex
from pathlib import Path

import pytest
from stage import virtual_machine

WORK = Path(__file__).parents[2] / ".work"
pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.uname().machine != "x86_64", reason="the virtual machine is an x86-64 one"),
]
TARGET = "127.0.0.1:5055/kernels/app:1"
DOCKERFILE = """FROM base
RUN uname -m; cat /proc/self/cgroup
COPY file /copied
RUN rm /copied; echo kept > /kept; chown 33 /kept
USER 33
CMD ["cat", "/kept"]
"""
GREEDY = "FROM base\nRUN tail -c 300m /dev/zero\n"
LAYERS = "\n".join(["FROM base", *(f"COPY file /file{number}" for number in range(170)), "RUN ls / | grep -c file"])
REGISTRY = (
    """{"version":0.1,"storage":{"filesystem":{"rootdirectory":"/root/registry"}},"http":{"addr":"127.0.0.1:5055"}}"""
)
SERVE = f"""echo '{REGISTRY}' >/root/registry.yml
docker-registry serve /root/registry.yml >/root/registry.log 2>&1 &
until grep -q "listening on" /root/registry.log; do sleep 0.5; done
"""


@pytest.fixture
def kernel() -> Path:
    folder = Path(os.environ.get("TRIMARAN_KERNEL") or WORK / "kernel")
    if not folder.exists():
        pytest.fail(f"there is no {folder}: run ./run test, or set TRIMARAN_KERNEL")
    return folder


@pytest.fixture
def parts(tmp_path, program, account, base_layout, kernel):
    """What each part of one boot said: a second one would cost as much again."""
    folder = tmp_path / "vm"
    context = folder / "context"
    context.mkdir(parents=True)
    for path in (*folder.parents, folder, context):
        if path.stat().st_uid == os.geteuid():
            path.chmod(path.stat().st_mode | 0o055)
    (context / "file").write_text("file\n")
    for name, text in {"Dockerfile": DOCKERFILE, "Greedy": GREEDY, "Layers": LAYERS + "\n"}.items():
        (context / name).write_text(text)
    index = json.loads((base_layout / "index.json").read_text())
    base = f"--build-context=base=oci-layout://{base_layout}@{index['manifests'][0]['digest']}"
    build = f"build --progress=plain {base}"
    root = f"env TRIMARAN_ROOT=/store/root {program}"
    words = [
        "env",
        "-i",
        "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
        f"HOME={account.home}",
        "TRIMARAN_ROOT=/store/account/root",
    ]
    ours = shlex.join(account.command(*words, *account.command()[-1:]))
    begin = f"{SERVE}mkdir /store/account; chown {account.uid} /store/account\ncd {context}\n"
    return virtual_machine.run(
        folder,
        kernel,
        {
            "doctor": f"{root} binfmt --install all >/dev/null && {root} doctor",
            "push": f"{root} {build} --platform linux/amd64,linux/arm64 -t {TARGET} --push .",
            "inspect": f"{root} imagetools inspect {TARGET}",
            "run": f"{root} run {TARGET}",
            "layers": f"{root} {build} -f Layers -o type=cacheonly .",
            "greedy": f"{root} {build} -f Greedy --memory 64m .",
            "nine": f"{root} {build} -o type=cacheonly /nine",
            "nine-again": f"{root} {build} -o type=cacheonly --fail-on-miss /nine",
            "account": f"{ours} doctor; {ours} {build} -t kept . && {ours} run kept",
            "left": "mount | grep -c /store/; ls /sys/fs/cgroup | grep trimaran; ps ax | grep -c '[q]emu-aarch64'",
        },
        begin=begin,
        nine=context,
        patience=500,
    )


@pytest.mark.timeout(540)
def test_debian_s_own_kernel(parts):
    ended = {name: part.code for name, part in parts.items() if part.code}
    assert ended == {"greedy": 1, "left": 1}, "\n".join(part.output for part in parts.values())
    said = {name: part.output for name, part in parts.items()}
    assert re.search(r"^ok +overlay +works on /store \(ext4\)$", said["doctor"], re.M)
    assert re.search(r"^ok +cgroups +version 2$", said["doctor"], re.M)
    assert printed(said["push"])[::2] == ["x86_64", "aarch64"] or printed(said["push"])[::2] == ["aarch64", "x86_64"]
    assert all(line.startswith("0::/trimaran-") for line in printed(said["push"])[1::2]), "a group of its own"
    assert re.findall(r"Platform: +(\S+)", said["inspect"]) == ["linux/amd64", "linux/arm64"]
    assert said["run"] == "kept\n"
    assert printed(said["layers"]) == ["170"], "their paths would not fit the page that old kernels take"
    assert re.search(r"killed for lack of memory, it used 6\d MB at its peak, of 67 MB allowed", said["greedy"])
    assert "--memory" in said["greedy"].splitlines()[-1]
    assert len(re.findall(r"^#\d+ \[\d/4\] .*\n#\d+ CACHED$", said["nine-again"], re.M)) == 3
    page = (Path(__file__).parents[2] / "docs/environments.md").read_text()
    for name in ("doctor", "account"):
        place = re.search(r"^ok +place +(.*)$", said[name], re.M)
        assert place is not None
        assert f"\n{place[1]}\n" in page
    assert re.search(r"^ok +overlay +works on /store/account \(ext4\)$", said["account"], re.M)
    assert said["account"].endswith("\nkept\n")
    assert said["left"] == "0\n0\n", "no mount, no group and no process stays"


def printed(log: str) -> list[str]:
    """What the steps wrote, without the step's number and the seconds before it."""
    return [match[1] for match in re.finditer(r"^#\d+ [\d.]+ (.*)$", log, re.M)]
