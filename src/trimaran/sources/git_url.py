"""Git URLs as people write them in builds: `REMOTE#ref:subdir`, `REMOTE?tag=v1&subdir=x`, `git@host:repository`. Pure.

Reference §3.6 (Dockerfiles and contexts) and §4.1 (what a source op's identifier and attributes say of them). Law: a
remote that got through here begins with a known scheme or `user@host:`, never with a dash, and holds no control
character: no part of it can be an option of git or ssh (T20, T21).
"""

from __future__ import annotations

from urllib.parse import parse_qs, unquote, urlsplit

import msgspec

from trimaran.errors import UsageError
from trimaran.graph.ops import SourceOp

SCHEMES = ("http", "https", "ssh", "git")
_KEYS = "ref, tag, branch, subdir, checksum, commit, keep-git-dir, submodules, mtime, fetch-by-commit"
_TRUE = ("1", "t", "T", "TRUE", "true", "True")
_FALSE = ("0", "f", "F", "FALSE", "false", "False")
_HEXADECIMAL = frozenset("0123456789abcdef")


class Remote(msgspec.Struct, frozen=True, kw_only=True):
    """A repository's place. `text` is what was written; `host` has the port, `user` no password."""

    text: str
    scheme: str
    host: str
    path: str
    user: str = ""
    password: str = ""
    query: str = ""
    fragment: str = ""

    @property
    def shown(self) -> str:
        """For people and for what is kept (T26)."""
        return self.bare

    @property
    def bare(self) -> str:
        """What git is given: without user and password where they are credentials (HTTP); ssh needs its user."""
        if self.scheme not in ("http", "https"):
            return self.text.replace(f":{self.password}@", "@", 1) if self.password else self.text
        _, slash, path = self.text.partition("://")[2].partition("/")
        return f"{self.scheme}://{self.host}{slash}{path}"

    @property
    def has_login(self) -> bool:
        """User or password of HTTP; a token often stands for the user alone."""
        return self.scheme in ("http", "https") and bool(self.user or self.password)


class GitUrl(msgspec.Struct, frozen=True, kw_only=True):
    """What a build wants of a repository; None and "" where the URL says nothing."""

    remote: str
    ref: str = ""
    subdir: str = ""
    checksum: str = ""
    keep_git_dir: bool | None = None
    submodules: bool | None = None
    mtime: str = ""
    fetch_by_commit: bool = False
    is_ambiguous: bool = False
    """`github.com/…`, which could as well be a local path: only the main context may be named so."""
    is_unencrypted: bool = False


def parse_remote(text: str) -> Remote | None:
    """A URL of a known scheme or `user@host:path`; None for anything else."""
    if not text.isprintable() or " " in text or text.startswith("-"):
        return None
    scheme, mark, rest = text.partition("://")
    if not mark:
        return _scp_style(text)
    if scheme.lower() not in SCHEMES or not rest:
        return None
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        return None
    host = parts.hostname or ""
    if not host or host.startswith("-") or (parts.username or "").startswith("-"):
        return None
    plain = text.partition("#")[0].partition("?")[0]
    host = f"[{host}]" if ":" in host else host
    return Remote(
        text=parts.scheme + plain[len(scheme) :],
        scheme=parts.scheme,
        host=host if port is None else f"{host}:{port}",
        path=unquote(parts.path),
        user=parts.username or "",
        password=parts.password or "",
        query=parts.query,
        fragment=unquote(parts.fragment),
    )


def _scp_style(text: str) -> Remote | None:
    user, mark, rest = text.partition("@")
    host, colon, path = rest.partition(":")
    if not (mark and colon and _is_word(user, "-_") and _is_word(host, "-.") and path):
        return None
    if user.startswith("-") or host.startswith("-"):
        return None
    path, _, fragment = path.partition("#")
    path, _, query = path.partition("?")
    if not path or path.startswith("-"):
        return None
    return Remote(
        text=f"{user}@{host}:{path}", scheme="ssh", host=host, path=path, user=user, query=query, fragment=fragment
    )


def _is_word(text: str, more: str) -> bool:
    return bool(text) and all(c.isascii() and (c.isalnum() or c in more) for c in text)


def parse_git_url(text: str) -> GitUrl | None:
    """None when `text` names no repository; UsageError when it does and its query is wrong."""
    if text.startswith(("./", "../")):
        return None
    is_ambiguous = text.startswith("github.com/")
    remote = parse_remote("https://" + text if is_ambiguous else text)
    if remote is None:
        return None
    if not is_ambiguous and remote.scheme in ("http", "https") and not remote.path.endswith(".git"):
        return None
    ref, _, subdir = remote.fragment.partition(":")
    found = GitUrl(
        remote=remote.text.removeprefix("https://") if is_ambiguous else remote.text,
        ref=ref,
        subdir=subdir,
        is_ambiguous=is_ambiguous,
        is_unencrypted=remote.scheme in ("http", "git"),
    )
    return _with_query(found, remote.query, remote.shown) if remote.query else found


def _with_query(url: GitUrl, query: str, shown: str) -> GitUrl:
    values = _Query(query, shown)
    for name, value in (("ref", url.ref), ("subdir", url.subdir)):
        given = values.text(name)
        if given and value and given != value:
            raise values.wrong(f"{name} conflicts: {value!r} vs {given!r}")
    ref = _named_ref(values, url.ref or values.text("ref"))
    checksum = values.text("checksum") or values.text("commit")
    mtime = values.text("mtime")
    if mtime not in ("", "checkout", "commit"):
        raise values.wrong(f"invalid mtime value: {mtime!r}", hint="checkout or commit")
    by_commit = values.flag("fetch-by-commit") or False
    if by_commit and not checksum:
        raise values.wrong("fetch-by-commit needs a commit", hint="add commit=SHA")
    return msgspec.structs.replace(
        url,
        ref=ref or ("" if by_commit else checksum),
        subdir=url.subdir or values.text("subdir"),
        checksum=checksum,
        keep_git_dir=values.flag("keep-git-dir"),
        submodules=values.flag("submodules"),
        mtime=mtime,
        fetch_by_commit=by_commit,
    )


def _named_ref(values: _Query, ref: str) -> str:
    """`tag` and `branch` as full names; each must agree with the others."""
    tag, branch = values.text("tag"), values.text("branch")
    for name, folder in ((tag, "refs/tags/"), (branch, "refs/heads/")):
        full = name if name.startswith(folder) else folder + name
        if name and ref and ref != full:
            raise values.wrong("branch conflicts with tag" if tag and branch else f"ref conflicts: {ref!r} vs {full!r}")
        ref = full if name else ref
    return ref


class _Query:
    """The query's values, each given once and known; flags may stand without a value."""

    def __init__(self, query: str, shown: str) -> None:
        self._shown = shown
        self._values: dict[str, str] = {}
        known = _KEYS.split(", ")
        for name, values in parse_qs(query, keep_blank_values=True).items():
            if name not in known:
                raise self.wrong(f'unexpected query "{name}"', hint=f"known are {_KEYS}")
            if len(values) > 1:
                raise self.wrong(f'query "{name}" has multiple values')
            if not values[0] and name not in ("keep-git-dir", "submodules", "fetch-by-commit"):
                raise self.wrong(f'query "{name}" has no value')
            self._values[name] = values[0]
        if "checksum" in self._values and self._values["checksum"] != self._values.get("commit", self.text("checksum")):
            raise self.wrong("checksum conflicts with commit")

    def wrong(self, cause: str, *, hint: str = "") -> UsageError:
        return UsageError(f"read git URL {self._shown}: {cause}", hint=hint)

    def text(self, name: str) -> str:
        return self._values.get(name, "")

    def flag(self, name: str) -> bool | None:
        value = self._values.get(name)
        if value is None:
            return None
        if value in ("", *_TRUE):
            return True
        if value in _FALSE:
            return False
        raise self.wrong(f"invalid {name} value: {value!r}", hint="true or false")


def is_commit_sha(text: str) -> bool:
    """A whole object name, of SHA-1 or SHA-256."""
    return len(text) in (40, 64) and _HEXADECIMAL.issuperset(text)


def clean_subdir(text: str) -> str:
    """Seen from the repository's root, which nothing is above: "" for the root itself."""
    parts: list[str] = []
    for part in text.split("/"):
        if part == "..":
            del parts[-1:]
        elif part not in ("", "."):
            parts.append(part)
    return "/".join(parts)


def source_op(url: GitUrl, *, keep_git_dir: bool = False, checksum: str = "") -> SourceOp:
    """The op that fetches `url`, as BuildKit's client writes it (reference §4.1)."""
    full = "https://" + url.remote if url.is_ambiguous else url.remote
    remote = parse_remote(full)
    assert remote is not None
    identifier = f"git://{remote.host}/{remote.path.lstrip('/')}"
    subdir = clean_subdir(url.subdir)
    if url.ref or subdir:
        identifier += f"#{url.ref}" + (f":{subdir}" if subdir else "")
    attrs = {
        "git.fullurl": full,
        "git.authheadersecret": "GIT_AUTH_HEADER",
        "git.authtokensecret": "GIT_AUTH_TOKEN",
    }
    if remote.scheme == "ssh":
        attrs["git.mountsshsock"] = "default"
    if keep_git_dir:
        attrs["git.keepgitdir"] = "true"
    if checksum or url.checksum:
        attrs["git.checksum"] = checksum or url.checksum
    if url.submodules is False:
        attrs["git.skipsubmodules"] = "true"
    if url.mtime == "commit":
        attrs["git.mtime"] = "commit"
    if url.fetch_by_commit:
        attrs["git.fetchbycommit"] = "true"
    return SourceOp(identifier, tuple(sorted(attrs.items())))
