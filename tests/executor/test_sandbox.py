"""The one door to a container: what it lets through, and which network a step gets."""

import asyncio

import pytest

from trimaran.errors import Denied, Unavailable, UsageError
from trimaran.executor import network
from trimaran.executor.runtime import Exit
from trimaran.executor.sandbox import Networks, Sandbox
from trimaran.executor.spec import ExecSpec


class Recorder:
    name = "recorder"

    def __init__(self):
        self.specs = []

    async def run(self, spec, rootfs, *, output, stdin=None, terminal=None, signals=()):
        self.specs.append(spec)
        return Exit(0)


def run(granted=(), networks=None, **options):
    """Run one container; the spec its runtime got."""
    runtime = Recorder()
    box = Sandbox(lambda: runtime, networks or Networks("/nowhere", rootless=False), granted)
    asyncio.run(box.run(ExecSpec(args=("true",), **options), "/", output=lambda *_: None))
    return runtime.specs[0]


@pytest.mark.parametrize(
    ("options", "entitlement"),
    [
        ({"network": "host"}, "network.host"),
        ({"network": "none", "security": "insecure"}, "security.insecure"),
    ],
)
def test_what_was_not_allowed_never_reaches_a_runtime(options, entitlement):
    others = {"network.host", "security.insecure", "buildx.local.delete"} - {entitlement}
    with pytest.raises(Denied, match=f"{entitlement} is not allowed") as caught:
        run(others, **options)
    assert caught.value.hint == f"allow it with --allow {entitlement}"
    for name, value in options.items():
        assert getattr(run([entitlement], **options), name) == value


@pytest.mark.parametrize("options", [{"security": "2"}, {"security": ""}, {"network": "container:x"}, {"network": ""}])
def test_what_is_no_mode_is_refused_and_no_default_stands_in(options):
    """T05 (GHSA-7236-3392-c5c6)."""
    with pytest.raises(UsageError, match="unknown"):
        run(("network.host", "security.insecure"), **options)


def test_none_and_default_need_nothing():
    assert run(network="none").network == "none"
    assert run(network="default").network == "host", "as root"


def test_a_private_network_is_connected_once(monkeypatch):
    opened = []

    async def open_private(choice, folder):
        opened.append(folder)
        await asyncio.sleep(0)
        return network.Private("/ns", ("1.2.3.4",))

    monkeypatch.setattr(network, "choose", lambda *, rootless: network.Choice("private", "/usr/bin/pasta"))
    monkeypatch.setattr(network, "open_private", open_private)
    networks = Networks("/run", rootless=True)

    async def work():
        spec = ExecSpec(args=("x",), network="default")
        first, second = await asyncio.gather(networks.join(spec), networks.join(spec))
        assert first == second
        assert (first.network, first.network_namespace, first.nameservers) == ("private", "/ns", ("1.2.3.4",))
        own = ExecSpec(args=("x",), network="host")
        assert await networks.join(own) is own

    asyncio.run(work())
    assert opened == ["/run"]
    assert str(networks.choice) == "private (pasta)"


def test_a_private_network_that_fails_is_the_machines_with_a_warning(monkeypatch):
    async def open_private(choice, folder):
        raise Unavailable("connect network with pasta: no")

    monkeypatch.setattr(network, "choose", lambda *, rootless: network.Choice("private", "/usr/bin/pasta"))
    monkeypatch.setattr(network, "open_private", open_private)
    networks = Networks("/run", rootless=True)
    assert run(networks=networks, network="default").network == "host"
    assert "connect network with pasta: no" in networks.warning
    assert str(networks.choice) == "host: connect network with pasta: no"
