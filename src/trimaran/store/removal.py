"""Removing folders that strangers filled: by descriptors, never following a link, whatever the modes are."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Sequence

from trimaran.aio import Cancel

_MANY, _SPAN, _THREADS = 200, 50, 16
"""Each removal waits for the journal most of its time: of 9,000 files one thread needed three times as long as 16."""
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def remove_tree(cancel: Cancel, path: str) -> bool:
    """Remove `path` and all in it; whether it is gone. What cannot be removed stays for the next sweep, silently.

    Folders inside are first moved beside `path`, so that no depth is too deep for descriptors or path lengths.
    """
    parent_path, name = os.path.split(path)
    try:
        parent = os.open(parent_path or ".", _FOLDER)
    except OSError:
        return not os.path.lexists(path)
    try:
        return _remove_in(cancel, parent, name)
    finally:
        os.close(parent)


def _remove_in(cancel: Cancel, parent: int, name: str) -> bool:
    """`remove_tree`, of a name in an open folder."""
    pending = [name]
    moved = 0
    complete = True
    while pending:
        cancel.check()
        current = pending.pop()
        inner, emptied = _empty(cancel, parent, current, f"{name}.{moved}.")
        moved += len(inner)
        pending += inner
        complete = emptied and complete
    return complete


def remove_trees(cancel: Cancel, folder: str, names: Sequence[str]) -> None:
    """Remove each of these of `folder`, as `remove_tree`."""
    _at_once(lambda parent, name: _remove_in(cancel, parent, name), folder, names)


def unlink_all(folder: str, names: Sequence[str]) -> None:
    """Remove these files of `folder`, if they are there; what cannot be removed stays for the next sweep, silently."""
    _at_once(_unlink, folder, names)


def _at_once(remove: Callable[[int, str], object], folder: str, names: Sequence[str]) -> None:
    """In threads where they are many: the disk lets them wait. By descriptor, so that no path is walked twice."""
    if not names:
        return
    parent = os.open(folder, _FOLDER)
    try:
        if len(names) < _MANY:
            for name in names:
                remove(parent, name)
            return
        from concurrent.futures import ThreadPoolExecutor

        def some(start: int) -> None:
            for name in names[start : start + _SPAN]:
                remove(parent, name)

        with ThreadPoolExecutor(_THREADS, thread_name_prefix="remove") as pool:
            for _ in pool.map(some, range(0, len(names), _SPAN)):
                pass
    finally:
        os.close(parent)


def _unlink(parent: int, name: str) -> None:
    try:
        os.unlink(name, dir_fd=parent)
    except OSError:
        return


def empty_folder(cancel: Cancel, path: str) -> None:
    """Remove all that is in the folder `path`, which may lie in a temp folder only: it is made anew."""
    remove_tree(cancel, path)
    os.mkdir(path, 0o755)


def _empty(cancel: Cancel, parent: int, name: str, prefix: str) -> tuple[list[str], bool]:
    """Remove `name` of `parent`, its folders moved to `parent` as `prefix`N: their names, whether `name` is gone."""
    try:
        os.unlink(name, dir_fd=parent)
        return [], True
    except FileNotFoundError:
        return [], True
    except OSError:
        pass
    moved: list[str] = []
    try:
        folder = _enter(parent, name)
        try:
            with os.scandir(folder) as entries:
                names = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
            for inner, is_folder in names:
                cancel.check()
                if is_folder:
                    os.chmod(inner, 0o700, dir_fd=folder)
                    os.rename(inner, f"{prefix}{len(moved)}", src_dir_fd=folder, dst_dir_fd=parent)
                    moved.append(f"{prefix}{len(moved)}")
                else:
                    os.unlink(inner, dir_fd=folder)
        finally:
            os.close(folder)
        os.rmdir(name, dir_fd=parent)
    except OSError:
        return moved, False
    return moved, True


def _enter(parent: int, name: str) -> int:
    if stat.S_IMODE(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode) & 0o700 != 0o700:
        os.chmod(name, 0o700, dir_fd=parent)
    return os.open(name, _FOLDER, dir_fd=parent)


def disk_usage(cancel: Cancel, path: str) -> int:
    """Bytes that `path` and all in it take on disk (st_blocks), each inode once; 0 when it is not there.

    What is mounted in it is not in it: a running step's root shows all that lies below it once more.
    """
    try:
        status = os.lstat(path)
    except OSError:
        return 0
    total, device = status.st_blocks * 512, status.st_dev
    seen: set[int] = set()
    pending = [path] if stat.S_ISDIR(status.st_mode) else []
    while pending:
        folder = pending.pop()
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    cancel.check()
                    status = entry.stat(follow_symlinks=False)
                    if stat.S_ISDIR(status.st_mode):
                        if status.st_dev != device:
                            continue
                        pending.append(entry.path)
                    elif status.st_nlink > 1:
                        if status.st_ino in seen:
                            continue
                        seen.add(status.st_ino)
                    total += status.st_blocks * 512
        except OSError:
            continue
    return total
