"""BuildKit's content hash of what is read of a root (cache/contenthash), from a tree and the bytes of its files.

A file is hashed as its tar header (without name and time), then its bytes. A folder is two records: `path/` is its
header, `path` the hash of all in it, by keys in which "/" is NUL, so that a folder comes right before what it holds.
Links on the way are followed inside the root; a link that is read itself only at the end, and only if asked to.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence

import msgspec

from trimaran import aio
from trimaran.aio import Cancel
from trimaran.caches.cache_map import Selected, has_wildcard
from trimaran.digest import Digest
from trimaran.errors import NotFound
from trimaran.patterns import GlobError, PatternMatcher, glob_match
from trimaran.store.entries import BLOCK, CHARACTER, FIFO, FILE, FOLDER, SYMLINK, Entry, Origin
from trimaran.store.tree import Tree
from trimaran.store.views import View

_TYPES = {FILE: "0", SYMLINK: "2", CHARACTER: "3", BLOCK: "4", FOLDER: "5", FIFO: "6"}
_HIDDEN = ("security.", "system.", "com.apple.")
_CAPABILITY = "security.capability"
_CHUNK = 1 << 20
_EMPTY = Digest.of(b"")


async def content_digest(view: View, reads: Sequence[Selected], *, is_context: bool) -> Digest:
    """The content key of what `reads` selects. `is_context`: a client's folder, whose own header BuildKit never sees.

    NotFound when a plain path is not there.
    """
    chosen = [_Choice(view.tree, each) for each in reads]
    files = list(dict.fromkeys(path for each in chosen for path in each.files))
    origins = await view.origins(files)
    hashes = await aio.in_thread(_hash_files, view.tree, files, origins, is_context=is_context)
    digests = [each.digest(_Hashes(view.tree, hashes, is_context=is_context)) for each in chosen]
    return Digest.of(b"\0".join(digest.encode() for digest in digests))


def _hash_files(
    cancel: Cancel, tree: Tree, paths: Sequence[str], origins: Mapping[str, Origin], *, is_context: bool
) -> dict[str, str]:
    hashes = {}
    for path in paths:
        cancel.check()
        entry = tree.get(path)
        assert entry is not None
        fd = origins[path].open()
        try:
            hasher = hashlib.sha256(_header(entry, _all_xattrs(fd) if is_context else entry.xattrs))
            while data := os.read(fd, _CHUNK):
                hasher.update(data)
                cancel.check()
        finally:
            os.close(fd)
        hashes[path] = f"sha256:{hasher.hexdigest()}"
    return hashes


def _all_xattrs(fd: int) -> Sequence[tuple[str, bytes]]:
    """A context's list has only those that reach an image; BuildKit's clients send and hash them all."""
    try:
        return [(name, os.getxattr(fd, name)) for name in os.listxattr(fd)]
    except OSError:
        return ()


def _header(entry: Entry, xattrs: Sequence[tuple[str, bytes]]) -> bytes:
    """Tarsum's selection of a tar header: each field behind its name."""
    size = entry.size if entry.kind == FILE else 0
    target = entry.target if entry.kind == SYMLINK else ""
    head = (
        f"namemode{entry.mode}uid{entry.uid}gid{entry.gid}size{size}typeflag{_TYPES[entry.kind]}linkname{target}"
        f"unamegnamedevmajor{entry.major}devminor{entry.minor}"
    ).encode("utf-8", "surrogateescape")
    shown = [(name, value) for name, value in sorted(xattrs) if name == _CAPABILITY or not name.startswith(_HIDDEN)]
    return head + b"".join(name.encode("utf-8", "surrogateescape") + value for name, value in shown)


class _Hashes:
    """Digests of what is at paths of one tree."""

    def __init__(self, tree: Tree, files: Mapping[str, str], *, is_context: bool) -> None:
        self._tree = tree
        self._files = files
        self._is_context = is_context
        self._folders: dict[str, str] = {}

    def header(self, entry: Entry) -> str:
        if not entry.path and self._is_context:
            return _EMPTY
        return f"sha256:{hashlib.sha256(_header(entry, entry.xattrs)).hexdigest()}"

    def of(self, entry: Entry) -> str:
        """Of a file or link as it is; of a folder with all that is in it."""
        if entry.kind == FILE:
            return self._files[entry.path]
        return self.folder(entry) if entry.kind == FOLDER else self.header(entry)

    def folder(self, folder: Entry) -> str:
        """Without recursion: walked backwards, the folders in a folder are done before it is."""
        below = [each for each in self._tree.walk(folder.path) if each.kind == FOLDER]
        for each in reversed(below):
            if each.path not in self._folders:
                self._folders[each.path] = self._folder(each)
        return self._folders[folder.path]

    def _folder(self, folder: Entry) -> str:
        hasher = hashlib.sha256(b"\0" + self.header(folder).encode())
        prefix = f"{folder.path}/" if folder.path else ""
        for name in self._tree.children(folder.path):
            entry = self._tree.get(prefix + name)
            assert entry is not None
            digest = self._folders[entry.path] if entry.kind == FOLDER else self.of(entry)
            hasher.update(b"\0" + name.encode("utf-8", "surrogateescape") + digest.encode())
        return f"sha256:{hasher.hexdigest()}"


class _Included(msgspec.Struct, frozen=True):
    """A match of a wildcard or pattern: the path as it was asked for, and what is there.

    `is_match`: a wildcard matched it itself, not a folder above it.
    """

    path: str
    entry: Entry
    is_match: bool = False


class _Choice:
    """What one selection comes to on a tree."""

    def __init__(self, tree: Tree, selected: Selected) -> None:
        self._tree = tree
        self._selected = selected
        self._followed: dict[str, Entry] = {}
        if selected.is_plain:
            self._plain = self._at(selected.path, follow_last=selected.follow_links)
            self._included: list[_Included] = []
            roots = [self._plain]
        else:
            self._included = list(_included(tree, selected))
            roots = [self._resolved(each) for each in self._included]
        self.files = list(self._files(roots))

    def _at(self, path: str, *, follow_last: bool) -> Entry:
        real = self._tree.resolve(path, follow_last=follow_last)
        entry = self._tree.get(real)
        if entry is None:
            raise NotFound(f"hash /{path.lstrip('/')}: not found")
        return entry

    def _resolved(self, included: _Included) -> Entry:
        """A link that a wildcard matched leads on when links are followed; one below a matched folder does not."""
        follows = self._selected.follow_links and included.is_match
        if included.entry.kind != SYMLINK or not follows:
            return included.entry
        found = self._followed.get(included.entry.path)
        if found is None:
            found = self._followed[included.entry.path] = self._at(included.entry.path, follow_last=True)
        return found

    def _files(self, roots: Sequence[Entry]) -> Iterator[str]:
        for root in roots:
            if root.kind == FILE:
                yield root.path
            elif root.kind == FOLDER and (self._selected.is_plain or root in self._followed.values()):
                yield from (entry.path for entry in self._tree.walk(root.path) if entry.kind == FILE)

    def digest(self, hashes: _Hashes) -> str:
        if self._selected.is_plain:
            return hashes.of(self._plain)
        if not self._included:
            return _EMPTY
        digests = [self._digest(each, hashes) for each in self._included]
        if len(digests) == 1 and _base(self._selected.path) == _base(self._included[0].path):
            return digests[0]
        hasher = hashlib.sha256()
        for number, (included, digest) in enumerate(zip(self._included, digests, strict=True)):
            name = _base(included.path).encode("utf-8", "surrogateescape")
            hasher.update((b"\0" if number else b"") + name + digest.encode())
        return f"sha256:{hasher.hexdigest()}"

    def _digest(self, included: _Included, hashes: _Hashes) -> str:
        """Of folders among the matches only the header: what is in them is matched itself."""
        entry = self._resolved(included)
        if entry is included.entry and entry.kind == FOLDER:
            return hashes.header(entry)
        return hashes.of(entry)


def _base(path: str) -> str:
    """Go's path.Base."""
    return path.rstrip("/").rpartition("/")[2] or ("/" if path else ".")


def _included(tree: Tree, selected: Selected) -> Iterator[_Included]:
    """Matches in key order; folders that are left out come when something below them is in."""
    asked = "/" + "/".join(part for part in selected.path.split("/") if part not in ("", "."))
    prefix = _plain_prefix(asked) if selected.wildcard else asked.rstrip("/")
    real = tree.resolve(prefix, follow_last=selected.wildcard and prefix != asked)
    include = PatternMatcher(selected.include) if selected.include else None
    exclude = PatternMatcher(selected.exclude) if selected.exclude else None
    states: dict[str, tuple[int, int]] = {}
    held: list[_Included] = []
    matched = ""
    for entry in tree.walk(real):
        if asked == "/" and not entry.path:
            continue  # a path that ends in a slash means what is in the folder
        path = prefix + (f"/{entry.path}" if not real else entry.path[len(real) :]) if entry.path != real else prefix
        while held and not path.startswith(f"{held[-1].path}/"):
            held.pop()
        if selected.wildcard:
            if entry.path == real and prefix != asked:
                continue
            if not matched or not path.startswith(f"{matched}/"):
                if not _matches(asked, path):
                    continue
                matched = path
            candidate = path[len(matched) + 1 :]
        else:
            candidate = path[len(prefix) + 1 :]
        above = states.get(path.rpartition("/")[0], (0, 0))
        taken, included = include.child(candidate, above[0]) if include is not None else (True, 0)
        dropped, excluded = exclude.child(candidate, above[1]) if exclude is not None else (False, 0)
        found = _Included(path, entry, is_match=bool(matched) and path == matched)
        if entry.kind == FOLDER:
            states[path] = included, excluded
        if taken and not dropped:
            yield from held
            held.clear()
            yield found
        elif entry.kind == FOLDER:
            held.append(found)


def _plain_prefix(path: str) -> str:
    """The parts before the first with a wildcard; "" when that is the first."""
    parts = path.split("/")
    plain = next(number for number, part in enumerate(parts) if has_wildcard(part))
    return "/".join(parts[:plain])


def _matches(pattern: str, path: str) -> bool:
    """Go's path.Match, part by part: no wildcard crosses a slash."""
    wanted, given = pattern.split("/"), path.split("/")
    if len(wanted) != len(given):
        return False
    try:
        return all(glob_match(want, name) for want, name in zip(wanted, given, strict=True))
    except GlobError:
        return False
