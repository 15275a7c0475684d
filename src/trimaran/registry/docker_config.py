"""Docker's config.json: where credentials are, read as docker reads it and written as `docker login` writes it.

Credential helpers are other people's programs: found on absolute PATH folders that not everybody can write to (T48),
run without a shell, with the host on stdin. A helper that fails is reported, never answered with another host's
credentials (T54).
"""

from __future__ import annotations

import binascii
import os
import signal
import stat
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import msgspec

from trimaran.errors import Unavailable, UsageError
from trimaran.registry.errors import printable

DOCKER_HUB_KEY = "https://index.docker.io/v1/"
#: The user name with which a helper marks its secret as an identity (refresh) token.
TOKEN_USER = "<token>"  # noqa: S105 - a marker, no secret
_HELPER_SECONDS = 30.0
_HELPER_LIMIT = 1 << 20


class Credential(msgspec.Struct, frozen=True):
    """Who we are to one host; `source` says where that was found. Prints no secret."""

    username: str = ""
    password: str = ""
    identity_token: str = ""
    registry_token: str = ""
    source: str = ""

    def __repr__(self) -> str:
        return f"Credential({self.username!r} from {self.source})"

    __str__ = __repr__

    @property
    def basic(self) -> str:
        """The value of an Authorization header."""
        return "Basic " + binascii.b2a_base64(f"{self.username}:{self.password}".encode(), newline=False).decode()


class HelperFailed(Unavailable):
    """A credential helper did not do its work: missing, refused to run, or said no."""


def config_key(host: str) -> str:
    """The name under which docker keeps the credentials of a registry."""
    return DOCKER_HUB_KEY if host in ("docker.io", "index.docker.io", "registry-1.docker.io") else host


def _host_of(key: str) -> str:
    """The host of a config key in any of its historical forms (`https://host/v1/`, `host`, `host/path`)."""
    return key.partition("://")[2].partition("/")[0] if "://" in key else key.partition("/")[0]


def podman_files(environment: Mapping[str, str]) -> tuple[str, ...]:
    """Where podman, buildah and skopeo log in to (containers-auth.json(5))."""
    home = environment.get("HOME") or os.path.expanduser("~")
    folders = [environment.get("XDG_RUNTIME_DIR", ""), environment.get("XDG_CONFIG_HOME") or f"{home}/.config"]
    return tuple(f"{folder}/containers/auth.json" for folder in folders if folder)


_PROXY_VARIABLES = {
    "httpProxy": "HTTP_PROXY",
    "httpsProxy": "HTTPS_PROXY",
    "noProxy": "NO_PROXY",
    "ftpProxy": "FTP_PROXY",
    "allProxy": "ALL_PROXY",
}


class DockerConfig:
    """One config.json; absent: empty. Reading is done at the first question."""

    def __init__(self, path: str, environment: Mapping[str, str] | None = None) -> None:
        self.path = path
        self._environment = os.environ if environment is None else environment
        self._document: dict[str, Any] | None = None

    @classmethod
    def default(cls, environment: Mapping[str, str] | None = None) -> DockerConfig:
        """`$DOCKER_CONFIG/config.json`, else `~/.docker/config.json`."""
        environment = os.environ if environment is None else environment
        home = environment.get("HOME") or os.path.expanduser("~")
        folder = environment.get("DOCKER_CONFIG") or os.path.join(home, ".docker")
        return cls(os.path.join(folder, "config.json"), environment)

    @staticmethod
    def of_all(environment: Mapping[str, str]) -> DockerConfig:
        """The default one, and for credentials the other places where they may be (credential_sources.py)."""
        named = any(environment.get(name) for name in ("DOCKER_AUTH_CONFIG", "REGISTRY_AUTH_FILE"))
        if not named and not any(map(os.path.exists, podman_files(environment))):
            return DockerConfig.default(environment)
        from trimaran.registry.credential_sources import CredentialSources

        return CredentialSources.default(environment)

    @property
    def looked_at(self) -> str:
        """Where credentials were looked for in vain, in words."""
        return self.path

    @property
    def document(self) -> dict[str, Any]:
        """The whole file; UsageError when it is no JSON object."""
        if self._document is None:
            self._document = read_json_object(self.path) or {}
        return self._document

    def _table(self, key: str) -> dict[str, Any]:
        value = self.document.get(key)
        return value if isinstance(value, dict) else {}

    def proxies(self, daemon: Callable[[], str]) -> tuple[tuple[str, str], ...]:
        """Variables that `proxies` means, in both spellings, as docker gives them to builds and containers.

        Of the host of the Docker daemon where the file has it, else `default`; `daemon` is asked only if it matters.
        """
        table = self._table("proxies")
        own = table.get(daemon()) if table.keys() - {"default"} else None
        found = own if isinstance(own, dict) else table.get("default")
        return tuple(
            (name, str(found[key]))
            for key, variable in _PROXY_VARIABLES.items()
            if isinstance(found, dict) and isinstance(found.get(key), str) and found[key]
            for name in (variable, variable.lower())
        )

    def helper_for(self, host: str) -> str:
        """The credential helper named for `host`, else the default store, else ""."""
        key = config_key(host)
        helpers = self._table("credHelpers")
        for name in dict.fromkeys((key, host, _host_of(key))):
            if isinstance(helpers.get(name), str):
                return str(helpers[name])
        store = self.document.get("credsStore")
        return store if isinstance(store, str) else ""

    async def credential(self, host: str, repository: str = "") -> Credential | None:
        """Credentials for `host` (longest `host/path` entry of `repository` first); None when there are none.

        HelperFailed when a helper is to be asked and cannot be.
        """
        helper = self.helper_for(host)
        if helper:
            found = await self._ask(helper, config_key(host))
            if found is not None:
                return found
        return self._from_file(host, repository)

    def _from_file(self, host: str, repository: str) -> Credential | None:
        auths = self._table("auths")
        parts = repository.split("/") if repository else []
        for count in range(len(parts), 0, -1):
            entry = auths.get(f"{host}/{'/'.join(parts[:count])}")
            if isinstance(entry, dict) and entry:
                return self._entry(host, entry)
        key = config_key(host)
        if isinstance(auths.get(key), dict):
            return self._entry(host, auths[key])
        for name, entry in auths.items():
            bare = name.rstrip("/").partition("://")[2] or name.rstrip("/")
            if isinstance(entry, dict) and bare in (host, f"{host}/v1", f"{host}/v2"):
                return self._entry(host, entry)
        return None

    def _entry(self, host: str, entry: dict[str, Any]) -> Credential | None:
        def text(key: str) -> str:
            value = entry.get(key)
            return value if isinstance(value, str) else ""

        username, password = text("username"), text("password")
        if text("auth"):
            try:
                decoded = binascii.a2b_base64(text("auth").strip(), strict_mode=True).decode()
            except (binascii.Error, UnicodeDecodeError):
                decoded = ""
            username, colon, password = decoded.rstrip("\0").partition(":")
            if not colon:
                raise UsageError(
                    f"read {self.path}: the auth entry of {host} is not base64 of USER:PASSWORD",
                    hint=f"log in again: trimaran login {host}",
                )
        found = Credential(username, password, text("identitytoken"), text("registrytoken"), self.path)
        return found if any((username, password, found.identity_token, found.registry_token)) else None

    async def _ask(self, helper: str, key: str) -> Credential | None:
        output = await self.run_helper(helper, "get", key.encode())
        if output is None:
            return None
        try:
            answer = msgspec.json.decode(output)
            username, secret = answer["Username"], answer["Secret"]
        except (msgspec.DecodeError, KeyError, TypeError, UnicodeDecodeError):
            raise HelperFailed(f"ask docker-credential-{helper} for {key}: its answer is not understood") from None
        if not isinstance(username, str) or not isinstance(secret, str) or not secret:
            return None
        source = f"docker-credential-{helper}"
        if username == TOKEN_USER:
            return Credential(identity_token=secret, source=source)
        return Credential(username, secret, source=source)

    async def run_helper(self, helper: str, verb: str, stdin: bytes) -> bytes | None:
        """What `docker-credential-HELPER VERB` prints; None when it has no such credentials."""
        import asyncio

        program = find_helper(helper, self._environment.get("PATH", ""))
        name = os.path.basename(program)
        pipe = asyncio.subprocess.PIPE
        try:
            process = await asyncio.create_subprocess_exec(
                program,
                verb,
                stdin=pipe,
                stdout=pipe,
                stderr=pipe,
                cwd="/",
                env=dict(self._environment),
                start_new_session=True,
            )
        except OSError as error:
            raise HelperFailed(f"run {name}: {(error.strerror or str(error)).lower()}") from None
        try:
            async with asyncio.timeout(_HELPER_SECONDS):
                output, complaint = await process.communicate(stdin)
        except BaseException as error:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # what it has started, too
            await process.wait()
            if isinstance(error, TimeoutError):
                hint = "it may be waiting for somebody to unlock it: try it by hand, or log in without a helper"
                raise HelperFailed(f"run {name} {verb}: no answer in {_HELPER_SECONDS:.0f} s", hint=hint) from None
            raise
        if process.returncode != 0:
            words = printable((output[:2000] or complaint[:2000]).decode(errors="replace").strip())
            if "not found" in words.lower():
                return None
            raise HelperFailed(f"run {name} {verb}: {words or f'exit code {process.returncode}'}")
        if len(output) > _HELPER_LIMIT:
            raise HelperFailed(f"run {name} {verb}: it printed {len(output)} bytes")
        return output

    def with_entry(self, host: str, entry: dict[str, Any] | None) -> dict[str, Any]:
        """The document with `host`'s entry set, or taken out (in all its historical forms) by None."""
        document = dict(self.document)
        auths = dict(self._table("auths"))
        key = config_key(host)
        for name in list(auths):
            bare = name.rstrip("/").partition("://")[2] or name.rstrip("/")
            if name == key or bare in (host, f"{host}/v1", f"{host}/v2"):
                del auths[name]
        if entry is not None:
            auths[key] = entry
        document["auths"] = auths
        return document

    def write(self, document: dict[str, Any]) -> None:
        """Replace the file at once: never half a file, never readable by others (0600), a symlink's target kept."""
        path = os.path.realpath(self.path)
        folder = os.path.dirname(path)
        raw = msgspec.json.format(msgspec.json.encode(document), indent=4).replace(b"\n    ", b"\n\t") + b"\n"
        temporary = os.path.join(folder, f".config.json.{os.getpid()}.{os.urandom(4).hex()}")
        try:
            os.makedirs(folder, mode=0o700, exist_ok=True)
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                with os.fdopen(descriptor, "wb") as file:
                    file.write(raw)
                    file.flush()
                    os.fsync(file.fileno())
                os.replace(temporary, path)
            except BaseException:
                os.unlink(temporary)
                raise
        except OSError as error:
            raise UsageError(f"write {self.path}: {(error.strerror or str(error)).lower()}") from None
        self._document = document


def read_json_object(path: str) -> dict[str, Any] | None:
    """The JSON object in a configuration file; None when there is no such file."""
    try:
        with open(path, "rb") as file:
            raw = file.read(16 << 20)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise UsageError(f"read {path}: {(error.strerror or str(error)).lower()}") from None
    if not raw.strip():
        return None
    try:
        document = msgspec.json.decode(raw)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise UsageError(f"read {path}: {error}", hint="it must be a JSON object") from None
    if not isinstance(document, dict):
        raise UsageError(f"read {path}: not a JSON object")
    return document


_NAME = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")


def find_helper(helper: str, path: str) -> str:
    """The program `docker-credential-HELPER`; HelperFailed when it is nowhere it may be."""
    if not helper or not _NAME.issuperset(helper):
        raise HelperFailed(f"run credential helper {helper[:100]!r}: not a helper's name")
    name = f"docker-credential-{helper}"
    passed: list[str] = []
    for folder in path.split(":"):
        if not os.path.isabs(folder):
            continue  # "", "." and relative folders are the current one: whoever wrote the context (T48)
        program = os.path.join(folder, name)
        if not os.access(program, os.X_OK) or not os.path.isfile(program):
            continue
        if _open_to_all(folder) or _open_to_all(program):
            passed.append(program)
            continue
        return program
    if passed:
        raise HelperFailed(f"run {passed[0]}: everybody can write there", hint=f"chmod o-w {passed[0]}")
    raise HelperFailed(f"run {name}: not found on PATH", hint="install it, or take it out of docker's config.json")


def _open_to_all(path: str) -> bool:
    try:
        return bool(os.stat(path).st_mode & stat.S_IWOTH)
    except OSError:
        return True
