"""From a person's options to a request for the engine, and from its outcome to the person's result."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec

from trimaran.builders.checks import check_signing
from trimaran.builders.context import BuildInputs, build_inputs
from trimaran.builders.options import AgentSource, BuildOptions, BuildResult
from trimaran.builders.result import build_result
from trimaran.engine.request import BuildRequest
from trimaran.errors import UsageError
from trimaran.events import Sink
from trimaran.exporters.options import Annotation, DockerOutput, ImageOptions, ImageOutput, OciOutput, Output
from trimaran.graph.frontend import FrontendRequest
from trimaran.platforms import Platform, default
from trimaran.sources.lock import LockRequest

if TYPE_CHECKING:
    from trimaran.exporters.load import DockerDaemon


async def build(
    options: BuildOptions,
    sink: Sink,
    environment: Mapping[str, str] = os.environ,
    secrets: Mapping[str, bytes] | None = None,
) -> BuildResult:
    """One build on the embedded engine; `secrets` are those whose bytes are at hand, by id."""
    check_signing(options.cache_from, options.cache_to)
    lock = _lock(options)
    async with build_inputs(options, environment, lock) as inputs:
        request = build_request(options, inputs, default(), environment)
        if sys.platform != "linux":
            from trimaran.builders.drivers import no_engine

            host = msgspec.structs.replace(default(), os="linux")  # what would build here is a Linux beside this system
            request = build_request(options, inputs, host, environment)
            return build_result(await no_engine.answer(request, sink))
        from trimaran.builders.drivers import embedded

        request = msgspec.structs.replace(request, lock=lock)
        docker = await _docker(options, request, environment)
        if docker is not None and _is_docker_build(options) and not environment.get("BUILDX_NO_DEFAULT_LOAD"):
            request = msgspec.structs.replace(request, outputs=(*request.outputs, DockerOutput()))
        outcome = await embedded.build(request, sink, docker, environment, secrets)
        if options.lock and not options.locked:
            from trimaran.builders import lockfile

            lockfile.write(options.lock, (*inputs.locked, *outcome.lock))
        result = build_result(outcome)
        is_graph = options.call is not None and options.call.name == "graph"
        return msgspec.structs.replace(result, folders=inputs.folders) if is_graph else result


def _lock(options: BuildOptions) -> LockRequest:
    if not options.lock:
        return LockRequest()
    from trimaran.builders import lockfile

    return lockfile.request(options)


def _is_docker_build(options: BuildOptions) -> bool:
    """`docker build` (docker names its default builder): the result belongs into docker, unless it goes elsewhere."""
    goes_elsewhere = options.outputs or options.push or options.load
    return options.builder == "default" and not goes_elsewhere


async def _docker(options: BuildOptions, request: BuildRequest, environment: Mapping[str, str]) -> DockerDaemon | None:
    """The Docker daemon, looked for only when something is to be loaded into one."""
    loads = any(isinstance(output, DockerOutput) and not output.dest for output in request.outputs)
    if not loads and not _is_docker_build(options):
        return None
    from trimaran.builders import docker_daemon

    return await docker_daemon.find(environment)


def build_request(
    options: BuildOptions, inputs: BuildInputs, host: Platform, environment: Mapping[str, str]
) -> BuildRequest:
    """Pure but for `environment`, which gives values of `--build-arg NAME`."""
    return BuildRequest(
        frontend=_frontend_request(options, inputs, host, environment),
        frontend_name="graph" if options.graphs else "dockerfile.v0",
        folders=inputs.folders,
        given=inputs.given,
        noted=inputs.locked,
        names=options.tags,
        outputs=tuple(_outputs(options)),
        secrets=options.secrets,
        agents=_agents(options, inputs, environment),
        build_ca=options.build_ca,
        entitlements=_entitlements(options),
        offline=options.offline,
        context_mode=options.context_mode,
        fail_on_miss=options.fail_on_miss,
        resources=options.resources,
        cache_from=options.cache_from,
        cache_to=options.cache_to,
    )


def _frontend_request(
    options: BuildOptions, inputs: BuildInputs, host: Platform, environment: Mapping[str, str]
) -> FrontendRequest:
    platforms = _platforms(options.platforms, host) or tuple(graph.platform for graph in options.graphs)
    return FrontendRequest(
        filename=inputs.filename,
        context_url=inputs.url,
        context_is_archive=inputs.is_archive,
        dockerfile_is_local=bool(inputs.dockerfile),
        platforms=platforms,
        multi_platform=len(platforms) > 1,
        build_platform=host,
        target=options.target,
        build_args=_build_args(options, environment),
        labels=options.labels,
        named_contexts=inputs.named,
        no_cache=options.no_cache,
        no_cache_stages=options.no_cache_filter,
        resolve_mode="pull" if options.pull else "default",
        network="" if options.network == "default" else options.network,
        extra_hosts=tuple((host.host, _address(host.ip)) for host in options.add_hosts),
        shm_size=options.shm_size,
        ulimits=tuple((limit.name, limit.soft, limit.hard) for limit in options.ulimits),
        cgroup_parent=options.cgroup_parent,
        reproducible=options.reproducible,
        graphs=options.graphs,
        subrequest=f"frontend.{options.call.name}" if options.call else "",
    )


def _entitlements(options: BuildOptions) -> tuple[str, ...]:
    """Those granted; asking for the host's network for all steps grants it."""
    return tuple(dict.fromkeys([*options.allow, *(["network.host"] if options.network == "host" else [])]))


def _platforms(texts: tuple[str, ...], host: Platform) -> tuple[Platform, ...]:
    """Each once, in the order given; `local` is the host's."""
    parsed = [host if text == "local" else Platform.parse(text, host).normalize() for text in texts]
    return tuple(dict.fromkeys(parsed))


def _build_args(options: BuildOptions, environment: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    given = ((name, environment.get(name) if value is None else value) for name, value in options.build_args)
    arguments = [(name, value) for name, value in given if value is not None]
    if "SOURCE_DATE_EPOCH" in environment and all(name != "SOURCE_DATE_EPOCH" for name, _ in arguments):
        arguments.append(("SOURCE_DATE_EPOCH", environment["SOURCE_DATE_EPOCH"]))
    named = {name for name, _ in options.build_args}
    return (*arguments, *(pair for pair in proxies(environment) if pair[0] not in named))


def proxies(environment: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """Those of Docker's config.json: docker gives them to every build, and who set them there expects it."""
    from trimaran.registry.docker_config import DockerConfig

    def daemon() -> str:
        from trimaran.builders.docker_daemon import host_of

        return host_of(environment)

    return DockerConfig.default(environment).proxies(daemon)


def _agents(options: BuildOptions, inputs: BuildInputs, environment: Mapping[str, str]) -> tuple[AgentSource, ...]:
    """Those given; for a context that is fetched by ssh also the agent at hand, as buildx does."""
    if not inputs.url or any(agent.id == "default" for agent in options.agents):
        return options.agents
    from trimaran.sources.git_url import parse_git_url, parse_remote

    url = parse_git_url(inputs.url)
    remote = parse_remote(url.remote) if url is not None else None
    wants = remote is not None and remote.scheme == "ssh" and environment.get("SSH_AUTH_SOCK")
    return (*options.agents, AgentSource()) if wants else options.agents


def _address(ip: str) -> str:
    if ip == "host-gateway":
        raise UsageError(
            "add host: host-gateway is an address of Docker's own bridge, which the embedded builder does not have",
            hint="give the address itself; steps share the machine's network, so 127.0.0.1 is this machine",
        )
    return ip


def _outputs(options: BuildOptions) -> list[Output]:
    """The outputs asked for, with `--push` and `--load` worked in as buildx does (reference §1.3)."""
    outputs = [_complete(output, options) for output in options.outputs]
    if options.push:
        pushed = [isinstance(output, ImageOutput) for output in outputs]
        outputs = [
            msgspec.structs.replace(output, push=True) if isinstance(output, ImageOutput) else output
            for output in outputs
        ]
        if not any(pushed):
            outputs.append(ImageOutput(annotations=options.annotations, push=True, store=True))
    if options.load and not any(isinstance(o, DockerOutput) and not o.dest for o in outputs):
        outputs.append(DockerOutput(annotations=options.annotations))
    if options.call is None:
        _check_pushed(outputs, options.tags)
    return outputs or [ImageOutput(annotations=options.annotations)]


def _check_pushed(outputs: Sequence[Output], tags: Sequence[str]) -> None:
    """UsageError, before anything is built, when an image is to be pushed that has no name."""
    if any(isinstance(output, ImageOutput) and output.push and not (output.names or tags) for output in outputs):
        raise UsageError("push the image: tag is needed when pushing to registry", hint="name it: -t REGISTRY/NAME:TAG")


def _complete(output: Output, options: BuildOptions) -> Output:
    if isinstance(output, ImageOptions):
        annotations: tuple[Annotation, ...] = (*options.annotations, *output.annotations)
        output = msgspec.structs.replace(output, annotations=annotations)
    if isinstance(output, OciOutput) and not output.dest:
        raise UsageError("export an OCI image: no destination", hint="add dest=FILE, or dest=- for standard output")
    return output
