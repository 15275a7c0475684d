"""What a COPY or ADD takes from its source: which paths, found by wildcard, with everything below them.

Pure, on trees. The rules are those of BuildKit's file op (fsutil's copy): Go's filepath.Match per component, symbolic
links followed inside the source's root only, sources taken in tree order.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

import msgspec

from trimaran.aio import Cancel
from trimaran.digest import Digest
from trimaran.errors import NotFound
from trimaran.graph.ops import CopyAction
from trimaran.patterns import GlobError, glob_match
from trimaran.sources.local import LocalRoot
from trimaran.store.entries import FILE, FOLDER, Entry, EntryList, order
from trimaran.store.tree import Tree

if TYPE_CHECKING:
    from trimaran.store.views import View


class Source(msgspec.Struct, frozen=True):
    """One matched source: its path as written (for its name) and the path it is really at."""

    path: str
    followed: str
    entry: Entry
    include: tuple[str, ...] = ()
    """Of a folder: what is copied of it (everything when there is none), and what is not."""
    exclude: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]


class MissingSource(NotFound):
    """A source of COPY or ADD is not there; `path` for whoever can say why (ignored, misspelt)."""

    def __init__(self, path: str) -> None:
        super().__init__(f'"/{path}": not found')
        self.path = path


@contextmanager
def explained(view: View) -> Iterator[None]:
    """A MissingSource of a folder of this machine gets what may be the reason as its hint."""
    try:
        yield
    except MissingSource as error:
        if isinstance(view, LocalRoot):
            error.hint = view.why_missing(error.path)
        raise


def sources(tree: Tree, action: CopyAction) -> list[Source]:
    """The sources `action` names; MissingSource when a plain path (or a wildcard that must match) finds nothing."""
    for path in action.required_paths:
        _source(tree, clean(path))
    source = clean(action.src)
    if not action.allow_wildcard or not has_wildcard(source):
        return [_with_patterns(_source(tree, source), action)]
    found = [_with_patterns(_source(tree, path), action) for path in _expand(tree, source)]
    if action.include_patterns:  # they are of what is below
        found = [one for one in found if one.entry.kind == FOLDER]
    if not found and not action.allow_empty_wildcard:
        raise MissingSource(source)
    return found


def _with_patterns(source: Source, action: CopyAction) -> Source:
    if not action.include_patterns and not action.exclude_patterns:
        return source
    return msgspec.structs.replace(source, include=action.include_patterns, exclude=action.exclude_patterns)


def at(tree: Tree, path: str) -> Source:
    """What is at one plain path, symlinks followed inside the root; MissingSource."""
    return _source(tree, clean(path))


def clean(path: str) -> str:
    """As Go's filepath.Clean under "/": no leading slash, no dot parts, nothing above the root."""
    parts: list[str] = []
    for part in path.split("/"):
        if part == "..":
            del parts[-1:]
        elif part not in ("", "."):
            parts.append(part)
    return "/".join(parts)


def has_wildcard(path: str) -> bool:
    return any(character in path for character in "*?[\\")


def _source(tree: Tree, path: str) -> Source:
    followed = tree.resolve(path, follow_last=True)
    entry = tree.get(followed)
    if entry is None:
        if followed:
            raise MissingSource(path)
        entry = Entry("", FOLDER, 0o755)
    return Source(path, followed, entry)


def _expand(tree: Tree, pattern: str) -> Iterator[str]:
    """Paths that match, in tree order; a matched folder is not entered."""
    parts = pattern.split("/")
    plain = 0
    while plain < len(parts) and not has_wildcard(parts[plain]):
        plain += 1
    start = "/".join(parts[:plain])
    wanted = parts[plain:]
    todo = [(start, 0)]
    while todo:
        folder, depth = todo.pop()
        followed = tree.resolve(folder)
        if not tree.is_folder(followed):
            continue
        matched = [name for name in tree.children(followed) if name_matches(wanted[depth], name)]
        here = [f"{folder}/{name}" if folder else name for name in matched]
        if depth == len(wanted) - 1:
            yield from here
        else:
            todo.extend((path, depth + 1) for path in reversed(here))


def name_matches(pattern: str, name: str) -> bool:
    """Go's filepath.Match on one name; a malformed pattern matches nothing."""
    try:
        return glob_match(pattern, name)
    except GlobError:
        return False


def below(tree: Tree, source: Source) -> Iterator[tuple[str, Entry]]:
    """(path relative to the source, entry) of what is copied below a source folder, in tree order; not itself."""
    cut = len(source.followed) + 1 if source.followed else 0
    entries = ((entry.path[cut:], entry) for entry in tree.walk(source.followed) if entry.path != source.followed)
    if not source.include and not source.exclude:
        return entries
    from trimaran.steps.filtered import filtered

    return filtered(entries, source.include, source.exclude)


def files(tree: Tree, chosen: list[Source]) -> list[str]:
    """Paths of every file whose content the copy reads."""
    paths = [source.followed for source in chosen if source.entry.kind == FILE]
    for source in chosen:
        if source.entry.kind == FOLDER:
            paths.extend(entry.path for _, entry in below(tree, source) if entry.kind == FILE)
    return paths


Folders = Literal["content", "whole", "named"]
"""What counts of a source folder: what is in it; also its own mode and owner; also what it is called."""


def digest(tree: Tree, chosen: list[Source], contents: Mapping[str, str], folders: Folders = "content") -> Digest:
    """Of all that a copy of `chosen` depends on: names, headers but times, links, xattrs, contents."""
    hasher = hashlib.sha256()
    heads: _Heads = {}
    words: list[str] = []
    for source in chosen:
        is_named = folders == "named" or source.entry.kind != FOLDER
        head = source.entry
        if head.kind == FOLDER and folders == "content":
            head = msgspec.structs.replace(head, mode=0, uid=0, gid=0)
        words.append(_words(source.name if is_named else "", head, contents, heads))
        if source.entry.kind == FOLDER:
            linked = _links(tree, source)
            for relative, entry in below(tree, source):
                words.append(_words(relative, entry, contents, heads))
                if relative in linked:
                    words.append("l" + _word(linked[relative]))
                if len(words) > _SPAN:
                    hasher.update(_encoded(words))
                    words.clear()
        words.append("\1")
    hasher.update(_encoded(words))
    return Digest.of_hash(hasher)


def _links(tree: Tree, source: Source) -> dict[str, str]:
    """Below a source folder: names of a file after its first, and that; they stay links when they are copied."""
    if not tree.has_links:
        return {}
    first_names: dict[tuple[int, str], str] = {}
    found = {}
    for relative, entry in below(tree, source):
        if entry.kind == FILE and (first := first_names.setdefault(tree.inode(entry.path), relative)) != relative:
            found[relative] = first
    return found


def listed(cancel: Cancel, tree: Tree, chosen: list[Source], contents: Mapping[str, str]) -> EntryList:
    """The same, path by path, to be compared with what another copy read: without times and sizes, digests cut short.

    Paths are those of the source's root.
    """
    found: dict[str, Entry] = {}
    for source in chosen:
        cancel.check()
        found[source.followed] = source.entry
        if source.entry.kind == FOLDER:
            linked = _links(tree, source)
            for relative, entry in below(tree, source):
                first = linked.get(relative, "")
                found[entry.path] = msgspec.structs.replace(entry, target=first) if first else entry
    return EntryList(
        tuple(
            msgspec.structs.replace(
                found[path], path=path, mtime=0, size=0, digest=contents.get(path, "").rpartition(":")[2][:_SHORT]
            )
            for path in sorted(found, key=order)
        )
    )


_SHORT = 16
"""Hex digits of a content digest that tell that a file is another."""

_SPAN = 1000
"""Files that are hashed at once."""

_Heads = dict[tuple[str, int, int, int, int, int], str]
"""Kind, mode, owner and device numbers as they are hashed: most files of a tree have the same."""


def _words(relative: str, entry: Entry, contents: Mapping[str, str], heads: _Heads) -> str:
    """As text, which is encoded of many files at once: one by one it took twice as long."""
    kinds = (entry.kind, entry.mode, entry.uid, entry.gid, entry.major, entry.minor)
    head = heads.get(kinds)
    if head is None:
        numbers = f"{entry.mode:o} {entry.uid} {entry.gid} {entry.major} {entry.minor}"
        head = heads[kinds] = _word(entry.kind) + _word(numbers)
    content = contents.get(entry.path, "")  # ASCII: its characters are its bytes
    words = f"{_word(relative)}{head}{_word(entry.target)}{len(content)}:{content}"
    for name, value in entry.xattrs:
        words += f"x{len(name)}:{len(value)}:{name}{value.decode('utf-8', 'surrogateescape')}"
    return words


def _encoded(words: list[str]) -> bytes:
    return "".join(words).encode("utf-8", "surrogateescape")


def _word(text: str) -> str:
    """With the number of its bytes before it."""
    size = len(text) if text.isascii() else len(text.encode("utf-8", "surrogateescape"))
    return f"{size}:{text}"
