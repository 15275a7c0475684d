"""`git` as a program that is given nothing: no configuration but ours, no hooks, no prompts, no protocol but four.

Law (threats T20, T21, T25 to T27): the environment is built from empty. A remote is named by configuration in that
environment, never by an argument; whatever else comes from a person or a server is a full name (`refs/…`, an object
name), and stands behind the options. Nothing is ever checked out: objects are read, so no path of a repository, filter,
hook or link of it has any effect. What logs in lies in memory, behind a descriptor that git inherits: it is in no
command line (git gives URLs to its helpers so) and in no environment.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from urllib.parse import urlsplit

import msgspec

from trimaran.aio import Cancel
from trimaran.errors import Corrupt, NotFound, TrimaranError, Unavailable, UsageError
from trimaran.registry.errors import TRUST, printable
from trimaran.registry.proxy import bypassed
from trimaran.sources.git_url import Remote

PROTOCOLS = "http:https:ssh:git"
_SECONDS_WITHOUT_PROGRESS = 60
_PASSED = ("PATH", "TMPDIR")
_PORTS = {"http": 80, "https": 443}
_PROXIES = ("http_proxy", "https_proxy", "all_proxy")
_SETTINGS = {
    "core.hooksPath": "/dev/null",
    "core.fsmonitor": "false",
    "core.symlinks": "false",
    "core.askPass": "",
    "core.attributesFile": "/dev/null",
    "core.excludesFile": "/dev/null",
    "credential.helper": "",
    "fetch.recurseSubmodules": "false",
    "submodule.recurse": "false",
    "gc.auto": "0",
    "maintenance.auto": "false",
    "transfer.bundleURI": "false",
    "http.followRedirects": "initial",
    "http.lowSpeedLimit": "1",
    "http.lowSpeedTime": str(_SECONDS_WITHOUT_PROGRESS),
    "remote.origin.tagOpt": "--no-tags",
}
_SSH = (
    "ssh -F none -o BatchMode=yes -o StrictHostKeyChecking=yes -o ForwardAgent=no -o ForwardX11=no -o ConnectTimeout=30"
)
_OUTPUT_LIMIT = 512 << 20


class GitFailed(Unavailable):
    """git said no: `complaint` is what it wrote, without credentials."""

    complaint = ""


class RepositoryBroken(Corrupt):
    """Objects of the kept repository `folder` that were here are not: it has to be fetched anew."""

    folder = ""


class Git(msgspec.Struct, frozen=True, kw_only=True):
    """git on the repository `folder`, with `remote` as its origin. `agent`: the ssh agent's socket, "" for none."""

    folder: str
    remote: Remote | None = None
    agent: str = ""
    authorization: str = ""
    """Value of the Authorization header, for the remote's own host alone."""
    inherited: Mapping[str, str] = {}
    protocols: str = PROTOCOLS

    @contextmanager
    def private(self) -> Iterator[tuple[dict[str, str], tuple[int, ...]]]:
        """All that git gets to know, and the descriptors that it needs for it."""
        with ExitStack() as stack:
            settings, variables, descriptors = {}, {}, []
            if self.remote is not None and self.authorization:
                place = f"{self.remote.scheme}://{self.remote.host}/"
                config = f'[http "{_quoted(place)}"]\n\textraHeader = "Authorization: {_quoted(self.authorization)}"\n'
                descriptors.append(stack.enter_context(_in_memory(config)))
                variables["GIT_CONFIG_GLOBAL"] = f"/proc/self/fd/{descriptors[-1]}"
                settings["http.followRedirects"] = "false"  # git would send the header along (T27)
            elif self.remote is not None and self.remote.has_login:
                descriptors.append(stack.enter_context(_in_memory(_login(self.remote))))
                # Asked for this host alone, by git itself, when the server wants to know.
                name = f"credential.{self.remote.scheme}://{self.remote.host}.helper"
                settings[name] = f'!f() {{ test "$1" != get || cat /proc/self/fd/{descriptors[-1]}; }}; f'
            yield self._environment(settings) | variables, tuple(descriptors)

    def _environment(self, more: Mapping[str, str]) -> dict[str, str]:
        given = {name: self.inherited[name] for name in _PASSED if name in self.inherited} | self._proxies()
        if certificates := self.inherited.get("SSL_CERT_FILE"):
            given["GIT_SSL_CAINFO"] = certificates
        if folder := self.inherited.get("SSL_CERT_DIR"):
            given["GIT_SSL_CAPATH"] = folder
        settings = {**_SETTINGS, **more}
        if self.remote is not None:
            settings["remote.origin.url"] = self.remote.bare
        for number, (name, value) in enumerate(settings.items()):
            given[f"GIT_CONFIG_KEY_{number}"] = name
            given[f"GIT_CONFIG_VALUE_{number}"] = value
        return given | {
            "GIT_CONFIG_COUNT": str(len(settings)),
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_SYSTEM": "/dev/null",
            "GIT_CONFIG_GLOBAL": "/dev/null",
            "GIT_ATTR_NOSYSTEM": "1",
            "GIT_ALLOW_PROTOCOL": self.protocols,
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_LFS_SKIP_SMUDGE": "1",
            "GIT_NO_REPLACE_OBJECTS": "1",
            "GIT_NO_LAZY_FETCH": "1",
            "GIT_SSH_VARIANT": "ssh",
            "GIT_SSH_COMMAND": self._ssh(),
            "HOME": "/nonexistent",
            "LC_ALL": "C",
            **({"SSH_AUTH_SOCK": self.agent} if self.agent else {}),
        }

    def _proxies(self) -> dict[str, str]:
        """As for what we fetch ourselves; git's library wants lower case and has other rules for NO_PROXY."""
        remote = self.remote
        if remote is None or remote.scheme not in _PORTS:
            return {}
        host = urlsplit(f"//{remote.host}")
        no_proxy = self.inherited.get("NO_PROXY") or self.inherited.get("no_proxy") or ""
        if bypassed(host.hostname or "", host.port or _PORTS[remote.scheme], no_proxy):
            return {}
        both = {name: self.inherited.get(name.upper()) or self.inherited.get(name) for name in _PROXIES}
        return {name: value for name, value in both.items() if value}

    def local_environment(self) -> dict[str, str]:
        """For what asks no server: nothing that logs in."""
        return self._environment({})

    def _ssh(self) -> str:
        """Host keys are the person's own; without an agent there is nothing to log in with."""
        import shlex

        known = os.path.join(self.inherited.get("HOME", "/nonexistent"), ".ssh", "known_hosts")
        words = ["-o", f"UserKnownHostsFile={known}", "-o", "IdentityFile=none"]
        return f"{_SSH} {shlex.join(words)}"

    def command(self, arguments: Sequence[str]) -> list[str]:
        return ["git", f"--git-dir={self.folder}", "--no-pager", "--literal-pathspecs", *arguments]

    def redacted(self, text: str) -> str:
        """Of git's words, fit for a terminal: nothing that logs in to the remote."""
        if self.remote is not None and self.remote.has_login:
            from urllib.parse import unquote

            for secret in (self.remote.password, self.remote.user):
                for form in filter(None, (secret, unquote(secret))):
                    text = text.replace(f"{form}@", "…@")
        return printable(text.strip(), 600)

    async def run(self, *arguments: str, what: str) -> bytes:
        """What git prints. GitFailed, in the words `what: its complaint`; killed when the waiter leaves."""
        import asyncio

        pipe = asyncio.subprocess.PIPE
        with self.private() as (environment, descriptors):
            try:
                process = await asyncio.create_subprocess_exec(
                    *self.command(arguments),
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=pipe,
                    stderr=pipe,
                    cwd="/",
                    env=environment,
                    pass_fds=descriptors,
                    start_new_session=True,
                )
            except OSError as error:
                raise not_started(error, what) from None
        try:
            output, complaint = await process.communicate()
        except BaseException:
            if process.returncode is None:
                kill_group(process.pid)
            await process.wait()
            raise
        if process.returncode:
            raise self.failed(what, complaint, process.returncode)
        if len(output) > _OUTPUT_LIMIT:
            raise Corrupt(f"{what}: git printed {len(output)} bytes")
        return output

    async def read(self, *arguments: str, what: str) -> bytes:
        """`run`, of what has to be here: RepositoryBroken when it is not."""
        try:
            return await self.run(*arguments, what=what)
        except GitFailed as error:
            raise self.broken(error.message) from error

    def broken(self, message: str) -> RepositoryBroken:
        error = RepositoryBroken(message)
        error.folder = self.folder
        return error

    def failed(self, what: str, complaint: bytes, code: int) -> GitFailed:
        whole = complaint[-4000:].decode(errors="replace")
        # ssh frames its warning of a changed host key with lines of this sign.
        words = self.redacted("\n".join(line for line in whole.splitlines() if not line.startswith("@")))
        lines = [part.removeprefix("fatal: ").removeprefix("remote: ") for part in words.split("  ")]
        error = GitFailed(f"{what}: {' '.join(lines) or f'git ended with exit code {code}'}", hint=_hint(whole))
        error.complaint = words
        return error


@contextmanager
def _in_memory(text: str) -> Iterator[int]:
    """A descriptor of a file without a name; whoever opens it by its number reads from the beginning."""
    fd = os.memfd_create("git", os.MFD_CLOEXEC)
    try:
        os.write(fd, text.encode())
        yield fd
    finally:
        os.close(fd)


def _quoted(text: str) -> str:
    """Within the quotes of a configuration file."""
    return text.replace("\\", "\\\\").replace('"', '\\"')


def _login(remote: Remote) -> str:
    """As a credential helper answers."""
    from urllib.parse import unquote

    user, password = unquote(remote.user), unquote(remote.password)
    if not (user + password).isprintable():
        raise UsageError(f"log in to {remote.bare}: user or password is more than one line of text")
    return f"username={user}\npassword={password}\n"


def kill_group(pid: int) -> None:
    """git and what it started (ssh, remote helpers): they have a session of their own."""
    import signal
    from contextlib import suppress

    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


def _hint(words: str) -> str:
    if "could not read Username" in words or "Authentication failed" in words:
        return "a private repository needs credentials: https://USER:TOKEN@HOST/…, or git@HOST:… with an ssh agent"
    if "HOST IDENTIFICATION HAS CHANGED" in words:
        return "somebody may be listening in; if the host has a new key: ssh-keygen -R HOST, then connect once by ssh"
    if "Host key verification failed" in words:
        return "connect once by ssh to take the host's key into ~/.ssh/known_hosts"
    if "Permission denied (publickey" in words:
        return "start an ssh agent that holds a key for this host"
    if "certificate" in words and "verif" in words:
        return TRUST
    return ""


def not_started(error: OSError, what: str) -> TrimaranError:
    if isinstance(error, FileNotFoundError):
        return NotFound(f"{what}: there is no git here", hint="install git")
    return Unavailable(f"{what}: start git: {(error.strerror or str(error)).lower()}")


def read_objects(
    cancel: Cancel, git: Git, names: Sequence[str], folder: int, *, what: str
) -> dict[str, tuple[int, str]]:
    """Every blob of `names` as a file of that name in the opened `folder`: name → (size, content digest).

    Flat, so that no path of the repository is ever one of this machine. Corrupt when an object is missing.
    """
    import subprocess
    import tempfile

    found: dict[str, tuple[int, str]] = {}
    with tempfile.TemporaryFile() as wanted:
        wanted.write("".join(f"{name}\n" for name in names).encode())
        wanted.seek(0)
        try:
            process = subprocess.Popen(
                git.command(["cat-file", "--batch", "--buffer"]),
                stdin=wanted,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                cwd="/",
                env=git.local_environment(),
                start_new_session=True,
            )
        except OSError as error:
            raise not_started(error, what) from None
    cancel.on_cancel(lambda: kill_group(process.pid) if process.poll() is None else None)
    assert process.stdout is not None
    try:
        for name in names:
            cancel.check()
            head = process.stdout.readline(4096).split()
            if len(head) != 3 or head[0] != name.encode() or head[1] != b"blob":
                cancel.check()
                raise git.broken(f"{what}: the repository has no file object {name}")
            found[name] = _copy_object(cancel, git, process.stdout.read, int(head[2]), name, folder, what)
            process.stdout.read(1)
    finally:
        if process.poll() is None:
            kill_group(process.pid)
        process.stdout.close()
        process.wait()
    return found


def _copy_object(
    cancel: Cancel, git: Git, read: Callable[[int], bytes], size: int, name: str, folder: int, what: str
) -> tuple[int, str]:
    from hashlib import sha256

    hasher = sha256()
    left = size
    fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=folder)
    try:
        while left:
            cancel.check()
            data = read(min(left, 1 << 20))
            if not data:
                raise git.broken(f"{what}: object {name} broke off")
            hasher.update(data)
            left -= len(data)
            view = memoryview(data)
            while view:
                view = view[os.write(fd, view) :]
    except OSError as error:
        raise Unavailable(f"{what}: write object: {(error.strerror or str(error)).lower()}") from error
    finally:
        os.close(fd)
    return size, "sha256:" + hasher.hexdigest()
