"""The frontend: a Dockerfile's text to a graph and an image config per platform (`graph.frontend.Frontend`)."""

from __future__ import annotations

from trimaran import aio
from trimaran.dockerfile.arguments import epoch, predefined, with_global
from trimaran.dockerfile.bases import resolve_bases
from trimaran.dockerfile.contexts import Loaded, NamedContexts, context_source, load_dockerfile, load_ignore
from trimaran.dockerfile.dispatch import dispatch_stages
from trimaran.dockerfile.drafts import Draft, Drafts
from trimaran.dockerfile.ignore import IgnoreFile, check_ignore
from trimaran.dockerfile.lines import find_directive
from trimaran.dockerfile.parse import parse
from trimaran.dockerfile.stage_graph import StageGraph
from trimaran.dockerfile.stages import Program, program
from trimaran.dockerfile.state import Target
from trimaran.dockerfile.words import Expander
from trimaran.errors import Location, Unsupported, UsageError
from trimaran.graph.frontend import Bridge, Built, FrontendRequest, FrontendResult
from trimaran.platforms import Platform

IGNORE_NAME = "dockerignore.name"
IGNORE_DATA = "dockerignore.data"
"""Result metadata for whoever has to explain a missing source (`ignore.explain_exclusion`)."""
NETWORKS = ("", "default", "sandbox", "host", "none")


async def convert(request: FrontendRequest, bridge: Bridge) -> FrontendResult:
    """All platforms over one graph. Syntax is checked before any image is looked up."""
    if request.network not in NETWORKS:
        raise UsageError(f"set network mode {request.network!r}: unknown mode", hint="default, none or host")
    loaded = await load_dockerfile(request, bridge)
    check_syntax(loaded, dict(request.build_args))
    _mention_checks(loaded, bridge)
    text = program(parse(loaded.data, loaded.filename))
    contexts = NamedContexts(request.named_contexts)
    drafts = Drafts()
    shared = _Shared(request, drafts)
    graphs = [StageGraph(text, shared.target(text, platform), contexts) for platform in shared.platforms]
    ignore, _ = await aio.all_of([_ignore(request, loaded, bridge), _bases(graphs, contexts, bridge)])
    shared.ignore = ignore or IgnoreFile()
    for graph in graphs:
        dispatch_stages(graph)
    drafts.finish()
    metadata = ((IGNORE_NAME, shared.ignore.filename.encode()), (IGNORE_DATA, shared.ignore.source))
    return FrontendResult(
        built=tuple(_built(graph) for graph in graphs), metadata=metadata if shared.ignore.lines else ()
    )


async def _ignore(request: FrontendRequest, loaded: Loaded, bridge: Bridge) -> IgnoreFile | None:
    if loaded.ignore is not None:
        check_ignore(loaded.ignore)
        return loaded.ignore
    return await load_ignore(request.context_local, bridge)


async def _bases(graphs: list[StageGraph], contexts: NamedContexts, bridge: Bridge) -> IgnoreFile | None:
    await resolve_bases(graphs, contexts, bridge)
    return None


class _Shared:
    """What all platforms share: above all the context, of which only what some platform reads is loaded."""

    def __init__(self, request: FrontendRequest, drafts: Drafts) -> None:
        self.request = request
        self.drafts = drafts
        self.platforms = request.platforms or (request.build_platform,)
        self.ignore = IgnoreFile()
        self.context_paths: set[str] = set()
        self.context = self._context()

    def _context(self) -> Draft:
        local = self.request.context_local
        return self.drafts.add(
            lambda: context_source(local, self.ignore.patterns, self.context_paths),
            name="[internal] load build context",
        )

    def target(self, text: Program, platform: Platform) -> Target:
        request = self.request
        build_args = dict(request.build_args)
        expander = Expander(text.document.escape)
        name = request.target or text.stages[-1].name
        values = predefined(request.build_platform, platform, name, build_args)
        values = with_global(values, text.arguments, expander, build_args)
        return Target(
            request=request,
            platform=platform,
            implicit=not request.platforms,
            prefixed=request.multi_platform or len(request.platforms) > 1,
            arguments=values,
            build_args=build_args,
            expander=expander,
            drafts=self.drafts,
            context=self.context,
            context_paths=self.context_paths,
            epoch=epoch(request, values),
        )


def _built(graph: StageGraph) -> Built:
    goal, target = graph.goal, graph.target
    if target.request.labels:
        goal.image.run.labels = {**(goal.image.run.labels or {}), **dict(target.request.labels)}
    if not target.implicit:
        goal.image.set_platform(target.platform)
    return Built(
        platform=target.platform,
        edge=goal.draft.edge if goal.draft is not None else None,
        config=goal.image.encode(),
        base_config=goal.base_config,
    )


def _mention_checks(loaded: Loaded, bridge: Bridge) -> None:
    """`# check=` with error=true would stop a build at a warning: until there are checks, say that it does not."""
    found = find_directive(loaded.data, "check")
    if found is not None and "error=true" in found.value.replace(" ", "").lower():
        where = Location(loaded.filename, loaded.data, (found.range,))
        bridge.warn("check directive: error=true has no effect, build checks are not run yet", where=where)


def check_syntax(loaded: Loaded, build_args: dict[str, str]) -> None:
    """`# syntax=` names a frontend: Docker's own means this one; Unsupported for another."""
    found = find_directive(loaded.data, "syntax")
    wanted = build_args.get("BUILDKIT_SYNTAX") or (found.value if found else "")
    if not wanted or is_own_syntax(wanted.split()[0]):
        return
    where = Location(loaded.filename, loaded.data, (found.range,)) if found else None
    raise Unsupported(
        f"use syntax {wanted.split()[0]!r}: other frontends than docker/dockerfile are not supported",
        hint="take the syntax line away, or name docker/dockerfile:1",
        where=where,
    )


def is_own_syntax(name: str) -> bool:
    repository = name.partition("@")[0]
    repository = repository[: repository.rfind(":")] if ":" in repository.rpartition("/")[2] else repository
    repository = repository.removeprefix("docker.io/")
    return repository in ("docker/dockerfile", "docker/dockerfile-upstream", "dockerfile.v0")
