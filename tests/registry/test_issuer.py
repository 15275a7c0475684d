"""Who signed a certificate: read out of real ones, and out of bytes that are none."""

import ssl
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as some

from trimaran.registry.issuer import issuer_of


@pytest.fixture(scope="module")
def certificate(tmp_path_factory) -> bytes:
    folder: Path = tmp_path_factory.mktemp("issuer")
    subject = "/C=DE/O=Exämple Corp/OU=Net/CN=Corp Proxy CA"
    words = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-utf8", "-days", "1", "-subj", subject]
    subprocess.run([*words, "-keyout", folder / "key", "-out", folder / "pem"], check=True, capture_output=True)
    return ssl.PEM_cert_to_DER_cert((folder / "pem").read_text())


def test_of_a_real_certificate(certificate):
    assert issuer_of(certificate) == "O=Exämple Corp, CN=Corp Proxy CA"


def test_cut_anywhere_it_says_nothing(certificate):
    assert {issuer_of(certificate[:size]) for size in range(0, len(certificate) - 1, 7)} == {""}


@given(some.binary(max_size=300))
def test_any_bytes_do_no_harm(data):
    assert isinstance(issuer_of(data), str)
