"""`trimaran.build` and its kin: whole builds for Python programs, by an engine process of their own."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Unpack

import msgspec

from trimaran.builders.options import BuildResult, Call
from trimaran.errors import UsageError
from trimaran.events import Event
from trimaran.graph.frontend import GraphInput
from trimaran.graph.llb import decode_definition
from trimaran.graph.state import State
from trimaran.library.caller import run, run_async
from trimaran.library.messages import Order
from trimaran.library.options import Buildable, BuildKeywords, Path, build_options
from trimaran.oci import image_config
from trimaran.platforms import Platform, default

OnEvent = Callable[[Event], object]


def build(
    context: Buildable,
    *,
    on_event: OnEvent | None = None,
    environment: Mapping[str, str] | None = None,
    **keywords: Unpack[BuildKeywords],
) -> BuildResult:
    """Build an image as `trimaran build` does, and wait for it. Safe in any thread, also beside a running event loop.

    `context` is a folder or a URL, or a graph (`trimaran.graph`), or a function that makes the graph of a platform; see
    `BuildKeywords` for what else can be said. `on_event` is called in this thread
    with each event as it happens; what it raises ends the build. `environment` stands in for `os.environ`.
    Raises `StepFailed` when a step fails, and other kinds of `TrimaranError`. Nothing is printed.
    """
    return run(_order(context, on_event, environment, keywords), on_event)


async def build_async(
    context: Buildable,
    *,
    on_event: OnEvent | None = None,
    environment: Mapping[str, str] | None = None,
    **keywords: Unpack[BuildKeywords],
) -> BuildResult:
    """As `build`, while the event loop goes on. Cancelling the task ends the build and leaves nothing of it."""
    return await run_async(_order(context, on_event, environment, keywords), on_event)


def from_dockerfile(
    context: Path,
    *,
    platform: str | Platform | None = None,
    environment: Mapping[str, str] | None = None,
    **keywords: Unpack[BuildKeywords],
) -> State:
    """A Dockerfile's result for one platform (default: this machine's) as a graph to go on from, or to look at.

    Images are looked up to know what they say; nothing is built. Keywords are those of `build` that are about
    Dockerfiles.
    """
    return _state(run(_question(context, platform, environment, keywords), None))


async def from_dockerfile_async(
    context: Path,
    *,
    platform: str | Platform | None = None,
    environment: Mapping[str, str] | None = None,
    **keywords: Unpack[BuildKeywords],
) -> State:
    """As `from_dockerfile`, while the event loop goes on."""
    return _state(await run_async(_question(context, platform, environment, keywords), None))


def _question(
    context: Path, platform: str | Platform | None, environment: Mapping[str, str] | None, keywords: BuildKeywords
) -> Order:
    if "platforms" in keywords:
        raise UsageError("convert a Dockerfile: a graph is for one platform", hint="say platform=")
    order = _order(context, None, environment, {**keywords, "platforms": str(platform or default())})
    options = msgspec.structs.replace(order.options, call=Call("graph"))
    return msgspec.structs.replace(order, options=options)


def _state(result: BuildResult) -> State:
    (graph,) = msgspec.msgpack.decode(dict(result.answer)["result.graphs"], type=tuple[GraphInput, ...])
    config = image_config.parse(graph.base_config).config
    return State(
        decode_definition(graph.definition) if graph.definition else None,
        platform=graph.platform,
        environment=dict(variable.partition("=")[::2] for variable in config.env),
        cwd=config.working_dir,
        user_name=config.user,
        # The Dockerfile has been read: no graph asks for its folder, which may have been a temporary one.
        folders={name: path for name, path in result.folders if name != "dockerfile"},
        base_config=graph.base_config,
    )


def _order(
    context: Buildable, on_event: OnEvent | None, environment: Mapping[str, str] | None, keywords: BuildKeywords
) -> Order:
    options, secrets = build_options(context, keywords)
    variables = os.environ if environment is None else environment
    return Order(
        options=options,
        environment=tuple((os.fsencode(name), os.fsencode(value)) for name, value in variables.items()),
        secrets=tuple(secrets.items()),
        wants_events=on_event is not None,
    )
