"""A stack shown by overlayfs; what a step changed is its upper folder."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from trimaran.aio import Cancel
from trimaran.errors import TrimaranError
from trimaran.linux import mounts
from trimaran.store.disk import disk_errors
from trimaran.store.snapshots import Mounted, RootStatus
from trimaran.store.snapshots.folders import SnapshotFolders
from trimaran.store.snapshots.lowers import explicit_deletions
from trimaran.store.snapshots.unchanged import is_empty, leave_out_unchanged


class OverlaySnapshots:
    name = "overlay"
    refusal = ""

    def __init__(self, folders: SnapshotFolders) -> None:
        self.folders = folders
        self.limit = 400 if mounts.takes_lowers_one_by_one() else 200  # else all their paths share one page

    @contextmanager
    def mount(self, cancel: Cancel, lowers: Sequence[str], *, root: RootStatus, writable: bool) -> Iterator[Mounted]:
        cancel.check()
        base = self.folders.temporary()
        target = os.path.join(base, "root")
        with disk_errors("mount rootfs"):
            os.chmod(base, 0o700)
            os.mkdir(target, 0o755)
            if not lowers:
                lowers = [_empty(base, root)]
            upper = _upper(base, root) if writable else None
        with ExitStack() as stack:
            stack.callback(_remove_all, base)
            mounted = stack.enter_context(ExitStack())
            mounted.enter_context(
                mounts.overlay(
                    lowers,
                    upper,
                    os.path.join(base, "work") if upper else None,
                    target,
                    user_namespace=self.folders.user_xattrs,
                    volatile=upper is not None,
                )
            )
            yield _OverlayMount(target, upper, lowers, mounted, root, user_xattrs=self.folders.user_xattrs)


class _OverlayMount:
    def __init__(
        self,
        path: str,
        upper: str | None,
        lowers: Sequence[str],
        mounted: ExitStack,
        root: RootStatus,
        *,
        user_xattrs: bool,
    ) -> None:
        self.path = path
        self._upper = upper
        self._lowers = lowers
        self._mounted = mounted
        self._root = root
        self._user_xattrs = user_xattrs

    def take(self, cancel: Cancel) -> str | None:
        upper, self._upper = self._upper, None
        if upper is None:
            raise AssertionError("taken twice, or mounted for reading")
        self._mounted.close()
        with disk_errors("commit layer"):
            explicit_deletions(cancel, upper, self._lowers, user_xattrs=self._user_xattrs)
            leave_out_unchanged(cancel, upper, self._lowers, user_xattrs=self._user_xattrs)
            return None if is_empty(upper, self._root) else upper


def _upper(base: str, root: RootStatus) -> str:
    os.mkdir(os.path.join(base, "work"), 0o700)
    upper = os.path.join(base, "upper")
    os.mkdir(upper, 0o700)
    dress(upper, root)
    return upper


def _empty(base: str, root: RootStatus) -> str:
    empty = os.path.join(base, "empty")
    os.mkdir(empty, 0o755)
    dress(empty, root)
    return empty


def dress(folder: str, root: RootStatus) -> None:
    """Give the top folder of a stack the metadata that `/` has in the stack."""
    if (root.uid, root.gid) != (os.geteuid(), os.getegid()):
        os.chown(folder, root.uid, root.gid)
    os.chmod(folder, stat.S_IMODE(root.mode))


def _remove_all(base: str) -> None:
    """After the unmount: the mount point first, alone, so that a mount that stayed is not emptied."""
    from trimaran.store.removal import remove_tree

    try:
        os.rmdir(os.path.join(base, "root"))
    except OSError:
        return  # still mounted: the next command sweeps it
    remove_tree(Cancel(), base)


def overlay_works(folders: SnapshotFolders) -> TrimaranError | None:
    """Why overlayfs cannot be used on this store's disk, or None when a file was written and taken through it."""
    snapshots = OverlaySnapshots(folders)
    lower = folders.temporary()
    try:
        with snapshots.mount(Cancel(), [lower], root=RootStatus(), writable=True) as mounted:
            os.mkdir(os.path.join(mounted.path, "probe"))
            return None
    except TrimaranError as error:
        return error
    except OSError as error:
        return TrimaranError(f"probe overlayfs: {error.strerror}")
    finally:
        os.rmdir(lower)
