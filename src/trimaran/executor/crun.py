"""crun: the fast one (about 10 ms per container with the seccomp program ready)."""

from __future__ import annotations

from typing import Any

import msgspec

from trimaran.executor import seccomp_filter
from trimaran.executor.containers import Containers
from trimaran.executor.runtime import Terminal
from trimaran.executor.spec import ExecSpec


class Crun(Containers):
    """Groups are ours (linux/cgroups.py), so its own cgroup handling is off: it fails on hybrid machines."""

    name = "crun"

    def arguments(self, identity: str, bundle: str) -> list[str]:
        return [
            self.program,
            "--cgroup-manager=disabled",
            f"--root={self.folder}/state",
            f"--log={bundle}/error.json",
            "--log-format=json",
            "run",
            f"--bundle={bundle}",
            "--",
            identity,
        ]

    def config(self, spec: ExecSpec, rootfs: str, bundle: str, terminal: Terminal) -> bytes:
        content = super().config(spec, rootfs, bundle, terminal)
        if spec.security == "insecure":
            return content
        config: dict[str, Any] = msgspec.json.decode(content)
        program = seccomp_filter.program(config["linux"]["seccomp"], self.kept)
        if program is None:
            return content
        import base64

        # The profile stays in: a crun that does not know the annotation uses it.
        config["annotations"] = {"run.oci.seccomp_bpf_data": base64.b64encode(program).decode()}
        return msgspec.json.encode(config)
