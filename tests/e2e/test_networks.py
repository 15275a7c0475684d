"""Networks of companies: proxies that want to know who asks, certificates that are wrong, names that nobody knows."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from stage.certificates import Authority
from stage.contexts import Context
from stage.namespaces import mount_namespace
from stage.program import Trimaran
from stage.proxy import Proxy
from stage.web_server import WebServer

LOGIN = "user:hunter2%21"
PLAIN_LOGIN = "user:hunter2!"
CA = "CN=Trimaran test authority"


@contextmanager
def web(authority: Authority, pair: tuple[Path, Path] | None = None) -> Iterator[WebServer]:
    server = WebServer(authority)
    server.pair = pair or server.pair
    server.files["/file"] = b"fetched\n"
    with server.serving():
        yield server


def one_error(text: str) -> str:
    """The one line an error is, with its hint; no traceback."""
    assert "Traceback" not in text
    lines = [line for line in text.splitlines() if line.startswith("ERROR: ")]
    assert len(lines) == 1, text
    return "\n".join(lines + [line for line in text.splitlines() if line.startswith("hint: ")])


def adding(command: Trimaran, context: Context, url: str, exit_code: int = 1, **env: str) -> str:
    """What is said when a build fetches `url`; a refusal leaves nothing, and is one line."""
    context.dockerfile(f"FROM scratch\nADD {url} /file\n")
    said = command("build", "--progress=plain", context, exit_code=exit_code, env=env).stderr
    assert not [path for name in ("temp", "live") for path in (command.root / name).rglob("*")]
    return one_error(said) if exit_code else said


# -- certificates -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("begins", "ends", "name", "words", "hint"),
    [
        (-9, -2, "IP:127.0.0.1", r"certificate has expired: that of CN=127\.0\.0\.1, O=Test was valid until ", "clock"),
        (3, 9, "IP:127.0.0.1", r"not yet valid: that of CN=127\.0\.0\.1, O=Test is valid from ", "clock says"),
        (-1, 9, "DNS:other.test", r"not valid for '127\.0\.0\.1': it is for other\.test ", "use one of its names"),
    ],
    ids=["expired", "not yet valid", "another host"],
)
def test_what_is_wrong_with_a_certificate_and_whose_it_is(
    trimaran: Trimaran,
    context: Context,
    authority: Authority,
    begins: int,
    ends: int,
    name: str,
    words: str,
    hint: str,
) -> None:
    pair = authority.issue(begins, ends, name)
    env = {"SSL_CERT_FILE": str(authority.ca)}
    with web(authority, pair) as server:
        said = adding(trimaran, context, server.url("/file"), **env)
        assert re.search(words, said), said
        assert f"signed by {CA}" in said
        assert hint in said
        assert re.search(r"\d{4}-\d\d-\d\d \d\d:\d\d UTC", said) or "other.test" in said
        looked = trimaran("imagetools", "inspect", f"127.0.0.1:{server.port}/app", env=env, exit_code=1).stderr
        assert re.search(words, one_error(looked)), looked
        assert "ca = [" not in looked, "no matter of trust"


def test_who_opened_the_tunnel_is_named(
    trimaran: Trimaran, context: Context, authority: Authority, proxy: Proxy
) -> None:
    """A proxy that opens TLS shows its own certificate inside the tunnel: whose that is helps."""
    with web(authority) as server:
        proxy.names["registry.test:443"] = proxy.names["files.test:443"] = f"127.0.0.1:{server.port}"
        env = {"HTTPS_PROXY": proxy.url, "SSL_CERT_FILE": "/dev/null"}
        said = adding(trimaran, context, "https://registry.test/file", **env)
        assert f"certificate refused: unable to get local issuer certificate (it is signed by {CA})" in said
        assert "hint: put the CA into this machine's store, or set SSL_CERT_FILE" in said
        looked = trimaran("imagetools", "inspect", "registry.test/app", env=env, exit_code=1).stderr
        assert f"signed by {CA}" in one_error(looked)
        assert '[registry."registry.test"] ca = ["FILE"]' in looked
        wrong = adding(trimaran, context, "https://files.test/file", **(env | {"SSL_CERT_FILE": str(authority.ca)}))
        assert "it is for 127.0.0.1, localhost, registry.test, tokens.test" in wrong
        adding(trimaran, context, "https://registry.test/file", 0, **(env | {"SSL_CERT_FILE": str(authority.ca)}))


def test_git_is_told_whom_to_trust(
    trimaran: Trimaran, context: Context, authority: Authority, tmp_path: Path, proxy: Proxy
) -> None:
    """Refused with what to do; then by the file or the folder that the variable names."""
    with web(authority) as server:
        url = server.url("/app.git")
        refused = adding(trimaran, context, url, SSL_CERT_FILE="/dev/null")
        assert "certificate" in refused
        assert "SSL_CERT_FILE" in refused
        known = adding(trimaran, context, url, SSL_CERT_FILE=str(authority.ca))
        assert "certificate" not in known, "it got as far as asking for a repository"
        assert server.statuses[-1] == 404


@pytest.mark.root
def test_the_system_s_store_is_trusted(
    trimaran: Trimaran, context: Context, authority: Authority, tmp_path: Path
) -> None:
    """A CA that was put there by update-ca-certificates: the same file, in a machine of our own."""
    store = tmp_path / "certs"
    store.mkdir()
    (store / "ca-certificates.crt").write_bytes(authority.ca.read_bytes())
    with web(authority) as server, mount_namespace() as namespace:
        namespace.run("mount", "--bind", str(store), "/etc/ssl/certs")
        adding(namespace.inside(trimaran), context, server.url("/file"), 0)
        (store / "ca-certificates.crt").write_text("")
        assert "certificate refused" in adding(namespace.inside(trimaran), context, server.url("/file?again"))


# -- what RUN steps get -------------------------------------------------------------------------------------------


@pytest.mark.root
def test_a_proxy_on_loopback_is_said_to_be_out_of_reach(
    trimaran: Trimaran, rootless: Trimaran, context: Context, bases: str
) -> None:
    """Of docker's configuration, where steps have a network of their own; once, and only there."""
    ask = "echo GET http://files.test/file | nc -w 3 $(echo $http_proxy | sed 's/.*@//; s/:/ /')"
    context.dockerfile(f"FROM busybox\nRUN {ask} || echo none\nRUN true\n")
    with WebServer().serving() as server, mount_namespace() as namespace:
        server.files["http://files.test/file"] = b"by the proxy\n"
        place = f"127.0.0.1:{server.port}"
        configuration = json.dumps({"proxies": {"default": {"httpProxy": f"http://user:hunter2@{place}"}}})
        for command in (trimaran, rootless):
            (command.docker_config / "config.json").write_text(configuration)
            (command.docker_config / "config.json").chmod(0o644)
        namespace.run("mount", "-t", "tmpfs", "-o", "dev", "none", "/dev/net")
        namespace.run("sh", "-c", "mknod /dev/net/tun c 10 200 && chmod 666 /dev/net/tun")
        private = namespace.inside(rootless)
        words = ("build", "--progress=plain", "--no-cache", context)
        said = private(*words).stderr
        assert "by the proxy" not in said
        warning = f"the proxy {place} is out of reach for RUN"
        assert said.count(warning) == 2, "as it is found, and in the summary"
        assert "--network=host" in said
        assert "hunter2" not in said
        for reached in (private(*words, "--network=host").stderr, trimaran(*words).stderr):
            assert "by the proxy" in reached
            assert "out of reach" not in reached
        alone = private(*words, "--network=none").stderr
        assert "out of reach" not in alone, "who wants no network needs no proxy"
