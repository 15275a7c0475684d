"""LLB, the wire form of a build graph: BuildKit's `pb.Op` and `pb.Definition` (reference §8.8), both ways.

A vertex's digest is the sha256 of `encode_op`. What BuildKit knows and our ops cannot hold is refused by name. Nothing
here recurses over the graph; a decoded graph has been checked: all indexes point somewhere (T40), all enums are known.
"""

from __future__ import annotations

from trimaran.digest import Digest
from trimaran.errors import Corrupt, Location, Unsupported
from trimaran.graph import ops
from trimaran.graph.messages import (
    DEFINITION,
    OP,
    WireDefinition,
    WireInput,
    WireLocation,
    WireMetadata,
    WireOp,
    WireSource,
    WireSourceInfo,
)
from trimaran.graph.vertex import Edge, Hints, Vertex

CUSTOM_NAME = "llb.customname"
"""Key of a vertex's shown name in OpMetadata.description."""


def encode_op(vertex: Vertex) -> bytes:
    """The bytes whose sha256 is the vertex's digest."""
    return OP.encode(
        WireOp(
            inputs=tuple([WireInput(edge.vertex.digest, edge.index) for edge in vertex.inputs]),
            op=vertex.op,
            platform=vertex.constraints.platform,
            # BuildKit's clients write this message always, also when it is empty: so digests are the same
            constraints=vertex.constraints.filter,
        )
    )


def _check(op: ops.Op, inputs: int) -> None:
    """Refuse an op whose indexes point nowhere (T40) or that cannot run."""
    if isinstance(op, ops.ExecOp):
        _check_exec(op, inputs)
    elif isinstance(op, ops.FileOp):
        if not op.actions:
            raise Corrupt("FileOp has no actions")
        for number, action in enumerate(op.actions):
            _check_index(action.input, inputs + number, "FileAction.input")
            _check_index(action.secondary_input, inputs + number, "FileAction.secondary_input")
            for name in _names(action.work):
                _check_index(name.input, inputs + number, "NamedUserOpt.input", lowest=0)
        _check_outputs([action.output for action in op.actions], len(op.actions))
    elif isinstance(op, ops.MergeOp):
        for index in op.inputs:
            _check_index(index, inputs, "MergeOp.input")
    elif isinstance(op, ops.DiffOp):
        _check_index(op.lower, inputs, "DiffOp.lower")
        _check_index(op.upper, inputs, "DiffOp.upper")
    elif inputs:
        raise Corrupt("SourceOp has inputs")
    elif not op.identifier:
        raise Corrupt("SourceOp has no identifier")


_NO_RESULT = (ops.MountType.SECRET, ops.MountType.SSH)


def _check_exec(op: ops.ExecOp, inputs: int) -> None:
    if not op.meta.args:
        raise Corrupt("ExecOp has no args")
    if not any(mount.dest == "/" for mount in op.mounts):
        raise Corrupt("ExecOp has no root mount")
    for mount in op.mounts:
        _check_index(mount.input, inputs, "Mount.input")
    # BuildKit's clients leave the output of secrets and agents at 0, which nobody reads
    _check_outputs([mount.output for mount in op.mounts if mount.type not in _NO_RESULT], len(op.mounts))


def _check_index(index: int, count: int, name: str, *, lowest: int = ops.SCRATCH_INPUT) -> None:
    if not lowest <= index < count:
        raise Corrupt(f"{name} {index} is out of range: there are {count}")


def _check_outputs(outputs: list[int], count: int) -> None:
    for output in outputs:
        _check_index(output, count, "output")
    given = [output for output in outputs if output != ops.SKIP_OUTPUT]
    if len(set(given)) != len(given):
        raise Corrupt("an output is given twice")


def _outputs(op: ops.Op) -> set[int]:
    """The outputs that have something to read."""
    if isinstance(op, ops.ExecOp):
        return {mount.output for mount in op.mounts if mount.type not in _NO_RESULT}
    return {action.output for action in op.actions} if isinstance(op, ops.FileOp) else {0}


def _names(work: ops.FileWork) -> list[ops.NamedUser]:
    owner = None if isinstance(work, ops.RmAction) else work.owner
    return [] if owner is None else [name for name in (owner.user, owner.group) if isinstance(name, ops.NamedUser)]


# --- definitions --------------------------------------------------------------------------------------------------


def in_order(edge: Edge) -> list[Vertex]:
    """All vertices `edge` needs, inputs before those that read them, each once; without recursion."""
    done: dict[Digest, Vertex] = {}
    stack: list[tuple[Vertex, int]] = [(edge.vertex, 0)]
    while stack:
        vertex, position = stack.pop()
        if vertex.digest in done:
            continue
        if position < len(vertex.inputs):
            stack.append((vertex, position + 1))
            stack.append((vertex.inputs[position].vertex, 0))
        else:
            done[vertex.digest] = vertex
    return list(done.values())


def encode_definition(edge: Edge) -> bytes:
    """`pb.Definition`: the ops, inputs first, then one without an op that names the result; and the hints."""
    vertices = in_order(edge)
    terminal = OP.encode(WireOp(inputs=(WireInput(edge.vertex.digest, edge.index),)))
    return DEFINITION.encode(
        WireDefinition(
            ops=(*(encode_op(vertex) for vertex in vertices), terminal),
            metadata=tuple((vertex.digest, _metadata(vertex.hints)) for vertex in vertices),
            source=_source(vertices),
        )
    )


def _metadata(hints: Hints) -> WireMetadata:
    name = ((CUSTOM_NAME, hints.name),) if hints.name else ()
    return WireMetadata(
        ignore_cache=hints.ignore_cache, description=hints.description + name, progress_group=hints.progress_group
    )


def _source(vertices: list[Vertex]) -> WireSource | None:
    infos: dict[WireSourceInfo, int] = {}
    locations = []
    for vertex in vertices:
        where = vertex.hints.where
        if where is not None:
            info = WireSourceInfo(where.filename, where.source, where.language)
            index = infos.setdefault(info, len(infos))
            locations.append((str(vertex.digest), (WireLocation(index, where.ranges),)))
    return WireSource(tuple(locations), tuple(infos)) if locations else None


def decode_definition(data: bytes) -> Edge:
    """The edge a definition describes; Corrupt or Unsupported says what is wrong with it.

    Ops are named by the bytes they came in; vertices get the digest of our own encoding, which differs when a client
    writes another form of the same op.
    """
    definition = DEFINITION.decode(data)
    if not definition.ops:
        raise Corrupt("decode Definition: there are no ops")
    hints = _hints(definition)
    by_digest = {Digest.of(raw): raw for raw in definition.ops}
    terminal = OP.decode(definition.ops[-1])
    if terminal.op is not None or len(terminal.inputs) != 1:
        raise Corrupt("decode Definition: the last op does not name one result")
    return _build(terminal.inputs[0], by_digest, hints)


def _build(wanted: WireInput, by_digest: dict[Digest, bytes], hints: dict[str, Hints]) -> Edge:
    built: dict[str, Vertex] = {}
    opened: dict[str, WireOp] = {}
    stack = [wanted.digest]
    while stack:
        digest = stack[-1]
        if digest in built:
            stack.pop()
            continue
        if digest in opened:
            stack.pop()
            built[digest] = _vertex(opened[digest], built, hints.get(digest))
            continue
        raw = by_digest.get(Digest(digest))
        if raw is None:
            raise Corrupt(f"decode Definition: input {digest[:150]!r} is not in it")
        opened[digest] = OP.decode(raw)
        stack.extend(item.digest for item in reversed(opened[digest].inputs) if item.digest not in built)
    return _edge(wanted, built)


def _vertex(op: WireOp, built: dict[str, Vertex], hints: Hints | None) -> Vertex:
    if op.op is None:
        raise Corrupt("decode Op: it has no operation")
    try:
        _check(op.op, len(op.inputs))
    except Corrupt as error:
        raise Corrupt(f"decode Op: {error}") from None
    inputs = tuple(_edge(item, built) for item in op.inputs)
    constraints = ops.Constraints(op.platform, op.constraints or ())
    return Vertex(op.op, inputs, constraints=constraints, hints=hints)


def _edge(item: WireInput, built: dict[str, Vertex]) -> Edge:
    vertex = built[item.digest]
    if item.index < 0 or item.index not in _outputs(vertex.op):
        raise Corrupt(f"decode Op: {item.digest} has no output {item.index}")
    return Edge(vertex, item.index)


def _hints(definition: WireDefinition) -> dict[str, Hints]:
    """Hints by the op's digest. Capabilities are what a client needs of us: an op we can decode needs none we lack."""
    where = _where(definition.source) if definition.source else {}
    metadata = dict(definition.metadata)
    hints = {}
    for digest in metadata.keys() | where.keys():
        found = metadata.get(digest)
        if found is None:
            hints[digest] = Hints(where=where[digest])
            continue
        if found.linux_resources:
            raise Unsupported("decode OpMetadata: linux_resources are not supported", hint="leave the limits out")
        description = dict(found.description)
        hints[digest] = Hints(
            name=description.pop(CUSTOM_NAME, ""),
            ignore_cache=found.ignore_cache,
            where=where.get(digest),
            progress_group=found.progress_group,
            description=tuple(description.items()),
        )
    return hints


def _where(source: WireSource) -> dict[str, Location]:
    where = {}
    for digest, locations in source.locations:
        for location in locations[:1]:
            _check_index(location.source_index, len(source.infos), "Location.source_index", lowest=0)
            info = source.infos[location.source_index]
            where[digest] = Location(info.filename, info.data, location.ranges, info.language)
    return where
