"""A remote repository as a bare one in the store: refs are asked for, commits fetched as shallow as the server allows.

One folder per remote, shared by all builds under a lock (store/repositories). Law: what is fetched is named by
its object name; a ref only says which. So what is read is what was checked, whatever the server says next (T39).
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress

import msgspec

from trimaran import aio
from trimaran.aio import Cancel
from trimaran.errors import Corrupt, NotFound
from trimaran.sources.git_command import Git, GitFailed
from trimaran.sources.git_tree import MODULES, TREE, Advertised, Node, candidates, choose, parse_listing, within
from trimaran.sources.git_url import Remote, is_commit_sha
from trimaran.store.repositories import hold
from trimaran.store.store import Store

KEPT = "refs/trimaran/"
"""Commits that are here lie under this, each named by itself, so that git keeps them."""
_HEADS_AND_TAGS = ("+refs/heads/*:refs/remotes/origin/*", "+refs/tags/*:refs/tags/*")


class Repository:
    """Use `opened`: it makes the folder, and holds its lock."""

    def __init__(self, git: Git) -> None:
        assert git.remote is not None
        self.git = git
        self._remote = git.remote
        self._shown = git.remote.shown

    @classmethod
    @asynccontextmanager
    async def opened(
        cls,
        store: Store,
        remote: Remote,
        *,
        agent: str = "",
        authorization: str = "",
        environment: Mapping[str, str] = os.environ,
    ) -> AsyncIterator[Repository]:
        """The repository for `remote`, for one process at a time."""
        async with hold(store.root, remote.bare) as folder:
            git = Git(folder=folder, remote=remote, agent=agent, authorization=authorization, inherited=environment)
            if await aio.in_thread(_is_unmade, folder):
                await git.run("init", "--quiet", "--bare", "--template=", what="make a git repository")
            yield cls(git)

    async def resolve(self, ref: str) -> Advertised:
        """What `ref` ("" the default branch) is at the server now. NotFound when it has no such ref."""
        names = candidates(ref)
        patterns = [pattern for name in names for pattern in ((name,) if name == "HEAD" else (name, name + "^{}"))]
        what = f"read {self._shown}"
        printed = await self.git.run("ls-remote", "--quiet", "--symref", "--", "origin", *patterns, what=what)
        found = choose(ref, printed, what)
        if found is None:
            wanted = f"reference {ref!r}" if ref else "default branch"
            raise NotFound(f"{what}: the repository has no {wanted}", hint="name a branch, a tag or a whole commit")
        return found

    async def fetch(self, commit: str, ref: str) -> None:
        """Have `commit` (an object name) here. `ref` is where the server has it, for servers that want to be told."""
        assert is_commit_sha(commit)
        if await self._has(commit):
            return
        kept = f"+{commit}:{KEPT}{commit}"
        tries: list[tuple[str, ...]] = [("--depth=1", "--", "origin", kept)]
        if ref.startswith("refs/"):
            tries.append(("--depth=1", "--", "origin", f"+{ref}:{KEPT}{commit}"))
        tries.append(("--", "origin", *((f"+{ref}:{KEPT}{commit}",) if ref.startswith("refs/") else _HEADS_AND_TAGS)))
        if ref.startswith("refs/"):
            tries.append(("--", "origin", *_HEADS_AND_TAGS))
        failure: GitFailed | None = None
        for words in tries:
            try:
                await self._fetch(*words)
            except GitFailed as error:
                if _is_damage(error.complaint):
                    raise self.git.broken(error.message) from error
                failure = failure or error
                if not _is_refusal(error.complaint):
                    raise
                continue
            if await self._has(commit):
                return
        raise (
            failure
            if failure is not None and not _is_refusal(failure.complaint)
            else NotFound(
                f"fetch {self._shown}: the repository has no commit {commit}",
                hint="name one that a branch or tag of it reaches",
            )
        )

    async def _fetch(self, *words: str) -> None:
        await self.git.run(
            "fetch",
            "--quiet",
            "--force",
            "--no-tags",
            "--no-recurse-submodules",
            "--no-write-fetch-head",
            "--no-auto-maintenance",
            "--update-shallow",
            *words,
            what=f"fetch {self._shown}",
        )

    async def _has(self, commit: str) -> bool:
        """Whether the commit and its tree are here, and kept; tags are peeled."""
        try:
            await self.git.run(
                "rev-parse", "--quiet", "--verify", "--end-of-options", f"{commit}^{{tree}}", what="look"
            )
            await self.git.run("update-ref", "--", KEPT + commit, commit, what="keep")
        except GitFailed:
            return False
        return True

    async def peeled(self, name: str) -> str:
        """The commit an object name stands for: itself, or what an annotated tag points to."""
        what = f"read {self._shown}"
        printed = await self.git.read("rev-parse", "--verify", "--end-of-options", f"{name}^{{commit}}", what=what)
        found = printed.decode("ascii", "replace").strip()
        if not is_commit_sha(found):
            raise Corrupt(f"{what}: {found[:100]!r} is no commit")
        return found

    async def listing(self, commit: str, subdir: str = "") -> list[Node]:
        """Everything below `subdir`, paths from the repository's root. UsageError when it is no real folder (T22)."""
        what = f"read {self._shown}"
        if not subdir:
            printed = await self.git.read("ls-tree", "-r", "-t", "-z", "--full-tree", commit, what=what)
            return parse_listing(printed, what)
        nodes: list[Node] = []
        tree, above = commit, ""
        for part in subdir.split("/"):
            printed = await self.git.read("ls-tree", "-z", "--full-tree", tree, what=what)
            here = parse_listing(printed, what)
            nodes += [msgspec.structs.replace(node, path=above + node.path) for node in here]
            found = within(nodes, above + part, what)
            assert found is not None
            tree, above = found.name, found.path + "/"
        printed = await self.git.read("ls-tree", "-r", "-t", "-z", "--full-tree", tree, what=what)
        return [msgspec.structs.replace(node, path=above + node.path) for node in parse_listing(printed, what)]

    async def modules(self, commit: str) -> bytes:
        """The settings in `.gitmodules`, as `git config -z --list` prints them; b"" when there are none."""
        what = f"read {self._shown}"
        printed = await self.git.read("ls-tree", "-z", "--full-tree", commit, "--", MODULES, what=what)
        nodes = parse_listing(printed, what)
        if not nodes:
            return b""
        if nodes[0].kind == TREE or nodes[0].is_link:
            raise Corrupt(f"{what}: {MODULES} is no file")
        return await self.git.read("config", "-z", "--no-includes", f"--blob={nodes[0].name}", "--list", what=what)

    async def committed(self, commit: str) -> int:
        """When it was committed: nanoseconds since the epoch."""
        what = f"read {self._shown}"
        printed = await self.git.read("log", "-1", "--no-show-signature", "--format=%ct", commit, what=what)
        text = printed.decode("ascii", "replace").strip()
        if not text.isdecimal() or len(text) > 12:
            raise Corrupt(f"{what}: commit {commit} has the time {text[:40]!r}")
        return int(text) * 1_000_000_000


def _is_unmade(cancel: Cancel, folder: str) -> bool:
    """Whether `git init` has yet to run to its end. What a killed git left is taken away: we hold the lock."""
    for place in ("", "refs/trimaran"):
        with suppress(FileNotFoundError):
            for name in os.listdir(os.path.join(folder, place)):
                cancel.check()
                if name.endswith(".lock"):
                    os.unlink(os.path.join(folder, place, name))
    return not all(os.path.exists(os.path.join(folder, name)) for name in ("HEAD", "config", "objects", "refs"))


def _is_damage(complaint: str) -> bool:
    """What is kept here is not what it was."""
    words = ("corrupt", "bad object", "unable to read", "missing blob", "missing tree", "inflate", "garbage at end")
    return any(word in complaint.lower() for word in words)


def _is_refusal(complaint: str) -> bool:
    """The server does not do it this way; another may work."""
    words = (
        "not our ref",
        "unadvertised object",
        "shallow",
        "allow-",
        "does not support",
        "remote ref",
        "not found in",
    )
    return any(word in complaint.lower() for word in words)
