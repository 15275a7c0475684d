"""What decides where images come from: our settings, docker's files, certificates and credential helpers."""

from __future__ import annotations

import os
import shlex

from trimaran.doctor.machine import Finding, Machine
from trimaran.errors import TrimaranError
from trimaran.settings import Settings, load

_NAME = "registry config"


def examine(machine: Machine) -> list[Finding]:
    try:
        settings = load(machine.environment)
    except TrimaranError as error:
        return [Finding(_NAME, "fail", str(error), _mend_settings(machine, error)), *_docker(machine)]
    findings = [*_certificates(machine, settings), *_docker(machine)]
    where = settings.path or "no trimaran.toml"
    return findings or [Finding(_NAME, "ok", f"{where}, {len(settings.registry)} registries set up")]


def _mend_settings(machine: Machine, error: TrimaranError) -> str:
    if error.where is None:
        return "unset TRIMARAN_CONFIG" if machine.environment.get("TRIMARAN_CONFIG") else ""
    return _edit(machine, error.where.filename, error.where.ranges[0].start.line)


def _edit(machine: Machine, path: str, line: int = 0) -> str:
    command = machine.remedies.edit(path, line)
    return command if os.access(path, os.W_OK) else machine.remedies.as_root(command)


def _certificates(machine: Machine, settings: Settings) -> list[Finding]:
    """Every file that a registry's settings name is there and is what it should be."""
    findings = []
    for host, registry in settings.registry.items():
        named = [(path, "ca") for path in registry.ca]
        named += [(path, kind) for pair in registry.keypair for path, kind in ((pair.key, "key"), (pair.cert, "cert"))]
        for path, kind in named:
            problem = _problem_of(path, kind)
            if problem:
                detail = f'{kind} of registry."{host}": {path}: {problem}'
                findings.append(Finding(_NAME, "fail", detail, _edit(machine, settings.path)))
    return findings


def _problem_of(path: str, kind: str) -> str:
    try:
        with open(path, "rb") as file:
            text = file.read(1 << 20)
    except OSError as error:
        return error.strerror or str(error)
    if kind == "key":
        return "" if b"PRIVATE KEY-----" in text else "holds no PEM private key"
    import ssl

    try:
        ssl.create_default_context(cadata=text.decode("ascii", errors="replace"))
    except (ssl.SSLError, ValueError):
        return "holds no PEM certificate"
    return ""


def _docker(machine: Machine) -> list[Finding]:
    """docker's own files, which are read where ours are silent."""
    from trimaran.registry.docker_config import find_helper, read_json_object

    home = machine.environment.get("HOME") or os.path.expanduser("~")
    folder = machine.environment.get("DOCKER_CONFIG") or os.path.join(home, ".docker")
    findings = []
    documents = {}
    for path in (os.path.join(folder, "config.json"), f"{machine.root}/etc/docker/daemon.json"):
        try:
            documents[path] = read_json_object(path) or {}
        except TrimaranError as error:
            findings.append(Finding(_NAME, "fail", str(error), _edit(machine, path)))
    path = os.path.join(folder, "config.json")
    config = documents.get(path, {})
    helpers = {str(config.get("credsStore") or ""), *map(str, (config.get("credHelpers") or {}).values())} - {""}
    for helper in sorted(helpers):
        try:
            find_helper(helper, machine.environment.get("PATH") or os.defpath)
        except TrimaranError as error:
            command = error.hint if error.hint.startswith("chmod") else _edit(machine, path)
            findings.append(Finding(_NAME, "fail", f"{path}: {error}", command))
    if config.get("auths") and os.stat(path).st_mode & 0o077:
        detail = f"{path} holds credentials and others may read it"
        findings.append(Finding(_NAME, "warn", detail, f"chmod 600 {shlex.quote(path)}"))
    return findings
