"""A bridge that answers from dictionaries, and the text of a converted graph."""

from __future__ import annotations

import asyncio
import json

import msgspec

from trimaran.digest import Digest
from trimaran.dockerfile.convert import convert
from trimaran.errors import NotFound
from trimaran.graph.frontend import FrontendRequest, NamedContext, ResolvedImage
from trimaran.graph.ops import ExecOp, FileOp, SourceOp
from trimaran.platforms import Platform

AMD64 = Platform("linux", "amd64")
PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def image_config(platform=AMD64, **config):
    base = {"Env": [PATH], "Cmd": ["sh"], "WorkingDir": "/"} | config
    return {
        "architecture": platform.architecture,
        "os": platform.os,
        "created": "2024-01-01T00:00:00Z",
        "config": base,
        "rootfs": {"type": "layers", "diff_ids": ["sha256:" + "1" * 64]},
        "history": [{"created": "2024-01-01T00:00:00Z", "created_by": "base"}],
    }


class FakeBridge:
    def __init__(self, locals_=None, images=None):
        self.locals = locals_ or {}
        self.images = images or {}
        self.resolved = []
        self.loaded = []
        self.warnings = []

    async def resolve_image(self, reference, platform, *, name, resolve_mode="default"):
        self.resolved.append(name)
        short = reference.removeprefix("docker.io/library/")
        await asyncio.sleep(0)
        config = self.images.get(short, self.images.get("*"))
        if config is None:
            raise NotFound(f"find {reference}: not found")
        document = config if "config" in config else image_config(platform, **config)
        digest = Digest.of(reference.encode())
        return ResolvedImage(
            reference=f"{reference.partition('@')[0]}@{digest}",
            digest=digest,
            config=json.dumps(document).encode(),
            platform=platform,
        )

    async def solve(self, edge):
        assert isinstance(edge.vertex.op, SourceOp)
        self.loaded.append(edge.vertex.hints.name)
        return FakeRef(self.locals.get(edge.vertex.op.identifier.removeprefix("local://"), {}))

    def warn(self, short, **_):
        self.warnings.append(short)


class FakeRef:
    def __init__(self, files):
        self.files = files

    async def read_file(self, path, *, limit=0):
        if path not in self.files:
            raise NotFound(f"read {path}: no such file")
        data = self.files[path]
        data = data if isinstance(data, bytes) else data.encode()
        return data[:limit] if limit else data

    async def newest(self):
        return 0

    async def read_dir(self, path, pattern=""):
        below = path.strip("/") + "/" if path.strip("/") else ""
        found = {name[len(below) :].partition("/")[0] for name in self.files if name.startswith(below)}
        if below and not found:
            raise NotFound(f"read folder {path}: no such folder")
        return sorted(found)


def build(dockerfile, *, images=None, ignore="", contexts=None, files=None, **request):
    """Convert a text; returns the result and the bridge it asked."""
    own = {"Dockerfile": dockerfile, **(files or {})}
    context = {".dockerignore": ignore} if ignore else {}
    bridge = FakeBridge({"dockerfile": own, "context": context, **(contexts or {})}, {"*": {}} | (images or {}))
    request.setdefault("build_platform", AMD64)
    request["named_contexts"] = tuple(NamedContext(*item) for item in request.pop("named", ()))
    result = asyncio.run(convert(FrontendRequest(**request), bridge))
    return result, bridge


def vertices(result):
    """All vertices of a result, inputs before users, each once."""
    found = {}
    todo = [(built.edge.vertex, False) for built in reversed(result.built) if built.edge]
    while todo:
        vertex, done = todo.pop()
        if done:
            found.setdefault(vertex.digest, vertex)
        elif vertex.digest not in found:
            todo.append((vertex, True))
            todo += [(edge.vertex, False) for edge in reversed(vertex.inputs)]
    return list(found.values())


def config(result, index=0):
    return json.loads(result.built[index].config)


def histories(result, index=0):
    return [entry["created_by"] for entry in config(result, index)["history"] if entry.get("comment")]


def text(result):
    """A whole result as text, for the corpus."""
    numbers, out = {}, []
    for vertex in vertices(result):
        numbers[vertex.digest] = len(numbers) + 1
        inputs = " ".join(f"#{numbers[edge.vertex.digest]}" for edge in vertex.inputs)
        platform = str(vertex.constraints.platform) if vertex.constraints.platform else "any"
        out.append(f"#{numbers[vertex.digest]} {_name(vertex)}")
        places = vertex.hints.where.ranges if vertex.hints.where else ()
        # of what is fetched BuildKit keeps the place only sometimes, we always
        shown = places and not isinstance(vertex.op, SourceOp)
        lines = f" lines {min(p.start.line for p in places)}-{max(p.end.line for p in places)}" if shown else ""
        out.append(f"    {platform}{lines}" + (f" from {inputs}" if inputs else ""))
        out += ["    " + line for line in _op(vertex.op)]
    for built in result.built:
        edge = f"#{numbers[built.edge.vertex.digest]}" if built.edge else "scratch"
        out += ["", f"{built.platform} is {edge}", _document(built.config)]
    return "\n".join(out) + "\n"


def _name(vertex):
    """Without the stage for an image: several may begin with it, and each side names another of them."""
    name = vertex.hints.name
    stage, mark, image = name.partition("] FROM ")
    return "FROM " + image if isinstance(vertex.op, SourceOp) and mark and stage.startswith("[") else name


def _document(config):
    """The order of an image config is not that of the frontend but of whoever writes it at last."""
    document = json.loads(config)
    document["rootfs"]["diff_ids"] = document["rootfs"].get("diff_ids") or []
    document.setdefault("history", [])
    return json.dumps(document, indent=2, ensure_ascii=False, sort_keys=True)


def _op(op):
    if isinstance(op, SourceOp):
        yield f"source {op.identifier}"
        yield from (f"  {name}={value}" for name, value in op.attrs)
    elif isinstance(op, FileOp):
        for action in op.actions:
            yield f"file {action.input} {action.secondary_input} -> {action.output} {_fields(action.work)}"
    elif isinstance(op, ExecOp):
        yield "exec " + _fields(op.meta)
        for mount in op.mounts:
            yield "  mount " + _fields(mount)
        for variable in op.secret_env:
            yield "  secret " + _fields(variable)
        for name in ("network", "security"):
            if getattr(op, name):
                yield f"  {name} {getattr(op, name).name}"


def _fields(value):
    """Fields that are not at their default."""
    default = {field.name: field.default for field in msgspec.structs.fields(value)}
    shown = [
        f"{name}={getattr(value, name)!r}" for name in value.__struct_fields__ if getattr(value, name) != default[name]
    ]
    return f"{type(value).__name__}({', '.join(shown)})"
