"""Secrets of this machine: which of file and variable an id means, and what cannot be one."""

import asyncio

import pytest

from trimaran.builders.secrets import LocalSecrets
from trimaran.errors import NotFound, UsageError
from trimaran.sources.given import SECRET_LIMIT, SecretSource


def get(sources, environment, identifier):
    return asyncio.run(LocalSecrets(sources, environment).get(identifier))


def test_files_and_variables(tmp_path, monkeypatch):
    (tmp_path / "f").write_bytes(b"\0bytes\xff")
    monkeypatch.chdir(tmp_path)
    sources = [SecretSource("a", path="f"), SecretSource("b", variable="B"), SecretSource("f"), SecretSource("N")]
    environment = {"B": "ü", "N": "name"}
    assert get(sources, environment, "a") == b"\0bytes\xff"
    assert get(sources, environment, "b") == "ü".encode()
    assert get(sources, environment, "f") == b"\0bytes\xff", "an id alone, no such variable"
    assert get(sources, environment, "N") == b"name", "an id alone, which is a variable"
    assert get(sources, environment, "other") is None
    assert get([SecretSource("b", variable="UNSET")], {}, "b") == b"", "as BuildKit's client has it"


def test_what_cannot_be_a_secret_is_told_at_once(tmp_path):
    with pytest.raises(NotFound, match="no such file"):
        LocalSecrets([SecretSource("a", path=str(tmp_path / "no"))], {})
    with pytest.raises(UsageError, match="folder"):
        LocalSecrets([SecretSource("a", path=str(tmp_path))], {})
    big = tmp_path / "big"
    big.write_bytes(b"x" * SECRET_LIMIT)
    assert len(get([SecretSource("a", path=str(big))], {}, "a")) == SECRET_LIMIT
    big.write_bytes(b"x" * (SECRET_LIMIT + 1))
    with pytest.raises(UsageError, match="500 KiB"):
        LocalSecrets([SecretSource("a", path=str(big))], {})
    with pytest.raises(UsageError, match="500 KiB"):
        get([SecretSource("a", variable="A")], {"A": "x" * (SECRET_LIMIT + 1)}, "a")


def test_one_that_grew_since_is_not_cut(tmp_path):
    path = tmp_path / "f"
    path.write_bytes(b"x")
    secrets = LocalSecrets([SecretSource("a", path=str(path))], {})
    path.write_bytes(b"x" * (SECRET_LIMIT + 1))
    with pytest.raises(UsageError, match="500 KiB"):
        asyncio.run(secrets.get("a"))
