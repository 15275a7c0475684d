"""`--build-ca`: a step trusts a private authority while it runs, and nothing else ever hears of it."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from stage.certificates import Authority
from stage.contexts import Context
from stage.places import container
from stage.program import Trimaran
from stage.web_server import WebServer

SEEN = "/dev/shm/.build-ca.pem"  # noqa: S108 - of the step
NAMES = ("SSL_CERT_FILE", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "PIP_CERT", "GIT_SSL_CAINFO", "NODE_EXTRA_CA_CERTS")


@pytest.fixture
def server(authority: Authority) -> Iterator[WebServer]:
    """An HTTPS server of the private authority."""
    with WebServer(authority).serving() as running:
        running.files["/file"] = b"fetched\n"
        yield running


def with_openssl(context: Context) -> str:
    """Bring this machine's openssl and its libraries into the context; how to have them."""
    program = shutil.which("openssl")
    assert program
    libraries = [
        word
        for line in subprocess.run(["ldd", program], check=True, capture_output=True, text=True).stdout.splitlines()
        for word in line.split()
        if word.startswith("/") and ("libssl" in word or "libcrypto" in word)
    ]
    for path in (program, *libraries):
        context.write(f"tools/{Path(path).name}", Path(path).read_bytes())
    (context / "tools/openssl").chmod(0o755)
    return "COPY tools /tools/\nENV LD_LIBRARY_PATH=/tools\n"


def blobs(archive: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in archive.rglob("blobs/sha256/*")}


def test_openssl_and_apt_trust_it_while_they_run(
    either: Trimaran, context: Context, bases: str, authority: Authority, server: WebServer
) -> None:
    """By OpenSSL and by GnuTLS, in an image without any authority of its own."""
    talk = f"/tools/openssl s_client -connect 127.0.0.1:{server.port} -verify_return_error -brief </dev/null"
    fetch = f"/usr/lib/apt/apt-helper -o Acquire::Retries=0 download-file {server.url('/file')} /tmp/fetched"
    words = ("build", "--progress=plain", "--network=host", "--no-cache")
    context.dockerfile(
        f"FROM debian:12\n{with_openssl(context)}ARG OK\nRUN {talk}; test $? $OK && {fetch}; test $? $OK\n"
    )
    refused = either(*words, "--build-arg", "OK=-ne 0", context).stderr
    assert "unable to get local issuer certificate" in refused
    assert "The certificate issuer is unknown" in refused
    assert not server.asked
    trusted = ("--build-arg", "OK=-eq 0", context)
    either(*words, "--build-ca", authority.ca, *trusted)
    assert [asked.path for asked in server.asked] == ["/file"]
    either.settings.write_text(f'{either.settings.read_text()}[worker]\nbuild-ca = ["{authority.ca}"]\n')
    either(*words, *trusted)
    assert [asked.path for asked in server.asked] == ["/file"] * 2
    assert str(authority.ca) in either("settings").stdout


def test_it_is_in_no_layer_no_key_and_no_document(
    either: Trimaran, context: Context, bases: str, authority: Authority
) -> None:
    own = "my own authorities\n"
    context.write("own.pem", own)
    context.dockerfile(
        "FROM busybox\nCOPY own.pem /etc/ssl/certs/ca-certificates.crt\nENV PIP_CERT=/mine\nUSER 1000\n"
        "RUN env; cat $SSL_CERT_FILE /dev/null; echo >$SSL_CERT_FILE || echo refused; echo >/tmp/made\n"
    )
    found = []
    for number, more in enumerate(((), ("--build-ca", str(authority.ca)))):
        archive = either.home / f"archive{number}"
        env = {"TRIMARAN_ROOT": str(either.home / f"store{number}")}
        output = f"type=oci,dest={archive},tar=false"
        context.write("own.pem", own)
        said = either("build", "--progress=plain", "--reproducible", "-o", output, *more, context, env=env).stderr
        found.append((said, blobs(archive)))
        again = either("build", "--progress=plain", "--reproducible", context, env=env).stderr
        assert again.count("CACHED") == 3, "with or without, it is one cache"
    (without, plain), (said, made) = found
    assert plain == made, "the same bytes, whether or not something was trusted"
    assert ".build-ca" not in without
    shown = dict(line.split(" ", 2)[2].split("=", 1) for line in said.splitlines() if "=/" in line and line[0] == "#")
    assert {shown.get(name) for name in NAMES if name != "PIP_CERT"} == {SEEN}
    assert shown["PIP_CERT"] == "/mine", "an ENV of the image wins"
    assert "my own authorities" in said, "what the image trusts is trusted"
    assert authority.ca.read_text().splitlines()[1] in said
    assert "refused" in said
    databases = b"".join(path.read_bytes() for path in (either.home / "store1").rglob("*.db*"))
    assert b"tmp/made" in databases
    assert b".build-ca" not in databases


def test_root_of_a_container_has_it_too(
    program: Path, context: Context, registry: str, bases: str, authority: Authority
) -> None:
    """Where a step gets a chroot the files are put into its /dev/shm, and taken out again."""
    shutil.copy(authority.ca, context / "ca.pem")
    context.dockerfile(
        "FROM busybox\nCOPY ca.pem /\nRUN tail -n 3 $SSL_CERT_FILE | head -n 2 | grep -F -f - /ca.pem && test -s $APT_CONFIG\n"
        "RUN echo still $SSL_CERT_FILE\n"
    )
    with container(program, context.folder, mirror=registry) as place:
        env = {"TRIMARAN_SANDBOX": "chroot"}
        words = ("build", "--progress=plain", "--build-ca", "/context/ca.pem", "-o", "/root/out")
        said = place.trimaran(*words, "/context", env=env)
        assert said.returncode == 0, said.stderr
        left = place.run("ls", "-A", "/root/out/dev/shm", "/root/out/dev").stdout
    assert ".build-ca" not in left
    assert f"still {SEEN}" in said.stderr


def test_nothing_of_the_machine_s_own_is_touched(
    trimaran: Trimaran, context: Context, bases: str, authority: Authority
) -> None:
    """An insecure step has the machine's /dev, but no file of ours is made there; another mount is not in the way."""
    line = authority.ca.read_text().splitlines()[1]
    context.dockerfile(
        f"FROM busybox\nRUN --security=insecure grep -F {line} $SSL_CERT_FILE && rm -rf /dev/shm/* && test -s $WGETRC\n"
        f"RUN --mount=type=tmpfs,target=/dev/shm --network=none grep -F {line} $SSL_CERT_FILE\n"
    )
    trimaran("build", "--allow", "security.insecure", "--build-ca", authority.ca, context)
    assert not list(Path("/dev").rglob("*build-ca*"))


@pytest.mark.parametrize("mount", ["type=cache", "type=bind,from=busybox"])
def test_a_mount_of_the_step_over_its_place_is_left_alone(
    either: Trimaran, context: Context, bases: str, authority: Authority, mount: str
) -> None:
    """A cache would keep the files for everybody; what is read-only takes none, and the step failed."""
    context.dockerfile(
        f"FROM busybox\nRUN --mount={mount},target=/dev/shm ! ls {SEEN} && test -z $SSL_CERT_FILE\nRUN cat {SEEN}\n"
    )
    said = either("build", "--progress=plain", "--build-ca", authority.ca, context).stderr
    assert "a mount of the step lies over /dev/shm, so that it trusts no --build-ca" in said


def test_a_wrong_file_is_said_before_anything_is_asked_for(either: Trimaran, context: Context) -> None:
    context.dockerfile("FROM nowhere.test/app\nRUN true\n").write("key.pem", "# a key\n-----BEGIN PRIVATE KEY-----\n")
    wrong = either("build", "--build-ca", context / "key.pem", context, exit_code=1).stderr
    assert f"ERROR: read certificates {context / 'key.pem'}:2: a private key" in wrong
    gone = either("build", "--build-ca", context / "gone.pem", context, exit_code=1).stderr
    assert f"ERROR: read certificates {context / 'gone.pem'}: no such file or directory" in gone
