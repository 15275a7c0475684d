"""Files of certificates: what is taken, and what is refused with the line that is wrong."""

import base64
import ssl
import subprocess

import pytest

from trimaran.builders.authorities import _checked, certificates
from trimaran.errors import UsageError


@pytest.fixture(scope="module")
def pem(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("pem")
    words = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=x"]
    subprocess.run([*words, "-keyout", folder / "key", "-out", folder / "pem"], check=True, capture_output=True)
    return (folder / "pem").read_text()


def test_certificates_are_taken_and_words_between_them_are_not(pem):
    text = f"# ours\n{pem}\nand another one\r\n" + pem.replace("\n", "\r\n")
    assert certificates(text.encode(), "f").decode() == pem + pem


def broken(pem: str) -> dict[str, tuple[str, str]]:
    lines = pem.splitlines()
    body = base64.b64encode(b"\x30\x03abc").decode()
    return {
        "empty": ("", "f: it holds no certificate"),
        "no end": ("\n".join(["#", *lines[:-1]]), "f:2: a certificate begins here and has no end"),
        "no end, then another": ("\n".join([*lines[:-1], *lines]), "f:1: a certificate begins here and has no end"),
        "no beginning": ("\n".join(lines[1:]), f"f:{len(lines) - 1}: an end without a beginning"),
        "no base64": (pem.replace(lines[3], "!" + lines[3][1:]), "f:4: this is not base64"),
        "cut": ("\n".join([*lines[:4], lines[-1]]), "f:1: what begins here is no certificate"),
        "something else": (f"-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----", "f:1: what begins here"),
        "a key": (f"{pem}-----BEGIN RSA PRIVATE KEY-----\n", f"f:{len(lines) + 1}: a private key"),
        "a request": (pem.replace("BEGIN CERT", "BEGIN CERTIFICATE REQUEST X CERT"), "f:1: 'CERTIFICATE REQUEST X"),
        "a list of links": ("<html></html>\n", "f: it holds no certificate"),
    }


@pytest.mark.parametrize("name", sorted(broken("a\n" * 9)))
def test_what_is_wrong_is_said_with_its_line(pem, name):
    text, words = broken(pem)[name]
    with pytest.raises(UsageError) as caught:
        certificates(text.encode(), "f")
    assert caught.value.message.startswith(f"read certificates {words}")
    assert "PEM" in caught.value.hint


def test_der_is_told_how_to_be_pem(pem, tmp_path):
    path = tmp_path / "corp.crt"
    path.write_bytes(ssl.PEM_cert_to_DER_cert(pem))
    with pytest.raises(UsageError, match="DER") as caught:
        _checked(str(path))
    subprocess.run(caught.value.hint, shell=True, check=True)
    assert _checked(str(tmp_path / "corp.pem")).decode() == pem
