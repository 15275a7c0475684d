"""Which row of the ladder (docs/environments.md) this place is: what steps run in, and what that takes."""

from __future__ import annotations

from trimaran.doctor.machine import Finding, Machine
from trimaran.errors import UsageError
from trimaran.executor.isolation import MEANINGS, VARIABLE, Isolation, choose, weakest_accepted
from trimaran.linux.enter import foresee
from trimaran.linux.place import Place
from trimaran.settings import Settings, load

_NAME = "place"


def examine(machine: Machine) -> list[Finding]:
    try:
        settings = load(machine.environment)
    except UsageError:
        settings = Settings()  # the registry check tells of settings that cannot be read
    place = foresee()
    try:
        isolation = choose(place, weakest_accepted(settings.worker, machine.environment))
    except UsageError as error:
        return [Finding(_NAME, "fail", f"{error.message}: {error.hint}", f"unset {VARIABLE}")]
    return [decide(place, isolation, machine.uid)]


def row(place: Place, uid: int) -> str:
    """What docs/environments.md calls it."""
    if place.mounts and place.processes:
        if uid == 0:
            return "root"
        return "an account with subordinate ids" if place.ids else "an account without subordinate ids"
    if place.mounts:
        return "a container that allows user namespaces"
    return "root of a container" if place.root else "a place without rights"


def decide(place: Place, isolation: Isolation, uid: int) -> Finding:
    name = row(place, uid)
    if isolation.kind == "container":
        if not isolation.why:
            return Finding(_NAME, "ok", f"{name}: each RUN gets a container")
        detail = f"{name}: RUN works on images whose files are root's alone; otherwise see the line below, or accept "
        return Finding(_NAME, "warn", detail + MEANINGS["one-user"], f"export {VARIABLE}=one-user")
    if isolation.kind == "none":
        return Finding(_NAME, "fail", f"{name} ({isolation.why}): all but RUN works")
    detail = f"{name} ({isolation.why}): RUN gets at best {MEANINGS[isolation.kind]}"
    if isolation.accepted:
        return Finding(_NAME, "warn", f"{detail}, which {VARIABLE} accepts")
    return Finding(_NAME, "fail", f"{detail}; all else works", f"export {VARIABLE}={isolation.kind}")
