"""Keys of signed caches: where they may be, and what cannot be one."""

from __future__ import annotations

import asyncio
import os

import pytest

from trimaran.builders.cache_keys import LEAST, LIMIT, read
from trimaran.builders.checks import check_signing
from trimaran.caches.options import InlineExport, LocalExport, LocalImport, RegistryImport, Signing
from trimaran.errors import UsageError
from trimaran.sources.given import KeySource

KEY = b"0123456789abcdef"


def keys(*sources, **environment):
    return asyncio.run(read(sources, environment))


def write(path, raw=KEY, mode=0o600):
    path.write_bytes(raw)
    path.chmod(mode)
    return KeySource(str(path))


def test_a_file_and_a_variable_are_one_key(tmp_path):
    """Who writes a file by `>` has the line's end in it."""
    file, variable = write(tmp_path / "key", KEY + b"\n"), KeySource(variable="KEY")
    assert keys(file, variable, KEY=KEY.decode()) == {file: KEY, variable: KEY}


def test_one_that_is_not_here_is_left_out(tmp_path):
    """A pull request of a stranger has no secrets: GitHub gives it empty ones."""
    assert keys(KeySource(str(tmp_path / "no")), KeySource(variable="UNSET"), KeySource(variable="E"), E="") == {}
    assert keys(write(tmp_path / "empty", b"")) == {}


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o666])
def test_a_file_of_everybody_is_no_secret(tmp_path, mode):
    with pytest.raises(UsageError, match="others may read or change it") as told:
        keys(write(tmp_path / "key", mode=mode))
    assert told.value.hint.startswith("chmod 600 ")
    assert KEY.decode() not in str(told.value)


@pytest.mark.parametrize("mode", [0o400, 0o600])
def test_a_file_of_ones_own_is_one(tmp_path, mode):
    source = write(tmp_path / "key", mode=mode)
    assert keys(source) == {source: KEY}


@pytest.mark.parametrize("size", [1, LEAST - 1, LIMIT + 1])
def test_what_is_too_short_or_long_is_none_and_is_not_told(tmp_path, size):
    for source in (write(tmp_path / "key", b"k" * size), KeySource(variable="KEY")):
        with pytest.raises(UsageError, match="bytes, and a key has 16 to 4096") as told:
            keys(source, KEY="k" * size)
        assert "kk" not in str(told.value)


def test_folders_and_pipes_are_none(tmp_path):
    os.mkfifo(tmp_path / "pipe", 0o600)
    for name, words in ((".", "is a directory"), ("pipe", "it is no file")):
        with pytest.raises(UsageError, match=words):
            keys(KeySource(str(tmp_path / name)))


def test_nothing_is_signed_that_anybody_may_have_written():
    signing = Signing(KeySource(variable="KEY"))
    signed, plain = LocalImport(src="/a", signing=signing), RegistryImport("app:cache")
    export = LocalExport(dest="/b", signing=signing)
    with pytest.raises(UsageError, match="whatever somebody put there would be signed"):
        check_signing([signed, plain], [export])
    check_signing([signed], [export, InlineExport()])
    check_signing([], [export])
    check_signing([signed, plain], [LocalExport(dest="/b"), InlineExport()])
