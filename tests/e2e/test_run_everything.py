"""One RUN with every kind of mount and every flag, native and emulated, as root and as an ordinary account."""

from __future__ import annotations

import re

import pytest
from stage import ssh

DOCKERFILE = """FROM alpine AS made
RUN mkdir /m && echo of the stage > /m/f
FROM alpine
ARG TARGETARCH
RUN --network=none --security=sandbox \\
    --mount=type=bind,source=f,target=/ctx/f --mount=type=bind,from=made,source=/m,target=/m,rw \\
    --mount=type=cache,id=c-$TARGETARCH,target=/c,mode=0750,uid=5,gid=6,sharing=locked \\
    --mount=type=tmpfs,target=/t,size=1m --mount=type=ssh,required,mode=0640,uid=7 \\
    --mount=type=secret,id=s,target=/s,mode=0440,uid=5,gid=6,required --mount=type=secret,id=s,env=SECRET <<EOF
set -e
say() { echo "$(uname -m) $*"; }
say $(cat /ctx/f) / $(cat /m/f) / $(cat /s) / $SECRET
echo changed > /m/f && say $(cat /m/f) / $(stat -c '%a %u %g' /c) / $(stat -c '%a %u %g' /s) / $(stat -c '%a %u' $SSH_AUTH_SOCK)
echo line >> /c/n && say $(wc -l < /c/n) lines
! head -c 2000000 /dev/zero > /t/f 2>/dev/null && say full
say $(tail -n +3 /proc/net/dev | cut -d: -f1) $(grep Seccomp: /proc/self/status)
EOF
RUN ls -d /ctx /m /c /t /s /run/buildkit 2>/dev/null; echo "left: $(env | grep -c -e SECRET -e SSH)"
"""
MACHINES = {"linux/amd64": "x86_64", "linux/arm64": "aarch64", "linux/s390x": "s390x"}


@pytest.mark.emulated
def test_one_step_with_everything(either, bases, context):
    key = ssh.make_key(either.home)
    context.write("f", "of the context\n")
    context.dockerfile(DOCKERFILE)
    words = ("build", "--progress=plain", "--no-cache", "--platform", ",".join(MACHINES), "--ssh", f"default={key}")
    for count in (1, 2):
        said = either(*words, "--secret=id=s,env=S", context, env={"S": "hush"}).stderr
        lines = [match[1] for match in re.finditer(r"^#\d+ \d+\.\d+ (.*)$", said, re.MULTILINE)]
        for machine in MACHINES.values():
            assert [line.removeprefix(machine + " ") for line in lines if line.startswith(machine + " ")] == [
                "of the context / of the stage / hush / hush",
                "changed / 750 5 6 / 440 5 6 / 640 7",
                f"{count} lines",
                "full",
                "lo Seccomp: 2",
            ], said
        assert [line for line in lines if line.startswith(("left", "/"))] == ["left: 0"] * len(MACHINES)
    assert len(either("cache-mounts", "ls").stdout.splitlines()) == 1 + len(MACHINES)
    assert (context / "f").read_text() == "of the context\n"


def test_devices_are_refused_before_anything_runs(either, bases, context):
    device = "vendor.com/class=name,required"
    context.dockerfile(f"FROM alpine\nRUN echo ran\nRUN --device={device} true\n")
    said = either("build", "--progress=plain", context, exit_code=1).stderr
    assert "CDI devices are not supported yet" in said
    assert "hint: steps get no devices of this machine" in said
    assert f">>> RUN --device={device}" in said
    assert not re.search(r"^#\d+ \d+\.\d+ ran", said, re.MULTILINE)
