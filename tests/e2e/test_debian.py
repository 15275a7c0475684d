"""Work on a real distribution: packages, accounts, a Python venv, file capabilities, a cross-compiled Go program.

Built as root, as an ordinary account, and emulated; read back by programs that are not ours, and equal.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

import pytest
from stage import reading
from stage.contexts import Context
from stage.program import Trimaran

PATIENCE = 540.0  # seconds: emulated package scripts on a busy machine
DEBIAN = """\
FROM debian:12
RUN apt-get update && apt-get install -y --no-install-recommends libcap2-bin hello python3
RUN useradd --create-home --uid 1234 --groups audio sailor && setcap cap_net_bind_service+ep /usr/bin/hello
RUN getcap /usr/bin/hello > /capabilities && id sailor > /sailor
USER sailor
WORKDIR /home/sailor
RUN python3 -m venv --without-pip venv && venv/bin/python -c 'import sys, platform; print(sys.prefix, platform.machine())' > said
CMD ["venv/bin/python", "-c", "import os, platform; print(platform.machine(), os.getuid(), os.getgroups())"]
"""
GO = """\
FROM --platform=$BUILDPLATFORM debian:12 AS golang
RUN apt-get update && apt-get install -y --no-install-recommends golang-go

FROM --platform=$BUILDPLATFORM golang AS build
COPY main.go /src/
ARG TARGETOS TARGETARCH
RUN cd /src && CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH go build -o /hello main.go

FROM scratch
COPY --from=build /hello /
ENTRYPOINT ["/hello"]
"""
MAIN = """\
package main

import (
\t"fmt"
\t"runtime"
)

func main() {
\tfmt.Printf("Hello, %s!\\n", runtime.GOARCH)
}
"""
# vfs_ns_cap_data of revision 2: no user namespace's root is named, so it holds on any machine (capabilities(7)).
BIND_SERVICE = bytes.fromhex("0100000200040000000000000000000000000000")
# What differs from run to run on one machine too: logs, and caches that hold inode numbers or times.
VOLATILE = re.compile(r"var/(log|cache)/|etc/.*-$|var/lib/(dpkg|systemd)/|.*\.pyc$")


def everything(root: Path) -> dict[str, tuple[object, ...]]:
    """path → mode, owner, group, extended attributes, link target or content."""
    found: dict[str, tuple[object, ...]] = {}
    for path in root.rglob("*"):
        name = str(path.relative_to(root))
        status = path.lstat()
        attributes = {
            key: os.getxattr(path, key, follow_symlinks=False) for key in os.listxattr(path, follow_symlinks=False)
        }
        content: object = ""
        if stat.S_ISLNK(status.st_mode):
            content = os.readlink(path)
        elif stat.S_ISREG(status.st_mode) and not VOLATILE.match(name):
            content = path.read_bytes()
        found[name] = (stat.filemode(status.st_mode), status.st_uid, status.st_gid, attributes, content)
    return found


def check(root: Path, machine: str) -> None:
    facts = reading.facts(
        root, "capabilities", "home/sailor/said", "home/sailor/venv/bin/python3", "home/sailor", "sailor"
    )
    assert facts["capabilities"][3] == "/usr/bin/hello cap_net_bind_service=ep\n"
    assert facts["home/sailor/said"] == ("-rw-r--r--", 1234, 1234, f"/home/sailor/venv {machine}\n")
    assert facts["home/sailor/venv/bin/python3"] == ("lrwxrwxrwx", 1234, 1234, "/usr/bin/python3")
    assert facts["home/sailor"][:3] == ("drwxr-xr-x", 1234, 1234)
    assert facts["sailor"][3] == "uid=1234(sailor) gid=1234(sailor) groups=1234(sailor),29(audio)\n"
    assert os.getxattr(root / "usr/bin/hello", "security.capability") == BIND_SERVICE
    assert stat.filemode((root / "usr/bin/passwd").stat().st_mode) == "-rwsr-xr-x"
    assert (root / "etc/shadow").stat().st_gid == 42
    assert stat.filemode((root / "tmp").stat().st_mode) == "drwxrwxrwt"


@pytest.mark.slow
@pytest.mark.emulated
@pytest.mark.timeout(2 * PATIENCE)
def test_debian_as_root_as_anybody_and_emulated(
    trimaran: Trimaran, rootless: Trimaran, bases: str, context: Context, tmp_path: Path
) -> None:
    context.dockerfile(DEBIAN)
    rootful_name, rootless_name = f"{bases}/debian-work:root", f"{bases}/debian-work:rootless"
    words = ("build", "--progress=plain", "--push", "-t")
    trimaran(*words, rootful_name, ".", cwd=context.folder, timeout=PATIENCE)
    platforms = ("--platform", "linux/amd64,linux/arm64")
    rootless(*words, rootless_name, *platforms, ".", cwd=context.folder, timeout=PATIENCE)
    first = reading.unpack(f"docker://{rootful_name}", tmp_path / "rootful")
    second = reading.unpack(f"docker://{rootless_name}", tmp_path / "rootless")
    third = reading.unpack(f"docker://{rootless_name}", tmp_path / "emulated", architecture="arm64")
    check(first, "x86_64")
    check(second, "x86_64")
    check(third, "aarch64")
    one, other = everything(first), everything(second)
    differing = {
        name: (one.get(name), other.get(name)) for name in one.keys() | other.keys() if one.get(name) != other.get(name)
    }
    assert not differing
    assert rootless("run", rootless_name).stdout.startswith("x86_64 1234 [29, 1234]")
    assert rootless("run", "--platform", "linux/arm64", rootless_name).stdout.startswith("aarch64 1234")


@pytest.mark.slow
@pytest.mark.emulated
def test_go_program_cross_compiled(trimaran: Trimaran, bases: str, context: Context) -> None:
    """The toolchain runs on this machine's own processor for every platform; no step is emulated."""
    context.dockerfile(GO)
    context.write("main.go", MAIN)
    name = f"{bases}/go-hello:1"
    words = ("build", "--progress=plain", "--platform", "linux/amd64,linux/arm64", "-t", name, "--push", ".")
    said = trimaran(*words, cwd=context.folder, timeout=PATIENCE).stderr
    assert "[linux/amd64->arm64 build" in said
    assert re.search(r"^Steps run: 2 native, 1 cross$", said, re.M)
    assert said.count("apt-get install") == 1, "the toolchain is installed once for both"
    assert trimaran("run", name).stdout == "Hello, amd64!\n"
    assert trimaran("run", "--platform", "linux/arm64", name).stdout == "Hello, arm64!\n"
    index = reading.index_of(name)
    assert [child["platform"]["architecture"] for child in index["manifests"]] == ["amd64", "arm64"]
