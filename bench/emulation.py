"""Handlers for the platforms that are run under emulation, registered where there is none and taken away at the end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

REGISTRY = Path("/proc/sys/fs/binfmt_misc")
QEMU = {"linux/arm64": "aarch64", "linux/arm/v7": "arm", "linux/ppc64le": "ppc64le", "linux/s390x": "s390x"}


@contextmanager
def handlers(platforms: set[str]) -> Iterator[None]:
    """Programs of `platforms` run inside this context. Debian's own lines (binfmt.d) say what to register."""
    known = {name for name in QEMU if _is_handled(QEMU[name])}
    added: list[Path] = []
    try:
        for platform in sorted(platforms & QEMU.keys() - known):
            architecture = QEMU[platform]
            line = Path(f"/usr/lib/binfmt.d/qemu-{architecture}.conf").read_text().strip()
            _, _, kind, offset, magic, mask, _, _ = line.split(":")
            name = f"trimaran-bench-{architecture}"
            # F: opened now, so that it is found from inside any root file system.
            program = f"/usr/bin/qemu-{architecture}-static"
            (REGISTRY / "register").write_text(f":{name}:{kind}:{offset}:{magic}:{mask}:{program}:F")
            added.append(REGISTRY / name)
        yield
    finally:
        for path in added:
            path.write_text("-1")


def _is_handled(architecture: str) -> bool:
    """A registered handler names its interpreter; ours, Debian's and tonistiigi's all end in the architecture."""
    for path in REGISTRY.iterdir():
        if path.name in ("register", "status"):
            continue
        first = path.read_text().splitlines()
        program = next((line.split()[-1] for line in first if line.startswith("interpreter")), "")
        if f"qemu-{architecture}" in program or f"{architecture}-binfmt" in program:
            return "enabled" in first
    return False
