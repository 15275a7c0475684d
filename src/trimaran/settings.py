"""Our own configuration: one TOML file with the keys of buildkitd.toml (reference §4.9) and a few of ours.

`$TRIMARAN_CONFIG`, else `~/.config/trimaran/trimaran.toml` (or under `$XDG_CONFIG_HOME`), else
`/etc/trimaran/trimaran.toml`. No file, no cost: the TOML reader is loaded only when there is one. An unknown key is an
error that names its line and the nearest known key, never ignored.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from trimaran.errors import Location, Position, Range, UsageError

SYSTEM_FILE = "/etc/trimaran/trimaran.toml"


class Space(msgspec.Struct, frozen=True):
    """Room on disk: bytes, or a share of the file system (exactly one of them is set; 0, 0: unset)."""

    bytes: int = 0
    percent: int = 0

    def resolve(self, total: int) -> int:
        """Bytes, of a file system of `total`; a share by BuildKit's rounding (reference §4.8)."""
        if self.percent:
            return (total * self.percent // 100 // (1 << 30) + 1) * 1_000_000_000
        return self.bytes


class Keypair(msgspec.Struct, frozen=True):
    """A client certificate: paths of PEM files."""

    key: str
    cert: str


class RegistrySettings(msgspec.Struct, frozen=True, kw_only=True):
    """`[registry."host"]`; None: not said, so docker's own files may say it."""

    mirrors: tuple[str, ...] = ()
    http: bool | None = None
    insecure: bool | None = None
    ca: tuple[str, ...] = ()
    keypair: tuple[Keypair, ...] = ()
    tlsconfigdir: tuple[str, ...] = ()
    #: Hosts besides the registry's own that may be sent its credentials when it names them as token servers.
    auth_realms: tuple[str, ...] = ()


class GcPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """`[[worker.gcpolicy]]`; durations in seconds."""

    all: bool = False
    filters: tuple[str, ...] = ()
    keep_duration: int = 0
    reserved_space: Space = Space()
    max_used_space: Space = Space()
    min_free_space: Space = Space()


class WorkerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """`[worker]` (also read as `[worker.oci]`, where buildkitd has it)."""

    gc: bool = True
    reserved_space: Space = Space()
    max_used_space: Space = Space()
    min_free_space: Space = Space()
    binary: str = ""
    #: The weakest isolation of steps that will do where a container cannot be had (executor/isolation.py).
    sandbox: str = ""
    no_process_sandbox: bool = False
    #: PEM files of certificates that RUN steps trust, beside those of `--build-ca`.
    build_ca: tuple[str, ...] = ()
    max_parallelism: int = 0
    gc_policies: tuple[GcPolicy, ...] = ()


class HistorySettings(msgspec.Struct, frozen=True, kw_only=True):
    """`[history]`; the age in seconds."""

    max_age: int = 172_800
    max_entries: int = 50


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """All of it; `path` is the file it came from, "" when there is none."""

    path: str = ""
    root: str = ""
    #: Hard ceiling on what the store holds; unset: by the rules of `[worker]`.
    cache_limit: Space = Space()
    registry: Mapping[str, RegistrySettings] = {}
    worker: WorkerSettings = WorkerSettings()
    history: HistorySettings = HistorySettings()
    #: For how long (seconds) a registry's last answer about a tag stands in for one that it does not give; 0: never.
    remember_tags: int = 604_800
    #: Folded groups in logs of CI servers (cli/display/ci_log.py).
    log_groups: bool = True
    #: Transfers at the same time per registry (`[system] maxRegistryConcurrency`).
    max_registry_concurrency: int = 4


def candidates(environment: Mapping[str, str]) -> tuple[str, ...]:
    """Where the file is looked for, first found wins; a named one must be there."""
    named = environment.get("TRIMARAN_CONFIG", "")
    if named:
        return (named,)
    folder = environment.get("XDG_CONFIG_HOME") or os.path.join(os.path.expanduser("~"), ".config")
    return (os.path.join(folder, "trimaran", "trimaran.toml"), SYSTEM_FILE)


def load(environment: Mapping[str, str] | None = None) -> Settings:
    """The user's settings; UsageError with file and line for what is wrong in them, or for a named file not there."""
    environment = os.environ if environment is None else environment
    for path in candidates(environment):
        try:
            with open(path, "rb") as file:
                raw = file.read()
        except (FileNotFoundError, NotADirectoryError):
            if environment.get("TRIMARAN_CONFIG"):
                raise UsageError(
                    f"read {path}: no such file", hint="TRIMARAN_CONFIG names it: mend or unset it"
                ) from None
            continue
        except OSError as error:
            raise UsageError(f"read {path}: {error.strerror}") from None
        return parse(raw, path)
    return Settings()


def parse(raw: bytes, path: str) -> Settings:
    """The settings a TOML text holds; `path` is for errors."""
    return Settings(path=path, **_read(raw, path))


class _Wrong(Exception):
    """A value is not what its key takes; says what it takes."""


Read = Callable[[Any], Any]
Fields = Mapping[str, tuple[str, Read]]


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise _Wrong("a string")
    return value


def _texts(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise _Wrong("a list of strings")
    return tuple(value)


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise _Wrong("true or false")
    return value


def _count(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise _Wrong("a whole number")
    return value


_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40, "p": 1 << 50}


def space(value: Any) -> Space:
    """Bytes as a number, "512MB" (units of 1024, as BuildKit reads them) or "30%"."""
    wanted = 'bytes, or a string like "512MB" or "30%"'
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return Space(bytes=value)
    if not isinstance(value, str):
        raise _Wrong(wanted)
    text = value.strip().lower()
    if text.endswith("%"):
        if not text[:-1].isdecimal() or not 0 < int(text[:-1]) <= 100:
            raise _Wrong(wanted)
        return Space(percent=int(text[:-1]))
    number = text.rstrip("ib") if not text.isdecimal() else text
    unit = number[-1:] if number[-1:].isalpha() else ""
    number = number.removesuffix(unit).strip()
    try:
        amount = float(number) * _UNITS[unit]
    except (ValueError, KeyError):
        raise _Wrong(wanted) from None
    if not 0 <= amount < 1 << 63:
        raise _Wrong(wanted)
    return Space(bytes=int(amount))


_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001, "us": 1e-6, "ns": 1e-9}


def duration(value: Any) -> int:
    """Seconds: a number, or Go's form ("48h", "1h30m")."""
    wanted = 'seconds, or a string like "48h" or "1h30m"'
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    if not isinstance(value, str) or not value:
        raise _Wrong(wanted)
    if value.isdecimal():
        return int(value)
    total, rest = 0.0, value
    while rest:
        number = rest[: next((i for i, c in enumerate(rest) if not (c.isdigit() or c == ".")), len(rest))]
        rest = rest[len(number) :]
        unit = rest[: next((i for i, c in enumerate(rest) if c.isdigit() or c == "."), len(rest))]
        rest = rest[len(unit) :]
        try:
            total += float(number) * _SECONDS[unit]
        except (ValueError, KeyError):
            raise _Wrong(wanted) from None
    return int(total)


_KEYPAIR: Fields = {"key": ("key", _text), "cert": ("cert", _text)}
_REGISTRY: Fields = {
    "mirrors": ("mirrors", _texts),
    "http": ("http", _flag),
    "insecure": ("insecure", _flag),
    "ca": ("ca", _texts),
    "tlsconfigdir": ("tlsconfigdir", _texts),
    "auth-realms": ("auth_realms", _texts),
    "keypair": ("keypair", lambda value: value),
}
_SPACES: Fields = {
    "reservedSpace": ("reserved_space", space),
    "maxUsedSpace": ("max_used_space", space),
    "minFreeSpace": ("min_free_space", space),
}
_GC_POLICY: Fields = {
    "all": ("all", _flag),
    "filters": ("filters", _texts),
    "keepDuration": ("keep_duration", duration),
    "keepBytes": ("reserved_space", space),
    **_SPACES,
}
_WORKER: Fields = {
    "gc": ("gc", _flag),
    "gckeepstorage": ("reserved_space", space),
    **_SPACES,
    "binary": ("binary", _text),
    "sandbox": ("sandbox", _text),
    "noProcessSandbox": ("no_process_sandbox", _flag),
    "build-ca": ("build_ca", _texts),
    "max-parallelism": ("max_parallelism", _count),
    "gcpolicy": ("gc_policies", lambda value: value),
    "oci": ("oci", lambda value: value),
}
_HISTORY: Fields = {"maxAge": ("max_age", duration), "maxEntries": ("max_entries", _count)}
_SYSTEM: Fields = {"maxRegistryConcurrency": ("max_registry_concurrency", _count)}
_TOP: Fields = {
    "root": ("root", _text),
    "cache-limit": ("cache_limit", space),
    "remember-tags": ("remember_tags", duration),
    "log-groups": ("log_groups", _flag),
    **{key: (key, lambda value: value) for key in ("registry", "worker", "history", "system")},
}
#: Known to buildkitd, of no meaning for an engine without a daemon: refused by name, with the way out.
_FOREIGN = {
    *("cdi", "debug", "dns", "frontend", "ghacache", "grpc", "insecure-entitlements", "log", "otel"),
    *("provenanceEnvDir", "proxyNetwork", "trace"),
}
_FOREIGN_WORKER = {"containerd", "enabled", "platforms", "snapshotter", "rootless", "networkMode", "labels"}


class _File:
    """One settings file while it is read: turns a wrong key or value into an error at its line."""

    def __init__(self, raw: bytes, path: str) -> None:
        self.raw = raw
        self.path = path

    def wrong(self, keys: tuple[str, ...], message: str, *, hint: str = "") -> UsageError:
        line = line_of(self.raw.decode(errors="replace"), keys)
        where = Location(self.path, self.raw, (Range(Position(line), Position(line)),), "TOML")
        return UsageError(f"read {self.path}:{line}: {message}", hint=hint, where=where)

    def section(self, value: Any, fields: Fields, keys: tuple[str, ...]) -> dict[str, Any]:
        """The fields of one table; `keys` is the way to it."""
        if not isinstance(value, dict):
            raise self.wrong(keys, f"{'.'.join(keys)} is a table")
        result: dict[str, Any] = {}
        for key, item in value.items():
            if key not in fields:
                raise self.unknown((*keys, key), fields)
            field, reader = fields[key]
            try:
                result[field] = reader(item)
            except _Wrong as error:
                raise self.wrong((*keys, key), f"{'.'.join((*keys, key))} takes {error}, not {item!r}") from None
        return result

    def unknown(self, keys: tuple[str, ...], fields: Fields) -> UsageError:
        name = ".".join(keys)
        if (len(keys) == 1 and keys[0] in _FOREIGN) or (keys[0] == "worker" and keys[-1] in _FOREIGN_WORKER):
            return self.wrong(keys, f"{name} is a setting of buildkitd only", hint="take it out of this file")
        from trimaran.spelling import nearest

        near = nearest(keys[-1], fields)
        hint = f"did you mean {near}?" if near else f"known here: {', '.join(sorted(fields))}"
        return self.wrong(keys, f"unknown key {name}", hint=hint)

    def tables(self, value: Any, fields: Fields, keys: tuple[str, ...]) -> list[dict[str, Any]]:
        """The fields of each table of an array ([[…]])."""
        if not isinstance(value, list):
            raise self.wrong(keys, f"{'.'.join(keys)} is a list of tables ([[{'.'.join(keys)}]])")
        return [self.section(item, fields, keys) for item in value]

    def registry(self, value: Any, keys: tuple[str, ...]) -> RegistrySettings:
        fields = self.section(value, _REGISTRY, keys)
        pairs = []
        for pair in self.tables(fields.pop("keypair", []), _KEYPAIR, (*keys, "keypair")):
            if len(pair) != len(_KEYPAIR):
                raise self.wrong((*keys, "keypair"), "a keypair has a key and a cert")
            pairs.append(Keypair(**pair))
        return RegistrySettings(keypair=tuple(pairs), **fields)

    def worker(self, value: Any, keys: tuple[str, ...]) -> WorkerSettings:
        fields = self.section(value, _WORKER, keys)
        policies = self.tables(fields.pop("gc_policies", []), _GC_POLICY, (*keys, "gcpolicy"))
        oci = fields.pop("oci", None)
        own = WorkerSettings(gc_policies=tuple(GcPolicy(**policy) for policy in policies), **fields)
        if oci is None:
            return own
        if len(keys) > 1:
            raise self.wrong((*keys, "oci"), "unknown key worker.oci.oci")
        theirs = self.worker(oci, (*keys, "oci"))
        changed = {name: getattr(own, name) for name in fields} | ({"gc_policies": own.gc_policies} if policies else {})
        return msgspec.structs.replace(theirs, **changed)


def _read(raw: bytes, path: str) -> dict[str, Any]:
    """The fields of `Settings` that the file sets; UsageError names file and line."""
    file = _File(raw, path)
    import tomllib

    try:
        document = tomllib.loads(raw.decode())
    except UnicodeDecodeError:
        raise UsageError(f"read {path}: not UTF-8 text") from None
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"read {path}: {error}") from None
    fields = file.section(document, _TOP, ())
    system = file.section(fields.pop("system", {}), _SYSTEM, ("system",))
    if "registry" in fields:
        table = fields["registry"]
        if not isinstance(table, dict):
            raise file.wrong(("registry",), 'registry is a table of hosts ([registry."host"])')
        fields["registry"] = {host: file.registry(value, ("registry", host)) for host, value in table.items()}
    if "worker" in fields:
        fields["worker"] = file.worker(fields["worker"], ("worker",))
    if "history" in fields:
        fields["history"] = HistorySettings(**file.section(fields["history"], _HISTORY, ("history",)))
    return fields | system


def line_of(text: str, keys: tuple[str, ...]) -> int:
    """The line (from 1) where the last of `keys` stands, as near as headers and `key =` lines tell; else 1."""
    table: tuple[str, ...] = ()
    best = 1
    for number, line in enumerate(text.splitlines(), start=1):
        stripped = line.strip()
        if stripped.startswith("["):
            table = _dotted(stripped.strip("[]").split("#")[0].rstrip("] \t"))
            if table == keys[: len(table)]:
                best = number
            if table == keys:
                return number
        elif "=" in stripped and table + _dotted(stripped.split("=")[0]) == keys:
            return number
    return best


def _dotted(text: str) -> tuple[str, ...]:
    """The parts of a TOML key, quotes taken off."""
    parts, current, quote = [], "", ""
    for character in text.strip():
        if quote:
            quote, current = ("", current) if character == quote else (quote, current + character)
        elif character in "\"'":
            quote = character
        elif character == ".":
            parts.append(current.strip())
            current = ""
        else:
            current += character
    return (*parts, current.strip())
