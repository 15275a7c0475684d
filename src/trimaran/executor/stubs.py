"""Mount points that a runtime makes in a rootfs and that must not end in the layer.

A file or folder that did not exist before the step, and afterwards still is empty, goes away again, with its parents
that did not exist either; the times of the folder it lay in are put back. As BuildKit does for Dockerfiles: the list is
/etc/resolv.conf, /etc/hosts and the targets of the step's mounts. Law: every look and every removal goes through
descriptors inside the rootfs and follows nothing that the step may have put there (CVE-2024-23652).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from trimaran.linux import paths

_ALWAYS = ("/etc/resolv.conf", "/etc/hosts")


@contextmanager
def vanishing(rootfs: str | int, targets: Iterable[str] = ()) -> Iterator[None]:
    """What is missing of the mount points before is removed after, when it is still empty."""
    root = os.dup(rootfs) if isinstance(rootfs, int) else os.open(rootfs, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        missing = absent(root, (*_ALWAYS, *targets))
        try:
            yield
        finally:
            remove(root, missing)
    finally:
        os.close(root)


def absent(root: int, targets: Iterable[str]) -> tuple[str, ...]:
    """The paths that do not exist, deepest first, symlinks of the image followed inside it, each by its real place."""
    found: list[str] = []
    for target in targets:
        try:
            resolved = paths.real_place(root, target)
        except OSError:
            continue  # a ring of symlinks: the runtime will refuse it
        while resolved not in {"", "."} and not _exists(root, resolved):
            if resolved not in found:
                found.append(resolved)
            resolved = resolved.rpartition("/")[0]
    return tuple(sorted(found, key=lambda path: (-path.count("/"), path)))


def remove(root: int, missing: Iterable[str]) -> tuple[str, ...]:
    """Remove those of `missing` that now exist and are empty; which they were."""
    return tuple(path for path in missing if _remove_one(root, path))


def _remove_one(root: int, path: str) -> bool:
    folder_path, _, name = path.rpartition("/")
    try:
        folder = paths.open_beneath(root, folder_path or ".", os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return False
    try:
        facts = os.stat(name, dir_fd=folder, follow_symlinks=False)
        before = os.fstat(folder)
        if stat.S_ISDIR(facts.st_mode):
            os.rmdir(name, dir_fd=folder)
        elif stat.S_ISREG(facts.st_mode) and facts.st_size == 0:
            os.unlink(name, dir_fd=folder)
        else:
            return False
        os.utime(folder, ns=(before.st_atime_ns, before.st_mtime_ns))
        return True
    except OSError:
        return False  # not empty, or gone: not ours any more
    finally:
        os.close(folder)


def _exists(root: int, path: str) -> bool:
    folder_path, _, name = path.rpartition("/")
    try:
        folder = paths.open_beneath(root, folder_path or ".", os.O_PATH | os.O_DIRECTORY)
    except OSError:
        return False
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
        return True
    except OSError:
        return False
    finally:
        os.close(folder)
