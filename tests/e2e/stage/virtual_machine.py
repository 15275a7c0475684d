"""A virtual machine on Debian's own kernel: this machine's files over 9p, what changes on a disk of its own, no network.

QEMU plays the processor (no help of the hardware is asked for, so that it is the same everywhere), some ten times slower
than the real one. Only one hierarchy of control groups is there, version 2, with all controllers, and no systemd.
"""

from __future__ import annotations

import gzip
import re
import stat
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

SIZE = 8 << 30  # of the disk; it is a sparse file
MODULES = (  # in the order in which they need each other
    *("virtio_ring", "virtio", "virtio_pci_modern_dev", "virtio_pci_legacy_dev", "virtio_pci"),
    *("netfs", "fscache", "9pnet", "9pnet_virtio", "9p"),
    *("crc32c_generic", "libcrc32c", "crc16", "mbcache", "jbd2", "ext4", "virtio_blk", "overlay", "binfmt_misc"),
)
NINE = "trans=virtio,version=9p2000.L,msize=262144"
INIT = f"""#!/bin/busybox sh
alias b=/bin/busybox
b mount -t proc proc /proc; b mount -t devtmpfs dev /dev
for module in {" ".join(MODULES)}; do b insmod /modules/$module.ko; done
b mount -t 9p -o ro,{NINE},cache=loose host /host
b mount -t ext4 /dev/vda /disk
b mkdir /disk/upper /disk/work /disk/store
b mount -t overlay overlay -o lowerdir=/host,upperdir=/disk/upper,workdir=/disk/work /new
b mount -t proc proc /new/proc; b mount -t sysfs sys /new/sys; b mount -t devtmpfs dev /new/dev
b mkdir -p /new/dev/pts /new/dev/shm
b mount -t devpts devpts /new/dev/pts; b mount -t tmpfs shm /new/dev/shm
b mount -t tmpfs run /new/run
b mount -t cgroup2 none /new/sys/fs/cgroup
b mkdir -p /new/store /new/nine
b mount --bind /disk/store /new/store
b mount -t 9p -o {NINE} nine /new/nine
b ip link set lo up
exec /bin/busybox switch_root /new /bin/sh $folder/job
"""
JOB = """export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8
. {folder}/begin
for part in {parts}; do
	echo "== begin $part"
	(. {folder}/part-$part) 2>&1 </dev/null
	echo "== end $part $?"
done
sync; echo o >/proc/sysrq-trigger; sleep 60
"""


class Part(NamedTuple):
    output: str
    code: int


def run(
    folder: Path, kernel: Path, parts: Mapping[str, str], *, begin: str, nine: Path, patience: float
) -> dict[str, Part]:
    """Boot, run `begin`, then each part in a shell of its own as root; what each said and ended with.

    /store is on ext4; /nine is the folder `nine` over 9p with nothing cached. `patience` is in seconds. Raises
    AssertionError with the console when a part did not end.
    """
    (folder / "begin").write_text(begin)
    for name, text in parts.items():
        (folder / f"part-{name}").write_text(text)
    (folder / "job").write_text(JOB.format(folder=folder, parts=" ".join(parts)))
    disk = folder / "disk"
    with disk.open("wb") as file:
        file.truncate(SIZE)
    subprocess.run(["mkfs.ext4", "-q", "-F", str(disk)], check=True)
    archive = folder / "initramfs"
    archive.write_bytes(gzip.compress(initramfs(folder, kernel), 1))
    (image,) = (kernel / "boot").glob("vmlinuz-*")
    said = subprocess.run(
        [
            *("timeout", "--kill-after=5", str(patience)),
            *("qemu-system-x86_64", "-accel", "tcg,thread=multi", "-cpu", "max", "-m", "2G", "-smp", "2"),
            *("-nographic", "-no-reboot", "-net", "none", "-kernel", str(image), "-initrd", str(archive)),
            *("-append", "console=ttyS0 quiet panic=-1"),
            *("-virtfs", "local,path=/,mount_tag=host,security_model=none,readonly=on,multidevs=remap"),
            *("-virtfs", f"local,path={nine},mount_tag=nine,security_model=none"),
            *("-drive", f"file={disk},format=raw,if=virtio"),
        ],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    disk.unlink()
    console = said.stdout.replace("\r", "") + said.stderr
    found = {
        match["name"]: Part(match["output"], int(match["code"]))
        for match in re.finditer(
            r"== begin (?P<name>\S+)\n(?P<output>.*?)== end (?P=name) (?P<code>\d+)\n", console, re.S
        )
    }
    assert set(found) == set(parts), console
    return found


def initramfs(folder: Path, kernel: Path) -> bytes:
    """A cpio archive ("newc", as initramfs-buffer-format.rst of the kernel has it)."""
    folder_mode = stat.S_IFDIR | 0o755
    files = dict.fromkeys(("bin", "modules", "proc", "dev", "host", "disk", "new"), (folder_mode, b""))
    files["bin/busybox"] = (stat.S_IFREG | 0o755, Path("/bin/busybox").read_bytes())
    files["init"] = (stat.S_IFREG | 0o755, INIT.replace("$folder", str(folder)).encode())
    for name in MODULES:
        (module,) = kernel.glob(f"lib/modules/*/kernel/**/{name}.ko")
        files[f"modules/{name}.ko"] = (stat.S_IFREG | 0o644, module.read_bytes())
    entries = [_entry(number, name, *file) for number, (name, file) in enumerate(files.items(), 1)]
    return b"".join([*entries, _entry(0, "TRAILER!!!", 0, b"")])


def _entry(number: int, name: str, mode: int, content: bytes) -> bytes:
    fields = (number, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name) + 1, 0)
    head = b"070701" + b"".join(b"%08X" % field for field in fields) + name.encode() + b"\0"
    return _padded(head) + _padded(content)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
