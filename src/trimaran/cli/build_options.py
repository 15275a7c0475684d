"""From argv and environment to `BuildOptions`: every value parsed, every refusal made here (reference §1.3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, cast

from trimaran.builders.checks import check_address, check_entitlement, check_no_cache, check_platform, check_tag
from trimaran.builders.options import (
    STDIN,
    BuildContext,
    BuildOptions,
    CacheExport,
    CacheImport,
    Call,
    ContextMode,
    ProgressMode,
)
from trimaran.cli.attributes import Attributes
from trimaran.cli.build_flags import CONTEXT_MODES, NOT_DONE, PROGRESS_MODES
from trimaran.cli.credentials import agents, secrets
from trimaran.cli.limits import resources
from trimaran.cli.options import Values
from trimaran.cli.outputs import parse_annotation, parse_output
from trimaran.cli.units import parse_bool, split_csv
from trimaran.errors import UsageError
from trimaran.graph.ops import HostIP, Ulimit
from trimaran.spelling import unknown

_ULIMITS = ("core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice", "nofile", "nproc", "rss", "rtprio")
GRAPH_FORMATS = ("", "text", "dot", "json")
ULIMIT_NAMES = (*_ULIMITS, "rttime", "sigpending", "stack")


def build_options(values: Values, environment: Mapping[str, str], *, debug: bool = False) -> BuildOptions:
    """UsageError for anything that does not parse, conflicts, or is not done here."""
    _refuse(values, environment)
    return BuildOptions(
        context=_main_context(values),
        file=values.text("file"),
        tags=tuple(check_tag(tag) for tag in values.texts("tag")),
        platforms=platforms(values.texts("platform")),
        build_args=(*_build_args(values.texts("build-arg")), *_epoch(values, environment)),
        build_contexts=tuple(_named_context(text) for text in values.texts("build-context")),
        cache_from=_cache_from(_had_here(values, "cache-from", environment)),
        cache_to=_cache_to(_had_here(values, "cache-to", environment)),
        target=values.text("target"),
        no_cache=values.boolean("no-cache"),
        no_cache_filter=tuple(stage for text in values.texts("no-cache-filter") for stage in split_csv(text)),
        pull=values.boolean("pull"),
        labels=tuple((key, value) for key, _, value in (text.partition("=") for text in values.texts("label"))),
        annotations=tuple(found for text in values.texts("annotation") for found in parse_annotation(text)),
        add_hosts=tuple(host for text in values.texts("add-host") for host in add_host(text)),
        network=_network(values.text("network")),
        ulimits=tuple(ulimit(text) for text in values.texts("ulimit")),
        shm_size=values.number("shm-size"),
        cgroup_parent=values.text("cgroup-parent"),
        resources=resources(values),
        allow=tuple(check_entitlement(text) for text in values.texts("allow")),
        **_given(values),
        **_locking(values),
        outputs=tuple(parse_output(text) for text in values.texts("output")),
        push=values.boolean("push"),
        load=values.boolean("load"),
        iidfile=values.text("iidfile"),
        metadata_file=values.text("metadata-file"),
        progress=progress_mode(values, environment),
        builder=values.text("builder"),
        reproducible=values.boolean("reproducible"),
        call=_call(values),
        debug=debug,
        context_mode=_context_mode(values.text("context-mode")),
        fail_on_miss=values.texts("fail-on-miss"),
    )


def _main_context(values: Values) -> str:
    context = values.arguments[0]
    if context == STDIN and values.text("file") == STDIN:
        raise UsageError(
            "read context and Dockerfile: both from standard input", hint="give a folder, or leave out `-f -`"
        )
    if "://" not in context and context != STDIN and not _is_remote(context):
        _check_folder(context)
    return context


def _context_mode(text: str) -> ContextMode:
    if text not in CONTEXT_MODES:
        message, hint = unknown("context mode", text, CONTEXT_MODES)
        raise UsageError(f"read --context-mode {text}: {message}", hint=hint)
    return cast("ContextMode", text)


def _given(values: Values) -> dict[str, Any]:
    """What steps get of this machine: it is in no layer."""
    return {
        "secrets": secrets(values.texts("secret")),
        "agents": agents(values.texts("ssh")),
        "build_ca": tuple(_not_empty("build-ca", text) for text in values.texts("build-ca")),
    }


def _locking(values: Values) -> dict[str, Any]:
    locked = values.boolean("locked")
    lock = "trimaran.lock" if locked else ""
    if values.given("lock"):
        lock = _not_empty("lock", values.text("lock"))
    return {"lock": lock, "locked": locked, "offline": values.boolean("offline")}


def _not_empty(flag: str, text: str) -> str:
    """A variable of a script that is not set would build without what was asked for."""
    if not text:
        raise UsageError(f'read --{flag} "": empty', hint="name a file, or leave the flag out")
    return text


def _cache_from(texts: Sequence[str]) -> tuple[CacheImport, ...]:
    if not texts:
        return ()
    from trimaran.cli.caches import parse_cache_from

    return tuple(found for text in texts for found in parse_cache_from(text))


def _cache_to(texts: Sequence[str]) -> tuple[CacheExport, ...]:
    if not texts:
        return ()
    from trimaran.cli.caches import parse_cache_to

    return tuple(parse_cache_to(text) for text in texts)


def progress_mode(values: Values, environment: Mapping[str, str]) -> ProgressMode:
    """`--quiet` wins; `$BUILDKIT_PROGRESS` stands in for `auto` only."""
    if values.boolean("quiet"):
        return "quiet"
    mode = values.text("progress") or "auto"
    if mode == "auto" and values.given("progress"):
        mode = environment.get("BUILDKIT_PROGRESS", "") or "auto"
    if mode not in PROGRESS_MODES:
        message, hint = unknown("progress mode", mode, PROGRESS_MODES)
        raise UsageError(message, hint=hint)
    return cast("ProgressMode", mode)


def _refuse(values: Values, environment: Mapping[str, str]) -> None:
    """What buildx would do and we don't: never ignored, refused by name."""
    check_no_cache(everything=values.boolean("no-cache"), stages=values.texts("no-cache-filter"))
    for words in additions(values):
        if environment.get(COMPAT) != "warn":
            hint = f"{NOT_DONE['attest']}; ${COMPAT}=warn makes this a warning"
            raise UsageError(f"{words}: not done by the embedded builder", hint=hint)
    for name, way_out in REFUSED_VARIABLES.items():
        if environment.get(name):
            raise UsageError(f"${name} is set: not done by the embedded builder", hint=way_out)


def _had_here(values: Values, flag: str, environment: Mapping[str, str]) -> Sequence[str]:
    """With $TRIMARAN_COMPAT=warn, caches of kinds that are not here are left out: a build is good without."""
    texts = values.texts(flag)
    if environment.get(COMPAT) != "warn" or not texts:
        return texts
    from trimaran.cli.caches import not_here

    return [text for text in texts if not not_here(text, flag)]


def caches_left_out(values: Values, environment: Mapping[str, str]) -> list[str]:
    """What `_had_here` leaves out, once each, by type alone: the rest may hold a token."""
    if environment.get(COMPAT) != "warn":
        return []
    from trimaran.cli.caches import not_here

    kinds = [(flag, not_here(text, flag)) for flag in ("cache-from", "cache-to") for text in values.texts(flag)]
    return list(dict.fromkeys(f"--{flag} type={kind}" for flag, kind in kinds if kind))


def additions(values: Values) -> list[str]:
    """Flags that only add to an image, which is good without: refused, or with $TRIMARAN_COMPAT=warn left out."""
    found = [
        f"--{name}={values.text(name)}"
        for name in ("provenance", "sbom")
        if values.given(name) and not _is_off(values.text(name))
    ]
    for text in values.texts("attest"):
        attributes = Attributes.parse("attest", text)
        kind = attributes.choice("type", ("provenance", "sbom"), "")
        if not attributes.boolean("disabled"):
            found.append(f"--attest type={kind}")
    return found


COMPAT = "TRIMARAN_COMPAT"
REFUSED_VARIABLES = {
    "EXPERIMENTAL_BUILDKIT_SOURCE_POLICY": "no source policy is applied: unset it, and pin what you use by digest",
    "BUILDX_GIT_LABELS": "unset it, and pass the labels with --label",
}


def _call(values: Values) -> Call | None:
    """`--call NAME[,format=FORMAT][,ignorestatus=BOOL]`; `--check` is `--call=check`, which asks for the lint."""
    text = values.text("call")
    if values.boolean("check"):
        if values.given("call") and text not in {"check", "build"}:
            raise UsageError("--call and --check cannot be used together", hint="leave out --check")
        text = "check"
    name, *fields = split_csv(text) or [""]
    if "=" in name:
        raise UsageError(f'read --call {text}: it begins with the name of a method, such as "check"')
    found = {"format": "", "ignorestatus": "false"}
    for field in fields:
        key, equals, value = field.partition("=")
        if not equals or key not in found:
            raise UsageError(f"invalid print field: {field}", hint="known: format=json, ignorestatus=true")
        found[key] = value
    if name in {"", "build"}:
        return None
    try:
        ignored = parse_bool(found["ignorestatus"])
    except ValueError:
        raise UsageError(f"invalid --call print option: ignorestatus={found['ignorestatus']}") from None
    if name == "graph" and found["format"] not in GRAPH_FORMATS:
        message, hint = unknown("format of --call=graph", found["format"], GRAPH_FORMATS[1:])
        raise UsageError(message, hint=hint)
    return Call("lint" if name == "check" else name, found["format"], ignored)


def _is_off(text: str) -> bool:
    try:
        return not parse_bool(text)
    except ValueError:
        return "disabled=true" in text.split(",")


def _is_remote(context: str) -> bool:
    """`user@host:path`, or GitHub's name without a scheme: both could be paths, and are where there is such a path."""
    return context.startswith("github.com/") or ("@" in context.partition(":")[0] and ":" in context)


def _check_folder(context: str) -> None:
    import os

    if not os.path.exists(context):
        raise UsageError(f'prepare context: path "{context}" not found', hint=_alike(context))
    if not os.path.isdir(context):
        raise UsageError(
            f'prepare context: path "{context}" is a file, not a folder',
            hint=f"name the folder as context and the Dockerfile with -f {context}",
        )


def _alike(path: str) -> str:
    import os

    from trimaran.spelling import nearest

    folder, name = os.path.split(path.rstrip("/"))
    try:
        word = nearest(name, os.listdir(folder or "."))
    except OSError:
        return ""
    return f"did you mean {os.path.join(folder, word)}?" if word else ""


def platforms(texts: Sequence[str]) -> tuple[str, ...]:
    """Lists and repeats joined, each checked to be a platform; doubles dropped. `local` stays a word."""
    found: list[str] = []
    for text in texts:
        for word in split_csv(text):
            name = word.strip()
            if name and name != "local":
                check_platform(name)
            if name and name not in found:
                found.append(name)
    return tuple(found)


def _build_args(texts: Sequence[str]) -> list[tuple[str, str | None]]:
    found: list[tuple[str, str | None]] = []
    for text in texts:
        key, equals, value = text.partition("=")
        if not key:
            raise UsageError(f'read --build-arg "{text}": no name', hint="write --build-arg NAME=VALUE")
        found.append((key, value if equals else None))
    return found


def _epoch(values: Values, environment: Mapping[str, str]) -> list[tuple[str, str | None]]:
    """$SOURCE_DATE_EPOCH is a build argument, unless one of that name was given (reference §1.11)."""
    name = "SOURCE_DATE_EPOCH"
    given = any(text.partition("=")[0] == name for text in values.texts("build-arg"))
    return [(name, environment[name])] if environment.get(name) and not given else []


def _named_context(text: str) -> BuildContext:
    from trimaran.reference import Reference

    name, equals, value = text.partition("=")
    if not equals or not name or not value:
        raise UsageError(f"invalid context value: {text}, expected key=value")
    normal = Reference.parse(name.lower()).familiar.removesuffix(":latest")
    if "://" not in value and not _is_remote(value):
        _check_folder(value)
    return BuildContext(normal, value)


def add_host(text: str) -> list[HostIP]:
    """`host:ip` or `host=ip`; several addresses by comma, IPv6 bare or in brackets, or the word host-gateway."""
    host, equals, addresses = text.partition("=")
    if not equals:
        host, equals, addresses = text.partition(":")
    if not host or not addresses:
        raise UsageError(f'bad format for add-host: "{text}"', hint="write --add-host host:ip")
    return [HostIP(host, check_address(word)) for word in addresses.split(",")]


def ulimit(text: str) -> Ulimit:
    """`name=soft[:hard]`; -1 is unlimited (docker/go-units ParseUlimit)."""
    name, equals, limits = text.partition("=")
    soft_text, colon, hard_text = limits.partition(":")
    if not equals or not limits:
        raise UsageError(f"invalid ulimit argument: {text}", hint="write --ulimit name=soft[:hard]")
    if name not in ULIMIT_NAMES:
        message, hint = unknown("ulimit type", name, ULIMIT_NAMES)
        raise UsageError(f"read --ulimit {text}: {message}", hint=hint)
    try:
        soft = int(soft_text)
        hard = int(hard_text) if colon else soft
    except ValueError:
        raise UsageError(f"read --ulimit {text}: limits are whole numbers, -1 for none") from None
    if hard != -1 and (soft == -1 or soft > hard):
        raise UsageError(f"read --ulimit {text}: soft limit must be less than or equal to hard limit: {soft} > {hard}")
    return Ulimit(name, soft, hard)


def _network(text: str) -> Literal["", "default", "none", "host"]:
    if text not in {"", "default", "none", "host"}:
        raise UsageError(
            f'network mode "{text}": not supported by the embedded builder', hint="modes: default, none, host"
        )
    return cast('Literal["", "default", "none", "host"]', "" if text == "default" else text)
