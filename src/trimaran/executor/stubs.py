"""Mount points that are made in a rootfs and that must not end in the layer.

A file or folder that did not exist before the step, and afterwards still is empty, goes away again, with its parents
that did not exist either; the times of the folder it lay in are put back. As BuildKit does for Dockerfiles: the list is
/etc/resolv.conf, /etc/hosts and the targets of the step's mounts. Law: every look and every removal goes through
descriptors inside the rootfs and follows nothing that the step may have put there (CVE-2024-23652).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress

from trimaran.executor.spec import Mount
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


def make(rootfs: str, mounts: Sequence[Mount]) -> None:
    """Make the mount points that are missing, by descriptors inside the rootfs: runtimes differ in what they can make.

    `mounts` in the order of their targets, which are real places. One inside another mount is left to the runtime, and
    so is what cannot be made: it says why.
    """
    root = os.open(rootfs, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for number, mount in enumerate(mounts):
            if any(mount.target.startswith(f"{above.target}/") for above in mounts[:number]):
                continue
            with suppress(OSError):
                _make_one(root, mount.target.strip("/"), is_folder=mount.kind == "tmpfs" or os.path.isdir(mount.source))
    finally:
        os.close(root)


def _make_one(root: int, path: str, *, is_folder: bool) -> None:
    above, _, name = path.rpartition("/")
    paths.make_folders(root, path if is_folder else above, 0o755, (0, 0))
    if is_folder:
        return
    folder = paths.open_beneath(root, above or ".", os.O_RDONLY | os.O_DIRECTORY)
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        os.close(os.open(name, flags, 0o644, dir_fd=folder))
    finally:
        os.close(folder)


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
