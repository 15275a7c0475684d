"""`local://name`: a folder of the client, read where it is.

Law: nothing is copied. The folder is walked once, excluded folders are not entered, and only what a step asks for is
hashed. Whoever reads bytes later checks them against that hash.
"""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Collection, Mapping

import msgspec

from trimaran import aio
from trimaran.events import Progress
from trimaran.graph.ops import SourceOp
from trimaran.patterns import PatternMatcher
from trimaran.platforms import Platform
from trimaran.sources import LocalFiles
from trimaran.store.entries import FILE, SYMLINK, Entry, EntryList, Origin
from trimaran.store.folder import Folder, FolderFile, hash_files
from trimaran.store.stat_cache import StatCache
from trimaran.store.tree import Tree

_numbers = itertools.count()
_RESCANS = 16
"""Chains of symlinks leading out of what was scanned are followed this often."""


class LocalRoot:
    """A scanned folder: a result, and a view of itself. Its id is new every time: only contents are keys."""

    def __init__(self, folder: Folder, entries: EntryList, stat_cache: StatCache) -> None:
        self.id = f"local-{os.getpid()}-{next(_numbers)}"
        self.tree = Tree.stack([entries])
        self.entries = entries
        self._folder = folder
        self._stat_cache = stat_cache
        self._known: dict[str, str] = {}

    async def digests(self, paths: Collection[str]) -> Mapping[str, str]:
        missing = [path for path in paths if path not in self._known]
        if missing:
            found = await aio.in_thread(hash_files, self._folder, missing, self._stat_cache)
            self._known.update(found)
        return {path: self._known[path] for path in paths}

    async def origins(self, paths: Collection[str]) -> Mapping[str, Origin]:
        return {path: FolderFile(self._folder, path) for path in paths}


class Scanned(msgspec.Struct, frozen=True):
    result: LocalRoot
    served: bool = False


class LocalSource:
    def __init__(self, files: LocalFiles, stat_cache: StatCache) -> None:
        self._files = files
        self._stat_cache = stat_cache

    async def fetch(self, op: SourceOp, platform: Platform | None, progress: Progress) -> Scanned:
        attrs = dict(op.attrs)
        wanted = _Wanted(
            include=_list(attrs, "local.includepattern"),
            exclude=_list(attrs, "local.excludepatterns"),
            follow=_list(attrs, "local.followpaths"),
        )
        name = op.identifier.partition("://")[2]
        folder = Folder.open(self._files.folder(name))
        with progress.task(f"transferring {name}:") as task:
            entries = await aio.in_thread(_scan, folder, wanted)
            task.add(sum(entry.size for entry in entries if entry.kind == FILE))
        return Scanned(LocalRoot(folder, entries, self._stat_cache))


def _list(attrs: Mapping[str, str], name: str) -> tuple[str, ...]:
    return tuple(json.loads(attrs[name])) if attrs.get(name) else ()


def _scan(cancel: aio.Cancel, folder: Folder, wanted: _Wanted) -> EntryList:
    """Walk; when a wanted symlink leads to what was not wanted, want that too and walk again."""
    for _ in range(_RESCANS):
        entries = EntryList.of(
            msgspec.structs.replace(entry, uid=0, gid=0) for entry in folder.scan(cancel, wanted=wanted.verdict)
        )
        if not wanted.follow_links(entries):
            break
    return entries


class _Wanted:
    """Which paths of a folder a build needs: `follow` (COPY's sources) or `include` narrow, `exclude` takes away."""

    def __init__(self, *, include: tuple[str, ...], exclude: tuple[str, ...], follow: tuple[str, ...]) -> None:
        self._exclude = PatternMatcher(exclude) if exclude else None
        self._only = [_parts(path) for path in (*include, *follow)]
        self._everything = not self._only or any(not parts for parts in self._only)

    def verdict(self, path: str, is_folder: bool) -> bool:
        """Whether to list `path`; for a folder also whether anything below it can be wanted."""
        if not self._everything and not self._on_the_way(path.split("/")):
            return False
        if self._exclude is None or not self._exclude.excludes(path):
            return True
        return is_folder and self._exclude.may_include_below(path)

    def _on_the_way(self, parts: list[str]) -> bool:
        from trimaran.steps_matching import names_match

        return any(names_match(only, parts) for only in self._only)

    def follow_links(self, entries: EntryList) -> bool:
        """Add what wanted symlinks lead to; True when that is something new."""
        if self._everything:
            return False
        tree = Tree.stack([entries])
        added = False
        for entry in entries:
            if entry.kind != SYMLINK:
                continue
            target = tree.resolve(entry.path)
            parts = _parts(target)
            if parts not in self._only and not self._covered(parts):
                self._only.append(parts)
                added = True
        return added

    def _covered(self, parts: list[str]) -> bool:
        return any(only == parts[: len(only)] for only in self._only)


def _parts(path: str) -> list[str]:
    return [part for part in path.split("/") if part not in ("", ".")]


def _unused(entry: Entry) -> Entry:
    return entry
