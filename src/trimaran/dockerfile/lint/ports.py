"""EXPOSE: protocols in small letters, and ports of the container alone."""

from __future__ import annotations

from collections.abc import Iterator

from trimaran.dockerfile.instructions import Expose
from trimaran.dockerfile.lint.rule import Finding, Rule
from trimaran.dockerfile.ports import PROTOCOLS
from trimaran.dockerfile.state import StageState, Target
from trimaran.dockerfile.words import ExpansionError

EXPOSE_PROTO_CASING = Rule(
    name="ExposeProtoCasing",
    description="Protocol in EXPOSE instruction should be lowercase",
    message="Defined protocol '{port}' in EXPOSE instruction should be lowercase",
)
EXPOSE_INVALID_FORMAT = Rule(
    name="ExposeInvalidFormat",
    description="IP address and host-port mapping should not be used in EXPOSE instruction. "
    "This will become an error in a future release",
    message="EXPOSE instruction should not define an IP address or host-port mapping, found '{port}'",
)


def exposed_ports(item: Expose, state: StageState, target: Target) -> Iterator[Finding]:
    """Ports that are none are an error of the conversion."""
    try:
        ports = [word for text in item.ports for word in target.expander.words(text, state.env)]
    except ExpansionError:
        return
    for port in ports:
        *outer, inner = port.split(":")
        number, _, protocol = inner.partition("/")
        if not number or protocol.lower() not in ("", *PROTOCOLS):
            return
        if protocol != protocol.lower():
            yield EXPOSE_PROTO_CASING.found(item.node, port=port)
        if any(outer):
            yield EXPOSE_INVALID_FORMAT.found(item.node, port=port)
