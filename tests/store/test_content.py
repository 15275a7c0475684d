from __future__ import annotations

import errno
import os

import pytest

from contracts import blobs as contract
from trimaran.digest import Digest
from trimaran.errors import Corrupt, NotFound, Unavailable
from trimaran.oci.blobs import copy_to, read_all
from trimaran.oci.descriptor import Descriptor
from trimaran.sources.resolver import kept_document
from trimaran.store.store import open_store

TEXT = "text/plain"


def described(data: bytes) -> Descriptor:
    return Descriptor(media_type=TEXT, digest=Digest.of(data), size=len(data))


async def ingest(content, data, expected=None, *, chunk=1 << 20):
    async with content.ingest(TEXT, expected) as sink:
        for start in range(0, len(data), chunk):
            await sink.write(data[start : start + chunk])
        return await sink.commit(expected)


@pytest.mark.parametrize("size", [0, 1, 65536, 3 << 20])
def test_what_goes_in_comes_out(store, run, size):
    data = os.urandom(size)

    async def main():
        descriptor = await ingest(store.content, data)
        assert descriptor == described(data)
        assert await store.content.has(descriptor)
        assert await read_all(store.content, descriptor) == data
        assert await ingest(store.content, data, descriptor) == descriptor

    run(main())


def test_blobs_outlive_the_process(tmp_path, run):
    with open_store(str(tmp_path)) as store:
        descriptor = store.content.put(b"hello", TEXT)
    with open_store(str(tmp_path)) as store:
        assert run(read_all(store.content, descriptor)) == b"hello"


def test_a_wrong_promise_keeps_nothing(store, run):
    for data, promised in ((b"abc", b"abd"), (b"abc", b"ab"), (b"abc", b"abcd")):
        with pytest.raises(Corrupt):
            run(ingest(store.content, data, described(promised)))
        for each in (data, promised):
            assert not run(store.content.has(described(each)))
    assert os.listdir(os.path.join(store.root, "blobs", "sha256")) == []


def test_more_bytes_than_promised_stop_early(store, run):
    async def main():
        async with store.content.ingest(TEXT, described(b"abc")) as sink:
            with pytest.raises(Corrupt):
                await sink.write(b"x" * 100)

    run(main())


def test_leaving_without_commit_leaves_nothing(store, run):
    async def main():
        async with store.content.ingest(TEXT) as sink:
            await sink.write(b"abc")

    run(main())
    temp = os.path.join(store.root, "temp")
    assert [os.listdir(os.path.join(temp, name)) for name in os.listdir(temp)] == [[]]


def test_missing_is_not_found(store, run):
    with pytest.raises(NotFound):
        run(read_all(store.content, described(b"nothing")))


@pytest.mark.parametrize("damage", [b"hellO", b"hell", b"hello!"])
def test_damage_is_corrupt_and_then_a_miss(store, run, damage):
    descriptor = store.content.put(b"hello", TEXT)
    with open(store.content.path(descriptor.digest), "wb") as file:
        file.write(damage)
    with pytest.raises((Corrupt, NotFound)):
        run(read_all(store.content, descriptor))
    assert not run(store.content.has(descriptor))
    store.content.put(b"hello", TEXT)
    assert run(read_all(store.content, descriptor)) == b"hello"


@pytest.mark.parametrize("damage", [b"hellO", b"hell", b"", None])
def test_a_damaged_document_is_none_and_what_is_at_hand_is_written_anew(tmp_path, run, damage):
    with open_store(str(tmp_path)) as store:
        descriptor = store.content.put(b"hello", TEXT)
        path = store.content.path(descriptor.digest)
    for mend in (False, True):
        with open(path, "wb") as file:
            file.write(damage or b"")
        if damage is None:
            os.unlink(path)
        with open_store(str(tmp_path)) as store:
            if not mend:
                assert run(kept_document(store.content, descriptor)) is None
            store.content.put(b"hello", TEXT)
            assert run(kept_document(store.content, descriptor)) == b"hello"


@pytest.mark.parametrize("again", [False, True], ids=["just written", "of an earlier build"])
@pytest.mark.parametrize("into", ["file", "appended", "pipe"])
def test_a_blob_copies_itself(tmp_path, run, again, into):
    data = os.urandom(3 << 20) if into != "pipe" else b"for a pipe"
    counted = []
    with open_store(str(tmp_path / "store")) as store:
        descriptor = run(ingest(store.content, data))
        if not again:
            assert copied(store, run, descriptor, tmp_path / "copy", into, counted) == data
    if again:
        with open_store(str(tmp_path / "store")) as store:
            assert copied(store, run, descriptor, tmp_path / "copy", into, counted) == data
    assert sum(counted) == len(data)


def test_a_damaged_blob_of_an_earlier_build_is_not_copied_as_whole(tmp_path, run):
    with open_store(str(tmp_path / "store")) as store:
        descriptor = store.content.put(b"hello", TEXT)
    with open_store(str(tmp_path / "store")) as store:
        with open(store.content.path(descriptor.digest), "wb") as file:
            file.write(b"hellO")
        with pytest.raises(Corrupt):
            copied(store, run, descriptor, tmp_path / "copy", "file", [])


def copied(store, run, descriptor, path, into, counted):
    async def main(fd):
        async with store.content.read(descriptor) as reader:
            assert await copy_to(reader, fd, counted.append)

    if into == "pipe":
        read_end, write_end = os.pipe()
        run(main(write_end))
        os.close(write_end)
        with open(read_end, "rb") as file:
            return file.read()
    flags = os.O_WRONLY | os.O_CREAT | (os.O_APPEND if into == "appended" else 0)
    fd = os.open(path, flags, 0o600)
    try:
        run(main(fd))
    finally:
        os.close(fd)
    return path.read_bytes()


def test_a_blob_whose_file_is_gone_is_a_miss(store, run):
    descriptor = store.content.put(b"hello", TEXT)
    os.unlink(store.content.path(descriptor.digest))
    assert not run(store.content.has(descriptor))


def test_other_algorithms(store, run):
    data = b"abc"
    import hashlib

    digest = Digest("sha512:" + hashlib.sha512(data).hexdigest())
    descriptor = Descriptor(media_type=TEXT, digest=digest, size=3)
    assert run(ingest(store.content, data, descriptor)) == descriptor
    assert run(read_all(store.content, descriptor)) == data


def test_a_full_disk_is_said_to_be_full(store, run, monkeypatch):
    real = os.write

    def write(fd, data):
        if len(data) > 1000:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(fd, data)

    monkeypatch.setattr(os, "write", write)
    with pytest.raises(Unavailable, match="No space left") as caught:
        run(ingest(store.content, b"x" * 5000))
    assert "prune" in caught.value.hint
    monkeypatch.undo()
    assert run(ingest(store.content, b"x" * 5000)) == described(b"x" * 5000)


@pytest.mark.parametrize("check", [*contract.ALL, contract.sha512], ids=lambda check: check.__name__)
def test_contract(store, run, check):
    run(check(store.content))
