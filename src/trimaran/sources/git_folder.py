"""`.git` of a source that keeps it: a new repository with the one commit, its ref, its index, and no credentials."""

from __future__ import annotations

import os

import msgspec

from trimaran import aio
from trimaran.aio import Cancel
from trimaran.sources.git_command import Git
from trimaran.sources.git_repository import KEPT, Repository
from trimaran.sources.git_url import Remote
from trimaran.store.entries import FILE, Entry, Origin
from trimaran.store.folder import Folder, FolderFile, hash_file

_LEFT_OUT = frozenset({".git/FETCH_HEAD", ".git/ORIG_HEAD", ".git/description"})


async def git_folder(
    repository: Repository, commit: str, ref: str, folder: str
) -> tuple[dict[str, Entry], dict[str, Origin]]:
    """Entries and bytes of `.git`, made in the empty `folder`: HEAD is `ref` where that is a branch, else `commit`."""
    cache = repository.git
    assert cache.remote is not None
    what = f"make .git of {cache.remote.shown}"
    place = os.path.join(folder, ".git")
    own = Git(folder=place, inherited=cache.inherited)
    await own.run("init", "--quiet", "--bare", "--template=", what=what)
    local = Remote(text=cache.folder, scheme="file", host="", path=cache.folder)
    from_cache = msgspec.structs.replace(own, remote=local, protocols="file")  # our own folder, nobody else's
    name = ref if ref.startswith("refs/") else "refs/trimaran/head"
    words = ("--quiet", "--depth=1", "--no-tags", "--no-write-fetch-head", "--no-auto-maintenance", "--update-shallow")
    await from_cache.run("fetch", *words, "--", "origin", f"+{KEPT}{commit}:{name}", what=what)
    if ref.startswith("refs/heads/"):
        await own.run("symbolic-ref", "--", "HEAD", ref, what=what)
        await own.run("update-ref", "--", ref.replace("refs/heads/", "refs/remotes/origin/", 1), commit, what=what)
    else:
        await own.run("update-ref", "--no-deref", "--", "HEAD", commit, what=what)
    if not ref.startswith("refs/"):
        await own.run("update-ref", "-d", "--", name, what=what)
    await own.run("config", "--local", "--", "core.bare", "false", what=what)
    await own.run("config", "--local", "--", "remote.origin.url", cache.remote.bare, what=what)
    await own.run("config", "--local", "--", "remote.origin.fetch", "+refs/heads/*:refs/remotes/origin/*", what=what)
    await own.run("read-tree", "--", commit, what=what)
    return await aio.in_thread(_listed, folder)


def _listed(cancel: Cancel, path: str) -> tuple[dict[str, Entry], dict[str, Origin]]:
    folder = Folder(path)
    entries: dict[str, Entry] = {}
    origins: dict[str, Origin] = {}
    for entry in folder.scan(cancel, start=".git"):
        if entry.path in _LEFT_OUT or entry.path.startswith((".git/logs", ".git/hooks")):
            continue
        digest = ""
        if entry.kind == FILE:
            origins[entry.path] = FolderFile(folder, entry.path)
            digest = hash_file(cancel, origins[entry.path])
        entries[entry.path] = msgspec.structs.replace(entry, uid=0, gid=0, digest=digest)
    return entries, origins
