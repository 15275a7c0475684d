"""Emulators of the platforms this machine does not run itself: registered, on, and usable in any rootfs (flag F)."""

from __future__ import annotations

import shlex

import msgspec

from trimaran import platforms
from trimaran.doctor.machine import Finding, Machine
from trimaran.doctor.remedies import Remedies
from trimaran.executor import binfmt, emulation
from trimaran.executor.emulation import BINFMT_FOLDER, Handler, Missing

_NAME = "binfmt"


class Facts(msgspec.Struct, frozen=True):
    """`status` of binfmt_misc, None when it is not mounted; `machine` a Go architecture.

    `handlers`: the machine's. `foreseen`: those that steps will find, which may be of a table of their own.
    """

    machine: str
    status: str | None
    handlers: tuple[Handler, ...]
    foreseen: tuple[Handler, ...] = ()


def examine(machine: Machine) -> list[Finding]:
    status = machine.read(f"{BINFMT_FOLDER}/status")
    handlers = emulation.read_handlers(machine.root + BINFMT_FOLDER)
    facts = Facts(
        platforms.default().architecture,
        None if status is None else status.strip(),
        handlers,
        binfmt.foreseen(handlers, machine.uid, [machine.root + "/usr/bin"]),
    )
    return decide(facts, machine.remedies)


def decide(facts: Facts, remedies: Remedies) -> list[Finding]:
    everything = _install("all", remedies)
    own = facts.foreseen if facts.foreseen != facts.handlers else ()
    if facts.status is None and not own:
        return [Finding(_NAME, "warn", "binfmt_misc is not mounted: only native platforms can RUN", everything)]
    if facts.status != "enabled" and not own:
        command = f"echo 1 | {remedies.as_root('tee')} {BINFMT_FOLDER}/status"
        return [Finding(_NAME, "fail", "binfmt_misc is switched off", command)]
    findings = []
    native = emulation.native_architectures(facts.machine)
    for each in binfmt.EMULATORS:
        if each.architecture in native:
            continue
        sample = emulation.Program("", each.architecture, emulation.sample_header(each.architecture))
        found = emulation.needed_handler(sample, facts.machine, facts.handlers)
        name = f"{_NAME} linux/{each.architecture}"
        private = emulation.needed_handler(sample, facts.machine, own)
        if isinstance(found, Missing) and isinstance(private, Handler):
            findings.append(Finding(name, "ok", f"{private.interpreter}, registered for each of your builds alone"))
        elif isinstance(found, Missing):
            findings.append(_missing(name, found, remedies))
        elif found is not None:
            findings.append(Finding(name, "ok", f"{found.name} ({found.interpreter}, flags {found.flags})"))
    return findings


def _missing(name: str, missing: Missing, remedies: Remedies) -> Finding:
    entry = f"{BINFMT_FOLDER}/{shlex.quote(missing.handler)}"
    if missing.reason == "disabled":
        command = f"echo 1 | {remedies.as_root('tee')} {entry}"
        return Finding(name, "fail", f"{missing.handler} is switched off", command)
    if missing.reason == "not fixed":
        detail = f"{missing.handler} lacks flag F: {missing.interpreter} would have to be in each image"
        remove = f"echo -1 | {remedies.as_root('tee')} {entry}"
        return Finding(name, "fail", detail, f"{remove} && {_install(missing.architecture, remedies)}")
    return Finding(name, "warn", "no emulator: RUN cannot work for it", _install("all", remedies))


def _install(what: str, remedies: Remedies) -> str:
    """With sudo by its path: sudo searches folders of its own."""
    program = '"$(command -v trimaran)"' if remedies.raiser else "trimaran"
    return remedies.as_root(f"{program} binfmt --install {what}")
