"""THE RECIPE: frontend → solver → exporters. Every build of the embedded engine goes this way."""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import msgspec

from trimaran import aio
from trimaran.caches.options import ExportOptions
from trimaran.engine.bridge import EngineBridge
from trimaran.engine.caches import BuildCaches
from trimaran.engine.engine import Engine, limit_store
from trimaran.engine.history import BuildLog
from trimaran.engine.request import BuildOutcome, BuildRequest, Resources
from trimaran.errors import NotFound, UsageError, located
from trimaran.events import Sink
from trimaran.exporters.assemble import Exportable
from trimaran.exporters.context import ExportContext, Exported
from trimaran.exporters.options import ImageOptions, Output, at_epoch, latest
from trimaran.exporters.table import export
from trimaran.graph.frontend import FrontendResult, Frontends
from trimaran.graph.ops import ExecOp
from trimaran.graph.vertex import Edge
from trimaran.oci.descriptor import Descriptor
from trimaran.solver.plan import reachable
from trimaran.solver.protocols import Explainer, Observer, Result, SharedCache
from trimaran.solver.solver import Solver
from trimaran.sources.given import Client
from trimaran.sources.lock import Lock
from trimaran.sources.resolver import ImageResolver
from trimaran.sources.table import Sources
from trimaran.steps.context import StepContext
from trimaran.steps.make import make_step
from trimaran.steps.results import StoreResults
from trimaran.store.rootfs import Rootfs

if TYPE_CHECKING:
    from trimaran.exporters.load import DockerDaemon
    from trimaran.steps.limiting import Limiting


async def build(
    request: BuildRequest,
    engine: Engine,
    frontends: Frontends,
    sink: Sink,
    docker: DockerDaemon | None = None,
    client: Client | None = None,
) -> BuildOutcome:
    """Run one build to the end. Whatever happens, its log is kept and nothing half-made is left in the store."""
    _require_codecs(request)
    resources = request.resources
    with (
        BuildLog.open(engine.store.root, request, engine.settings.history) as log,
        _limiting(resources) as limiting,
        engine.store.pins.undisturbed(),
    ):
        limit_store(engine.store, engine.settings, resources.cache_limit)
        async with engine.store.ceiling.watched():
            return await _run(request, engine, frontends, log, log.before(sink), docker, client or Client(), limiting)


async def _run(
    request: BuildRequest,
    engine: Engine,
    frontends: Frontends,
    log: BuildLog,
    tell: Sink,
    docker: DockerDaemon | None,
    client: Client,
    limiting: Limiting | None,
) -> BuildOutcome:
    now = time.time_ns()
    lock = Lock(request.lock)
    resolver = _resolver(request, engine, lock)
    context = _step_context(request, engine, resolver, lock, now, client, limiting)
    caches = BuildCaches(request, engine, context, tell, client.cache_keys)
    known = StoreResults(engine.store, adopts=not request.fresh)
    solver = _solver(request, engine, context, known, caches, await caches.shared(), tell)
    bridge = EngineBridge(solver=solver, context=context, resolver=resolver, sink=tell)
    made = await frontends[request.frontend_name](request.frontend, bridge)
    if request.frontend.subrequest:
        return BuildOutcome(build_id=log.build_id, log_folder=log.folder, answer=made.metadata)

    outputs = [at_epoch(one, made.epoch, reproducible=request.frontend.reproducible) for one in request.outputs]
    known.latest = latest(outputs)

    async def use(results: list[Result]) -> tuple[list[Exported], Descriptor | None]:
        parts = await caches.with_inline(_exportables(made, results), made.built, solver)
        exporting = _exporting(request, engine, parts, now, tell, docker)
        return await _export(outputs, exporting, lambda: caches.export(edges, solver))

    edges = [built.edge for built in made.built if built.edge is not None]
    _check(request, edges, engine)
    async with caches.working_ahead(edges, solver):
        exported, cache = await solver.need(edges, use)
    await caches.keep(edges, solver)
    outcome = msgspec.structs.replace(_outcome(exported, log, solver, lock), cache=cache)
    log.keep(outcome)
    return outcome


def _limiting(resources: Resources) -> AbstractContextManager[Limiting | None]:
    if resources.limits is None and resources.build_limits is None:
        return nullcontext()
    from trimaran.steps.limiting import Limiting

    return Limiting(resources.limits, resources.build_limits)


def _require_codecs(request: BuildRequest) -> None:
    """Layers that nothing here can compress are refused before anything is done."""
    kinds = {output.compression.kind for output in request.outputs if isinstance(output, ImageOptions)}
    kinds |= {export.compression for export in request.cache_to if isinstance(export, ExportOptions)}
    if "zstd" in kinds:
        from trimaran.zstd import require

        require()


def _resolver(request: BuildRequest, engine: Engine, lock: Lock) -> ImageResolver:
    remember = engine.settings.remember_tags
    return ImageResolver(engine.store, engine.registry, lock, offline=request.offline, remember=remember)


def _solver(
    request: BuildRequest,
    engine: Engine,
    context: StepContext,
    results: StoreResults,
    observer: Observer,
    shared: SharedCache | None,
    tell: Sink,
) -> Solver:
    return Solver(
        make_step=lambda vertex: make_step(vertex, context),
        index=engine.store.records,
        results=results,
        sink=tell,
        explainer=lambda: _explainer(request, engine, tell),
        shared=shared,
        observer=observer,
    )


def _check(request: BuildRequest, edges: list[Edge], engine: Engine) -> None:
    """What can be told to be wrong before anything is pulled."""
    _check_stages(request.fail_on_miss, edges)
    _require_isolation(request, edges, engine)


def _check_stages(stages: tuple[str, ...], edges: list[Edge]) -> None:
    """A stage that no step is of would pass whatever happens."""
    if not stages:
        return
    from trimaran.spelling import nearest

    known = {vertex.hints.place.rpartition("/")[0] for vertex in reachable(edges) if vertex.hints.place}
    known.discard("")  # a stage without a name
    for stage in stages:
        if stage != "*" and stage.lower() not in known:
            near = nearest(stage, sorted(known))
            meant = f"did you mean {near}? " if near else ""
            there = f"{meant}it has steps of {', '.join(sorted(known))}" if known else "it has no step at all"
            raise UsageError(f'--fail-on-miss={stage}: no step of this build is of a stage "{stage}"', hint=there)


def _explainer(request: BuildRequest, engine: Engine, sink: Sink) -> Explainer:
    from trimaran.engine import explain

    return explain.Explainer(engine.store, request.scope, engine.host, sink, request.fail_on_miss)


def _require_isolation(request: BuildRequest, edges: list[Edge], engine: Engine) -> None:
    """Steps that cannot run here are refused before anything is pulled, unless a cache may have their results."""
    processes = [vertex for vertex in reachable(edges) if isinstance(vertex.op, ExecOp)]
    if processes and not request.cache_from and not engine.store.records.has_processes():
        with located(processes[0].hints.where):
            engine.isolation.require()


async def _export(
    outputs: list[Output], context: ExportContext, caches: Callable[[], Coroutine[Any, Any, Descriptor | None]]
) -> tuple[list[Exported], Descriptor | None]:
    """Make every output, and the caches meanwhile; after this the store holds, durably, all that was promised.

    Where the disk has a limit, caches come last: they take no room that an output needs.
    """
    if context.store.ceiling.limit:
        exported = await _export_all(outputs, context)
        await _settle(context)
        return exported, await caches()
    async with aio.TaskGroup() as group:
        cache = group.start(caches())
        images = group.start(_export_all(outputs, context))
    await _settle(context)
    return images.result(), cache.result()


async def _settle(context: ExportContext) -> None:
    await context.store.layers.settle([layer for part in context.parts for layer in part.rootfs.layers])
    await context.store.sync()


async def _export_all(outputs: list[Output], context: ExportContext) -> list[Exported]:
    return [await export(output, context) for output in outputs]


def _exporting(
    request: BuildRequest,
    engine: Engine,
    parts: Sequence[Exportable],
    now: int,
    sink: Sink,
    docker: DockerDaemon | None,
) -> ExportContext:
    return ExportContext(
        store=engine.store,
        registry=engine.registry,
        parts=parts,
        names=request.names,
        as_index=request.frontend.as_index,
        now=now,
        sink=sink,
        host=engine.host,
        docker=docker,
    )


def _step_context(
    request: BuildRequest,
    engine: Engine,
    resolver: ImageResolver,
    lock: Lock,
    now: int,
    client: Client,
    limiting: Limiting | None,
) -> StepContext:
    folders = _Folders(dict(request.folders))
    return StepContext(
        store=engine.store,
        sources=Sources(
            engine.store,
            engine.registry,
            resolver,
            folders,
            client,
            lock,
            offline=request.offline,
            context_mode=request.context_mode,
        ),
        sandbox=lambda: engine.sandbox(request.entitlements),
        slots=request.resources.jobs or engine.slots,
        limiting=limiting,
        now=now,
        host=engine.host,
        client=client,
    )


def _exportables(made: FrontendResult, results: list[Result]) -> list[Exportable]:
    remaining = iter(results)
    parts = []
    for built in made.built:
        rootfs = next(remaining) if built.edge is not None else Rootfs(())
        assert isinstance(rootfs, Rootfs)
        config, base = built.config, built.base_config
        parts.append(Exportable(platform=built.platform, rootfs=rootfs, config=config, base_config=base))
    return parts


def _outcome(exported: list[Exported], log: BuildLog, solver: Solver, lock: Lock) -> BuildOutcome:
    images = [one for one in exported if one.root is not None]
    last = images[-1] if images else Exported()
    return BuildOutcome(
        build_id=log.build_id,
        root=last.root,
        config=last.config,
        manifests=last.manifests,
        names=tuple(dict.fromkeys(name for one in images for name in one.names)),
        stored=any(one.stored for one in images),
        steps=log.steps,
        executed=solver.executed,
        cached=solver.cached,
        log_folder=log.folder,
        lock=lock.used,
    )


class _Folders:
    """The client's folders: `sources.LocalFiles`."""

    def __init__(self, folders: dict[str, str]) -> None:
        self._folders = folders

    def folder(self, name: str) -> str:
        if name not in self._folders:
            raise NotFound(f'read local folder "{name}": the client gives no such folder')
        return self._folders[name]
