"""Networks of companies: proxies that want to know who asks, certificates that are wrong, names that nobody knows."""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from stage.certificates import Authority
from stage.contexts import Context
from stage.git_server import GitServer
from stage.guarded import Guarded
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


@pytest.mark.parametrize(
    ("answer", "url", "words", "hint"),
    [
        (b"", "https://", "refused the tunnel: 407", "http://USER:PASSWORD@HOST:PORT"),
        (b"", "http://", "407: the proxy wants to know who asks", "http://USER:PASSWORD@HOST:PORT"),
        (b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n", "https://", "refused the tunnel: 403", "NO_PROXY"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "https://", "what answers there does not speak HTTP", "HTTPS_PROXY"),
        (b"HTTP/1.1 200 OK\r\n\r\ngarbage that is no TLS", "https://", "TLS", ""),
    ],
    ids=["407 of a tunnel", "407", "403", "no HTTP", "no TLS"],
)
def test_a_proxy_that_refuses(
    trimaran: Trimaran, context: Context, proxy: Proxy, answer: bytes, url: str, words: str, hint: str
) -> None:
    proxy.login, proxy.answer = LOGIN, answer
    env = {"HTTPS_PROXY": proxy.url, "HTTP_PROXY": proxy.url}
    started = time.monotonic()
    said = adding(trimaran, context, f"{url}files.test/file", **env)
    assert words in said
    assert "files.test" in said
    assert hint in said
    looked = one_error(trimaran("imagetools", "inspect", "files.test/app", env=env, exit_code=1).stderr)
    assert proxy.address in looked or "TLS" in looked
    assert time.monotonic() - started < 15, "what is refused is not asked for again and again"
    wrong = env | {"HTTPS_PROXY": proxy.url.replace("//", "//user:wrong-secret@")}
    if not answer and url == "https://":
        said = adding(trimaran, context, f"{url}files.test/file", **wrong)
        assert "the user and password in HTTPS_PROXY are not what it wants" in said
        assert "wrong-secret" not in said


def test_a_proxy_with_a_password_is_used_and_named_nowhere(
    either: Trimaran, context: Context, authority: Authority, proxy: Proxy, hidden_registry: Guarded, tmp_path: Path
) -> None:
    """Images, files by HTTP and HTTPS, and git go through it; no message, log, record or image has its password."""
    proxy.login = PLAIN_LOGIN
    place = proxy.url.replace("//", f"//{LOGIN}@")
    with (
        web(authority) as server,
        WebServer().serving() as plain,
        GitServer(tmp_path / "repositories").serving() as git,
    ):
        plain.files["/file"] = b"plain\n"
        copy = git.repository("app")
        copy.write("made", "made\n")
        copy.commit()
        proxy.names |= {
            "tokens.test:443": proxy.names["tokens.test:443"],
            "files.test:443": f"127.0.0.1:{server.port}",
            "files.test:80": f"127.0.0.1:{plain.port}",
            "git.test:80": git.url("app").split("/")[2],
        }
        either.environment.update(HTTPS_PROXY=place, HTTP_PROXY=place, SSL_CERT_FILE=str(hidden_registry.ca))
        either.settings.write_text('[registry."registry.test"]\nauth-realms = ["tokens.test"]\n')
        words = ("login", "-u", hidden_registry.user, "--password-stdin", hidden_registry.address)
        said = either(*words, stdin=hidden_registry.password + "\n").stderr
        path = git.url("app").split("/", 3)[3]
        context.dockerfile(f"FROM scratch\nADD http://files.test/file /file\nADD http://git.test/{path} /app\n")
        name = f"{hidden_registry.address}/team/app:1"
        said += either("build", "-D", "--progress=plain", "-t", name, "--push", context).stderr
        said += either("imagetools", "inspect", name).stdout + either("settings").stdout + either("logs").stdout
        context.dockerfile("FROM scratch\nADD http://files.test/gone /file\n")
        said += either("build", "-D", "--progress=plain", context, exit_code=1).stderr
        context.dockerfile("FROM scratch\nADD http://git.test/gone.git /app\n")
        said += either("build", "-D", "--progress=plain", context, exit_code=1).stderr
    assert {"registry.test:443", "tokens.test:443", "files.test:80", "git.test:80"} <= set(proxy.asked)
    kept = b"".join(path.read_bytes() for path in either.home.rglob("*") if path.is_file())
    for secret in ("hunter2", base64.b64encode(PLAIN_LOGIN.encode()).decode()):
        assert secret not in said
        assert secret.encode() not in kept


@pytest.mark.parametrize(
    ("no_proxy", "direct"),
    [
        ("registry.test", True),
        ("registry.test:443", True),
        ("registry.test:5000", False),
        (".test", True),
        ("*.test", True),
        ("other.test,est", False),
        ("*", True),
        ("224.0.0.0/4", False),
    ],
)
def test_no_proxy_by_name(trimaran: Trimaran, proxy: Proxy, no_proxy: str, direct: bool) -> None:
    """Who is asked for the name tells who goes where: nobody but the proxy knows it."""
    said = refused(trimaran, proxy, no_proxy, "registry.test/app")
    assert ("look up registry.test" in said) is direct
    assert ("refused the tunnel" in said) is not direct


def refused(trimaran: Trimaran, proxy: Proxy, no_proxy: str, image: str) -> str:
    """The one error about an image that is not to be had, behind a proxy that refuses everything."""
    env = {"HTTPS_PROXY": proxy.url, "NO_PROXY": no_proxy}
    proxy.answer = b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n"
    return one_error(trimaran("imagetools", "inspect", image, env=env, exit_code=1).stderr)


@pytest.mark.parametrize(
    ("no_proxy", "direct"),
    [
        ("", False),
        ("224.0.0.0/4", True),
        ("224.0.0.251", True),
        ("10.0.0.0/8,224.0.0.251:5000", True),
        ("224.0.0.251:5001,10.0.0.0/8", False),
    ],
)
def test_no_proxy_by_address(trimaran: Trimaran, proxy: Proxy, no_proxy: str, direct: bool) -> None:
    """An address that no TCP connection can be made to, so that nothing leaves this machine."""
    said = refused(trimaran, proxy, no_proxy, "224.0.0.251:5000/app")
    assert ("unreachable" in said) is direct
    assert ("refused the tunnel" in said) is not direct


def test_proxies_of_the_daemon_s_host(trimaran: Trimaran, context: Context, bases: str) -> None:
    """As docker has it: those of the daemon that is used go before the default ones."""
    proxies = {name: {"httpProxy": f"http://{name.rpartition('/')[2].split(':')[0]}.proxy:1"} for name in DAEMONS}
    (trimaran.docker_config / "config.json").write_text(json.dumps({"proxies": proxies}))
    context.dockerfile("FROM busybox\nRUN echo it is $http_proxy\n")
    words = ("build", "--progress=plain", "--no-cache", context)
    assert "it is http://default.proxy:1" in trimaran(*words).stderr
    assert "it is http://far.proxy:1" in trimaran(*words, env={"DOCKER_HOST": "tcp://far:2375"}).stderr
    assert "it is http://default.proxy:1" in trimaran(*words, env={"DOCKER_HOST": "tcp://farther:2375"}).stderr
    mine = (*words[:2], "--build-arg", "http_proxy=http://mine:1", *words[2:])
    assert "it is http://mine:1" in trimaran(*mine).stderr


DAEMONS = ("default", "tcp://far:2375")


# -- names that nobody knows any more ------------------------------------------------------------------------------


def test_a_name_that_is_not_found_any_more_is_stood_in_for(
    trimaran: Trimaran, context: Context, hidden_registry: Guarded, proxy: Proxy
) -> None:
    """Known to the proxy alone, it is not found without: the last answer stands in, for as long as it may."""
    trimaran.environment["SSL_CERT_FILE"] = str(hidden_registry.ca)
    through = {"HTTPS_PROXY": proxy.url}
    ours = '[registry."registry.test"]\nauth-realms = ["tokens.test"]\n'
    trimaran.settings.write_text(ours)
    words = ("login", "-u", hidden_registry.user, "--password-stdin", hidden_registry.address)
    trimaran(*words, stdin=hidden_registry.password + "\n", env=through)
    name = f"{hidden_registry.address}/team/app:1"
    context.write("hello", "hello\n")
    context.dockerfile("FROM scratch\nCOPY hello /\n")
    elsewhere = {"TRIMARAN_ROOT": str(trimaran.home / "elsewhere")}
    trimaran("build", "-t", name, "--push", context, env=through | elsewhere)
    context.dockerfile(f"FROM {name}\nCOPY hello /again\n")
    build = ("build", "--progress=plain", "-o", trimaran.home / "out", context)
    trimaran(*build, env=through)
    again = trimaran(*build).stderr
    assert "registry.test gives no answer now" in again, again
    time.sleep(1.1)
    trimaran.settings.write_text(f'remember-tags = "1s"\n{ours}')
    assert "look up registry.test" in one_error(trimaran(*build, exit_code=1).stderr)
    assert "registry.test" in trimaran(*build, env=through).stderr


# -- credentials that are wrong ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "read {path}: "),
        ("[]", "read {path}: not a JSON object"),
        ('{{"auths": {{"{host}": {{"auth": "!!!"}}}}}}', "read {path}: the auth entry of {host} is not base64"),
        ('{{"auths": {{"{host}": {{"auth": "bm9jb2xvbg=="}}}}}}', "the auth entry of {host} is not base64 of USER:"),
        ('{{"credHelpers": {{"{host}": "none"}}}}', "run docker-credential-none: not found on PATH"),
    ],
    ids=["no JSON", "no object", "no base64", "no colon", "no helper"],
)
@pytest.mark.parametrize("variable", ["", "REGISTRY_AUTH_FILE"])
def test_a_credentials_file_that_is_wrong(
    trimaran: Trimaran, context: Context, basic_registry: Guarded, text: str, words: str, variable: str
) -> None:
    path = trimaran.home / "auth.json" if variable else trimaran.docker_config / "config.json"
    written = text if text in "{[]" else text.format(host=basic_registry.address)
    path.write_text(written)
    context.dockerfile("FROM scratch\nCOPY Dockerfile /\n")
    env = {variable: str(path)} if variable else {}
    build = ("build", "-t", f"{basic_registry.address}/app:1", "--push", context)
    said = one_error(trimaran(*build, exit_code=1, env=env).stderr)
    assert words.format(path=path, host=basic_registry.address) in said
    assert path.read_text() == written
    if variable:
        gone = one_error(trimaran(*build, exit_code=1, env={variable: f"{path}.gone"}).stderr)
        assert f"and {path}.gone, which $REGISTRY_AUTH_FILE names, is not there" in gone
