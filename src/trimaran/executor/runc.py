"""runc: the reference runtime (30 to 50 ms per container)."""

from __future__ import annotations

from typing import Any

import msgspec

from trimaran.executor.containers import Containers
from trimaran.executor.runtime import Terminal
from trimaran.executor.spec import ExecSpec


class Runc(Containers):
    """Makes a control group of its own below ours, with a device filter of its own; rootless it does without one."""

    name = "runc"

    def arguments(self, identity: str, bundle: str) -> list[str]:
        return [
            self.program,
            f"--root={self.folder}/state",
            f"--log={bundle}/error.json",
            "--log-format=json",
            "run",
            f"--bundle={bundle}",
            f"--pid-file={bundle}/pid",
            "--",
            identity,
        ]

    def config(self, spec: ExecSpec, rootfs: str, bundle: str, terminal: Terminal) -> bytes:
        content = super().config(spec, rootfs, bundle, terminal)
        if spec.security != "insecure":
            return content
        config: dict[str, Any] = msgspec.json.decode(content)
        config["linux"]["resources"] = {"devices": [{"allow": True, "access": "rwm"}]}
        return msgspec.json.encode(config)
