"""What stages begin with: images whose names are resolved, named contexts, or nothing; and their ONBUILD triggers."""

from __future__ import annotations

from collections.abc import Sequence

from trimaran import aio
from trimaran.dockerfile.config import decode_image, empty_image
from trimaran.dockerfile.contexts import NamedContexts, context_draft, load_ignore
from trimaran.dockerfile.instructions import Instruction, Onbuild
from trimaran.dockerfile.lint.run import check_base
from trimaran.dockerfile.names import internal, step_name
from trimaran.dockerfile.parse import parse_trigger
from trimaran.dockerfile.problems import DockerfileError
from trimaran.dockerfile.reading import NO_TRIGGERS, instruction
from trimaran.dockerfile.remote import named_source, shown_url
from trimaran.dockerfile.stage_graph import SCRATCH, StageGraph
from trimaran.dockerfile.state import StageState
from trimaran.errors import TrimaranError, UsageError, located
from trimaran.graph.frontend import Bridge, NamedContext, ResolvedImage
from trimaran.graph.ops import SourceOp
from trimaran.platforms import Platform
from trimaran.reference import Reference
from trimaran.spelling import nearest

_COMMON = ("alpine", "busybox", "centos", "debian", "fedora", "golang", "ubuntu")


class _Images:
    """Image names, each looked up once per platform however many stages begin with it."""

    def __init__(self, bridge: Bridge, mode: str) -> None:
        self.bridge = bridge
        self.mode = mode
        self._known: dict[tuple[str, Platform], ResolvedImage] = {}
        self._once = aio.Once()

    async def resolve(self, reference: str, platform: Platform, title: str) -> ResolvedImage:
        key = reference, platform

        async def ask() -> ResolvedImage:
            return await self.bridge.resolve_image(reference, platform, name=title, resolve_mode=self.mode)

        if key not in self._known:
            self._known[key] = await self._once.run(key, ask)
        return self._known[key]


async def resolve_bases(graphs: Sequence[StageGraph], contexts: NamedContexts, bridge: Bridge) -> None:
    """Fill in the base of every stage that is needed, on all platforms at the same time.

    Triggers of images may need more images, so this goes round until nothing is new.
    """
    images = _Images(bridge, graphs[0].target.request.resolve_mode)
    again = True
    while again:
        waiting = [
            (graph, state) for graph in graphs for state in graph.reachable() if not state.resolved and not state.base
        ]
        for _, state in waiting:
            state.resolved = True
        await aio.all_of(_resolve(graph, state, contexts, images) for graph, state in waiting)
        again = False
        for graph in graphs:
            for state in graph.reachable():
                again |= _add_triggers(graph, state)


async def _resolve(graph: StageGraph, state: StageState, contexts: NamedContexts, images: _Images) -> None:
    platform = state.platform or graph.target.platform
    if state.base_name == SCRATCH and not state.context:
        # scratch is always of the target's platform, whatever --platform says
        state.platform = graph.target.platform
        state.image = empty_image(graph.target.platform)
        state.dispatched = state.stage is None
        return
    with located(state.node.where):
        context = state.context or contexts.find(state.base_name, platform)
        if context is not None:
            await _from_context(graph, state, context, platform, images)
        else:
            await _from_image(graph, state, state.base_name, platform, images)
            check_base(state, graph.target, platform)
    state.platform = platform
    state.dispatched = state.stage is None or bool(state.context)


async def _from_image(
    graph: StageGraph, state: StageState, name: str, platform: Platform, images: _Images, *, label: str = ""
) -> None:
    request = graph.target.request
    try:
        reference = str(Reference.parse(name))
    except UsageError as error:
        error.hint = _near_stage(graph, state, name) or error.hint
        raise
    title = internal(graph.target, f"load metadata for {reference}", platform)
    if label:
        title = f"[context {label}] load metadata for {reference}"
    try:
        resolved = await images.resolve(reference, platform, title)
    except TrimaranError as error:
        error.hint = _near_stage(graph, state, name) or error.hint
        raise
    state.image = decode_image(resolved.config, reference)
    state.base_config = resolved.config
    if not state.image.has_layers:
        return
    attrs = (("image.resolvemode", request.resolve_mode),) if request.resolve_mode != "default" else ()
    shown = f"FROM {resolved.reference}"
    if label:
        shown = f"[context {label}] {name}"
    else:
        shown = step_name(state, shown, prefixed=graph.target.prefixed, platform=platform, env={})
    state.draft = graph.target.drafts.add(
        SourceOp(f"docker-image://{resolved.reference}", attrs),
        name=shown,
        platform=platform,
        where=state.node.where,
        command=state.node.code if state.stage is not None else "",
    )


def _near_stage(graph: StageGraph, state: StageState, name: str) -> str:
    """An image that is not there may be a stage misspelt."""
    near = nearest(name, [*graph.names, *_COMMON])
    if not near or near == name or (state.stage is not None and near == state.stage.name):
        return ""
    return f"did you mean {near}?"


async def _from_context(
    graph: StageGraph, state: StageState, context: NamedContext, platform: Platform, images: _Images
) -> None:
    label, value = context.name, context.value
    scheme, colon, rest = value.partition(":")
    if scheme == "local":
        shared = f"context:{label}"
        title = f"[context {label}] load .dockerignore"
        ignore = await load_ignore(rest, images.bridge, title=title, shared=shared)
        title = f"[context {label}] load from client"
        state.draft = context_draft(graph.target.drafts, rest, title, ignore, state.paths, shared)
        state.image = empty_image(platform)
    elif scheme == "docker-image":
        await _from_image(graph, state, rest.removeprefix("//"), platform, images, label=label)
    elif scheme == "oci-layout":
        await _from_layout(graph, state, value, platform, images, label=label)
    else:
        source = named_source(value)
        if source is None:
            raise UsageError(
                f"unsupported context source {scheme} for {label}"
                if colon
                else f"invalid context specifier {value} for {label}",
                hint="a local folder, docker-image://, oci-layout://, a git repository, http:// or https://",
            )
        git = source.identifier.startswith("git://")
        shown = f"[internal] load git source {shown_url(value)}" if git else f"[context {label}] {shown_url(value)}"
        state.draft = graph.target.drafts.add(source, name=shown)
        state.image = empty_image(platform)


async def _from_layout(
    graph: StageGraph, state: StageState, value: str, platform: Platform, images: _Images, *, label: str
) -> None:
    """`oci-layout://STORE@DIGEST`: an image of a folder that the client gives under that name."""
    resolved = await images.resolve(value, platform, f"[context {label}] load metadata for {state.base_name}")
    state.image = decode_image(resolved.config, value)
    state.base_config = resolved.config
    if state.image.has_layers:
        state.draft = graph.target.drafts.add(
            SourceOp(value), name=f"[context {label}] OCI load from client", platform=platform
        )


def _trigger(text: str, state: StageState) -> Instruction:
    node = parse_trigger(text, state.node.where)
    if node.keyword in NO_TRIGGERS:
        raise node.error(f"{node.keyword} isn't allowed as an ONBUILD trigger")
    return instruction(node)


def _add_triggers(graph: StageGraph, state: StageState) -> bool:
    """Put the base's ONBUILD triggers before the stage's own commands; True when they need more stages."""
    if state.triggered or state.stage is None or state.context:
        return False
    if state.base is not None:
        texts = [c.instruction.expression for c in state.base.commands if isinstance(c.instruction, Onbuild)]
    elif state.resolved:
        texts = state.image.run.on_build or []
        state.image.run.on_build = None
    else:
        return False
    state.triggered = True
    commands = []
    for text in texts:
        try:
            item = _trigger(text, state)
        except DockerfileError as error:
            trigger = f"it is an ONBUILD trigger of the base: {text}"
            error.hint = f"{error.hint}; {trigger}" if error.hint else trigger
            raise
        commands.append(graph.command(item, triggered=True))
    state.commands[:0] = commands
    state.total += len(commands)
    needed = [source for command in commands for source in command.sources if source is not None]
    state.sources += needed
    return bool(needed)
