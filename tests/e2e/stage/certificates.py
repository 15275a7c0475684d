"""A certificate authority for one test session, by the openssl command."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

NAMES = (
    *("IP:127.0.0.1", "DNS:localhost", "DNS:registry.test", "DNS:tokens.test"),
    *("DNS:registry-1.docker.io", "DNS:auth.docker.io"),
)


class Authority:
    """`ca` is what clients have to trust; `certificate` and `key` are a server's, for NAMES."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ca, self.ca_key = folder / "ca.crt", folder / "ca.key"
        self.certificate, self.key = folder / "server.pem", folder / "server-key.pem"
        self._make()

    def _make(self) -> None:
        subject = ["-subj", "/CN=Trimaran test authority", "-addext", "keyUsage=critical,keyCertSign,digitalSignature"]
        new = ["-newkey", "rsa:2048", "-nodes", "-days", "2"]
        _openssl("req", "-x509", *new, *subject, "-keyout", str(self.ca_key), "-out", str(self.ca))
        _openssl(
            "req",
            "-x509",
            *new,
            *("-CA", str(self.ca), "-CAkey", str(self.ca_key), "-subj", "/CN=registry.test"),
            *("-addext", f"subjectAltName={','.join(NAMES)}", "-addext", "basicConstraints=critical,CA:FALSE"),
            *("-keyout", str(self.key), "-out", str(self.certificate)),
        )

    def issue(self, begins: int, ends: int, *names: str) -> tuple[Path, Path]:
        """A server's certificate for `names` (`DNS:…`, `IP:…`), and its key; begins and ends in days from now."""
        name = f"{begins}-{ends}-{'-'.join(names)}".replace(":", "-")
        folder = self.folder / name
        folder.mkdir()
        (folder / "index").touch()
        (folder / "ca.conf").write_text(_CA.format(folder=folder, names=",".join(names)))
        key, request, certificate = folder / "key.pem", folder / "request.pem", folder / "certificate.pem"
        subject = ["-subj", f"/O=Test/CN={names[0].partition(':')[2]}"]
        _openssl("req", "-newkey", "rsa:2048", "-nodes", *subject, "-keyout", str(key), "-out", str(request))
        now = datetime.now(UTC)
        when = [(now + timedelta(days=days)).strftime("%Y%m%d%H%M%SZ") for days in (begins, ends)]
        words = ["-batch", "-notext", "-config", str(folder / "ca.conf"), "-startdate", when[0], "-enddate", when[1]]
        authority = ["-cert", str(self.ca), "-keyfile", str(self.ca_key)]
        _openssl("ca", *words, *authority, "-in", str(request), "-out", str(certificate))
        return certificate, key


_CA = """
[ca]
default_ca = own
[own]
database = {folder}/index
new_certs_dir = {folder}
default_md = sha256
policy = any
rand_serial = yes
x509_extensions = server
[any]
commonName = supplied
organizationName = supplied
[server]
subjectAltName = {names}
basicConstraints = critical,CA:FALSE
"""


def signature(content: bytes, key: Path) -> bytes:
    """RSASSA-PKCS1-v1_5 with SHA-256, which a JWT calls RS256."""
    return _openssl("dgst", "-sha256", "-sign", str(key), stdin=content)


def der(certificate: Path) -> bytes:
    return _openssl("x509", "-in", str(certificate), "-outform", "DER")


def _openssl(*arguments: str, stdin: bytes = b"") -> bytes:
    return subprocess.run(["openssl", *arguments], check=True, capture_output=True, input=stdin).stdout
