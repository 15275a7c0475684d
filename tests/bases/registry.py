"""A real registry (docker-registry) on a free port of this machine, for as long as a context lasts."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

READY = re.compile(r"listening on ([0-9.]+:[0-9]+)")
PATIENCE = 20.0  # seconds until it has to answer


@contextlib.contextmanager
def serve(folder: Path, **settings: Mapping[str, Any]) -> Iterator[str]:
    """Run a registry that keeps its content in `folder`; the context's value is its address (host:port).

    `settings` are added to the sections of its configuration file: `http={"tls": …}`, `auth={"htpasswd": …}`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "registry.log"
    configuration = folder / "config.yml"
    # JSON is YAML. Port 0: the kernel chooses, and the log tells.
    configuration.write_text(json.dumps(_configuration(folder, settings), indent=1))
    # It dies with us even if we are killed.
    command = ["setpriv", "--pdeathsig", "TERM", "docker-registry", "serve", str(configuration)]
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    try:
        yield _address(process, log)
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _configuration(folder: Path, settings: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    sections: dict[str, Any] = {
        "version": "0.1",
        "log": {"level": "info"},
        "storage": {
            "filesystem": {"rootdirectory": str(folder / "content")},
            "delete": {"enabled": True},
            "maintenance": {"uploadpurging": {"enabled": False}},
        },
        "http": {"addr": "127.0.0.1:0", "secret": "not a secret: only this process uses it"},
    }
    for name, values in settings.items():
        sections[name] = {**sections.get(name, {}), **values}
    return sections


def _address(process: subprocess.Popen[bytes], log: Path) -> str:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and process.poll() is None:
        found = READY.search(log.read_text())
        if found:
            return found[1]
        time.sleep(0.02)
    raise OSError(f"start docker-registry: it does not listen; its log ends: {log.read_text()[-2000:]}")
