"""Trimaran as the docker CLI's `buildx`: a small launcher among docker's plugins, and the buildx it displaced.

Law: what was there before is kept beside the launcher under a name docker takes for no plugin, and comes back byte for
byte. Every step is one rename, so that an interrupted one is mended by the next `install` or `uninstall`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from typing import NoReturn

import msgspec

from trimaran import __version__
from trimaran.errors import Conflict, Denied, TrimaranError, Unsupported
from trimaran.registry.docker_config import DockerConfig

NAME = "docker-buildx"
KEPT = "trimaran-displaced-buildx"
STATE = "trimaran-plugin.json"
SYSTEM_FOLDERS = (
    "/usr/local/lib/docker/cli-plugins",
    "/usr/local/libexec/docker/cli-plugins",
    "/usr/lib/docker/cli-plugins",
    "/usr/libexec/docker/cli-plugins",
)
_MARK = b"#!/bin/sh\n# Trimaran as docker's buildx. "


class State(msgspec.Struct, omit_defaults=True):
    """What `install` changed besides the launcher; `alias`: docker's builder alias before ours, None for none."""

    aliased: bool = False
    alias: str | None = None


class Plugin:
    """The plugin folder of one docker configuration."""

    def __init__(self, environment: Mapping[str, str], system_folders: Sequence[str] = SYSTEM_FOLDERS) -> None:
        self.config = DockerConfig.default(environment)
        self.folder = os.path.join(os.path.dirname(self.config.path), "cli-plugins")
        self.target = os.path.join(self.folder, NAME)
        self.kept = os.path.join(self.folder, KEPT)
        self._state = os.path.join(self.folder, STATE)
        self._system_folders = system_folders

    @property
    def installed(self) -> bool:
        """Whether docker's `buildx` is our launcher (in this folder, which comes before all others)."""
        return not os.path.islink(self.target) and _is_launcher(self.target)

    def displaced(self) -> str:
        """The buildx that docker would run without us: the one we moved, else that of another folder, else ""."""
        extra = self.config.document.get("cliPluginsExtraDirs")
        folders = [folder for folder in extra if isinstance(folder, str)] if isinstance(extra, list) else []
        candidates = [self.kept, *(os.path.join(folder, NAME) for folder in (*folders, *self._system_folders))]
        if not self.installed:
            candidates.insert(0, self.target)
        # a launcher elsewhere, made under another configuration, would only come back to us
        return next((p for p in candidates if os.path.isfile(p) and os.access(p, os.X_OK) and not _is_launcher(p)), "")

    def install(self, *, alias: bool = False) -> None:
        """Put the launcher in place; again: renew it. Whatever else is called docker-buildx is kept.

        `alias` also makes `docker build` call the plugin where docker (before 23) would not by itself.
        """
        try:
            os.makedirs(self.folder, mode=0o755, exist_ok=True)
            if os.path.lexists(self.target) and not self.installed:
                os.replace(self.target, self.kept)
            temporary = f"{self.folder}/.trimaran-{os.getpid()}"
            _write(temporary, launcher(command_line(), self.kept).encode(), 0o755)
            os.replace(temporary, self.target)
        except OSError as error:
            raise _refused("install plugin", error) from error
        if alias:
            self._set_alias()

    def uninstall(self) -> bool:
        """Bring back what was there; False when the launcher is not installed. Conflict when it was replaced since."""
        if not self.installed:
            if os.path.lexists(self.target) and os.path.lexists(self.kept):
                raise Conflict(
                    f"uninstall plugin: {self.target} is not Trimaran's any more",
                    hint=f"keep it and remove {self.kept}, or move that one back",
                )
            if not os.path.lexists(self.kept):
                return False
        self._reset_alias()
        try:
            if os.path.lexists(self.kept):
                os.replace(self.kept, self.target)
            else:
                os.unlink(self.target)
        except OSError as error:
            raise _refused("uninstall plugin", error) from error
        return True

    def _set_alias(self) -> None:
        document = dict(self.config.document)
        aliases = document.get("aliases")
        aliases = dict(aliases) if isinstance(aliases, dict) else {}
        before = aliases.get("builder")
        if before == "buildx":
            return
        _write(self._state, msgspec.json.encode(State(True, before if isinstance(before, str) else None)), 0o600)
        document["aliases"] = {**aliases, "builder": "buildx"}
        self.config.write(document)

    def _reset_alias(self) -> None:
        try:
            with open(self._state, "rb") as file:
                state = msgspec.json.decode(file.read(), type=State)
        except FileNotFoundError:
            return
        except (OSError, msgspec.DecodeError) as error:
            raise Conflict(f"read {self._state}: {error}", hint=f"remove it and look at {self.config.path}") from None
        document = dict(self.config.document)
        aliases = document.get("aliases")
        if state.aliased and isinstance(aliases, dict) and aliases.get("builder") == "buildx":
            aliases = {name: value for name, value in aliases.items() if name != "builder"}
            if state.alias is not None:
                aliases["builder"] = state.alias
            document["aliases"] = aliases
            if not aliases:
                del document["aliases"]
            self.config.write(document)
        os.unlink(self._state)


def _is_launcher(path: str) -> bool:
    try:
        with open(path, "rb") as file:
            return file.read(len(_MARK)) == _MARK
    except OSError:
        return False


def command_line() -> tuple[str, str]:
    """The interpreter that runs us, and the folder it has to be told to find us in ("" when it finds us by itself)."""
    import sysconfig

    import trimaran

    source = os.path.dirname(os.path.dirname(os.path.abspath(trimaran.__file__)))
    installed = source in {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    return os.path.abspath(sys.executable), "" if installed else source


def launcher(command: tuple[str, str], kept: str) -> str:
    """The script. It answers docker's question for metadata itself: docker asks it twice for each of its commands.

    -P keeps the current folder, which is the user's context, off Python's search path. Where the interpreter is gone,
    the displaced buildx goes on working.
    """
    import shlex

    interpreter, source = (shlex.quote(word) for word in command)
    path = f"PYTHONPATH={source}${{PYTHONPATH:+:$PYTHONPATH}} " if command[1] else ""
    metadata = msgspec.json.encode(
        {
            "SchemaVersion": "0.1.0",
            "Vendor": "Trimaran",
            "Version": f"v{__version__}",
            "ShortDescription": "Docker Buildx (Trimaran)",
        }
    ).decode()
    return f"""{_MARK.decode()}`trimaran plugin uninstall` brings back what was here before.
if [ "$1" = docker-cli-plugin-metadata ]; then
    printf '%s\\n' {shlex.quote(metadata)}
    exit
fi
if [ -x {interpreter} ]; then
    {path}exec {interpreter} -P -m trimaran {NAME} "$@"
fi
if [ -x {shlex.quote(kept)} ]; then
    printf '%s\\n' {shlex.quote(f"WARNING: Trimaran is gone ({command[0]}): running the buildx it displaced")} >&2
    exec {shlex.quote(kept)} "$@"
fi
printf '%s %s\\n' {shlex.quote(f"ERROR: Trimaran is gone ({command[0]}): install it again, or remove")} "$0" >&2
exit 1
"""


def hand_over(words: Sequence[str], environment: Mapping[str, str], what: str) -> NoReturn:
    """Become the displaced buildx with the same words (`sys.argv`), after one notice; Unsupported when there is none.

    `what` names what Trimaran does not have: `command "bake"`, `builder "remote"`.
    """
    path = Plugin(environment).displaced()
    if not path:
        raise Unsupported(
            f"{what}: not done by Trimaran's embedded builder, and no other buildx is installed",
            hint="install Docker's buildx, and it is called for this",
        )
    rest = list(words[1:])
    if rest[:1] == [NAME]:
        rest = rest[1:]
    sys.stdout.flush()
    sys.stderr.write(f"NOTICE: {what} is not Trimaran's: running {path}\n")
    sys.stderr.flush()
    try:
        os.execve(path, [path, *rest], dict(environment))  # noqa: S606 - becoming it is the purpose; no shell
    except OSError as error:
        raise TrimaranError(f"run {path}: {error.strerror}") from error


def answers(path: str, words: Sequence[str], environment: Mapping[str, str]) -> str:
    """What the displaced buildx at `path` says to `words` on standard output; "" when it cannot be run."""
    import subprocess

    try:
        done = subprocess.run([path, *words], env=dict(environment), capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return done.stdout


def _write(path: str, data: bytes, mode: int) -> None:
    """A new file with exactly this mode, whole."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    with os.fdopen(descriptor, "wb") as file:
        os.fchmod(descriptor, mode)
        file.write(data)
        file.flush()
        os.fsync(descriptor)


def _refused(what: str, error: OSError) -> Denied:
    return Denied(f"{what}: {error.filename}: {error.strerror}", hint="check who owns that folder")
