"""The member for this store's disk: overlay where the kernel lets us, else copy. Probed once, on the first mount."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import AbstractContextManager

from trimaran.aio import Cancel
from trimaran.store.snapshots import Mounted, RootStatus, Snapshots
from trimaran.store.snapshots.folders import SnapshotFolders


class ProbedSnapshots:
    def __init__(self, folders: SnapshotFolders) -> None:
        self.folders = folders
        self._guard = threading.Lock()
        self._chosen: Snapshots | None = None
        self.refusal = ""
        """Why overlay was refused, for `inspect` and `doctor`; "" when it works or nobody asked."""

    @property
    def name(self) -> str:
        return self._member().name

    @property
    def limit(self) -> int:
        return self._member().limit

    def mount(
        self, cancel: Cancel, lowers: Sequence[str], *, root: RootStatus, writable: bool
    ) -> AbstractContextManager[Mounted]:
        return self._member().mount(cancel, lowers, root=root, writable=writable)

    def _member(self) -> Snapshots:
        with self._guard:
            if self._chosen is None:
                from trimaran.store.snapshots.overlay import OverlaySnapshots, overlay_works

                refusal = overlay_works(self.folders)
                if refusal is None:
                    self._chosen = OverlaySnapshots(self.folders)
                else:
                    from trimaran.store.snapshots.copy import CopySnapshots

                    self.refusal = refusal.message
                    self._chosen = CopySnapshots(self.folders)
            return self._chosen
