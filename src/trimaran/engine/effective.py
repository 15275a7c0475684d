"""Which settings hold here, and who said so: the settings file, the environment, docker's files, or nobody.

For people who wonder why something is as it is; nothing decides by this list. Passwords in values are left out.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from trimaran.engine.folder import state_folder
from trimaran.settings import Settings, line_of

if TYPE_CHECKING:
    from trimaran.registry.hosts import DockerFiles

DEFAULT = "default"
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
_TRUST = ("SSL_CERT_FILE", "SSL_CERT_DIR")


class Setting(msgspec.Struct, frozen=True):
    """One value; `source` is `FILE:LINE`, `$VARIABLE`, a file of docker's, or DEFAULT."""

    key: str
    value: str
    source: str = DEFAULT


class _File:
    """The settings file as it is written, to tell what it says from what follows without it."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.text = ""
        self.document: Mapping[str, Any] = {}
        if path:
            import tomllib

            with open(path, encoding="utf-8") as file:
                self.text = file.read()
            self.document = tomllib.loads(self.text)

    def source(self, *keys: str) -> str:
        """`FILE:LINE` where the file has the key, in `[worker.oci]` too; else DEFAULT."""
        ways = [keys, ("worker", "oci", *keys[1:])] if keys[0] == "worker" else [keys]
        for way in ways:
            if self._has(way):
                return f"{self.path}:{line_of(self.text, way)}"
        return DEFAULT

    def _has(self, keys: tuple[str, ...]) -> bool:
        value: Any = self.document
        for key in keys:
            if not isinstance(value, Mapping) or key not in value:
                return False
            value = value[key]
        return True


def effective(settings: Settings, environment: Mapping[str, str] = os.environ) -> tuple[Setting, ...]:
    """Every setting in the order of docs/settings.md. Reads the settings file and docker's; asks no network."""
    from trimaran.registry.hosts import read_docker_files

    file = _File(settings.path)
    docker = read_docker_files(environment)
    return (
        Setting("settings", settings.path, "$TRIMARAN_CONFIG" if environment.get("TRIMARAN_CONFIG") else DEFAULT),
        *(_store(settings, file, environment) if _has_engine() else ()),
        *_registries(settings, file, docker),
        *_credentials(environment),
        Setting("remember-tags", _hours(settings.remember_tags), file.source("remember-tags")),
        Setting(
            "system.maxRegistryConcurrency",
            str(settings.max_registry_concurrency),
            file.source("system", "maxRegistryConcurrency"),
        ),
        *(_steps(settings, file, environment) if _has_engine() else ()),
        *(_disk(settings, file) if _has_engine() else ()),
        *(_history(settings, file) if _has_engine() else ()),
        _log_groups(settings, file, environment),
        *_network(environment),
    )


def _has_engine() -> bool:
    """Elsewhere there is no store, no step and no disk to set anything for."""
    return sys.platform == "linux"


def _store(settings: Settings, file: _File, environment: Mapping[str, str]) -> Iterator[Setting]:
    source = "$TRIMARAN_ROOT" if environment.get("TRIMARAN_ROOT") else file.source("root")
    if source == DEFAULT and environment.get("XDG_DATA_HOME") and os.geteuid():
        source = "$XDG_DATA_HOME"
    yield Setting("root", state_folder(settings), source)


def _registries(settings: Settings, file: _File, docker: DockerFiles) -> Iterator[Setting]:
    for host, own in settings.registry.items():
        for field, value in msgspec.structs.asdict(own).items():
            key = field.replace("_", "-")
            if value is not None and value != ():
                yield Setting(f'registry."{host}".{key}', _worded(value), file.source("registry", host, key))
    if docker.mirrors and not settings.registry.get("docker.io"):
        yield Setting('registry."docker.io".mirrors', _worded(docker.mirrors), _daemon_json(docker))
    for host in docker.insecure:
        yield Setting(f'registry."{host}".insecure', "true", _daemon_json(docker))


def _daemon_json(docker: DockerFiles) -> str:
    return ", ".join(path for path in docker.looked_at if os.path.exists(path))


def _credentials(environment: Mapping[str, str]) -> Iterator[Setting]:
    from trimaran.registry.docker_config import DockerConfig

    source = "$DOCKER_CONFIG" if environment.get("DOCKER_CONFIG") else DEFAULT
    yield Setting("credentials", DockerConfig.default(environment).path, source)


def _steps(settings: Settings, file: _File, environment: Mapping[str, str]) -> Iterator[Setting]:
    source = file.source("worker", "binary")
    binary = settings.worker.binary
    if not binary and environment.get("TRIMARAN_RUNTIME"):
        binary, source = environment["TRIMARAN_RUNTIME"], "$TRIMARAN_RUNTIME"
    yield Setting("worker.binary", binary or "crun, else runc", source)
    authorities = ", ".join(settings.worker.build_ca)
    yield Setting("worker.build-ca", authorities or "none", file.source("worker", "build-ca"))
    parallel = settings.worker.max_parallelism or 2 * (os.cpu_count() or 2)
    yield Setting("worker.max-parallelism", str(parallel), file.source("worker", "max-parallelism"))


def _disk(settings: Settings, file: _File) -> Iterator[Setting]:
    from trimaran.engine.collect import policies

    worker = settings.worker
    yield Setting("worker.gc", str(worker.gc).lower(), file.source("worker", "gc"))
    folder = state_folder(settings)
    while not os.path.exists(folder):
        folder = os.path.dirname(folder)
    disk = os.statvfs(folder)
    total = disk.f_blocks * disk.f_frsize
    limit = settings.cache_limit.resolve(total)
    yield Setting("cache-limit", str(limit) if limit else "none", file.source("cache-limit"))
    if worker.gc_policies:
        yield Setting("worker.gcpolicy", f"{len(worker.gc_policies)} rules", file.source("worker", "gcpolicy"))
        return
    for rule in policies(settings, total)[-1:]:  # the last takes all that may be taken
        older = file.source("worker", "gckeepstorage")
        source = file.source("worker", "reservedSpace")
        yield Setting("worker.reservedSpace", str(rule.reserved), source if source != DEFAULT else older)
        yield Setting("worker.maxUsedSpace", str(rule.max_used), file.source("worker", "maxUsedSpace"))
        yield Setting("worker.minFreeSpace", str(rule.min_free), file.source("worker", "minFreeSpace"))


def _history(settings: Settings, file: _File) -> Iterator[Setting]:
    keep = settings.history
    yield Setting("history.maxAge", _hours(keep.max_age), file.source("history", "maxAge"))
    yield Setting("history.maxEntries", str(keep.max_entries), file.source("history", "maxEntries"))


def _log_groups(settings: Settings, file: _File, environment: Mapping[str, str]) -> Setting:
    if environment.get("TRIMARAN_LOG_GROUPS"):
        return Setting("log-groups", environment["TRIMARAN_LOG_GROUPS"], "$TRIMARAN_LOG_GROUPS")
    return Setting("log-groups", str(settings.log_groups).lower(), file.source("log-groups"))


def _network(environment: Mapping[str, str]) -> Iterator[Setting]:
    from trimaran.registry.errors import redact

    for name in _PROXIES:
        for spelling in (name, name.lower()):
            if environment.get(spelling):
                value = environment[spelling]
                shown = redact(value) if "://" in value else value.rpartition("@")[2]
                yield Setting(name.lower(), shown, f"${spelling}")
                break
    for name in _TRUST:
        if environment.get(name):
            yield Setting(name.lower(), environment[name], f"${name}")


def _worded(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return value
    return ", ".join(item if isinstance(item, str) else f"{item.cert} with {item.key}" for item in value)


def _hours(seconds: int) -> str:
    return f"{seconds // 3600}h" if seconds % 3600 == 0 else f"{seconds}s"
