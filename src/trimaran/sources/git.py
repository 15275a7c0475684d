"""`git://host/repository#ref:subdir`: a commit's tree as one layer, read out of the objects, never checked out.

Key: commit, subdirectory and flags (reference §4.2), so another branch at the same commit costs one question. `.git`
is left out unless it is asked for; submodules come along, each from its own remote.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack

import msgspec

from trimaran import aio
from trimaran.aio import Cancel
from trimaran.errors import Corrupt, UsageError
from trimaran.events import Progress
from trimaran.graph.ops import SourceOp
from trimaran.platforms import Platform
from trimaran.sources.git_agent import AGENT, agent_socket, authorization
from trimaran.sources.git_command import RepositoryBroken, read_objects
from trimaran.sources.git_repository import Repository
from trimaran.sources.git_tree import (
    BLOB,
    COMMIT,
    TREE,
    Advertised,
    Node,
    Submodule,
    check_ref,
    submodule_remote,
    submodules,
)
from trimaran.sources.git_url import Remote, clean_subdir, is_commit_sha, parse_remote
from trimaran.sources.given import Client
from trimaran.sources.lock import GIT, Lock
from trimaran.sources.offline import missing
from trimaran.sources.tags import Answers
from trimaran.store import repositories
from trimaran.store.entries import FILE, FOLDER, SYMLINK, Entry, EntryList, Origin
from trimaran.store.folder import Folder, FolderFile
from trimaran.store.layers import LayerId
from trimaran.store.removal import remove_tree
from trimaran.store.rootfs import Rootfs
from trimaran.store.store import Store

_SHORTEST_CHECKSUM = 7
_MAX_DEPTH = 16
_MAX_LINK = 4096
_KNOWN = (
    "git.fullurl",
    "git.authheadersecret",
    "git.authtokensecret",
    "git.keepgitdir",
    "git.checksum",
    "git.skipsubmodules",
    "git.mtime",
    "git.fetchbycommit",
    "git.mountsshsock",
    "git.knownsshhosts",
)


class GitRoot(msgspec.Struct, frozen=True):
    result: Rootfs
    served: bool
    cache_keys: tuple[str, ...] = ()


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What a source op asks for."""

    remote: Remote
    ref: str
    subdir: str
    checksum: str
    keep_git_dir: bool
    with_submodules: bool
    mtime: str
    by_commit: bool
    agent: str = ""
    header_secret: str = ""
    token_secret: str = ""

    @classmethod
    def of(cls, op: SourceOp) -> Wanted:
        """UsageError for an op that is wrong or that asks for what is not known here."""
        attrs = dict(op.attrs)
        unknown = sorted(set(attrs) - set(_KNOWN))
        if unknown:
            raise UsageError(
                f"fetch {op.identifier}: unknown attribute {unknown[0]}", hint=f"known: {', '.join(_KNOWN)}"
            )
        plain, _, fragment = op.identifier.partition("#")
        ref, _, subdir = fragment.partition(":")
        remote = parse_remote(attrs.get("git.fullurl", plain))
        if remote is None:
            raise UsageError(
                f"fetch {plain}: no URL of a git repository", hint="http, https, ssh, git or user@host:path"
            )
        checksum = attrs.get("git.checksum", "").lower()
        if checksum and (len(checksum) < _SHORTEST_CHECKSUM or checksum.strip("0123456789abcdef")):
            raise UsageError(
                f"fetch {remote.shown}: checksum {checksum!r} is no commit", hint="7 to 64 hexadecimal digits"
            )
        by_commit = attrs.get("git.fetchbycommit") == "true"
        if by_commit and not is_commit_sha(checksum):
            raise UsageError(f"fetch {remote.shown} by commit: no whole commit is given", hint="add checksum=SHA")
        return cls(
            remote=remote,
            ref=ref,
            subdir=clean_subdir(subdir),
            checksum=checksum,
            keep_git_dir=attrs.get("git.keepgitdir") == "true",
            with_submodules=attrs.get("git.skipsubmodules") != "true",
            mtime=attrs.get("git.mtime", "checkout"),
            by_commit=by_commit,
            agent=attrs.get("git.mountsshsock", ""),
            header_secret=attrs.get("git.authheadersecret", ""),
            token_secret=attrs.get("git.authtokensecret", ""),
        )

    def selector(self, commit: str, ref: str) -> tuple[str, str]:
        """Names the result in the store's memory; where it came from counts where it shows."""
        where = self.remote.bare if self.keep_git_dir or self.with_submodules else ""
        names = [where, self.subdir, self.with_submodules, self.mtime, self.keep_git_dir and ref]
        return f"git:{commit}", json.dumps(names)

    def cache_keys(self, found: Advertised) -> tuple[str, ...]:
        """BuildKit's (source/git): by what shows in the tree, not by where it came from.

        Two where its versions do not agree: of a kept `.git` the ref shows, and the tag's own object, if there is one.
        """
        if not self.keep_git_dir:
            return (self._cache_key(found.pinned, ""),)
        if found.ref == found.name:
            return (self._cache_key(found.name, ".git"), self._cache_key(found.name, f".git#{found.ref}"))
        names = dict.fromkeys((found.pinned, found.name))
        return tuple(self._cache_key(name, f".git#{found.ref}") for name in names)

    def _cache_key(self, name: str, kept: str) -> str:
        subdir = f":{self.subdir}" if self.subdir else ""
        skipped = "" if self.with_submodules else "(skip-submodules)"
        dated = "(mtime=commit)" if self.mtime == "commit" else ""
        return f"{name}{kept}{subdir}{skipped}{dated}"


class Pinned(msgspec.Struct, frozen=True):
    """The object to fetch (a commit, or by its name a tag), the ref it was found by, and BuildKit's keys of it."""

    name: str
    ref: str
    cache_keys: tuple[str, ...]


class Login(msgspec.Struct, frozen=True):
    """What logs in to the host that was named by the person, and to no other (T27)."""

    host: str
    scheme: str
    agent: str = ""
    authorization: str = ""


class GitSource:
    """`client` gives the secrets and the ssh agent that private repositories need."""

    def __init__(
        self,
        store: Store,
        client: Client | None = None,
        lock: Lock | None = None,
        *,
        offline: bool = False,
        environment: Mapping[str, str] = os.environ,
    ) -> None:
        self._store = store
        self._client = client or Client()
        self._lock = lock or Lock()
        self._offline = offline
        self._answers = Answers(store.records, GIT)
        self._environment = environment

    async def fetch(self, op: SourceOp, platform: Platform | None, progress: Progress) -> GitRoot:
        wanted = Wanted.of(op)
        async with AsyncExitStack() as stack:
            login = await self._login(wanted, stack)
            try:
                return await self._fetch(wanted, login, progress)
            except RepositoryBroken as broken:
                progress.warn(f"{broken.message}; it is fetched anew")
                await aio.in_thread(_take_away, self._store.root, os.path.basename(broken.folder))
            return await self._fetch(wanted, login, progress)

    async def _login(self, wanted: Wanted, stack: AsyncExitStack) -> Login:
        remote = wanted.remote
        agent = ""
        if remote.scheme == "ssh" and wanted.agent == AGENT:
            folder = self._store.snapshots.folders.temporary()
            agent = await stack.enter_async_context(agent_socket(self._client.agents, folder))
        given = await authorization(
            remote, self._client.secrets, header=wanted.header_secret, token=wanted.token_secret
        )
        return Login(remote.host, remote.scheme, agent, given)

    async def _fetch(self, wanted: Wanted, login: Login, progress: Progress) -> GitRoot:
        async with self._opened(wanted.remote, login) as repository:
            pinned = await self._pinned(repository, wanted)
            commit, ref = pinned.name, pinned.ref
            memo = wanted.selector(commit, ref)
            known = self._store.records.memo(*memo)
            if known and self._store.layers.present(LayerId(known)):
                return GitRoot(Rootfs((LayerId(known),)), served=True, cache_keys=pinned.cache_keys)
            with progress.task(f"fetch {wanted.remote.shown} {commit[:12]}"):
                await repository.fetch(commit, ref)
                commit = await repository.peeled(commit)
                tree = _Tree(self._store, wanted.remote.shown)
                links = await self._read(repository, commit, wanted, tree)
                if wanted.keep_git_dir and not wanted.subdir:
                    await tree.add_git_folder(repository, commit, ref)
        if wanted.with_submodules:
            await self._add_submodules(links, wanted, login, tree, progress)
        layer = await tree.finish(wanted.subdir)
        self._store.records.remember(*memo, layer)
        await self._store.database.flush()
        return GitRoot(Rootfs((layer,)), served=False, cache_keys=pinned.cache_keys)

    def _opened(self, remote: Remote, login: Login) -> AbstractAsyncContextManager[Repository]:
        is_there = (remote.host, remote.scheme) == (login.host, login.scheme)
        return Repository.opened(
            self._store,
            remote,
            agent=login.agent if is_there else "",
            authorization=login.authorization if is_there else "",
            environment=self._environment,
        )

    async def _pinned(self, repository: Repository, wanted: Wanted) -> Pinned:
        """Checked against the checksum before anything is fetched."""
        if wanted.by_commit:
            keys = wanted.cache_keys(Advertised(wanted.ref or wanted.checksum, wanted.checksum))
            return Pinned(wanted.checksum, "", keys)
        if is_commit_sha(wanted.ref):
            _check(wanted, wanted.ref)
            return Pinned(wanted.ref, "", wanted.cache_keys(Advertised(wanted.ref, wanted.ref)))
        name = f"{wanted.remote.bare}#{wanted.ref}"
        found = _advertised(self._lock.value(GIT, name)) or await self._resolve(repository, wanted.ref, name)
        _check(wanted, found.name, found.commit)
        self._lock.note(GIT, name, _answer(found))
        return Pinned(found.pinned, found.ref, wanted.cache_keys(found))

    async def _resolve(self, repository: Repository, ref: str, name: str) -> Advertised:
        """What the server says, or offline what it said last."""
        if self._offline:
            known = self._answers.get(name)
            if known is None:
                raise missing(f"read {name}")
            return _advertised(known.value) or await repository.resolve(ref)
        found = await repository.resolve(ref)
        self._answers.put(name, _answer(found))
        return found

    async def _read(self, repository: Repository, commit: str, wanted: Wanted, tree: _Tree) -> list[_Link]:
        mtime = await repository.committed(commit) if wanted.mtime == "commit" else time.time_ns()
        nodes = await repository.listing(commit, wanted.subdir)
        await tree.add(repository, nodes, "", mtime)
        if not wanted.with_submodules or not any(node.kind == COMMIT for node in nodes):
            return []
        found = submodules(nodes, await repository.modules(commit))
        return [_Link(wanted.remote, each, each.path, 1) for each in found]

    async def _add_submodules(
        self, links: list[_Link], wanted: Wanted, login: Login, tree: _Tree, progress: Progress
    ) -> None:
        """All of them, and theirs: a list, nothing recurses."""
        while links:
            link = links.pop()
            if link.depth > _MAX_DEPTH:
                raise Corrupt(f"fetch {wanted.remote.shown}: its submodules are nested deeper than {_MAX_DEPTH}")
            remote = submodule_remote(link.parent, link.submodule.url)
            commit = link.submodule.commit
            with progress.task(f"fetch submodule {link.path} {commit[:12]}"):
                async with self._opened(remote, login) as repository:
                    await repository.fetch(commit, "")
                    mtime = await repository.committed(commit) if wanted.mtime == "commit" else time.time_ns()
                    nodes = await repository.listing(commit)
                    await tree.add(repository, nodes, link.path + "/", mtime)
                    if any(node.kind == COMMIT for node in nodes):
                        found = submodules(nodes, await repository.modules(commit))
                        links += [_Link(remote, each, f"{link.path}/{each.path}", link.depth + 1) for each in found]


class _Link(msgspec.Struct, frozen=True):
    """A submodule to fetch: where its parent is, and its path in the result."""

    parent: Remote
    submodule: Submodule
    path: str
    depth: int


class _Tree:
    """The result as it grows: entries by path, and the objects' bytes in a temporary folder of this build."""

    def __init__(self, store: Store, shown: str) -> None:
        self.entries: dict[str, Entry] = {}
        self.origins: dict[str, Origin] = {}
        self._store = store
        self._what = f"read {shown}"

    async def add(self, repository: Repository, nodes: list[Node], above: str, mtime: int) -> None:
        """The files of one commit below the folder `above` ("" or with a slash at its end)."""
        folder = Folder(self._store.snapshots.folders.temporary())
        names = list(dict.fromkeys(node.name for node in nodes if node.kind == BLOB))
        found = await aio.in_thread(read_objects, repository.git, names, folder.fd, what=self._what)
        for node in nodes:
            path = above + node.path
            if node.kind in (TREE, COMMIT):
                self.entries[path] = Entry(path, FOLDER, 0o755, 0, 0, mtime)
            elif node.is_link:
                target = await aio.in_thread(_read_link, FolderFile(folder, node.name), found[node.name][0], self._what)
                self.entries[path] = Entry(path, SYMLINK, 0o777, 0, 0, mtime, target=target)
            else:
                size, digest = found[node.name]
                mode = 0o755 if node.mode == "100755" else 0o644
                self.entries[path] = Entry(path, FILE, mode, 0, 0, mtime, size, digest=digest)
                self.origins[path] = FolderFile(folder, node.name)

    async def add_git_folder(self, repository: Repository, commit: str, ref: str) -> None:
        from trimaran.sources.git_folder import git_folder

        entries, origins = await git_folder(repository, commit, ref, self._store.snapshots.folders.temporary())
        self.entries.update(entries)
        self.origins.update(origins)

    async def finish(self, subdir: str) -> LayerId:
        """The layer, `subdir` as its root, with its bytes where they outlive this build."""
        cut = len(subdir) + 1 if subdir else 0
        inside = {path: entry for path, entry in self.entries.items() if not cut or path.startswith(subdir + "/")}
        entries = EntryList.of(msgspec.structs.replace(entry, path=path[cut:]) for path, entry in inside.items())
        origins = {path[cut:]: origin for path, origin in self.origins.items() if path in inside}
        layer = await self._store.layers.add(entries, origins)
        if entries:
            await self._store.layers.folder(layer)
        return layer


def _answer(found: Advertised) -> str:
    """`COMMIT REF`, and the tag's own object where that is another."""
    return " ".join([found.pinned, found.ref, *([found.name] if found.commit else [])])


def _advertised(answer: str) -> Advertised | None:
    """What `_answer` wrote; None for nothing, and Corrupt for what it cannot have written."""
    if not answer:
        return None
    commit, ref, *tag = answer.split(" ")[:3] if " " in answer else (answer, "HEAD")
    if not all(map(is_commit_sha, (commit, *tag))):
        raise Corrupt(f"read lock: {answer!r} names no commit", hint="mend the lock file, or make it anew")
    if ref != "HEAD":
        check_ref(ref)  # the file may have come along with what is built (T21)
    return Advertised(ref, tag[0], commit) if tag else Advertised(ref, commit)


def _take_away(cancel: Cancel, root: str, name: str) -> None:
    gone = repositories.condemn(root, name)
    if gone is not None:
        remove_tree(cancel, gone)


def _read_link(cancel: Cancel, origin: Origin, size: int, what: str) -> str:
    cancel.check()
    if not 0 < size <= _MAX_LINK:
        raise Corrupt(f"{what}: it has a symbolic link of {size} bytes")
    fd = origin.open()
    try:
        data = os.read(fd, size)
    finally:
        os.close(fd)
    if b"\0" in data:
        raise Corrupt(f"{what}: it has a symbolic link with a NUL in it")
    return data.decode("utf-8", "surrogateescape")


def _check(wanted: Wanted, *names: str) -> None:
    """The checksum is of the commit, or of the annotated tag that names it."""
    given = [name for name in names if name]
    if wanted.checksum and not any(name.startswith(wanted.checksum) for name in given):
        raise Corrupt(
            f"fetch {wanted.remote.shown}: expected checksum to match {wanted.checksum}, got {' or '.join(given)}",
            hint="the reference moved, or the checksum is another commit's",
        )


__all__ = ["GitRoot", "GitSource", "Wanted"]
