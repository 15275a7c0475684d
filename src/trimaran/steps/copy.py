"""COPY and ADD as changes to a draft: where sources land, who owns them, with which mode.

Pure, on trees and drafts. The order of decisions is that of BuildKit's file op, so that results are equal: the
destination's folders are made first, then each source is placed below or at the destination.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from trimaran.errors import Conflict
from trimaran.graph.ops import KEEP_TIME, CopyAction
from trimaran.steps.draft import Draft
from trimaran.steps.modes import ModeChange
from trimaran.steps.select import Source, below, clean
from trimaran.store.entries import FILE, FOLDER, HARDLINK, SYMLINK, Entry, Origin
from trimaran.store.tree import Tree

NEW_FOLDER_MODE = 0o755


class Placement(msgspec.Struct, frozen=True, kw_only=True):
    """What a copy changes on its way. `owner` None keeps the source's; `now` (ns) is the mtime of new folders."""

    owner: tuple[int, int] | None
    mode: ModeChange | None
    now: int
    timestamp: int = KEEP_TIME
    """The mtime (ns) of what is copied and of folders made for it; KEEP_TIME keeps the source's."""

    @property
    def made(self) -> int:
        """The mtime of new folders."""
        return self.now if self.timestamp < 0 else self.timestamp


class Copier:
    """Copies sources of one tree into one draft."""

    def __init__(
        self,
        draft: Draft,
        tree: Tree,
        contents: Mapping[str, str],
        origins: Mapping[str, Origin],
        placement: Placement,
    ) -> None:
        self._draft = draft
        self._tree = tree
        self._contents = contents
        self._origins = origins
        self._placement = placement

    def copy(self, source: Source, action: CopyAction) -> None:
        """Place one source at `action.dest`."""
        destination = self._draft.resolve(self._ensure_folder(action))
        target = self._target(source, destination, action)
        if source.entry.kind != FOLDER:
            self._place(source.entry, target, {})
            return
        present = self._draft.get(target)
        if target and present is None and action.dir_copy_contents:
            self._put_destination(source.entry, target)
        elif target and present is None:
            self._put_folder(source.entry, target)
        elif present is not None and present.kind != FOLDER:
            raise Conflict(f'copy folder "/{source.path}": /{target} is no folder')
        elif present is not None and target in self._draft.entries:  # made for this copy: it gets the source's time
            self._draft.put(msgspec.structs.replace(present, mtime=self._changed(source.entry, target).mtime))
        self._copy_children(source, target)

    def _ensure_folder(self, action: CopyAction) -> str:
        """Make the folder the destination names (all but its last part, unless it ends in a slash)."""
        folder, _, last = action.dest.rpartition("/")
        wanted = clean(action.dest if last in ("", ".") else folder)
        resolved = self._draft.resolve(wanted)
        if action.create_dest_path:
            self._make_folders(resolved)
        elif not self._draft.is_folder(resolved):
            raise Conflict(f"copy to {action.dest}: folder /{wanted} does not exist")
        return clean(action.dest)

    def _target(self, source: Source, destination: str, action: CopyAction) -> str:
        is_folder = source.entry.kind == FOLDER
        exists = destination == "" or self._draft.get(destination) is not None
        into = self._draft.is_folder(destination) and (not is_folder or not action.dir_copy_contents)
        if into and exists and source.name:  # the root itself has no name to be placed under
            destination = _join(destination, source.name)
        if not (is_folder and exists):
            self._make_folders(destination.rpartition("/")[0])
        return destination

    def _copy_children(self, source: Source, target: str) -> None:
        first_names: dict[tuple[int, str], str] = {}
        for relative, entry in below(self._tree, source):
            path = _join(target, relative)
            if entry.kind == FOLDER:
                self._put_folder(entry, path)
            else:
                self._place(entry, path, first_names)

    def _place(self, entry: Entry, path: str, first_names: dict[tuple[int, str], str]) -> None:
        """A non-folder; hard links stay links when their first name was copied before."""
        if entry.kind != FILE:
            self._draft.put(self._changed(entry, path))
            return
        if self._tree.has_links:
            first = first_names.setdefault(self._tree.inode(entry.path), path)
            if first != path:
                changed = self._changed(entry, path)
                self._draft.put(msgspec.structs.replace(changed, kind=HARDLINK, target=first, size=0, digest=""))
                return
        self._draft.put(self._changed(entry, path, self._contents[entry.path]), self._origins[entry.path])

    def _put_folder(self, entry: Entry, path: str) -> None:
        present = self._draft.get(path)
        if present is not None and present.kind != FOLDER:
            raise Conflict(f"copy folder to /{path}: it is no folder")
        self._draft.put(self._changed(entry, path))

    def _put_destination(self, entry: Entry, path: str) -> None:
        """A folder whose content is copied to a new place: as a missing parent is made, with the source's mtime."""
        uid, gid = self._placement.owner or (0, 0)
        made = msgspec.structs.replace(self._changed(entry, path), uid=uid, gid=gid, mode=self._new_folder_mode())
        self._draft.put(made)

    def _new_folder_mode(self) -> int:
        """What BuildKit's mkdir with the mode of an octal --chmod leaves under its umask."""
        change = self._placement.mode
        return NEW_FOLDER_MODE if change is None or change.octal < 0 else change.octal & NEW_FOLDER_MODE

    def _changed(self, entry: Entry, path: str, digest: str = "") -> Entry:
        placement = self._placement
        uid, gid = placement.owner if placement.owner is not None else (entry.uid, entry.gid)
        mode = entry.mode
        if placement.mode is not None and entry.kind != SYMLINK:
            mode = placement.mode.apply(mode, folder=entry.kind == FOLDER)
        mtime = entry.mtime if placement.timestamp < 0 else placement.timestamp
        return msgspec.structs.replace(
            entry, path=path, uid=uid, gid=gid, mode=mode, mtime=mtime, digest=digest or entry.digest
        )

    def _make_folders(self, path: str) -> None:
        uid, gid = self._placement.owner or (0, 0)
        self._draft.make_folders(path, mode=self._new_folder_mode(), uid=uid, gid=gid, mtime=self._placement.made)


def _join(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name
