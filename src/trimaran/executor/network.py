"""Network of a step: which mode the machine gives, and the two files a container reads about it."""

from __future__ import annotations

import os

from trimaran.executor.spec import ExecSpec, HostAlias

_RESOLVER = "/etc/resolv.conf"
_STUB = "127.0.0.53"
_BEHIND_STUB = "/run/systemd/resolve/resolv.conf"
_PUBLIC = ("8.8.8.8", "8.8.4.4", "2001:4860:4860::8888", "2001:4860:4860::8844")


def hosts_file(hostname: str, extra: tuple[HostAlias, ...]) -> str:
    """/etc/hosts as BuildKit writes it (reference §4.1)."""
    lines = [f"127.0.0.1\tlocalhost {hostname}", "::1\tlocalhost ip6-localhost ip6-loopback"]
    lines += [f"{alias.address}\t{alias.name}" for alias in extra]
    return "\n".join(lines) + "\n"


def resolver_file(text: str, *, shared: bool) -> str:
    """/etc/resolv.conf for a container: as it is when the network is `shared` with the machine.

    Else name servers on loopback, which are the machine's own, go; where none is left, public ones stand in.
    """
    if shared:
        return text
    kept, servers = [], 0
    for line in text.splitlines():
        words = line.split()
        if len(words) > 1 and words[0] == "nameserver":
            if words[1].startswith("127.") or words[1] == "::1":
                continue
            servers += 1
        kept.append(line)
    if not servers:
        kept += [f"nameserver {address}" for address in _PUBLIC]
    return "\n".join(kept) + "\n"


def write_files(spec: ExecSpec, folder: str) -> tuple[str, str]:
    """Write both files into `folder`; their paths, the second empty when the step has no network (no names either)."""
    hosts = f"{folder}/hosts"
    _write(hosts, hosts_file(spec.hostname, spec.extra_hosts))
    resolver = f"{folder}/resolv.conf"
    if spec.network == "none":
        _write(resolver, "")
        return hosts, resolver
    shared = spec.network == "host"
    _write(resolver, resolver_file(_machine_resolver(shared=shared), shared=shared))
    return hosts, resolver


def _machine_resolver(*, shared: bool) -> str:
    try:
        with open(_RESOLVER, encoding="utf-8", errors="replace") as file:
            text = file.read(1 << 16)
        if not shared and _STUB in text and os.path.exists(_BEHIND_STUB):
            with open(_BEHIND_STUB, encoding="utf-8", errors="replace") as file:
                return file.read(1 << 16)
        return text
    except OSError:
        return ""


def _write(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    with os.fdopen(fd, "w", encoding="utf-8") as file:
        os.fchmod(fd, 0o644)
        file.write(text)
