"""The frontend: a Dockerfile's text to a graph and an image config per platform (`graph.frontend.Frontend`)."""

from __future__ import annotations

from trimaran.dockerfile.contexts import Loaded, load_dockerfile
from trimaran.dockerfile.graphs import stage_graphs
from trimaran.dockerfile.lines import find_directive
from trimaran.dockerfile.lint.linter import Linter
from trimaran.dockerfile.lint.options import parse_check
from trimaran.dockerfile.lint.rule import Finding
from trimaran.dockerfile.stage_graph import StageGraph
from trimaran.dockerfile.syntax import check_syntax
from trimaran.errors import Location, UsageError
from trimaran.graph.frontend import Bridge, Built, FrontendRequest, FrontendResult

NETWORKS = ("", "default", "sandbox", "host", "none")
CHECK_ARGUMENT = "BUILDKIT_DOCKERFILE_CHECK"


async def convert(request: FrontendRequest, bridge: Bridge) -> FrontendResult:
    """Build: all platforms over one graph. With a subrequest, the answer is in the metadata and nothing is built."""
    if request.network not in NETWORKS:
        raise UsageError(f"set network mode {request.network!r}: unknown mode", hint="default, none or host")
    if request.subrequest:
        from trimaran.dockerfile.subrequests import answer

        return await answer(request, bridge)
    loaded = await load_dockerfile(request, bridge)
    check_syntax(loaded, request.build_args, bridge)
    graphs = await stage_graphs(request, loaded, bridge, linter(loaded, request, bridge))
    return FrontendResult(built=tuple(built_of(graph) for graph in graphs), epoch=graphs[0].target.epoch)


def linter(loaded: Loaded, request: FrontendRequest, bridge: Bridge | None) -> Linter:
    """As the directive or the build argument wants it; what counts is told to the bridge."""
    found = find_directive(loaded.data, "check")
    given = dict(request.build_args).get(CHECK_ARGUMENT)
    try:
        # of the directive BuildKit takes the first word alone
        options = parse_check(given if given is not None else found.value.split()[0] if found else "")
    except UsageError as error:
        if given is None and found is not None:
            error.where = Location(loaded.filename, loaded.data, (found.range,))
        raise

    def report(finding: Finding) -> None:
        if bridge is not None:
            detail = (finding.rule.description,)
            bridge.warn(finding.short, detail=detail, url=finding.rule.url, where=finding.where)

    return Linter(options, report)


def built_of(graph: StageGraph) -> Built:
    """A platform's result, with what was asked for beside the Dockerfile worked in."""
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
