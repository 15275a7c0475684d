"""What certificates say of themselves: read out of real ones, and out of bytes that are none."""

import ssl
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as some

from trimaran.registry.certificate import Certificate, parse


@pytest.fixture(scope="module")
def certificate(tmp_path_factory) -> bytes:
    folder: Path = tmp_path_factory.mktemp("certificate")
    subject = "/C=DE/O=Exämple Corp/OU=Net/CN=Corp Proxy CA"
    names = ["-addext", "subjectAltName=DNS:corp.test,DNS:*.corp.test,IP:10.0.0.7,IP:fd00::7"]
    words = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-utf8", "-days", "1", "-subj", subject]
    subprocess.run([*words, *names, "-keyout", folder / "key", "-out", folder / "pem"], check=True, capture_output=True)
    return ssl.PEM_cert_to_DER_cert((folder / "pem").read_text())


def test_of_a_real_certificate(certificate):
    found = parse(certificate)
    assert found is not None
    assert found.issuer == found.subject == "O=Exämple Corp, CN=Corp Proxy CA"
    assert found.names == ("corp.test", "*.corp.test", "10.0.0.7", "fd00::7")
    assert found.ends - found.begins == timedelta(days=1)
    assert abs(datetime.now(UTC) - found.begins) < timedelta(minutes=5)


def test_cut_anywhere_it_is_none(certificate):
    assert {parse(certificate[:size]) for size in range(0, len(certificate) - 1, 7)} == {None}


@given(some.binary(max_size=300))
def test_any_bytes_do_no_harm(data):
    assert parse(data) is None or isinstance(parse(data), Certificate)
