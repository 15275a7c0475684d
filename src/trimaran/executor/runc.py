"""runc: the reference runtime (30 to 50 ms per container)."""

from __future__ import annotations

from trimaran.executor.containers import Containers


class Runc(Containers):
    """Needs a cgroup hierarchy it can write to; rootless it does without one."""

    name = "runc"

    def arguments(self, identity: str, bundle: str) -> list[str]:
        return [
            self.program,
            f"--root={self.folder}/state",
            f"--log={bundle}/error.json",
            "--log-format=json",
            "run",
            f"--bundle={bundle}",
            "--",
            identity,
        ]
