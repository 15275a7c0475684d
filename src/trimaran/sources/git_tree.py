"""What a repository's own data say: listings of trees, advertised refs, submodules. Pure.

Law: all of it is a stranger's (T21, T22, T25). Names are checked part by part; a folder on the way has to be a real
folder; a submodule's place is a URL of a known scheme, and seen from its parent's never above that one's host (T27).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from trimaran.errors import Corrupt, UsageError
from trimaran.sources.git_url import Remote, is_commit_sha, parse_remote

TREE = "tree"
BLOB = "blob"
COMMIT = "commit"
MODULES = ".gitmodules"
_MAX_LINKS = 1000
_FORBIDDEN = frozenset(" ~^:?*[\\\x7f") | frozenset(map(chr, range(32)))


class Node(msgspec.Struct, frozen=True):
    """One line of `git ls-tree`: `mode` as git has it (100644, 100755, 120000, 040000, 160000)."""

    path: str
    mode: str
    kind: str
    name: str
    """The object's."""

    @property
    def is_link(self) -> bool:
        return self.mode == "120000"


def parse_listing(listing: bytes, what: str) -> list[Node]:
    """Of `git ls-tree -z`. Corrupt for a name that is none, or one that stands twice."""
    nodes = []
    seen: set[str] = set()
    for line in listing.split(b"\0"):
        if not line:
            continue
        head, _, raw = line.partition(b"\t")
        mode, kind, name = head.decode("ascii", "replace").split(" ")
        path = raw.decode("utf-8", "surrogateescape")
        check_path(path, what)
        if path in seen:
            raise Corrupt(f"{what}: its tree lists {path!r} twice")
        seen.add(path)
        if not is_commit_sha(name):
            raise Corrupt(f"{what}: {name!r} is no object name")
        nodes.append(Node(path, mode, kind, name))
    for node in nodes:
        above = node.path.rpartition("/")[0]
        if above and above not in seen:
            raise Corrupt(f"{what}: its tree lists {node.path!r} without its folder")
    return nodes


def check_path(path: str, what: str) -> None:
    """No part may be empty, a dot or two, or a name that some file system takes for `.git`."""
    for part in path.split("/"):
        plain = part.rstrip(" .").lower()
        if part in ("", ".", "..") or "\0" in part or plain in (".git", "git~1") or plain.startswith(".git:"):
            raise Corrupt(f"{what}: its tree has the name {path!r}")


def check_ref(ref: str) -> None:
    """UsageError for a name that no ref can have (git check-ref-format), above all one that begins with a dash."""
    parts = ref.split("/")
    wrong = (
        not ref
        or ref == "@"
        or ref.startswith("-")
        or ".." in ref
        or "@{" in ref
        or not _FORBIDDEN.isdisjoint(ref)
        or any(not part or part.startswith((".", "-")) or part.endswith((".lock", ".")) for part in parts)
    )
    if wrong or len(ref) > 1024:
        raise UsageError(f"read git reference {ref[:100]!r}: no reference can be named so")


class Advertised(msgspec.Struct, frozen=True):
    """A ref the server has: its full name, its object, and the commit an annotated tag points to ("" for others)."""

    ref: str
    name: str
    commit: str = ""

    @property
    def pinned(self) -> str:
        return self.commit or self.name


def candidates(ref: str) -> list[str]:
    """Full names `ref` may mean, the first that exists wins: as git checkout prefers (branches before tags)."""
    if not ref or ref == "HEAD":
        return ["HEAD"]
    check_ref(ref)
    names = [ref] if ref.startswith("refs/") else []
    names += [f"refs/{ref}", f"refs/heads/{ref}", f"refs/tags/{ref}"]
    return names


def choose(ref: str, advertised: bytes, what: str) -> Advertised | None:
    """The ref that `ref` means, from what `git ls-remote --symref` prints. Corrupt for an answer that is none."""
    objects: dict[str, str] = {}
    links: dict[str, str] = {}
    for line in advertised.decode("utf-8", "surrogateescape").splitlines():
        left, _, name = line.partition("\t")
        if left.startswith("ref: "):
            links[name] = left.removeprefix("ref: ")
        elif is_commit_sha(left):
            objects[name] = left
        else:
            raise Corrupt(f"{what}: the server answers {line[:100]!r}")
    for name in candidates(ref):
        if name in objects:
            return Advertised(_target(links.get(name, name), what), objects[name], objects.get(name + "^{}", ""))
    return None


def _target(name: str, what: str) -> str:
    """The server's own name for the ref: it has to be as harmless as ours (T21)."""
    if name == "HEAD":
        return name
    try:
        check_ref(name)
    except UsageError:
        raise Corrupt(f"{what}: the server names a ref {name[:100]!r}") from None
    if not name.startswith("refs/"):
        raise Corrupt(f"{what}: the server names a ref {name[:100]!r}")
    return name


class Submodule(msgspec.Struct, frozen=True):
    path: str
    url: str
    commit: str


def submodules(nodes: Iterable[Node], settings: bytes) -> list[Submodule]:
    """Those that are both in the tree and in `.gitmodules` (given as `git config -z --list` prints it)."""
    paths: dict[str, str] = {}
    urls: dict[str, str] = {}
    for setting in settings.decode("utf-8", "surrogateescape").split("\0"):
        key, _, value = setting.partition("\n")
        section, _, rest = key.partition(".")
        name, _, variable = rest.rpartition(".")
        if section == "submodule" and name:
            if variable == "path":
                paths[value.rstrip("/")] = name
            elif variable == "url":
                urls[name] = value
    links = [node for node in nodes if node.kind == COMMIT]
    if len(links) > _MAX_LINKS:
        raise Corrupt(f"read submodules: there are {len(links)}")
    return [Submodule(node.path, urls[paths[node.path]], node.name) for node in links if paths.get(node.path) in urls]


def submodule_remote(parent: Remote, url: str) -> Remote:
    """Where a submodule is: absolute, or seen from `parent`. Credentials of the parent stay with its host (T27)."""
    if url.startswith(("./", "../")):
        url = _relative(parent, url)
    found = parse_remote(url)
    if found is None or found.query or found.fragment:
        raise UsageError(
            f"read submodule {url[:200]!r}: no URL that is fetched here",
            hint="https://, http://, ssh://, git:// or user@host:path; or skip them with ?submodules=false",
        )
    return found


def _relative(parent: Remote, url: str) -> str:
    """As git resolves it, by taking parts away; the host is never taken away."""
    scheme, mark, rest = parent.text.partition("://")
    if mark:
        place, _, path = rest.partition("/")
        before = f"{scheme}://{place}/"
    else:
        before, _, path = parent.text.partition(":")
        before += ":/" if path.startswith("/") else ":"
    above = [part for part in path.split("/") if part]
    for part in url.split("/"):
        if part == "..":
            if not above:
                raise UsageError(f"read submodule {url[:200]!r}: it leads above {parent.host}")
            above.pop()
        elif part not in ("", "."):
            above.append(part)
    return before + "/".join(above)


def within(nodes: Iterable[Node], subdir: str, what: str) -> Node | None:
    """The folder `subdir` of a listing of the whole way to it: every part a real folder (T22). None: the root."""
    if not subdir:
        return None
    by_path: Mapping[str, Node] = {node.path: node for node in nodes}
    parts = subdir.split("/")
    found = None
    for number in range(len(parts)):
        path = "/".join(parts[: number + 1])
        found = by_path.get(path)
        if found is None:
            raise UsageError(f"{what}: it has no folder {path!r}")
        if found.kind != TREE:
            kind = "a symbolic link" if found.is_link else "a submodule" if found.kind == COMMIT else "a file"
            raise UsageError(f"{what}: {path!r} is {kind}, no folder")
    return found
