"""The embedded driver: the engine in this process, in namespaces of its own.

The engine is loaded inside: forking a process is the cheaper the less it has loaded.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from trimaran import settings
from trimaran.engine.folder import state_folder
from trimaran.linux import enter as namespaces
from trimaran.linux.enter import Entered

if TYPE_CHECKING:
    from trimaran.engine.request import BuildOutcome, BuildRequest
    from trimaran.events import Sink
    from trimaran.exporters.load import DockerDaemon
    from trimaran.graph.frontend import Frontends

_entered: Entered | None = None


def enter(*, terminal: bool = False) -> Entered:
    """Go into namespaces of our own. The process that called stays outside and never returns from here."""
    global _entered  # noqa: PLW0603 - a process is inside or not; there is no second state
    if _entered is None:
        root = state_folder(settings.load())
        _entered = namespaces.enter(terminal=terminal)
        os.environ["TRIMARAN_ROOT"] = root
    return _entered


def frontends() -> Frontends:
    from trimaran.dockerfile.convert import convert

    return {"dockerfile.v0": convert}


async def build(request: BuildRequest, sink: Sink, docker: DockerDaemon | None = None) -> BuildOutcome:
    """One build on this machine's store."""
    from trimaran.engine.build import build as run_build
    from trimaran.engine.engine import open_engine

    assert _entered is not None, "enter() comes first"
    configuration = settings.load()
    with open_engine(state_folder(configuration), configuration, _entered) as engine:
        async with engine.registry:
            return await run_build(request, engine, frontends(), sink, docker)
