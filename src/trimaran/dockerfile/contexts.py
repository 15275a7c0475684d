"""Where a build's files are: the Dockerfile's folder, the build context, and the named ones (reference §3.6)."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from trimaran.dockerfile.drafts import Draft, Drafts
from trimaran.dockerfile.ignore import IgnoreFile, check_ignore, read_ignore
from trimaran.dockerfile.remote import RemoteContext, load_remote_context
from trimaran.errors import NotFound, UsageError
from trimaran.graph.frontend import Bridge, FrontendRequest, NamedContext
from trimaran.graph.ops import SourceOp
from trimaran.graph.vertex import Edge, Hints, Vertex
from trimaran.platforms import Platform
from trimaran.reference import Reference

MAX_FILE = 32 << 20
IGNORE_FILE = ".dockerignore"


class Loaded(msgspec.Struct, frozen=True):
    filename: str
    data: bytes
    ignore: IgnoreFile | None
    """The ignore file of this Dockerfile alone, where there is one."""
    context: RemoteContext | None = None
    """The main context, where it is no folder of the client's."""


async def load_dockerfile(request: FrontendRequest, bridge: Bridge) -> Loaded:
    """The Dockerfile, or `dockerfile` in lower case, with `NAME.dockerignore` beside it."""
    context = await load_remote_context(request, bridge)
    remote = None if request.dockerfile_is_local else context
    name = remote.filename if remote is not None and remote.filename else request.filename
    folder, _, base = name.rpartition("/")
    lower = "/".join(part for part in (folder, "dockerfile") if part) if base == "Dockerfile" else ""
    wanted = [name, name + IGNORE_FILE, *([lower] if lower else [])]
    if remote is not None:
        edge = remote.edge
    else:
        edge = _small_local(request.dockerfile_local, wanted, f"load build definition from {base}")
    ref = await bridge.solve(edge)
    data = None
    for candidate in (name, lower):
        try:
            data = await _read(ref, candidate) if candidate else None
        except NotFound:
            continue
        if data is not None:
            break
    if data is None:
        raise NotFound(f"read {name}: no such file", hint="name another with -f FILE, or build in its folder")
    try:
        ignore = read_ignore(await _read(ref, name + IGNORE_FILE), name + IGNORE_FILE)
    except NotFound:
        ignore = None
    return Loaded(name, data, ignore, context)


async def load_ignore(
    local: str, bridge: Bridge, *, title: str = f"[internal] load {IGNORE_FILE}", shared: str = ""
) -> IgnoreFile:
    """The `.dockerignore` at the top of a folder; an empty one where there is none. `shared`: see `context_source`."""
    edge = _small_local(local, [IGNORE_FILE], title, hint=f"{shared or local}-{IGNORE_FILE}")
    ref = await bridge.solve(edge)
    try:
        file = read_ignore(await _read(ref, IGNORE_FILE))
    except NotFound:
        return IgnoreFile()
    check_ignore(file)
    return file


async def context_folders(local: str, ignore: IgnoreFile, bridge: Bridge) -> list[str]:
    """Names of the folders at the top of a context, but those that are left out; nothing below is looked at."""
    op = context_source(local, (*ignore.patterns, "*/*"), {"/"})
    ref = await bridge.solve(Vertex(op, hints=Hints(name="[internal] list build context")).edge())
    folders = []
    for name in await ref.read_dir("/"):
        try:
            await ref.read_dir(name)
        except NotFound:
            continue  # a file
        folders.append(name)
    return sorted(folders)


async def _read(ref: object, path: str) -> bytes:
    data: bytes = await ref.read_file(path, limit=MAX_FILE + 1)  # type: ignore[attr-defined]
    if len(data) > MAX_FILE:
        raise UsageError(f"read {path}: it is larger than {MAX_FILE >> 20} MiB")
    return data


def _small_local(local: str, paths: list[str], title: str, hint: str = "") -> Edge:
    attrs = (
        ("local.differ", "none"),
        ("local.followpaths", _json(paths)),
        ("local.sharedkeyhint", hint or local),
    )
    name = title if title.startswith("[") else f"[internal] {title}"
    return Vertex(SourceOp(f"local://{local}", attrs), hints=Hints(name=name)).edge()


def context_draft(drafts: Drafts, local: str, title: str, ignore: IgnoreFile, paths: set[str], shared: str) -> Draft:
    """The folder as steps read it; `paths` may grow until drafts are finished, and only they are taken then."""
    return drafts.add(lambda: context_source(local, ignore.patterns, paths, shared), name=title)


def context_source(local: str, excludes: Iterable[str], paths: set[str], shared: str = "") -> SourceOp:
    """`shared` names what an earlier transfer of the same folder is known by, to BuildKit; by default the folder."""
    attrs = [("local.sharedkeyhint", shared or local)]
    if patterns := list(excludes):
        attrs.append(("local.excludepatterns", _json(patterns)))
    if paths and "/" not in paths:
        attrs.append(("local.followpaths", _json(sorted(path[1:] for path in paths))))
    return SourceOp(f"local://{local}", tuple(sorted(attrs)))


def _json(items: list[str]) -> str:
    """As Go marshals a list of strings, so that equal sources have equal digests."""
    text = msgspec.json.encode(items).decode()
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


class NamedContexts:
    """`--build-context name[::platform]=value`; names are compared as image names are."""

    def __init__(self, contexts: Iterable[NamedContext]) -> None:
        self._values: dict[str, NamedContext] = {}
        for context in contexts:
            name, mark, platform = context.name.partition("::")
            key = _familiar(name) + mark + platform
            self._values[key] = NamedContext(key, context.value)

    def find(self, name: str, platform: Platform) -> NamedContext | None:
        """What stands for an image or a stage; `scratch` and `context` cannot be replaced."""
        if not self._values or name.lower() in ("scratch", "context"):
            return None
        key = _familiar(name)
        for suffix in (f"::{platform.format_all()}", f"::{platform.normalize().format_all()}", ""):
            if key + suffix in self._values:
                return self._values[key + suffix]
        return None


def _familiar(name: str) -> str:
    try:
        return Reference.parse(name).familiar.removesuffix(":latest")
    except UsageError:
        return name
