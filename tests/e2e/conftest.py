"""The stage of the end-to-end tests: the installed program, a real registry, base images, an ordinary account.

Each test gets a store, a home and a configuration of its own, and is watched: when it is over, no mount and no process
of that home may be left.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from stage.account import Account
from stage.certificates import Authority
from stage.contexts import Context, open_folder
from stage.docker_cli import DockerCli
from stage.faulty import fill
from stage.guarded import Guarded
from stage.leaks import await_no_leaks
from stage.program import Trimaran
from stage.proxy import Proxy
from stage.tokens import ISSUER, PASSWORD, SERVICE, USER, TokenServer

import bases as base_images
from bases.registry import serve
from trimaran.testing.registry import FaultyRegistry

REPOSITORY = Path(__file__).parents[2]
WORK = REPOSITORY / ".work"
PASSWORD_HASH = "$2b$05$abcdefghijklmnopqrstuuHLIV.QkBvcf/Xjyvs3NzcFkv9C1YFIK"  # bcrypt of PASSWORD
GRACE = 5.0  # seconds in which everything of a command that ended or was killed has to be gone


@pytest.fixture(scope="session")
def program() -> Path:
    """The installed command: $TRIMARAN_BIN, else the one in the virtual environment that `./run` makes."""
    path = Path(os.environ.get("TRIMARAN_BIN") or WORK / "venv/bin/trimaran")
    if not path.exists():
        pytest.fail(f"there is no {path}: run ./run test e2e, or set TRIMARAN_BIN")
    return path


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address (host:port) of a real docker-registry over plain HTTP that any test may push to."""
    with serve(tmp_path_factory.mktemp("registry")) as address:
        yield address


@pytest.fixture(scope="session")
def base_layout() -> Path:
    """The OCI layout with the base images, made once and kept in $TRIMARAN_BASES (default .work/bases)."""
    return base_images.make(os.environ.get("TRIMARAN_BASES") or WORK / "bases")


@pytest.fixture(scope="session")
def bases(registry: str, base_layout: Path) -> str:
    """`registry`, with the base images in it: busybox, alpine (the same), debian:12, also below library/."""
    for _ in base_images.push(base_layout.parent, registry):
        pass
    return registry


@pytest.fixture(scope="session")
def authority() -> Iterator[Authority]:
    """A certificate authority, and a server certificate for 127.0.0.1 and registry.test."""
    with open_folder() as folder:
        yield Authority(folder)


@pytest.fixture
def token_registry(authority: Authority, tmp_path: Path) -> Iterator[Guarded]:
    """docker-registry over TLS that sends clients to a token server; anybody may pull from public/."""
    with _with_tokens(authority, tmp_path / "token-registry") as running:
        yield running


@pytest.fixture
def hidden_registry(authority: Authority, tmp_path: Path, proxy: Proxy) -> Iterator[Guarded]:
    """`token_registry` as registry.test, which sends to tokens.test: names that only `proxy` knows."""
    with _with_tokens(authority, tmp_path / "hidden-registry", realm="https://tokens.test/token") as running:
        proxy.names["registry.test:443"] = running.address
        proxy.names["tokens.test:443"] = f"127.0.0.1:{running.tokens.port}" if running.tokens else ""
        yield running._replace(address="registry.test")


@contextlib.contextmanager
def _with_tokens(authority: Authority, folder: Path, realm: str = "") -> Iterator[Guarded]:
    tls = {"certificate": str(authority.certificate), "key": str(authority.key)}
    with TokenServer(authority).serving() as tokens:
        token = {"realm": realm or tokens.realm, "service": SERVICE, "issuer": ISSUER, "rootcertbundle": authority.ca}
        with serve(folder, http={"tls": tls}, auth={"token": {k: str(v) for k, v in token.items()}}) as address:
            yield Guarded(address, USER, PASSWORD, authority.ca, tokens)


@pytest.fixture
def basic_registry(tmp_path: Path) -> Iterator[Guarded]:
    """docker-registry over plain HTTP with basic authentication."""
    accounts = tmp_path / "htpasswd"
    accounts.write_text(f"{USER}:{PASSWORD_HASH}\n")
    with serve(tmp_path / "basic-registry", auth={"htpasswd": {"realm": "test", "path": str(accounts)}}) as address:
        yield Guarded(address, USER, PASSWORD)


@pytest.fixture
def faulty(base_layout: Path) -> Iterator[FaultyRegistry]:
    """A registry that does what it is told, with the busybox base as alpine:latest; it keeps all that was asked."""
    with FaultyRegistry() as running:
        fill(running, base_layout)
        yield running


@pytest.fixture
def remote() -> Iterator[FaultyRegistry]:
    """One of these with nothing in it: for caches to go to and come from."""
    with FaultyRegistry() as running:
        yield running


@pytest.fixture
def context() -> Iterator[Context]:
    """An empty build context that every account may read."""
    with open_folder() as folder:
        yield Context(folder / "context")


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    """A proxy that notes what it is asked for; put what only it shall find into `proxy.names`."""
    with Proxy().serving() as running:
        yield running


@pytest.fixture(scope="session")
def account(program: Path) -> Account:
    """An ordinary account with subordinate ids that can run the installed program."""
    if os.geteuid() != 0:
        pytest.skip("making an account needs root")
    return Account.prepare(program, Path(os.environ.get("TRIMARAN_WHEELS") or WORK / "wheels"))


@pytest.fixture(scope="session")
def docker_cli() -> DockerCli:
    """Docker's own client with buildx."""
    return DockerCli.prepare(WORK / "docker")


@pytest.fixture
def trimaran(program: Path, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Trimaran]:
    """The program as whoever runs the tests, on a new store; docker.io is mirrored by the test registry."""
    home = tmp_path / "home"
    with _watched(Trimaran.on([str(program)], home, mirror=_mirror(request))) as command:
        yield command
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture
def rootless(account: Account, request: pytest.FixtureRequest) -> Iterator[Trimaran]:
    """The program as an ordinary account, on a new store in that account's home."""
    home = account.folder()
    command = Trimaran.on(account.command(), home, mirror=_mirror(request))
    account.own(home)
    with _watched(command):
        yield command
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(params=["trimaran", "rootless"])
def either(request: pytest.FixtureRequest) -> Trimaran:
    """`trimaran`, and once more `rootless`: for what has to be the same for both."""
    command: Trimaran = request.getfixturevalue(request.param)
    return command


@contextlib.contextmanager
def _watched(command: Trimaran) -> Iterator[Trimaran]:
    """After the test, no mount and no process of the command's home is left."""
    try:
        yield command
    finally:
        command.stop()
    left = await_no_leaks(command.home, GRACE)
    if left:
        pytest.fail("left behind:\n" + "\n".join(left), pytrace=False)


def _mirror(request: pytest.FixtureRequest) -> str:
    """A test that has base images asks for them as everybody does, by names of docker.io."""
    return request.getfixturevalue("registry") if "bases" in request.fixturenames else ""
