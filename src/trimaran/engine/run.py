"""`trimaran run`: an image's program in the same sandbox as a RUN step, its changes thrown away afterwards."""

from __future__ import annotations

import msgspec

from trimaran.engine import images
from trimaran.engine.engine import Engine
from trimaran.errors import NotFound, UsageError
from trimaran.executor.examine import is_emulated
from trimaran.executor.process import Output
from trimaran.executor.runtime import Exit, Signals, Terminal
from trimaran.executor.sandbox import NETWORK_HOST
from trimaran.executor.spec import DEFAULT_HOSTNAME, ExecSpec, Network
from trimaran.oci import image_config
from trimaran.oci.image_config import ContainerConfig
from trimaran.platforms import Platform, only
from trimaran.reference import Reference
from trimaran.sources.image import ImageSource
from trimaran.sources.resolver import ImageResolver, PickedImage
from trimaran.steps.users import exec_identity
from trimaran.store.rootfs import Rootfs

_SMALL_FILE = 4 << 20


class RunRequest(msgspec.Struct, frozen=True, kw_only=True):
    """`command` replaces the image's CMD; None of the others replaces nothing."""

    image: str
    platform: Platform | None = None
    command: tuple[str, ...] = ()
    entrypoint: str | None = None
    environment: tuple[str, ...] = ()
    working_folder: str = ""
    user: str = ""
    network: Network | None = None
    hostname: str = ""
    pull: bool = False


async def run(
    request: RunRequest,
    engine: Engine,
    *,
    output: Output,
    stdin: int | None = None,
    terminal: Terminal | None = None,
    signals: Signals | None = None,
) -> Exit:
    """Run to the end; the program's exit is the result. Nothing of it is kept."""
    engine.isolation.require()
    resolver = ImageResolver(engine.store, engine.registry)
    platform = request.platform or engine.host
    stored = images.by_digest(engine.store, request.image)
    if stored is not None:
        picked = await resolver.of_store(stored.descriptor, platform)
    else:
        mode = "pull" if request.pull else "default"
        picked = await resolver.resolve(Reference.parse(request.image), platform, mode)
    _check_platform(request, picked)
    root = await ImageSource(engine.store, resolver).layers(picked)
    config = image_config.parse(picked.config).config
    spec = await _spec(request, engine, root.result, config, terminal is not None)
    granted = [NETWORK_HOST] if request.network == "host" else []  # who runs the command asked for it
    async with engine.store.roots.mount(root.result, writable=True) as mounted:
        is_emulated(
            mounted.path,
            spec.args,
            spec.environment,
            cwd=spec.cwd,
            machine=engine.host.architecture,
            what=f"{request.image} on {picked.platform}",
        )
        return await engine.sandbox(granted).run(
            spec, mounted.path, output=output, stdin=stdin, terminal=terminal, signals=signals
        )


def _check_platform(request: RunRequest, picked: PickedImage) -> None:
    """An index has been searched for the platform; an image without one is of what its config says."""
    wanted, found = request.platform, picked.platform
    if wanted is not None and found is not None and not only(wanted).match(found):
        raise NotFound(
            f"run {request.image} for {wanted}: it is an image of {found} alone",
            hint=f"leave out --platform, or build it for both: --platform {found},{wanted}",
        )


async def _spec(
    request: RunRequest, engine: Engine, rootfs: Rootfs, config: ContainerConfig, has_terminal: bool
) -> ExecSpec:
    args = arguments(request, config)
    user = request.user or config.user
    passwd, group = await _small(engine, rootfs, "etc/passwd"), await _small(engine, rootfs, "etc/group")
    identity = exec_identity(user, passwd, group)
    return ExecSpec(
        args=args,
        environment=environment(request, config, has_terminal=has_terminal),
        cwd=request.working_folder or config.working_dir or "/",
        uid=identity.uid,
        gid=identity.gid,
        additional_gids=identity.additional_gids,
        hostname=request.hostname or DEFAULT_HOSTNAME,
        network=request.network or "default",
        terminal=has_terminal,
    )


def arguments(request: RunRequest, config: ContainerConfig) -> tuple[str, ...]:
    """ENTRYPOINT then CMD, as docker run; a new entrypoint drops the image's CMD. UsageError when nothing is left."""
    if request.entrypoint is not None:
        start: tuple[str, ...] = (request.entrypoint,) if request.entrypoint else ()
        rest = request.command
    else:
        start = tuple(config.entrypoint or ())
        rest = request.command or tuple(config.cmd or ())
    if not (*start, *rest):
        raise UsageError(f"run {request.image}: the image names no command", hint="give one after the image's name")
    return (*start, *rest)


def environment(request: RunRequest, config: ContainerConfig, *, has_terminal: bool) -> tuple[str, ...]:
    """The image's variables with the request's over them; a later one of the same name wins."""
    merged: dict[str, str] = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
    if has_terminal:
        merged["TERM"] = "xterm"
    for text in (*config.env, *request.environment):
        name, _, value = text.partition("=")
        merged[name] = value
    return tuple(f"{name}={value}" for name, value in merged.items())


async def _small(engine: Engine, rootfs: Rootfs, path: str) -> bytes:
    try:
        return await engine.store.roots.read_file(rootfs, path, _SMALL_FILE)
    except NotFound:
        return b""
