"""Keywords of `trimaran.build` to the `BuildOptions` that the command line makes of its flags. Pure.

Here is only how Python values are written down; what an option means is decided where `BuildOptions` are read.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, TypedDict

import msgspec

from trimaran.builders import checks
from trimaran.builders.options import (
    STDIN,
    STDOUT,
    AgentSource,
    Annotation,
    BuildContext,
    BuildOptions,
    CacheExport,
    CacheImport,
    ContextMode,
    HostIP,
    ImageOptions,
    Output,
    Resources,
    SecretSource,
    Ulimit,
)
from trimaran.caches.options import ExportOptions
from trimaran.errors import UsageError
from trimaran.graph.state import State
from trimaran.platforms import Platform
from trimaran.platforms import default as host
from trimaran.spelling import unknown

Words = str | Sequence[str]
"""One or several."""
Path = str | os.PathLike[str]
Buildable = Path | State | Callable[[Platform], State]
"""A context, a graph, or what makes the graph of a platform."""


class BuildKeywords(TypedDict, total=False):
    """What can be said of a build; what is left out is as on the command line."""

    platforms: str | Platform | Sequence[str | Platform]
    """`os/architecture[/variant]` each, or `local`; several give one image of all of them."""
    tags: Words
    push: bool
    load: bool
    """Into the Docker daemon."""
    outputs: Output | Sequence[Output]
    """ImageOutput, OciOutput, DockerOutput, LocalOutput, TarOutput, CacheOnlyOutput."""
    file: Path
    """The Dockerfile, from the working folder; default: the context's."""
    dockerfile: str
    """The Dockerfile's text itself."""
    target: str
    build_args: Mapping[str, str | None]
    """A value of None is taken from the environment."""
    build_contexts: Mapping[str, Path]
    labels: Mapping[str, str]
    annotations: Mapping[str, str] | Sequence[Annotation]
    """A mapping is for the manifests."""
    secrets: Mapping[str, bytes | os.PathLike[str]]
    """Bytes are the secret itself, a path is the file that holds it."""
    ssh: Mapping[str, Sequence[Path]] | Words
    """Ids, each with a socket or key files; with none it is the agent of $SSH_AUTH_SOCK."""
    build_ca: Path | Sequence[Path]
    """PEM files of certificates that RUN steps trust while they run; in no layer and no cache key."""
    cache_from: Sequence[CacheImport]
    cache_to: Sequence[CacheExport]
    no_cache: bool
    no_cache_filter: Words
    pull: bool
    lock: Path
    """A file that says what tags, URLs and git refs are; what it does not know yet is added after the build."""
    locked: bool
    """What the lock (else `trimaran.lock`) does not name is an error, and the file stays as it is."""
    offline: bool
    context_mode: ContextMode
    reproducible: bool
    """The same digest on any day and machine."""
    fail_on_miss: Words
    """Stages in which no step may run: all has to be cached; `*` is any."""
    network: Literal["", "default", "none", "host"]
    add_hosts: Mapping[str, Words]
    allow: Words
    ulimits: Sequence[Ulimit]
    shm_size: int
    """Bytes."""
    cgroup_parent: str
    resources: Resources


def build_options(context: Buildable, keywords: Mapping[str, Any]) -> tuple[BuildOptions, dict[str, bytes]]:
    """The options, and the secrets that were given as bytes. UsageError, and TypeError for names that are unknown."""
    known = BuildKeywords.__annotations__
    for name in keywords:
        if name not in known:
            message, hint = unknown("keyword of build", name, sorted(known))
            raise TypeError(f"{message}; {hint}")
    given = {name: value for name, value in keywords.items() if value is not None}
    values: dict[str, bytes] = {}
    fields = {name: _READERS[name](given[name]) if name in _READERS else given[name] for name in given}
    if "secrets" in given:
        fields["secrets"], values = _secrets(given["secrets"])
    if "ssh" in fields:
        fields["agents"] = fields.pop("ssh")
    if given.get("locked"):
        fields.setdefault("lock", "trimaran.lock")
    if not isinstance(context, str | os.PathLike):
        fields.update(_graphs(context, given, fields.get("platforms", ())))
        context = ""
    options = _checked(BuildOptions(context=os.fspath(context), **fields))
    return options, values


def _graphs(
    source: State | Callable[[Platform], State], given: Mapping[str, Any], names: tuple[str, ...]
) -> dict[str, Any]:
    """The fields of a build of states. UsageError for keywords that are about Dockerfiles."""
    if not isinstance(source, State) and not callable(source):
        raise UsageError(f"build {source!r}: it is no context", hint="a folder, a URL, a graph, or what makes a graph")
    for name in given:
        if name not in _OF_GRAPHS:
            raise UsageError(f"build a graph: {name} is about Dockerfiles", hint="say it in the graph itself")
    platforms = [host() if name == "local" else Platform.parse(name).normalize() for name in names]
    if not isinstance(source, State):
        states = [source(platform) for platform in platforms or [host()]]
    elif platforms in ([], [source.platform.normalize()]):
        states = [source]
    else:
        raise UsageError(
            f"build a graph: it is for {source.platform}, not for {', '.join(names)}",
            hint="give a function that makes the graph of a platform: build(make, platforms=[…])",
        )
    folders: dict[str, str] = {}
    for state in states:
        folders |= state.folders
    return {"graphs": tuple(state.graph_input() for state in states), "folders": tuple(folders.items())}


def _checked(options: BuildOptions) -> BuildOptions:
    """Of the declared types, and nothing that is the command line's alone."""
    try:
        msgspec.convert(msgspec.to_builtins(options, builtin_types=(bytes,)), BuildOptions)
    except msgspec.ValidationError as error:
        raise UsageError(f"read build options: {error}") from None
    checks.check_resources(options.resources)
    for output in options.outputs:
        if isinstance(output, ImageOptions):
            checks.check_level(output.compression.kind, output.compression.level)
    for export in options.cache_to:
        if isinstance(export, ExportOptions):
            checks.check_level(export.compression, export.level)
    checks.check_no_cache(everything=options.no_cache, stages=options.no_cache_filter)
    if options.dockerfile is not None and options.file:
        raise UsageError(f"read Dockerfile: both a text and the file {options.file}", hint="leave one out")
    if STDIN in (options.context, options.file):
        raise UsageError(
            "read build from standard input: it belongs to the program",
            hint="give a folder or a URL as context, and the Dockerfile's text as dockerfile=",
        )
    if any(getattr(output, "dest", "") == STDOUT for output in options.outputs):
        raise UsageError("write an archive to standard output: it belongs to the program", hint="give dest a file name")
    return options


def _words(value: Words) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)


def _platforms(value: str | Platform | Sequence[str | Platform]) -> tuple[str, ...]:
    several = (value,) if isinstance(value, str | Platform) else tuple(value)
    names = tuple(str(each) for each in several)
    for name in names:
        if name != "local":
            checks.check_platform(name)
    return names


def _annotations(value: Mapping[str, str] | Sequence[Annotation]) -> tuple[Annotation, ...]:
    if isinstance(value, Mapping):
        return tuple(Annotation("manifest", None, key, text) for key, text in value.items())
    return tuple(value)


def _secrets(
    value: Mapping[str, bytes | os.PathLike[str]],
) -> tuple[tuple[SecretSource, ...], dict[str, bytes]]:
    from trimaran.sources.given import SECRET_LIMIT

    sources, values = [], {}
    for identifier, secret in value.items():
        if isinstance(secret, bytes):
            if len(secret) > SECRET_LIMIT:
                raise UsageError(f"read secret {identifier}: it is larger than {SECRET_LIMIT >> 10} KiB")
            values[identifier] = secret
        elif isinstance(secret, os.PathLike):
            sources.append(SecretSource(identifier, path=os.fspath(secret)))
        else:
            raise UsageError(
                f"read secret {identifier}: it is neither bytes nor a path",
                hint="give the secret itself as bytes, or pathlib.Path of the file that holds it",
            )
    return tuple(sources), values


def _agents(value: Mapping[str, Sequence[Path]] | Words) -> tuple[AgentSource, ...]:
    if isinstance(value, Mapping):
        return tuple(AgentSource(name, _paths(paths)) for name, paths in value.items())
    return tuple(AgentSource(name) for name in _words(value))


def _paths(value: Path | Iterable[Path]) -> tuple[str, ...]:
    return (os.fspath(value),) if isinstance(value, str | os.PathLike) else tuple(os.fspath(path) for path in value)


def _hosts(value: Mapping[str, Words]) -> tuple[HostIP, ...]:
    return tuple(
        HostIP(name, checks.check_address(ip)) for name, addresses in value.items() for ip in _words(addresses)
    )


def _outputs(value: Output | Sequence[Output]) -> tuple[Output, ...]:
    return (value,) if isinstance(value, msgspec.Struct) else tuple(value)


_OF_GRAPHS = frozenset(BuildKeywords.__annotations__) - {
    "file",
    "dockerfile",
    "target",
    "build_args",
    "build_contexts",
    "no_cache_filter",
    "network",
    "add_hosts",
    "ulimits",
    "shm_size",
    "cgroup_parent",
}
"""Keywords that mean something for a graph, too."""
_READERS: dict[str, Any] = {
    "platforms": _platforms,
    "tags": lambda value: tuple(checks.check_tag(tag) for tag in _words(value)),
    "outputs": _outputs,
    "file": os.fspath,
    "lock": os.fspath,
    "dockerfile": str.encode,
    "build_args": lambda value: tuple(value.items()),
    "build_contexts": lambda value: tuple(BuildContext(name, os.fspath(path)) for name, path in value.items()),
    "labels": lambda value: tuple(value.items()),
    "annotations": _annotations,
    "ssh": _agents,
    "build_ca": _paths,
    "no_cache_filter": _words,
    "fail_on_miss": _words,
    "add_hosts": _hosts,
    "allow": lambda value: tuple(checks.check_entitlement(word) for word in _words(value)),
    "ulimits": tuple,
    "cache_from": tuple,
    "cache_to": tuple,
}
"""Keywords whose values are written otherwise in Python than in `BuildOptions`."""
