"""crun: the fast one (about 10 ms per container with the seccomp program ready)."""

from __future__ import annotations

import fcntl
import os
from typing import Any

import msgspec

from trimaran.executor import seccomp_filter
from trimaran.executor.containers import Containers
from trimaran.executor.runtime import Terminal
from trimaran.executor.spec import ExecSpec

_ADD_SEALS = 1033  # F_ADD_SEALS: Python 3.11 has no name for it, nor for the seals
_SEALS = 0x1 | 0x2 | 0x4 | 0x8  # against more seals, shrinking, growing, writing


class Crun(Containers):
    """Groups are ours (linux/cgroups.py), so its own cgroup handling is off: it fails on hybrid machines."""

    name = "crun"
    _copy = -1

    def _sealed(self) -> str:
        """A copy of the program in memory that nobody can change, the same for all containers.

        crun makes itself such a copy at each start, lest a container writes to the program (CVE-2019-5736), and starts
        anew from it; finding that it is one already, it goes on (cloned_binary.c). 3 ms less per container.
        """
        if self._copy < 0:
            copy = os.memfd_create("crun", os.MFD_ALLOW_SEALING | os.MFD_CLOEXEC)
            with open(self.program, "rb") as file, os.fdopen(os.dup(copy), "wb") as target:
                target.write(file.read())
            os.fchmod(copy, 0o500)
            fcntl.fcntl(copy, _ADD_SEALS, _SEALS)
            self._copy = copy
        return f"/proc/{os.getpid()}/fd/{self._copy}"

    def arguments(self, identity: str, bundle: str) -> list[str]:
        return [
            self._sealed(),
            "--cgroup-manager=disabled",
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
