"""From a Dockerfile's text to its stages, converted for every platform that was asked for."""

from __future__ import annotations

from trimaran import aio
from trimaran.dockerfile.arguments import EPOCH, epoch, predefined, with_global
from trimaran.dockerfile.bases import resolve_bases
from trimaran.dockerfile.contexts import Loaded, NamedContexts, context_folders, context_source, load_ignore
from trimaran.dockerfile.dispatch import dispatch_stages
from trimaran.dockerfile.drafts import Draft, Drafts
from trimaran.dockerfile.expansion import check_words
from trimaran.dockerfile.ignore import IgnoreFile, check_ignore
from trimaran.dockerfile.lint.linter import Linter
from trimaran.dockerfile.lint.run import (
    check_context,
    check_defaults,
    check_document,
    check_graph,
    check_node,
    check_program,
)
from trimaran.dockerfile.parse import parse
from trimaran.dockerfile.stage_graph import StageGraph
from trimaran.dockerfile.stages import Program, program
from trimaran.dockerfile.state import Target
from trimaran.dockerfile.syntax import check_flags
from trimaran.dockerfile.words import Expander
from trimaran.graph.frontend import Bridge, FrontendRequest
from trimaran.platforms import Platform


async def stage_graphs(
    request: FrontendRequest, loaded: Loaded, bridge: Bridge, linter: Linter, *, all_stages: bool = False
) -> list[StageGraph]:
    """One graph per platform, all over the same drafts. Syntax is checked before any image is looked up."""
    document = parse(loaded.data, loaded.filename)
    check_flags(document, loaded, request.build_args)
    check_document(linter, document)
    text = program(document, lambda node: check_node(linter, node))
    check_program(linter, text)
    contexts = NamedContexts(request.named_contexts)
    if EPOCH.encode() in loaded.data or EPOCH in dict(request.build_args):
        from trimaran.dockerfile.epoch import with_epoch

        request = await with_epoch(request, loaded, text, contexts, bridge)
    shared = _Shared(request, Drafts(), loaded)
    targets = [shared.target(text, platform, linter.for_platform()) for platform in shared.platforms]
    for target in targets:
        check_defaults(text, target)
    graphs = [StageGraph(text, target, contexts, all_stages=all_stages) for target in targets]
    for graph in graphs:
        check_words(graph)
    ignore, _ = await aio.all_of([_ignore(request, loaded, bridge), _bases(graphs, contexts, bridge)])
    shared.ignore = ignore or IgnoreFile()
    shared.ignored += shared.ignore.patterns
    for graph in graphs:
        dispatch_stages(graph)
        check_graph(graph)
    if linter.options.counts("UnreadContextFolder", experimental=True) and loaded.context is None:
        await _check_context(request, shared, graphs, bridge)
    linter.check()
    shared.drafts.finish()
    return graphs


async def _ignore(request: FrontendRequest, loaded: Loaded, bridge: Bridge) -> IgnoreFile | None:
    if loaded.context is not None:
        return None  # BuildKit ignores nothing of a context that it does not load from the client
    if loaded.ignore is not None:
        check_ignore(loaded.ignore)
        return loaded.ignore
    return await load_ignore(request.context_local, bridge)


async def _check_context(request: FrontendRequest, shared: _Shared, graphs: list[StageGraph], bridge: Bridge) -> None:
    """Only where all stages were converted: a folder may be there for another target."""
    if not all(state.dispatched for graph in graphs for state in graph.states if state.stage is not None):
        return
    folders = await context_folders(request.context_local, shared.ignore, bridge)
    check_context(graphs[0], folders, shared.context_paths)


async def _bases(graphs: list[StageGraph], contexts: NamedContexts, bridge: Bridge) -> IgnoreFile | None:
    await resolve_bases(graphs, contexts, bridge)
    return None


class _Shared:
    """What all platforms share: above all the context, of which only what some platform reads is loaded."""

    def __init__(self, request: FrontendRequest, drafts: Drafts, loaded: Loaded) -> None:
        self.request = request
        self.drafts = drafts
        self.platforms = request.platforms or (request.build_platform,)
        self.ignore = IgnoreFile()
        self.ignored: list[str] = []
        self.context_paths: set[str] = set()
        self.context = self._context() if loaded.context is None else loaded.context.draft(drafts)

    def _context(self) -> Draft:
        local = self.request.context_local
        return self.drafts.add(
            lambda: context_source(local, self.ignore.patterns, self.context_paths),
            name="[internal] load build context",
        )

    def target(self, text: Program, platform: Platform, linter: Linter) -> Target:
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
            prefixed=request.as_index,
            arguments=values,
            build_args=build_args,
            declared=frozenset(item.name for arg in text.arguments for item in arg.items),
            expander=expander,
            linter=linter,
            drafts=self.drafts,
            context=self.context,
            context_paths=self.context_paths,
            ignored=self.ignored,
            epoch=epoch(request, values),
        )
