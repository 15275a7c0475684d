"""Which isolation of a step this place grants, and whether somebody has said that it will do. Pure.

Law: a step runs in the strongest isolation there is, and in one weaker than a container only by a setting that names it
(`$TRIMARAN_SANDBOX`, `[worker] sandbox`). Otherwise it is refused, with the reason and the name of the setting.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Literal

import msgspec

from trimaran.errors import Denied, UsageError
from trimaran.linux.place import Place
from trimaran.settings import WorkerSettings

Kind = Literal["container", "one-user", "no-process-sandbox", "chroot", "none"]
VARIABLE = "TRIMARAN_SANDBOX"

MEANINGS: dict[Kind, str] = {
    "container": "namespaces of its own",
    "one-user": "a container in which all users are one: owners that steps give to files are not kept",
    "no-process-sandbox": "a container that sees, and may end, this account's processes; owners as in one-user",
    "chroot": "a folder that a step is shut into, without mounts and /proc, on this place's network",
    "none": "nothing",
}
"""From the strongest to the weakest; what is accepted includes all that is stronger."""
_STRENGTH = tuple(MEANINGS)


class Isolation(msgspec.Struct, frozen=True):
    """`why`: what the place refuses, so that it is no better; "" where nothing is. `accepted`: it may be used.

    A container with a `why` has one user, and that was not accepted: whatever needs another one is to be refused.
    """

    kind: Kind
    why: str = ""
    accepted: bool = True

    @property
    def one_user(self) -> bool:
        """Whether owners are pretended: changing them succeeds and does nothing."""
        return self.kind in {"one-user", "no-process-sandbox"}

    @property
    def mounts(self) -> bool:
        """Whether a step can be shown anything beside its root."""
        return self.kind not in {"chroot", "none"}

    @property
    def only_root(self) -> bool:
        """Whether a root with files of anybody but root is to be refused."""
        return self.kind == "container" and bool(self.why)

    def require(self) -> None:
        """Denied where a step must not run: nothing can hold it, or only what nobody said would do."""
        if self.kind == "none":
            raise Denied(
                f"run a process: nothing here can hold it: {self.why}",
                hint="builds without RUN work here; `trimaran doctor` says what RUN needs",
            )
        if not self.accepted:
            raise Denied(
                f"run a process: this place grants no container: {self.why}",
                hint=f"set {VARIABLE}={self.kind} to accept {MEANINGS[self.kind]}",
            )

    @property
    def notice(self) -> str:
        """The line that a build says once when its steps run in less than a container."""
        if self.kind == "container":
            return ""
        return f"{VARIABLE}={self.kind}: each step runs in {MEANINGS[self.kind]} ({self.why})"

    def __str__(self) -> str:
        """As `inspect` shows it."""
        if self.kind == "container":
            return f"container, for files of root alone: {self.why}" if self.why else self.kind
        return f"{self.kind}{'' if self.accepted or self.kind == 'none' else ' (not accepted)'}: {self.why}"


def choose(place: Place, weakest: str = "") -> Isolation:
    """The strongest the place grants; `weakest` is the weakest that was accepted (default: container)."""
    weakest = weakest or "container"
    if weakest not in _STRENGTH[:-1]:
        known = ", ".join(_STRENGTH[:-1])
        raise UsageError(f'choose sandbox: unknown sandbox "{weakest}"', hint=f"known: {known}")
    kind, why = strongest(place)
    accepted = kind != "none" and _STRENGTH.index(kind) <= _STRENGTH.index(weakest)
    if kind == "one-user" and not accepted:
        return Isolation("container", why)
    return Isolation(kind, why, accepted)


def weakest_accepted(settings: WorkerSettings, environment: Mapping[str, str] = os.environ) -> str:
    """What the environment, else the settings name; `noProcessSandbox` is buildkitd's word for one of them."""
    named = environment.get(VARIABLE) or settings.sandbox
    return named or ("no-process-sandbox" if settings.no_process_sandbox else "")


def strongest(place: Place) -> tuple[Kind, str]:
    """What the place grants at best, and what it refuses."""
    if place.mounts and not place.processes:
        return "no-process-sandbox", place.refusal
    if place.mounts:
        if place.ids:
            return "container", ""
        return "one-user", "this account has no subordinate ids"
    return ("chroot" if place.root else "none"), place.refusal
