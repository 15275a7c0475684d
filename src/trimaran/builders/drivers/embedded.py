"""The embedded driver: the engine in this process, in namespaces of its own.

The engine is loaded inside: forking a process is the cheaper the less it has loaded.
"""

from __future__ import annotations

import gc
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

from trimaran import settings
from trimaran.caches.options import signings_of
from trimaran.engine.folder import state_folder
from trimaran.errors import TrimaranError
from trimaran.linux import enter as namespaces
from trimaran.linux.enter import Entered
from trimaran.linux.outer import WORK, Manner

if TYPE_CHECKING:
    from trimaran.engine.request import BuildOutcome, BuildRequest
    from trimaran.events import Sink
    from trimaran.exporters.load import DockerDaemon
    from trimaran.graph.frontend import Frontends
    from trimaran.settings import Settings
    from trimaran.sources.given import Client, KeySource

_entered: Entered | None = None


def enter(*, terminal: bool = False, manner: Manner = WORK) -> Entered:
    """Go into namespaces of our own. The process that called stays outside and never returns from here."""
    global _entered  # noqa: PLW0603 - a process is inside or not; there is no second state
    if _entered is None:
        root = state_folder(settings.load())
        _entered = namespaces.enter(terminal=terminal, manner=manner)
        os.environ["TRIMARAN_ROOT"] = root
    return _entered


def entered() -> Entered:
    """Where `enter` led to, which comes first: a library's caller is never taken along."""
    assert _entered is not None, "enter() comes first"
    return _entered


def frontends(name: str) -> Frontends:
    """The one of that name; the others are not loaded."""
    if name == "graph":
        from trimaran.engine.graph_frontend import build_graphs

        return {name: build_graphs}
    from trimaran.dockerfile.convert import convert

    return {"dockerfile.v0": convert}


async def build(
    request: BuildRequest,
    sink: Sink,
    docker: DockerDaemon | None = None,
    environment: Mapping[str, str] = os.environ,
    secrets: Mapping[str, bytes] | None = None,
) -> BuildOutcome:
    """One build on this machine's store; secrets may be variables of `environment`, or be given as they are."""
    from trimaran import aio
    from trimaran.engine.build import build as run_build
    from trimaran.engine.collect import collect
    from trimaran.engine.engine import open_engine

    gc.freeze()  # what was loaded stays: the collector, whose first round would take 14 ms of it, never looks at it
    configuration = settings.load()
    with open_engine(state_folder(configuration), configuration, entered()) as engine:
        async with engine.registry, client_of(request, environment, secrets or {}, configuration) as client:
            try:
                outcome = await run_build(request, engine, frontends(request.frontend_name), sink, docker, client)
            except TrimaranError:
                with suppress(TrimaranError):  # what the build failed of is to be told
                    await aio.in_thread(engine.store.ceiling.settle)
                raise
            await aio.in_thread(collect, engine.store, configuration)
            return outcome


@asynccontextmanager
async def client_of(
    request: BuildRequest, environment: Mapping[str, str], values: Mapping[str, bytes], configuration: Settings
) -> AsyncIterator[Client | None]:
    """What the build may ask its client for; None for nothing. UsageError for what is not what it should be."""
    build_ca = (*configuration.worker.build_ca, *request.build_ca)
    signings = signings_of(request.cache_from, request.cache_to)
    if not (request.secrets or request.agents or values or build_ca or signings):
        yield None
        return
    from trimaran.builders.agents import LocalAgents
    from trimaran.builders.secrets import LocalSecrets
    from trimaran.sources.given import Authorities, Client

    authorities = Authorities()
    if build_ca:
        from trimaran.builders.authorities import read

        authorities = await read(build_ca, environment)
    keys: Mapping[KeySource, bytes] = {}
    if signings:
        from trimaran.builders import cache_keys

        keys = await cache_keys.read([signing.key for signing in signings], environment)
    secrets = LocalSecrets(request.secrets, environment, values)
    async with LocalAgents(request.agents, environment) as agents:
        yield Client(secrets, agents, authorities, keys)
