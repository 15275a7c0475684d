"""The frontend of graphs that a program wrote (`trimaran.graph`): decoded, given what their images say, and described.

Where a command's state was silent, the image it stands on decides its environment, folder and user (`state.INHERITS`),
as in a Dockerfile. Images are looked up once, all at the same time. Nothing recurses over the graph.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from trimaran import aio
from trimaran.digest import Digest
from trimaran.dockerfile.arguments import epoch
from trimaran.errors import UsageError
from trimaran.graph.frontend import Bridge, Built, FrontendRequest, FrontendResult, GraphInput
from trimaran.graph.llb import decode_definition, in_order
from trimaran.graph.ops import ExecOp, FileOp, MergeOp, SourceOp
from trimaran.graph.state import INHERITS
from trimaran.graph.vertex import Edge, Vertex
from trimaran.oci import image_config
from trimaran.oci.image_config import ContainerConfig, History, ImageConfig
from trimaran.platforms import Platform

_IMAGE = "docker-image://"
_DEFAULT_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_COMMENT = "trimaran.graph"
_MODE = "image.resolvemode"
Configs = Mapping[Digest, bytes]
"""Raw image configs by their source's vertex."""


async def build_graphs(request: FrontendRequest, bridge: Bridge) -> FrontendResult:
    """`graph.frontend.Frontend`: one Built for each of `request.graphs`."""
    goals = [_decoded(graph, request) for graph in request.graphs]
    vertices = {vertex.digest: vertex for goal in goals for vertex in in_order(goal)}
    silent = [goal for graph, goal in zip(request.graphs, goals, strict=True) if not graph.base_config]
    images = _images(silent, vertices.values())
    raws = await aio.all_of([_config(vertex, request, bridge) for vertex in images])
    configs = dict(zip([vertex.digest for vertex in images], raws, strict=True))
    made = _rebuilt(vertices.values(), configs, request)
    built = []
    for graph, goal in zip(request.graphs, goals, strict=True):
        base = image_below(goal)
        raw = graph.base_config or (configs[base.digest] if base is not None else b"")
        config = _image(graph, goal, raw, request)
        edge = Edge(made[goal.vertex.digest], goal.index)
        built.append(Built(platform=graph.platform, edge=edge, config=image_config.encode(config), base_config=raw))
    return FrontendResult(built=tuple(built), epoch=epoch(request, {}))


def _decoded(graph: GraphInput, request: FrontendRequest) -> Edge:
    asked = [platform.normalize() for platform in request.platforms]
    if asked and graph.platform.normalize() not in asked:
        raise UsageError(f"build graph: it is for {graph.platform}, which is not among the platforms asked for")
    return decode_definition(graph.definition)


def image_below(edge: Edge) -> Vertex | None:
    """The image whose file system `edge` is a change of; None where it began empty, or from something else."""
    while True:
        vertex = edge.vertex
        number = _below(vertex, edge.index)
        if number is None:
            op = vertex.op
            return vertex if isinstance(op, SourceOp) and op.identifier.startswith(_IMAGE) else None
        if number < 0:
            return None
        edge = vertex.inputs[number]


def _below(vertex: Vertex, output: int) -> int | None:
    """The input that output changes: negative for the empty file system, None where there is no such input."""
    op = vertex.op
    if isinstance(op, ExecOp):
        return next((mount.input for mount in op.mounts if mount.output == output), -1)
    if isinstance(op, FileOp):
        number = next(n for n, action in enumerate(op.actions) if action.output == output)
        while (under := op.actions[number].input) >= len(vertex.inputs):
            number = under - len(vertex.inputs)
        return under
    if isinstance(op, MergeOp):
        return op.inputs[0] if op.inputs else -1
    return None if isinstance(op, SourceOp) else -1


def _inherits(vertex: Vertex) -> str:
    return dict(vertex.hints.description).get(INHERITS, "")


def _images(goals: Iterable[Edge], vertices: Iterable[Vertex]) -> list[Vertex]:
    """Those whose config is needed, each once."""
    below = [image_below(goal) for goal in goals]
    below += [image_below(vertex.edge()) for vertex in vertices if _inherits(vertex)]
    return list({vertex.digest: vertex for vertex in below if vertex is not None}.values())


async def _config(vertex: Vertex, request: FrontendRequest, bridge: Bridge) -> bytes:
    assert isinstance(vertex.op, SourceOp)
    reference = vertex.op.identifier.removeprefix(_IMAGE)
    platform = vertex.constraints.platform
    assert platform is not None
    own = dict(vertex.op.attrs).get(_MODE, "default")
    mode = own if request.resolve_mode == "default" else request.resolve_mode
    name = f"[internal] load metadata for {reference}"
    found = await bridge.resolve_image(reference, platform, name=name, resolve_mode=mode)
    return found.config


def _rebuilt(vertices: Iterable[Vertex], configs: Configs, request: FrontendRequest) -> dict[Digest, Vertex]:
    """Each vertex as it is to run, by the digest it came with; `vertices` with inputs before those that read them."""
    made: dict[Digest, Vertex] = {}
    parsed = {digest: image_config.parse(raw).config for digest, raw in configs.items()}
    for vertex in vertices:
        op = vertex.op
        inherits = _inherits(vertex)
        if isinstance(op, ExecOp) and inherits:
            base = image_below(vertex.edge())
            op = _completed(op, inherits.split(), parsed[base.digest] if base is not None else ContainerConfig())
        if isinstance(op, SourceOp) and op.identifier.startswith(_IMAGE) and request.resolve_mode != "default":
            op = SourceOp(op.identifier, (*(a for a in op.attrs if a[0] != _MODE), (_MODE, request.resolve_mode)))
        made[vertex.digest] = Vertex(
            op,
            tuple(Edge(made[edge.vertex.digest], edge.index) for edge in vertex.inputs),
            constraints=vertex.constraints,
            hints=msgspec.structs.replace(
                vertex.hints,
                name=_shown(vertex, request),
                ignore_cache=vertex.hints.ignore_cache or request.no_cache,
            ),
        )
    return made


def _completed(op: ExecOp, inherits: list[str], config: ContainerConfig) -> ExecOp:
    """The process with what the image says of what its state did not."""
    own = {variable.partition("=")[0] for variable in op.meta.env}
    env = [variable for variable in config.env if variable.partition("=")[0] not in own]
    cwd = config.working_dir if "cwd" in inherits else ""
    user = config.user if "user" in inherits else ""
    meta = msgspec.structs.replace(op.meta, env=(*env, *op.meta.env), cwd=cwd or op.meta.cwd, user=user or op.meta.user)
    return msgspec.structs.replace(op, meta=meta)


def _shown(vertex: Vertex, request: FrontendRequest) -> str:
    """With the platform in front, where there are several."""
    platform = vertex.constraints.platform
    name = vertex.hints.name
    return f"[{platform}] {name}" if request.multi_platform and platform is not None else name


def _image(graph: GraphInput, goal: Edge, raw: bytes, request: FrontendRequest) -> ImageConfig:
    """The image config without diff ids; a history that the exporter completes where the graph has merges."""
    base = image_config.without_extra(image_config.parse(raw)) if raw else _empty(graph.platform)
    history = base.history + _history(goal) if not graph.base_config else base.history
    return msgspec.structs.replace(
        base,
        platform=graph.platform.normalize(),
        created="",
        config=_container(graph, base.config, request),
        diff_ids=(),
        history=history,
    )


def _empty(platform: Platform) -> ImageConfig:
    return ImageConfig(platform=platform, config=ContainerConfig(env=(_DEFAULT_PATH,), working_dir="/"))


def _container(graph: GraphInput, base: ContainerConfig, request: FrontendRequest) -> ContainerConfig:
    said = graph.defaults
    env = dict(variable.partition("=")[::2] for variable in base.env) | dict(said.env)
    return msgspec.structs.replace(
        base,
        env=tuple(f"{name}={value}" for name, value in env.items()),
        working_dir=said.working_dir or base.working_dir,
        user=said.user or base.user,
        entrypoint=base.entrypoint if said.entrypoint is None else said.entrypoint,
        cmd=base.cmd if said.cmd is None else said.cmd,
        labels=tuple((dict(base.labels) | dict(said.labels) | dict(request.labels)).items()),
        exposed_ports=tuple(dict.fromkeys([*base.exposed_ports, *said.exposed_ports])),
        volumes=tuple(dict.fromkeys([*base.volumes, *said.volumes])),
        stop_signal=said.stop_signal or base.stop_signal,
        on_build=() if not graph.base_config else base.on_build,
    )


def _history(goal: Edge) -> tuple[History, ...]:
    """A line for each layer from the image upwards; none where a merge or diff puts layers of others among them."""
    lines: list[History] = []
    edge: Edge | None = goal
    while edge is not None:
        vertex = edge.vertex
        if isinstance(vertex.op, SourceOp):
            break
        if not isinstance(vertex.op, ExecOp | FileOp):
            return ()
        lines.append(History(created_by=vertex.hints.name, comment=_COMMENT))
        number = _below(vertex, edge.index)
        edge = vertex.inputs[number] if number is not None and number >= 0 else None
    return tuple(reversed(lines))
