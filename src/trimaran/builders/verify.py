"""An image built again and compared with what it claims to be."""

from __future__ import annotations

import os
from collections.abc import Mapping

import msgspec

from trimaran import settings
from trimaran.builders import lockfile
from trimaran.builders.context import build_inputs, given_folders
from trimaran.builders.drivers import embedded
from trimaran.builders.options import BuildOptions
from trimaran.builders.plan import build_request, proxies
from trimaran.engine.build import build
from trimaran.engine.compare import compare
from trimaran.engine.differences import AGAIN, ImageDifference
from trimaran.engine.engine import Engine, open_engine, state_folder
from trimaran.engine.history import MadeImage, asked_for, builds, choose, made_image
from trimaran.engine.places import PlacedImage, in_store, open_image
from trimaran.engine.request import BuildRequest
from trimaran.errors import Conflict, NotFound
from trimaran.events import Sink
from trimaran.exporters.options import DockerOutput, ImageOptions, ImageOutput
from trimaran.platforms import default
from trimaran.sources.lock import LockRequest


async def verify(
    text: str, sink: Sink, options: BuildOptions | None = None, environment: Mapping[str, str] = os.environ
) -> ImageDifference:
    """Build what `text` (a build, or an image wherever it is) was made from, in full, and compare bit for bit.

    `options` say what it is to be made from; without them the record of the build that made it here does. NotFound
    where there is none.
    """
    configuration = settings.load()
    with open_engine(state_folder(configuration), configuration, embedded.entered()) as engine:
        async with engine.registry:
            made = _of_build(engine, text)
            if made is not None:
                original = in_store(engine, text, made.root)
                return await _again(original, options, made, engine, sink, environment)
            async with open_image(text, engine) as original:
                return await _again(
                    original, options, _that_made(engine, original, needed=options is None), engine, sink, environment
                )


_UNFINISHED = {"error": "it failed", "canceled": "it was interrupted", "running": "it is not finished"}


def _of_build(engine: Engine, text: str) -> MadeImage | None:
    """By id (8 digits or more) or `^N`; None for what is no build."""
    if not text.startswith("^") and (len(text) < 8 or not set(text) <= set("0123456789abcdef")):
        return None
    try:
        record = choose(builds(engine.store.root), text)
    except NotFound:
        if text.startswith("^"):
            raise
        return None
    made = made_image(engine.store.root, record.build_id)
    if made is None:
        cause = _UNFINISHED.get(record.status, "it made no image, or its context's address is not kept")
        raise NotFound(f"verify build {text}: {cause}", hint="`trimaran logs --list` shows which builds were completed")
    return made


def _that_made(engine: Engine, image: PlacedImage, *, needed: bool) -> MadeImage | None:
    """Conflict when it is `needed`, not known, and a build's record cannot be read, which may be the one."""
    unreadable: Conflict | None = None
    for record in asked_for(builds(engine.store.root)):
        try:
            made = made_image(engine.store.root, record.build_id)
        except Conflict as error:
            unreadable = unreadable or error
            continue
        if made is not None and made.root.digest == image.root.digest:
            return made
    if needed and unreadable is not None:
        raise unreadable
    return None


async def _again(
    original: PlacedImage,
    options: BuildOptions | None,
    made: MadeImage | None,
    engine: Engine,
    sink: Sink,
    environment: Mapping[str, str],
) -> ImageDifference:
    lock = LockRequest(entries=made.lock) if made is not None else LockRequest()
    if options is not None:
        if options.lock:
            lock = LockRequest(entries=lockfile.read(options.lock, must_exist=True), strict=options.locked)
        async with build_inputs(options, environment, lock) as inputs:
            request = build_request(options, inputs, default(), environment)
            root = await _build(_in_full(request, lock), engine, sink, environment)
    elif made is None:
        raise NotFound(
            f"verify {original.name}: no build of this store made it, so nobody knows from what",
            hint=f"say it: verify {original.name} CONTEXT, with the options it was built with",
        )
    else:
        with given_folders(made.request.given) as folders:
            request = _recorded(made.request, folders, environment)
            _check_folders(request)
            root = await _build(_in_full(request, lock), engine, sink, environment)
    return await compare(original, root)


def _recorded(request: BuildRequest, given: Mapping[str, str], environment: Mapping[str, str]) -> BuildRequest:
    """The request of a record with what records leave out: folders that were temporary, proxies with a password."""
    frontend = request.frontend
    arguments = {**dict(proxies(environment)), **dict(frontend.build_args)}
    return msgspec.structs.replace(
        request,
        frontend=msgspec.structs.replace(frontend, build_args=tuple(arguments.items())),
        folders=tuple({**dict(request.folders), **given}.items()),
    )


def _in_full(request: BuildRequest, lock: LockRequest) -> BuildRequest:
    """Every step runs, on the sources that were used then; the image goes nowhere."""
    outputs = [output for output in request.outputs if isinstance(output, ImageOptions)]
    image = ImageOutput(store=False)
    if outputs:
        last = outputs[-1]
        shared = {name: getattr(last, name) for name in ImageOptions.__struct_fields__}
        if isinstance(last, DockerOutput) and last.oci_media_types is None:
            shared["oci_media_types"] = request.frontend.multi_platform
        image = ImageOutput(**{**shared, "names": ()}, store=False)
    return msgspec.structs.replace(
        request,
        frontend=msgspec.structs.replace(request.frontend, no_cache=True, no_cache_stages=(), subrequest=""),
        names=(),
        outputs=(image,),
        fresh=True,
        fail_on_miss=(),
        cache_from=(),
        cache_to=(),
        lock=lock,
    )


def _check_folders(request: BuildRequest) -> None:
    for name, path in request.folders:
        if name == "context" and request.frontend.context_is_archive:
            raise NotFound(
                "verify: its context came by standard input, and is not kept",
                hint="give it again: verify IMAGE - < ARCHIVE, with the options it was built with",
            )
        if not os.path.isdir(path):
            raise NotFound(
                f"verify: the folder {path} ({name}) is not there any more",
                hint="say what to build from: verify IMAGE CONTEXT, with the options it was built with",
            )


async def _build(request: BuildRequest, engine: Engine, sink: Sink, environment: Mapping[str, str]) -> PlacedImage:
    frontends = embedded.frontends(request.frontend_name)
    async with embedded.client_of(request, environment, {}, engine.settings) as client:
        outcome = await build(request, engine, frontends, sink, None, client)
    assert outcome.root is not None
    return in_store(engine, AGAIN, outcome.root)
