"""The Debian base: a minimal Debian 12 as mmdebstrap makes it, without manuals and device nodes.

Its apt is pointed to the mirror of the machine that makes it. A foreign architecture's maintainer scripts run emulated.
"""

from __future__ import annotations

import functools
import hashlib
import os
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from bases import apt, busybox, emulation
from bases.layer import EPOCH, compress, entries_of

RECIPE = "debian-12-1"
ARCHITECTURES = {"amd64": ("amd64", ""), "arm64": ("arm64", "v8")}
LEFT_OUT = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*", "/usr/share/info/*")


def layers(folder: Path) -> dict[str, Path]:
    """The layer of each Debian architecture, made where it is not there yet (1 to 2 minutes each)."""
    # Another mirror or another setting is another image.
    key = hashlib.sha256("\n".join([*apt.sources(), *apt.settings()]).encode()).hexdigest()[:12]
    found = {}
    for name in ARCHITECTURES:
        path = folder / f"{RECIPE}-{name}-{key}.tar.gz"
        if not path.exists():
            print(f"making the Debian base for {name}, which takes a minute or two", flush=True)
            with emulation.foreign(name, busybox.programs(folder)[name]):
                apt.persistently(f"mmdebstrap {name}", functools.partial(_bootstrap, name, path))
        found[name] = path
    return found


def _bootstrap(architecture: str, path: Path) -> None:
    with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
        archive = os.path.join(scratch, "rootfs.tar")
        listing = os.path.join(scratch, "debian.list")
        Path(listing).write_text("\n".join(apt.sources()) + "\n")
        command = [
            "mmdebstrap",
            "--quiet",
            "--variant=minbase",
            f"--architectures={architecture}",
            # It would want another package to tell what the kernel's own registry already says.
            "--skip=check/qemu",
            *(f"--aptopt={line}" for line in apt.settings()),
            *(f"--dpkgopt=path-exclude={pattern}" for pattern in LEFT_OUT),
            apt.SUITE,
            archive,
            listing,
        ]
        subprocess.run(command, check=True, env={**os.environ, "SOURCE_DATE_EPOCH": str(EPOCH), "TMPDIR": scratch})
        with tarfile.open(archive) as packed:
            compress(path, _without_machine(packed))


def _without_machine(packed: tarfile.TarFile) -> Iterator[tuple[tarfile.TarInfo, BinaryIO | None]]:
    """Leave out device nodes (each runtime makes its own) and what names the machine that made the image."""
    for entry, content in entries_of(packed):
        if entry.name.startswith("dev/") or entry.name in ("etc/resolv.conf", "etc/hostname"):
            continue
        yield entry, content
