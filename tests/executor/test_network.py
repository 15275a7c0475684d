"""The two files of a container, the choice of a network, and private networks that really connect."""

import http.server
import os

import pytest
from stage.in_thread import serving

from contracts.test_runtime import Box
from trimaran.executor import network
from trimaran.executor.spec import ExecSpec, HostAlias


def test_hosts_as_buildkit():
    text = network.hosts_file("buildkitsandbox", (HostAlias("db", "10.0.0.7"),))
    assert text == ("127.0.0.1\tlocalhost buildkitsandbox\n::1\tlocalhost ip6-localhost ip6-loopback\n10.0.0.7\tdb\n")


RESOLVER = "search example.org\nnameserver 127.0.0.53\nnameserver 10.0.0.1\noptions ndots:2\n"


def test_resolver_of_the_machine_is_kept_as_it_is():
    assert network.resolver_file(RESOLVER, shared=True) == RESOLVER


def test_private_network_has_no_loopback_resolver():
    text = network.resolver_file(RESOLVER, shared=False)
    assert text == "search example.org\nnameserver 10.0.0.1\noptions ndots:2\n"
    assert "8.8.8.8" in network.resolver_file("nameserver ::1\nnameserver 127.0.0.1\n", shared=False)


def test_replaced_resolvers():
    assert (
        network.replace_nameservers(RESOLVER, ("1.2.3.4",))
        == "search example.org\noptions ndots:2\nnameserver 1.2.3.4\n"
    )


def test_no_network_no_resolver(tmp_path):
    hosts, resolver = network.write_files(ExecSpec(args=("x",), network="none"), str(tmp_path))
    assert os.path.getsize(resolver) == 0
    assert os.path.getsize(hosts) > 0
    assert os.stat(hosts).st_mode & 0o777 == 0o644


def test_choice(monkeypatch):
    found = {"pasta": "/usr/bin/pasta", "slirp4netns": "/usr/bin/slirp4netns"}
    monkeypatch.setattr(network, "find_program", found.get)
    monkeypatch.setattr(network.os, "access", lambda path, mode: True)
    assert str(network.choose(rootless=False)) == "host"
    assert str(network.choose(rootless=True)) == "private (pasta)"
    del found["pasta"]
    assert str(network.choose(rootless=True)) == "private (slirp4netns)"
    monkeypatch.setattr(network.os, "access", lambda path, mode: False)
    assert "/dev/net/tun" in str(network.choose(rootless=True))
    found.clear()
    assert network.choose(rootless=True).mode == "host"


@pytest.fixture
def server():
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"host")

        def log_message(self, *arguments):
            pass

    with serving(http.server.HTTPServer(("127.0.0.1", 0), Handler)) as port:
        yield port


@pytest.mark.root
@pytest.mark.parametrize("program", ["pasta", "slirp4netns"])
def test_private_network_connects(shared, account, server, program):
    """Connected, with a default route; the machine's own loopback services are out of reach, and with `host` are not."""
    os.mknod(shared / "tun", 0o666 | 0o020000, os.makedev(10, 200))
    os.chmod(shared / "tun", 0o666)
    box = Box(shared, "crun", account)
    out = box(
        f"""
from trimaran.executor import network
from trimaran.linux import mounts
mounts.attach_bind({str(shared / "tun")!r}, "/dev/net/tun")  # this machine may keep it to root
fetch = "ip route | grep -c default; printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w 2 127.0.0.1 {server} | tail -n 1 | grep host || echo refused"
async def main():
    choice = network.Choice("private", network.find_program({program!r}))
    private = await network.open_private(choice, folder)
    options = dict(network="private", network_namespace=private.namespace, nameservers=private.nameservers)
    for kind in (options, {{}}):
        _, out, err = await run("/bin/sh", "-c", fetch, **kind)
        print(out.split())
    _, out, _ = await run("/bin/cat", "/etc/resolv.conf", **options)
    print([line for line in out.splitlines() if line.startswith("nameserver")] == [f"nameserver {{private.nameservers[0]}}"])
asyncio.run(main())
"""
    )
    assert out.splitlines()[0] == "['1', 'refused']"
    assert out.splitlines()[1].endswith("'host']")
    assert out.splitlines()[2] == "True"
