"""Registries that want to know who asks, proxies, mirrors and certificates: what works, and what is said when not."""

from __future__ import annotations

import base64
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from stage import reading
from stage.contexts import Context
from stage.guarded import Guarded
from stage.program import PATH, Trimaran
from stage.proxy import Proxy

from trimaran.testing.registry import FaultyRegistry

APP = 'FROM scratch\nCOPY hello /\nCMD ["/hello"]\n'


@pytest.fixture
def app(context: Context) -> Context:
    context.write("hello", "hello\n")
    return context.dockerfile(APP)


@pytest.fixture
def dead() -> Iterator[str]:
    """An address of this machine where nobody answers."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{taken.getsockname()[1]}"


def settings(command: Trimaran, text: str) -> None:
    """Add to the command's trimaran.toml."""
    command.settings.write_text(command.settings.read_text() + text)


def docker_config(command: Trimaran, document: dict[str, object]) -> None:
    path = command.docker_config / "config.json"
    path.write_text(json.dumps(document))
    own(command, path)


def own(command: Trimaran, path: Path) -> None:
    status = command.home.stat()
    os.chown(path, status.st_uid, status.st_gid)


def log_in(command: Trimaran, registry: Guarded, password: str = "", exit_code: int = 0) -> str:
    words = ("login", "-u", registry.user, "--password-stdin", registry.address)
    done = command(*words, stdin=(password or registry.password) + "\n", exit_code=exit_code)
    return done.stdout + done.stderr


def one_error(text: str) -> str:
    """The one line an error is, with its hint; no traceback."""
    assert "Traceback" not in text
    lines = [line for line in text.splitlines() if line.startswith("ERROR: ")]
    assert len(lines) == 1, text
    hints = [line for line in text.splitlines() if line.startswith("hint: ")]
    return "\n".join(lines + hints)


def trusting(command: Trimaran, registry: Guarded, name: str = "") -> None:
    settings(command, f'[registry."{name or registry.address}"]\nca = ["{registry.ca}"]\n')


def test_token_registry(either: Trimaran, token_registry: Guarded, app: Context) -> None:
    """Log in, push, pull into another store; the password goes to the token server alone, and into no log."""
    registry = token_registry
    trusting(either, registry)
    log_in(either, registry)
    assert (either.docker_config / "config.json").stat().st_mode & 0o777 == 0o600
    name = f"{registry.address}/team/app:1"
    either("build", "-t", name, "--push", ".", cwd=app.folder)
    either.forget()
    app.dockerfile(f"FROM {name}\nCOPY hello /again\n")
    said = either("build", "-D", "-o", either.home / "out", ".", cwd=app.folder).stderr
    assert (either.home / "out" / "again").read_text() == "hello\n"
    assert (either.home / "out" / "hello").read_text() == "hello\n"
    assert registry.tokens is not None
    assert {asked.user for asked in registry.tokens.asked} == {registry.user}
    scopes = {scope for asked in registry.tokens.asked for scope in asked.scopes}
    assert "repository:team/app:pull,push" in scopes
    assert all(scope.startswith("repository:team/app:") for scope in scopes), "no more is asked for than is used"
    kept = b"".join(
        path.read_bytes() for path in either.home.rglob("*") if path.is_file() and "docker" not in path.parts
    )
    assert registry.password not in said
    assert registry.password.encode() not in kept


def test_anybody_may_pull_what_is_public(trimaran: Trimaran, token_registry: Guarded, app: Context) -> None:
    registry = token_registry
    trusting(trimaran, registry)
    log_in(trimaran, registry)
    name = f"{registry.address}/public/app:1"
    trimaran("build", "-t", name, "--push", ".", cwd=app.folder)
    trimaran("logout", registry.address)
    assert registry.address not in (trimaran.docker_config / "config.json").read_text()
    trimaran.forget()
    app.dockerfile(f"FROM {name}\n")
    trimaran("build", "-o", trimaran.home / "out", ".", cwd=app.folder)
    assert (trimaran.home / "out" / "hello").exists()
    assert registry.tokens is not None
    assert registry.tokens.asked[-1].user == ""
    denied = trimaran("build", "-t", name, "--push", ".", cwd=app.folder, exit_code=1).stderr
    assert f"trimaran login {registry.address}" in one_error(denied)


def test_wrong_password_says_whose_and_where_from(either: Trimaran, token_registry: Guarded, app: Context) -> None:
    registry = token_registry
    trusting(either, registry)
    refused = one_error(log_in(either, registry, "wrong", exit_code=1))
    assert "401" in refused
    assert registry.address.partition(":")[0] in refused
    assert not (either.docker_config / "config.json").exists(), "what was refused is not kept"
    log_in(either, registry)
    text = (either.docker_config / "config.json").read_text()
    stale = json.loads(text)
    stale["auths"][registry.address]["auth"] = "Y2FwdGFpbjp3cm9uZw=="  # captain:wrong
    docker_config(either, stale)
    words = ("build", "-t", f"{registry.address}/team/app:1", "--push", ".")
    denied = one_error(either(*words, cwd=app.folder, exit_code=1).stderr)
    assert registry.address in denied
    assert str(either.docker_config / "config.json") in denied
    docker_config(either, json.loads(text))
    either(*words, cwd=app.folder)


def test_basic_registry(either: Trimaran, basic_registry: Guarded, app: Context) -> None:
    name = f"{basic_registry.address}/app:1"
    denied = one_error(either("build", "-t", name, "--push", ".", cwd=app.folder, exit_code=1).stderr)
    assert "no credentials" in denied
    assert str(either.docker_config / "config.json") in denied
    assert "401" in one_error(log_in(either, basic_registry, "wrong", exit_code=1))
    log_in(either, basic_registry)
    either("build", "-t", name, "--push", ".", cwd=app.folder)
    assert json.loads(either("imagetools", "inspect", "--raw", name).stdout)["layers"]
    either("logout", basic_registry.address)
    assert "no credentials" in one_error(either("imagetools", "inspect", name, exit_code=1).stderr)


@pytest.mark.parametrize("variable", ["DOCKER_AUTH_CONFIG", "REGISTRY_AUTH_FILE"])
def test_credentials_as_ci_systems_give_them(
    trimaran: Trimaran, basic_registry: Guarded, app: Context, variable: str
) -> None:
    """GitLab's variable, and the file that podman's users set."""
    both = f"{basic_registry.user}:{basic_registry.password}".encode()
    text = json.dumps({"auths": {basic_registry.address: {"auth": base64.b64encode(both).decode()}}})
    file = trimaran.home / "auth.json"
    file.write_text(text)
    env = {variable: text if variable == "DOCKER_AUTH_CONFIG" else str(file)}
    name = f"{basic_registry.address}/app:1"
    trimaran("build", "-t", name, "--push", ".", cwd=app.folder, env=env)
    assert json.loads(trimaran("imagetools", "inspect", "--raw", name, env=env).stdout)["layers"]
    assert "no credentials" in one_error(trimaran("imagetools", "inspect", name, exit_code=1).stderr)


HELPER = """#!/bin/sh
# docker-credential-test: get, store and erase of one user, as docker's protocol has it
echo "$1 $(cat)" >> {log}
[ "$1" = get ] || exit 0
echo '{{"ServerURL": "{address}", "Username": "{user}", "Secret": "{password}"}}'
"""


def helper(command: Trimaran, registry: Guarded, script: str = HELPER) -> Path:
    """Install a credential helper; its log."""
    folder, log = command.home / "helpers", command.home / "helper.log"
    folder.mkdir(exist_ok=True)
    program = folder / "docker-credential-test"
    program.write_text(script.format(log=log, address=registry.address, user=registry.user, password=registry.password))
    program.chmod(0o755)
    for path in (folder, program):
        own(command, path)
    command.environment["PATH"] = f"{folder}:{PATH}"
    return log


def test_credential_helper(either: Trimaran, basic_registry: Guarded, app: Context) -> None:
    log = helper(either, basic_registry)
    docker_config(either, {"credHelpers": {basic_registry.address: "test"}})
    either("build", "-t", f"{basic_registry.address}/app:1", "--push", ".", cwd=app.folder)
    assert log.read_text() == f"get {basic_registry.address}\n"
    log_in(either, basic_registry)
    assert "store {" in log.read_text()
    assert basic_registry.password not in (either.docker_config / "config.json").read_text()
    either("logout", basic_registry.address)
    assert log.read_text().splitlines()[-1] == f"erase {basic_registry.address}"


def test_credential_helper_that_fails_is_named(trimaran: Trimaran, basic_registry: Guarded, app: Context) -> None:
    helper(trimaran, basic_registry, "#!/bin/sh\necho the vault is locked >&2\nexit 1\n")
    docker_config(trimaran, {"credHelpers": {basic_registry.address: "test"}})
    words = ("build", "-t", f"{basic_registry.address}/app:1", "--push", ".")
    said = one_error(trimaran(*words, cwd=app.folder, exit_code=1).stderr)
    assert "docker-credential-test" in said
    assert "the vault is locked" in said


def test_connect_proxy(either: Trimaran, hidden_registry: Guarded, proxy: Proxy, app: Context) -> None:
    """The names of the registry and its token server are known to the proxy alone."""
    environment = {"HTTPS_PROXY": proxy.url, "SSL_CERT_FILE": str(hidden_registry.ca)}
    either.environment.update(environment)
    settings(either, '[registry."registry.test"]\nauth-realms = ["tokens.test"]\n')
    log_in(either, hidden_registry)
    name = f"{hidden_registry.address}/team/app:1"
    either("build", "-t", name, "--push", ".", cwd=app.folder)
    assert set(proxy.asked) == {"registry.test:443", "tokens.test:443"}
    proxy.asked.clear()
    either.forget()
    app.dockerfile(f"FROM {name}\n")
    either("build", "-o", either.home / "out", ".", cwd=app.folder)
    assert (either.home / "out" / "hello").exists()
    assert set(proxy.asked) == {"registry.test:443", "tokens.test:443"}
    proxy.asked.clear()
    aside = either("imagetools", "inspect", name, env={"NO_PROXY": "10.0.0.0/8,.test"}, exit_code=1)
    assert "look up registry.test" in one_error(aside.stderr)
    assert not proxy.asked


def test_token_server_elsewhere_gets_no_password(
    trimaran: Trimaran, hidden_registry: Guarded, proxy: Proxy, app: Context
) -> None:
    """A registry may send to any token server, but ours must say that it may be told the password (T53)."""
    trimaran.environment.update(HTTPS_PROXY=proxy.url, SSL_CERT_FILE=str(hidden_registry.ca))
    proxy.names["registry.example:443"] = proxy.names["registry.test:443"]
    settings(trimaran, '[registry."registry.example"]\ninsecure = true\n')
    docker_config(trimaran, {"auths": {"registry.example": {"auth": "Y2FwdGFpbjp0aHJlZSBodWxscw=="}}})
    words = ("build", "-t", "registry.example/team/app:1", "--push", ".")
    said = one_error(trimaran(*words, cwd=app.folder, exit_code=1).stderr)
    assert 'auth-realms = ["tokens.test"]' in said
    assert hidden_registry.tokens is not None
    assert hidden_registry.tokens.asked == []
    settings(trimaran, 'auth-realms = ["tokens.test"]\n')
    trimaran(*words, cwd=app.folder)


def test_proxy_that_is_not_there(trimaran: Trimaran, dead: str, context: Context) -> None:
    context.dockerfile("FROM registry.test/app\n")
    environment = {"HTTPS_PROXY": f"http://user:secret@{dead}"}
    said = trimaran("build", ".", cwd=context.folder, env=environment, exit_code=1).stderr
    assert dead in one_error(said)
    assert "secret" not in said


def test_mirror_of_our_settings(trimaran: Trimaran, faulty: FaultyRegistry, dead: str, context: Context) -> None:
    """A mirror that is down is passed over; the next one is told whose image is wanted."""
    settings(trimaran, f'[registry."origin.test"]\nmirrors = ["{dead}", "{faulty.host}"]\n')
    context.dockerfile("FROM origin.test/alpine\nRUN true\n")
    trimaran("build", ".", cwd=context.folder)
    assert all(each.query == "ns=origin.test" for each in faulty.seen("", "/v2/alpine/"))


def test_mirror_and_origin_that_are_both_down_are_named(trimaran: Trimaran, dead: str, context: Context) -> None:
    settings(trimaran, f'[registry."{dead}"]\nmirrors = ["localhost:{dead.partition(":")[2]}"]\n')
    context.dockerfile(f"FROM {dead}/alpine\n")
    said = one_error(trimaran("build", ".", cwd=context.folder, exit_code=1).stderr)
    assert dead in said
    assert "refused" in said
    assert str(trimaran.settings) in said, "which file was looked into"


def test_mirror_of_dockers_daemon_file(either: Trimaran, faulty: FaultyRegistry, context: Context) -> None:
    """Where our settings say nothing of docker.io, docker's own file is read: here that of rootless docker."""
    folder = either.home / ".config" / "docker"
    folder.mkdir(parents=True)
    (folder / "daemon.json").write_text(json.dumps({"registry-mirrors": [faulty.url]}))
    faulty.manifests.update({("library/alpine", ref): v for (repo, ref), v in faulty.manifests.items()})
    faulty.blobs.update({("library/alpine", digest): raw for (_, digest), raw in faulty.blobs.items()})
    context.dockerfile("FROM alpine\nRUN true\n")
    either("build", ".", cwd=context.folder)
    assert faulty.seen("GET", "/v2/library/alpine/")
    assert all(each.query == "ns=docker.io" for each in faulty.seen("", "/v2/library/alpine/"))


def test_unknown_authority_is_said_and_how_to_trust_it(
    trimaran: Trimaran, token_registry: Guarded, app: Context
) -> None:
    name = f"{token_registry.address}/public/app:1"
    words = ("build", "-t", name, "--push", ".")
    said = one_error(trimaran(*words, cwd=app.folder, exit_code=1).stderr)
    assert token_registry.address in said
    assert "certificate" in said
    assert f'[registry."{token_registry.address}"] ca = ["FILE"]' in said
    trusting(trimaran, token_registry)
    log_in(trimaran, token_registry)
    trimaran(*words, cwd=app.folder)


def test_authority_of_dockers_certs_folder_or_the_environment(
    trimaran: Trimaran, token_registry: Guarded, app: Context
) -> None:
    assert token_registry.ca is not None
    environment = {"SSL_CERT_FILE": str(token_registry.ca)}
    words = ("login", "-u", token_registry.user, "--password-stdin", token_registry.address)
    trimaran(*words, stdin=token_registry.password, env=environment)
    folder = trimaran.home / ".config/docker/certs.d" / token_registry.address
    folder.mkdir(parents=True)
    (folder / "ca.crt").write_bytes(token_registry.ca.read_bytes())
    trimaran("build", "-t", f"{token_registry.address}/public/app:1", "--push", ".", cwd=app.folder)


def test_plain_http_is_never_spoken_to_a_stranger(trimaran: Trimaran, registry: str, proxy: Proxy) -> None:
    """A registry that is not on this machine gets TLS, unless the settings say otherwise; the error names them."""
    proxy.names["plain.test:443"] = registry
    environment = {"HTTPS_PROXY": proxy.url, "HTTP_PROXY": proxy.url}
    said = one_error(trimaran("imagetools", "inspect", "plain.test/none", env=environment, exit_code=1).stderr)
    assert '[registry."plain.test"]' in said
    assert "http = true" in said
    proxy.names["plain.test:80"] = registry
    settings(trimaran, '[registry."plain.test"]\nhttp = true\n')
    answered = one_error(trimaran("imagetools", "inspect", "plain.test/none", env=environment, exit_code=1).stderr)
    assert "GET http://plain.test/v2/none/manifests/latest: 404" in answered


def test_platforms_pushed_with_a_login_are_read_by_skopeo(
    trimaran: Trimaran, basic_registry: Guarded, app: Context
) -> None:
    log_in(trimaran, basic_registry)
    name = f"{basic_registry.address}/many:1"
    trimaran("build", "--platform", "linux/amd64,linux/arm64", "-t", name, "--push", ".", cwd=app.folder)
    creds = f"--creds={basic_registry.user}:{basic_registry.password}"
    index = json.loads(reading.skopeo("inspect", "--raw", "--tls-verify=false", creds, f"docker://{name}"))
    assert [child["platform"]["architecture"] for child in index["manifests"]] == ["amd64", "arm64"]


def test_proxies_of_docker_s_configuration_reach_run_and_no_history(
    either: Trimaran, context: Context, bases: str
) -> None:
    """As docker has it: every RUN sees them, no key and no image does."""
    configuration = either.docker_config / "config.json"
    context.dockerfile("FROM busybox\nRUN env | grep -i proxy >/seen\n")
    words = ("build", "--progress", "plain", "-t", "seen", context)
    configuration.write_text(json.dumps({"proxies": {"default": {"httpProxy": "http://u:hunter2@127.0.0.1:1"}}}))
    either(*words)
    assert "http_proxy=http://u:hunter2@127.0.0.1:1" in either("run", "seen", "cat", "/seen").stdout
    configuration.write_text(json.dumps({"proxies": {"default": {"httpProxy": "http://another:1"}}}))
    assert "CACHED" in either(*words).stderr
    archive = either.home / "archive"
    either("build", "-o", f"type=oci,dest={archive},tar=false", context)
    documents = [path.read_bytes() for path in archive.rglob("blobs/sha256/*") if path.stat().st_size < 10_000]
    assert documents
    assert not any(b"hunter2" in document for document in documents)
