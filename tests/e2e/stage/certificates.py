"""A certificate authority for one test session, by the openssl command."""

from __future__ import annotations

import subprocess
from pathlib import Path

NAMES = ("IP:127.0.0.1", "DNS:localhost", "DNS:registry.test", "DNS:tokens.test")


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


def signature(content: bytes, key: Path) -> bytes:
    """RSASSA-PKCS1-v1_5 with SHA-256, which a JWT calls RS256."""
    return _openssl("dgst", "-sha256", "-sign", str(key), stdin=content)


def der(certificate: Path) -> bytes:
    return _openssl("x509", "-in", str(certificate), "-outform", "DER")


def _openssl(*arguments: str, stdin: bytes = b"") -> bytes:
    return subprocess.run(["openssl", *arguments], check=True, capture_output=True, input=stdin).stdout
