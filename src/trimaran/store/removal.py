"""Removing folders that strangers filled: by descriptors, never following a link, whatever the modes are."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Sequence
from contextlib import suppress

from trimaran.aio import Cancel

_MANY, _SPAN, _THREADS = 200, 50, 4
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
    finally:
        os.close(parent)


def remove_trees(cancel: Cancel, paths: Sequence[str]) -> None:
    """Remove each of these, as `remove_tree`, several at a time where they are many: the disk lets threads wait."""
    _at_once(lambda path: remove_tree(cancel, path), paths)


def unlink_all(paths: Sequence[str]) -> None:
    """Remove these files, if they are there; what cannot be removed stays for the next sweep, silently."""
    _at_once(_unlink, paths)


def _at_once(remove: Callable[[str], object], paths: Sequence[str]) -> None:
    if len(paths) < _MANY:
        for path in paths:
            remove(path)
        return
    from concurrent.futures import ThreadPoolExecutor

    def some(start: int) -> None:
        for path in paths[start : start + _SPAN]:
            remove(path)

    with ThreadPoolExecutor(_THREADS, thread_name_prefix="remove") as pool:
        for _ in pool.map(some, range(0, len(paths), _SPAN)):
            pass


def _unlink(path: str) -> None:
    with suppress(OSError):
        os.unlink(path)


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
    """Bytes that `path` and all in it take on disk (st_blocks), each inode once; 0 when it is not there."""
    try:
        status = os.lstat(path)
    except OSError:
        return 0
    total = status.st_blocks * 512
    seen: set[int] = set()
    pending = [path] if stat.S_ISDIR(status.st_mode) else []
    while pending:
        folder = pending.pop()
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    cancel.check()
                    status = entry.stat(follow_symlinks=False)
                    if status.st_nlink > 1 and not stat.S_ISDIR(status.st_mode):
                        if status.st_ino in seen:
                            continue
                        seen.add(status.st_ino)
                    total += status.st_blocks * 512
                    if stat.S_ISDIR(status.st_mode):
                        pending.append(entry.path)
        except OSError:
            continue
    return total
