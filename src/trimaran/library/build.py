"""`trimaran.build` and `trimaran.build_async`: a whole build for a Python program, by an engine process of its own."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Unpack

from trimaran.builders.options import BuildResult
from trimaran.events import Event
from trimaran.library.caller import run, run_async
from trimaran.library.messages import Order
from trimaran.library.options import Buildable, BuildKeywords, build_options

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
