"""The busybox base: Debian's static busybox with all its applets, for seven architectures.

Links are made in both ways found in the wild: hard links in /bin (as the official busybox image does) and absolute
symbolic links in the other folders (as alpine does).
"""

from __future__ import annotations

import io
import subprocess
import tarfile
from pathlib import Path

from bases import apt
from bases.layer import Layer

RECIPE = "busybox-1"
# Debian's name of an architecture -> OCI architecture and variant.
ARCHITECTURES = {
    "amd64": ("amd64", ""),
    "arm64": ("arm64", "v8"),
    "armhf": ("arm", "v7"),
    "i386": ("386", ""),
    "ppc64el": ("ppc64le", ""),
    "s390x": ("s390x", ""),
    "mips64el": ("mips64le", ""),
}
USERS = (
    ("root", 0, "/root", "/bin/sh"),
    ("daemon", 1, "/usr/sbin", "/bin/false"),
    ("bin", 2, "/bin", "/bin/false"),
    ("sys", 3, "/dev", "/bin/false"),
    ("mail", 8, "/var/mail", "/bin/false"),
    ("www-data", 33, "/var/www", "/bin/false"),
    ("nobody", 65534, "/home", "/bin/false"),
)
GROUPS = (*((name, number) for name, number, _, _ in USERS[:-1]), ("tty", 5), ("users", 100), ("nogroup", 65534))
FOLDERS = ("bin", "dev", "etc", "home", "lib", "mnt", "opt", "proc", "run", "sbin", "srv", "sys", "usr", "usr/bin")
MORE_FOLDERS = (
    "usr/lib",
    "usr/local",
    "usr/local/bin",
    "usr/sbin",
    "var",
    "var/log",
    "var/spool",
    "var/mail",
    "var/www",
)


def layers(folder: Path) -> dict[str, Path]:
    """The layer of each Debian architecture, made where it is not there yet."""
    wanted = {name: folder / f"{RECIPE}-{name}.tar.gz" for name in ARCHITECTURES}
    if all(path.exists() for path in wanted.values()):
        return wanted
    binaries = programs(folder)
    applets = _applets(binaries[_native()])
    for name, path in wanted.items():
        if not path.exists():
            _layer(binaries[name].read_bytes(), applets).write(path)
    return wanted


def _layer(program: bytes, applets: list[str]) -> Layer:
    layer = Layer()
    for path in (*FOLDERS, *MORE_FOLDERS):
        layer.folder(path)
    layer.folder("root", 0o700)
    layer.folder("tmp", 0o1777)
    layer.folder("var/tmp", 0o1777)
    layer.file("bin/busybox", program, 0o755)
    for path in applets:
        if layer.has(path):
            continue
        if path.startswith("bin/"):
            layer.hard_link(path, "bin/busybox")
        else:
            layer.symlink(path, "/bin/busybox")
    for path, text, mode in _accounts():
        layer.file(path, text.encode(), mode)
    return layer


def _accounts() -> list[tuple[str, str, int]]:
    passwd = "".join(f"{name}:x:{uid}:{uid}:{name}:{home}:{shell}\n" for name, uid, home, shell in USERS)
    shadow = "".join(f"{name}:*::0:::::\n" for name, *_ in USERS)
    group = "".join(f"{name}:x:{number}:\n" for name, number in GROUPS)
    release = 'ID=busybox\nNAME="busybox from Debian packages"\nPRETTY_NAME="busybox from Debian packages"\n'
    return [
        ("etc/passwd", passwd, 0o644),
        ("etc/group", group, 0o644),
        ("etc/shadow", shadow, 0o640),
        ("etc/os-release", release, 0o644),
        ("etc/nsswitch.conf", "hosts: files dns\n", 0o644),
        ("root/.profile", "export PS1='# '\n", 0o644),
    ]


def programs(folder: Path) -> dict[str, Path]:
    """The static busybox of each Debian architecture, as an executable file."""
    wanted = {name: folder / f"{RECIPE}-{name}.elf" for name in ARCHITECTURES}
    if not all(path.exists() for path in wanted.values()):
        packages = apt.download("busybox-static", tuple(ARCHITECTURES), folder / "packages")
        for name, path in wanted.items():
            path.write_bytes(_program(packages[name]))
            path.chmod(0o755)
    return wanted


def _program(package: Path) -> bytes:
    content = subprocess.run(["dpkg-deb", "--fsys-tarfile", str(package)], check=True, capture_output=True).stdout
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        member = archive.extractfile("./bin/busybox")
        if member is None:
            raise LookupError(f"read {package}: no bin/busybox in it")
        return member.read()


def _applets(program: Path) -> list[str]:
    """Where each applet belongs (`bin/sh`), as the program itself says."""
    listed = subprocess.run([str(program), "--list-full"], check=True, capture_output=True, text=True).stdout
    return [name for name in listed.split() if not name.endswith("/busybox")]


def _native() -> str:
    command = ["dpkg", "--print-architecture"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
