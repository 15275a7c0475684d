"""Places that are not the reference machine: real containers of crun, with this program's Python bound in.

What Docker gives a container by default is taken from Docker's own defaults: 14 capabilities, its seccomp profile, the
masks on /proc and /sys, an overlay as root. A pod under the "restricted" policy of Kubernetes is one of those with a
user that nobody knows, no capability, no new privileges and a read-only root.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from stage.program import PATH
from trimaran.executor import spec

MERGED = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
SCRATCH = "/scratch"
NOBODY = {"uid": 1000680000, "gid": 0}  # as OpenShift gives them
UNIFIED = (  # crun refuses machines with both versions of cgroups
    *("unshare", "--mount", "sh", "-c"),
    'test -e /sys/fs/cgroup/cgroup.controllers || mount -t cgroup2 none /sys/fs/cgroup; exec "$@"',
    "sh",
)


class Container:
    """One place; the program keeps its store and settings in `home`, a path inside."""

    def __init__(self, folder: Path, config: dict[str, Any], home: str, program: Path) -> None:
        self.folder, self.config, self.home, self.program = folder, config, home, program
        self._number = 0

    def words(self, *words: str, cwd: str = "/", env: dict[str, str] | None = None) -> list[str]:
        """The command that runs `words` in a new container of this place."""
        self._number += 1
        bundle = self.folder / f"bundle{self._number}"
        bundle.mkdir()
        config = json.loads(json.dumps(self.config))
        config["process"] |= {"args": list(words), "cwd": cwd}
        config["process"]["env"] = [f"{name}={value}" for name, value in (env or {}).items()]
        (bundle / "config.json").write_text(json.dumps(config))
        state = self.folder / "state"
        name = f"place-{os.getpid()}-{os.urandom(4).hex()}"
        return [*UNIFIED, "crun", "--cgroup-manager=disabled", f"--root={state}", "run", f"--bundle={bundle}", name]

    def run(self, *words: str, cwd: str = "/", env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        environment = {"PATH": PATH, "LANG": "C.UTF-8", **self.environment(), **(env or {})}
        return subprocess.run(
            self.words(*words, cwd=cwd, env=environment), capture_output=True, text=True, timeout=120, check=False
        )

    def trimaran(
        self, *words: str, cwd: str = "/", env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        return self.run(str(self.program), *words, cwd=cwd, env=env)

    def finding(self, name: str, env: dict[str, str] | None = None) -> dict[str, str]:
        """What the doctor says of one thing."""
        document = json.loads(self.trimaran("doctor", "--json", env=env).stdout)
        return next(each for each in document["findings"] if each["name"] == name)

    def fill(self) -> None:
        """Use up the scratch folder of a pod, but for a few pages."""
        room = os.statvfs(self.folder / "scratch")
        (self.folder / "scratch/ballast").write_bytes(b"x" * (room.f_bavail * room.f_frsize - (1 << 20)))

    def empty(self) -> None:
        (self.folder / "scratch/ballast").unlink()

    def environment(self) -> dict[str, str]:
        return {"TRIMARAN_ROOT": f"{self.home}/store", "TRIMARAN_CONFIG": f"{self.home}/trimaran.toml"}


@contextlib.contextmanager
def container(
    program: Path,
    context: Path,
    *,
    mirror: str,
    root: bool = True,
    volume: bool = False,
    seccomp_profile: bool = True,
    masked: bool = True,
    room: str = "64m",
    is_known: bool = False,
) -> Iterator[Container]:
    """As root as Docker starts containers (`volume`: the store is on one), or else as a restricted pod.

    `room` is the size of a pod's scratch folder; a pod's user `is_known` when somebody wrote it into the image. The context is shown read-only at /context; the registry is reached on the machine's network.
    """
    venv = program.parents[1]
    with tempfile.TemporaryDirectory(prefix="trimaran-place-", dir="/var/tmp") as name:
        folder = Path(name)
        folder.chmod(0o755)
        image = _image(folder / "image")
        if is_known:
            with (image / "etc/passwd").open("a") as accounts:
                accounts.write(f"build:x:{NOBODY['uid']}:{NOBODY['gid']}::{SCRATCH}:/bin/sh\n")
        scratch = folder / "scratch"
        scratch.mkdir()
        home = SCRATCH if volume or not root else "/root"
        settings = f'[registry."docker.io"]\nmirrors = ["{mirror}"]\n[registry."{mirror}"]\nhttp = true\n'
        (image / "root/trimaran.toml").write_text(settings)
        binds = [("/usr", "/usr", "ro"), (str(venv), str(venv), "ro"), (str(context), "/context", "ro")]
        binds += [(str(scratch), SCRATCH, "rw")] if volume or not root else []
        with _overlay(folder, image) as rootfs, _memory(scratch, room) if not root else contextlib.nullcontext():
            scratch.chmod(0o777)
            (scratch / "trimaran.toml").write_text(settings)
            config = _config(rootfs, binds, root=root, seccomp_profile=seccomp_profile, masked=masked)
            yield Container(folder, config, home, program)


def _image(folder: Path) -> Path:
    for name in ("dev", "proc", "sys", "tmp", "var/tmp", "root", "etc", "usr", "run", "context", "scratch"):
        (folder / name).mkdir(parents=True)
    for name in MERGED:
        if os.path.islink(f"/{name}"):
            (folder / name).symlink_to(f"usr/{name}")
    (folder / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    (folder / "etc/group").write_text("root:x:0:\n")
    for name in ("ld.so.cache", "resolv.conf", "os-release"):
        with contextlib.suppress(OSError):
            shutil.copy(f"/etc/{name}", folder / "etc" / name)
    return folder


@contextlib.contextmanager
def _memory(folder: Path, room: str) -> Iterator[None]:
    """A scratch folder of limited size, as pods have."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={room}", "none", str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@contextlib.contextmanager
def _overlay(folder: Path, image: Path) -> Iterator[Path]:
    upper, work, rootfs = folder / "upper", folder / "work", folder / "rootfs"
    for each in (upper, work, rootfs):
        each.mkdir()
    options = f"lowerdir={image},upperdir={upper},workdir={work}"
    subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, str(rootfs)], check=True)
    try:
        yield rootfs
    finally:
        subprocess.run(["umount", "-l", str(rootfs)], check=True)


def _config(
    rootfs: Path, binds: Sequence[tuple[str, str, str]], *, root: bool, seccomp_profile: bool, masked: bool
) -> dict[str, Any]:
    wanted = spec.ExecSpec(args=("true",), readonly_rootfs=not root)
    host = spec.Host(machine=os.uname().machine.replace("x86_64", "amd64").replace("aarch64", "arm64"), can_mknod=True)
    config = json.loads(spec.runtime_config(wanted, host, str(rootfs)))
    for source, target, access in binds:
        options = ["rbind", access, "nosuid", "nodev"] if access == "ro" else ["rbind", access]
        config["mounts"].append({"destination": target, "type": "bind", "source": source, "options": options})
    if not root:
        config["process"] |= {"user": NOBODY, "noNewPrivileges": True}
        config["process"]["capabilities"] = {}
    if not seccomp_profile:
        del config["linux"]["seccomp"]
    if not masked:
        config["linux"] |= {"maskedPaths": [], "readonlyPaths": []}
    return config
