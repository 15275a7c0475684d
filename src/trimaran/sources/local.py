"""`local://name`: a folder of the client, read where it is.

Law: nothing is copied. The folder is walked once, excluded folders are not entered, and only what a step asks for is
hashed. Whoever reads bytes later checks them against that hash.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Collection, Mapping

import msgspec

from trimaran import aio
from trimaran.digest import Digest
from trimaran.events import Progress
from trimaran.graph.ops import SourceOp
from trimaran.linux.paths import open_beneath
from trimaran.patterns import find_last
from trimaran.platforms import Platform
from trimaran.sources import LocalFiles
from trimaran.sources.given import ContextMode
from trimaran.sources.wanted import Wanted
from trimaran.spelling import nearest
from trimaran.store.entries import FILE, FOLDER, HARDLINK, Entry, EntryList, Origin
from trimaran.store.folder import Folder, FolderFiles, StatKey
from trimaran.store.stat_cache import StatCache, hash_folder_files
from trimaran.store.tree import Tree

_numbers = itertools.count()
_RESCANS = 16
"""Chains of symlinks leading out of what was scanned are followed this often."""


class LocalRoot:
    """A scanned folder: a result, and a view of itself. Its id is new every time: only contents are keys."""

    def __init__(
        self,
        folder: Folder,
        entries: EntryList,
        stats: Mapping[str, StatKey],
        stat_cache: StatCache,
        exclude: tuple[str, ...],
        known: dict[str, Digest],
    ) -> None:
        """`known`: digests of those files that the stat cache had."""
        self.id = f"local-{os.getpid()}-{next(_numbers)}"
        self.tree = Tree.stack([entries])
        self.entries = entries
        self._folder = folder
        self._stats = stats
        self._exclude = exclude
        self._stat_cache = stat_cache
        self._known = known

    async def digests(self, paths: Collection[str]) -> Mapping[str, Digest]:
        """Of more than `paths` when others were asked for before: a copy would be large."""
        missing = [path for path in paths if path not in self._known]
        if missing:
            found = await aio.in_thread(hash_folder_files, self._folder, missing, self._stat_cache, self._stats)
            self._known.update(found)
            if len(self._known) >= len(self._stats):
                self._stats = {}  # of no use any more, and of many files large
        return self._known

    def why_missing(self, path: str) -> str:
        """A hint for a path that is not listed: which ignore pattern took it away, or what it was meant to be."""
        parent, _, name = path.rpartition("/")
        names = self._names(parent)
        if name in names:
            patterns = self._exclude
            number = find_last(patterns, path)
            if number is not None:
                return f'/{path} is there, but .dockerignore excludes it with the pattern "{patterns[number]}"'
        near = nearest(name, names)
        if near:
            return f"did you mean {f'{parent}/' if parent else ''}{near}?"
        return "" if names else f"the context has no folder /{parent}"

    def _names(self, folder: str) -> list[str]:
        try:
            fd = open_beneath(self._folder.fd, folder or ".", os.O_RDONLY | os.O_DIRECTORY)
        except OSError:
            return []
        try:
            return os.listdir(fd)
        finally:
            os.close(fd)

    async def origins(self, paths: Collection[str]) -> Mapping[str, Origin]:
        return FolderFiles(self._folder, paths)


class Scanned(msgspec.Struct, frozen=True):
    result: LocalRoot
    served: bool = False
    cache_keys: tuple[str, ...] = ()


class LocalSource:
    def __init__(self, files: LocalFiles, stat_cache: StatCache, mode: ContextMode = "exact") -> None:
        self._files = files
        self._mode = mode
        self._stat_cache = stat_cache

    async def fetch(self, op: SourceOp, platform: Platform | None, progress: Progress) -> Scanned:
        attrs = dict(op.attrs)
        exclude = _list(attrs, "local.excludepatterns")
        wanted = Wanted(
            include=(*_list(attrs, "local.includepattern"), *_list(attrs, "local.followpaths")),
            exclude=exclude,
        )
        name = op.identifier.partition("://")[2]
        folder = Folder(self._files.folder(name))
        with progress.task(f"transferring {name}:") as task:
            entries, stats, known = await aio.in_thread(_scan, folder, wanted, self._stat_cache)
            if self._mode == "git":
                entries = as_checked_out(entries)
            task.add(sum(entry.size for entry in entries if entry.kind == FILE))
        return Scanned(LocalRoot(folder, entries, stats, self._stat_cache, exclude, known))


def _list(attrs: Mapping[str, str], name: str) -> tuple[str, ...]:
    return tuple(msgspec.json.decode(attrs[name])) if attrs.get(name) else ()


def as_checked_out(entries: EntryList) -> EntryList:
    """What of headers git keeps: whether the owner may execute a file. Owners are those of any context already."""
    return EntryList(
        tuple(
            entry
            if entry.kind not in _IN_GIT
            else msgspec.structs.replace(entry, mode=0o755 if _is_executable(entry) else 0o644, xattrs=())
            for entry in entries
        )
    )


_IN_GIT = frozenset({FILE, FOLDER, HARDLINK})


def _is_executable(entry: Entry) -> bool:
    return entry.kind == FOLDER or bool(entry.mode & 0o100)


def _scan(
    cancel: aio.Cancel, folder: Folder, wanted: Wanted, stat_cache: StatCache
) -> tuple[EntryList, dict[str, StatKey], dict[str, Digest]]:
    """Walk; when a wanted symlink leads to what was not wanted, want that too and walk again.

    Digests that are known are looked up for all files at once: asked for step by step, each step would wait for a
    thread, and there are few files that no step asks for.
    """
    for _ in range(_RESCANS):
        stats: dict[str, StatKey] = {}
        entries = EntryList.walked(folder.scan(cancel, wanted=wanted.verdict, stats=stats, owner=(0, 0)))
        if not wanted.follow_links(entries):
            break
    return entries, stats, stat_cache.look_up(stat_cache.trusted(folder, stats))
