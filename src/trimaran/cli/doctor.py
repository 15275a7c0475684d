"""`doctor`: what of this machine is in the way of builds, and the command that mends it."""

from __future__ import annotations

from trimaran.cli.invocation import Invocation
from trimaran.cli.options import DEBUG, Command, Example, Flag, Values
from trimaran.doctor.machine import Finding

COMMAND = Command(
    name="doctor",
    summary="Check this machine and say how to mend it",
    usage="doctor [OPTIONS]",
    description=(
        "Look at the runtime, overlayfs, user namespaces, AppArmor, cgroups, emulators, registries and disk. "
        "Nothing is changed. Exits 1 when something has to be mended."
    ),
    flags=(DEBUG, Flag(name="json", kind="bool", help="Print the findings as JSON")),
    examples=(Example("Check this machine", "doctor"),),
)


def run(values: Values, invocation: Invocation) -> int:
    from trimaran import doctor

    findings = doctor.run()
    invocation.out(as_json(findings) if values.boolean("json") else as_text(findings))
    return 1 if any(finding.status == "fail" for finding in findings) else 0


def as_json(findings: list[Finding]) -> str:
    import msgspec

    status = next((word for word in ("fail", "warn") if any(finding.status == word for finding in findings)), "ok")
    document = msgspec.json.encode({"status": status, "findings": findings})
    return msgspec.json.format(document, indent=2).decode() + "\n"


def as_text(findings: list[Finding]) -> str:
    """One line per finding; each command stands once, under the first finding that it mends."""
    width = max((len(finding.name) for finding in findings), default=0)
    lines = []
    shown = set()
    for finding in findings:
        lines.append(f"{finding.status:<4}  {finding.name:<{width}}  {finding.detail}")
        if finding.command and finding.command not in shown:
            shown.add(finding.command)
            lines.append(f"{'':<{width + 8}}$ {finding.command}")
    return "\n".join(lines) + "\n"
