"""BuildKit's cache map of an op: by which digests it is known, and how it depends on its inputs (solver/llbsolver/ops).

Pure. A record of an op hangs on records of its inputs by *links* (input number, selector), and beside them on the
content of what is read of an input, where that can be said. `record_digest` is the name of such a record.
"""

from __future__ import annotations

import posixpath
from collections.abc import Sequence

import msgspec

from trimaran.caches import op_json
from trimaran.digest import Digest
from trimaran.graph import ops
from trimaran.graph.vertex import Vertex
from trimaran.oci import documents
from trimaran.platforms import Platform

CONTENT = -1
"""The output number in the name of a record that stands for content alone."""


class Selected(msgspec.Struct, frozen=True, kw_only=True):
    """What is read of an input: a path, or all that a wildcard or patterns below it match."""

    path: str
    follow_links: bool = False
    wildcard: bool = False
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    @property
    def is_plain(self) -> bool:
        return not (self.wildcard or self.include or self.exclude)


class Dependency(msgspec.Struct, frozen=True, kw_only=True):
    """How an op depends on one input. `reads` is None where no content key can be given: the whole root is used."""

    selector: str = ""
    reads: tuple[Selected, ...] | None = None


class CacheMap(msgspec.Struct, frozen=True, kw_only=True):
    """`digests`: an image has two, by its manifest and by its layers; a local folder has none."""

    digests: tuple[Digest, ...]
    inputs: tuple[Dependency, ...] = ()


def record_digest(digest: str, output: int) -> Digest:
    """The name of the record of an op's output, or (CONTENT) of content."""
    return Digest.of(f"{digest}@{output}".encode())


def source_digest(key: str) -> Digest:
    """Of a source, by what BuildKit calls its cache key."""
    return Digest.of(f"buildkit.source.v0:{key}".encode())


def cache_map(vertex: Vertex, host: Platform, source_keys: Sequence[str] = ()) -> CacheMap:
    """`source_keys` are what the source of a SourceOp said when it was resolved."""
    op = vertex.op
    if isinstance(op, ops.ExecOp):
        return _exec(op, vertex.constraints.platform or host, len(vertex.inputs))
    if isinstance(op, ops.FileOp):
        return _file(op, len(vertex.inputs))
    if isinstance(op, ops.SourceOp):
        return CacheMap(digests=tuple(source_digest(key) for key in source_keys))
    inputs = tuple(Dependency() for _ in vertex.inputs)
    if isinstance(op, ops.MergeOp):
        return CacheMap(digests=(_digest({"Type": "buildkit.merge.v0", "Merge": op_json.merge_op(op)}),), inputs=inputs)
    return CacheMap(digests=(_digest({"Type": "buildkit.diff.v0", "Diff": op_json.diff_op(op)}),), inputs=inputs)


def _digest(value: dict[str, object]) -> Digest:
    return Digest.of(documents.encode(value))


def _text_digest(parts: Sequence[str]) -> str:
    """Of texts joined by NUL."""
    return Digest.of(b"\0".join(part.encode("utf-8", "surrogateescape") for part in parts))


# --- exec -------------------------------------------------------------------------------------------------------------


def _exec(op: ops.ExecOp, platform: Platform, count: int) -> CacheMap:
    meta = msgspec.structs.replace(
        op.meta, proxy_env=(), extra_hosts=tuple(ops.HostIP(each.host, "") for each in op.meta.extra_hosts)
    )
    mounts = tuple(_without_place(mount) for mount in op.mounts)
    if len(mounts) == 1 and _is_plain_root(mounts[0]):
        mounts = ()
    fields: dict[str, object] = {
        "Type": "buildkit.exec.v0",
        "Exec": op_json.exec_op(msgspec.structs.replace(op, meta=meta, mounts=mounts)),
        "OS": platform.os,
        "Arch": platform.architecture,
        **_platform_details(platform),
    }
    return CacheMap(digests=(_digest(fields),), inputs=_mounted(op, count))


def _platform_details(platform: Platform) -> dict[str, object]:
    given: dict[str, object] = {
        "Variant": platform.variant,
        "OSVersion": platform.os_version,
        "OSFeatures": list(platform.os_features),
    }
    return {name: value for name, value in given.items() if value}


def _without_place(mount: ops.Mount) -> ops.Mount:
    """Where in an input it is belongs to the link; a cache's id only counts where it is the default one."""
    cache = mount.cache
    if cache is not None and not _is_default_cache(cache, mount.dest):
        cache = ops.CacheOptions("")
    return msgspec.structs.replace(mount, selector="", cache=cache)


def _is_default_cache(cache: ops.CacheOptions, dest: str) -> bool:
    _, slash, trimmed = cache.id.partition("/")
    return not cache.sharing and (cache.id == dest or (bool(slash) and trimmed == dest))


def _is_plain_root(mount: ops.Mount) -> bool:
    others = (mount.cache, mount.ssh, mount.secret, mount.result_id)
    return mount.dest == "/" and not mount.readonly and mount.type is ops.MountType.BIND and not any(others)


def _mounted(op: ops.ExecOp, count: int) -> tuple[Dependency, ...]:
    """Per input: the paths mounted of it; the content of read-only ones and of whole ones is a key."""
    selectors: list[list[str]] = [[] for _ in range(count)]
    by_content = [False] * count
    for mount in op.mounts:
        if mount.type in (ops.MountType.SECRET, ops.MountType.SSH, ops.MountType.TMPFS) or mount.input < 0:
            continue
        selector = posixpath.normpath("/" + mount.selector.lstrip("/"))
        selectors[mount.input].append(selector)
        safe = mount.output == ops.SKIP_OUTPUT or mount.readonly or selector == "/"
        wanted = mount.content_cache == 1 or (mount.content_cache == 0 and mount.dest != "/")
        by_content[mount.input] = safe and wanted
    return tuple(
        Dependency(
            selector=_text_digest(paths) if paths else "",
            reads=_mounted_content(paths) if content else None,
        )
        for paths, content in zip(selectors, by_content, strict=True)
    )


def _mounted_content(paths: list[str]) -> tuple[Selected, ...]:
    if "/" in paths:
        return (Selected(path="/"),)
    return tuple(Selected(path=path, follow_links=True) for path in _outermost(paths))


def _outermost(paths: Sequence[str]) -> list[str]:
    """Sorted, without what lies below another of them; a single one stays as it is."""
    unique = sorted(set(paths))
    return [
        path
        for path in unique
        if not any(path != other and path.startswith(other if other.endswith("/") else f"{other}/") for other in unique)
    ]


# --- file -------------------------------------------------------------------------------------------------------------


def _file(op: ops.FileOp, count: int) -> CacheMap:
    reads: dict[int, list[Selected]] = {}
    written: set[int] = set()
    actions = []
    for action in op.actions:
        work = action.work
        written.add(action.input)
        if not isinstance(work, (ops.RmAction, ops.SymlinkAction)):
            _read_owners(work.owner, reads)
        if isinstance(work, ops.CopyAction) and 0 <= action.secondary_input < count:
            reads.setdefault(action.secondary_input, []).append(_copied(work))
            work = msgspec.structs.replace(work, src=_base(work.src))
        actions.append(documents.encode(op_json.file_work(work)))
    indexes = [[action.input, action.secondary_input, action.output] for action in op.actions]
    fields: dict[str, object] = {"Type": "buildkit.file.v0", "Actions": actions}
    if not _are_usual(indexes):
        fields["indexes"] = indexes
    return CacheMap(
        digests=(_digest(fields),),
        inputs=tuple(
            _file_dependency(reads[number]) if number in reads and number not in written else Dependency()
            for number in range(count)
        ),
    )


def _read_owners(owner: ops.Owner | None, reads: dict[int, list[Selected]]) -> None:
    for user, path in ((owner.user, "/etc/passwd"), (owner.group, "/etc/group")) if owner else ():
        if isinstance(user, ops.NamedUser):
            reads.setdefault(user.input, []).append(Selected(path=path, follow_links=True))


def _copied(work: ops.CopyAction) -> Selected:
    return Selected(
        path=work.src,
        follow_links=work.follow_symlink,
        wildcard=work.allow_wildcard and has_wildcard(work.src),
        include=work.include_patterns,
        exclude=work.exclude_patterns,
    )


def has_wildcard(text: str) -> bool:
    """As BuildKit looks for them: what a backslash quotes is none."""
    position = 0
    while position < len(text):
        if text[position] == "\\":
            position += 1
        elif text[position] in "*?[":
            return True
        position += 1
    return False


def _base(path: str) -> str:
    """Go's path.Base."""
    if not path:
        return "."
    stripped = path.rstrip("/")
    return stripped.rpartition("/")[2] if stripped else "/"


def _are_usual(indexes: list[list[int]]) -> bool:
    """One chain on input 0 that reads input 1: then they are no part of the digest, as in early BuildKits."""
    last = len(indexes) - 1
    for number, (first, second, output) in enumerate(indexes):
        if first != (len(indexes) + number - 1 if number else 0) or second not in (-1, 1):
            return False
        if output != (0 if number == last else -1):
            return False
    return bool(indexes)


def _file_dependency(selected: list[Selected]) -> Dependency:
    paths = sorted((each.path for each in selected), reverse=True)
    return Dependency(selector=_text_digest(paths), reads=tuple(_without_doubles(selected)))


def _without_doubles(selected: list[Selected]) -> list[Selected]:
    plain = _outermost([each.path for each in selected if each.is_plain and not each.follow_links])
    followed = _outermost([each.path for each in selected if each.is_plain and each.follow_links])
    kept = [
        *(Selected(path=path) for path in plain),
        *(Selected(path=path, follow_links=True) for path in followed),
        *(each for each in selected if not each.is_plain),
    ]
    return sorted(kept, key=lambda each: each.path.encode("utf-8", "surrogateescape"))
