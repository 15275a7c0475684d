from __future__ import annotations

import asyncio
import io
import os
import tarfile

import pytest

from trimaran.digest import Digest
from trimaran.errors import Corrupt, NotFound
from trimaran.oci.descriptor import Descriptor
from trimaran.solver.protocols import ResultGone
from trimaran.store.compression import Compression
from trimaran.store.decompression import decompress
from trimaran.store.entries import EMPTY, FILE, FOLDER, Entry, EntryList
from trimaran.store.folder import Folder, FolderFile, Inline
from trimaran.store.layers import LayerId
from trimaran.store.render import ContextChanged
from trimaran.store.store import open_store

ME = (os.geteuid(), os.getegid())
GZIP = Compression("gzip")


def listed(files: dict[str, bytes], *, mtime: int = 1_700_000_000_000_000_000):
    entries = [
        Entry(path, FILE, 0o644, *ME, mtime, len(data), digest=str(Digest.of(data))) for path, data in files.items()
    ]
    folders = {path.rpartition("/")[0] for path in files} - {""}
    entries += [Entry(path, FOLDER, 0o755, *ME, mtime) for path in folders]
    return EntryList.of(entries), {path: Inline(data) for path, data in files.items()}


def archive(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for path, data in files.items():
            info = tarfile.TarInfo(path)
            info.size, (info.uid, info.gid) = len(data), ME
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


class Remote:
    """A place with blobs that counts what is read of it."""

    def __init__(self, *blobs: bytes, chunk: int = 1 << 20) -> None:
        self.blobs = {Digest.of(blob): blob for blob in blobs}
        self.read_count = 0
        self.chunk = chunk

    def read(self, descriptor):
        from contextlib import asynccontextmanager

        @asynccontextmanager
        async def opened():
            self.read_count += 1
            stream = io.BytesIO(self.blobs[descriptor.digest])

            class Reader:
                async def read(_, size=1 << 20):
                    await asyncio.sleep(0)
                    return stream.read(min(size, self.chunk))

            yield Reader()

        return opened()


def gzipped(data: bytes) -> bytes:
    import gzip

    return gzip.compress(data, mtime=0)


def remote_layer(files, *, chunk=1 << 20):
    tar = archive(files)
    blob = gzipped(tar)
    descriptor = Descriptor(
        media_type="application/vnd.oci.image.layer.v1.tar+gzip", digest=Digest.of(blob), size=len(blob)
    )
    return Digest.of(tar), descriptor, Remote(blob, chunk=chunk)


def test_a_context_becomes_a_blob_that_says_what_the_list_says(store, run):
    entries, origins = listed({"app/a": b"hello", "app/b": b"world"})

    async def main():
        layer = await store.layers.add(entries, origins)
        assert layer == entries.digest
        assert store.layers.present(layer)
        blob = await store.layers.blob(layer, GZIP)
        assert await store.layers.blob(layer, GZIP) == blob
        return blob

    blob = run(main())
    with open(store.content.path(blob.descriptor.digest), "rb") as file:
        tar = decompress(file.read)(1 << 20)
    assert Digest.of(tar) == blob.diff_id
    with tarfile.open(fileobj=io.BytesIO(tar)) as read:
        assert {m.name: read.extractfile(m).read() for m in read if m.isfile()} == {
            "app/a": b"hello",
            "app/b": b"world",
        }


def test_a_settled_layer_outlives_its_build_and_its_context(tmp_path, run):
    entries, origins = listed({"app/a": b"hello"})
    with open_store(str(tmp_path)) as store:
        layer = run(store.layers.add(entries, origins))
        run(store.layers.settle([layer, layer]))
    with open_store(str(tmp_path)) as store:
        assert store.layers.present(layer)
        assert run(store.layers.entries(layer)) == entries
        assert run(store.layers.read_file(layer, "app/a")) == b"hello"
        run(store.layers.blob(layer, GZIP))


def test_a_context_only_layer_is_gone_with_its_build(tmp_path, run):
    entries, origins = listed({"app/a": b"hello"})
    with open_store(str(tmp_path)) as store:
        layer = run(store.layers.add(entries, origins))
        run(store.layers.entries(layer))
    with open_store(str(tmp_path)) as store:
        assert not store.layers.present(layer)
        for ask in (
            store.layers.entries,
            store.layers.folder,
            store.layers.fetch,
            lambda x: store.layers.blob(x, GZIP),
        ):
            with pytest.raises(ResultGone) as caught:
                run(ask(layer))
            assert caught.value.part == layer


def test_a_context_that_changed_is_not_stored(store, run):
    entries, _ = listed({"app/a": b"hello"})

    async def main():
        layer = await store.layers.add(entries, {"app/a": Inline(b"hellO")})
        for ask in (lambda: store.layers.blob(layer, GZIP), lambda: store.layers.folder(layer)):
            with pytest.raises(Exception, match="context changed during the build: app/a"):
                await ask()

    run(main())
    assert os.listdir(os.path.join(store.root, "blobs/sha256")) == []
    assert os.listdir(os.path.join(store.root, "snapshots")) == []


def test_nothing_changed_is_a_layer_without_bytes(store, run):
    async def main():
        layer = await store.layers.add(EMPTY, {})
        assert store.layers.present(layer)
        await store.layers.settle([layer])
        assert await store.layers.entries(layer) == EMPTY

    run(main())


def test_remote_layers_stay_remote_until_read(store, run):
    diff_id, descriptor, remote = remote_layer({"etc/passwd": b"root:x:0:0::/:/bin/sh\n"})

    async def main():
        layer = store.layers.register_remote(diff_id, descriptor, remote, "docker.io/library/base")
        assert store.layers.present(layer)
        blob = await store.layers.blob(layer, Compression("zstd"))
        assert (blob.descriptor, blob.diff_id) == (descriptor, diff_id)
        assert remote.read_count == 0
        assert store.layers.source(layer) is remote
        assert store.layers.source(descriptor.digest) is remote
        entries, folder = await asyncio.gather(store.layers.entries(layer), store.layers.folder(layer))
        assert entries.get("etc/passwd").digest == Digest.of(b"root:x:0:0::/:/bin/sh\n")
        assert os.path.exists(os.path.join(folder, "etc/passwd"))
        assert await store.layers.read_file(layer, "etc/passwd") == b"root:x:0:0::/:/bin/sh\n"
        assert await store.content.has(descriptor)
        assert remote.read_count == 1
        await store.database.flush()
        assert store.layers.repositories(descriptor.digest) == ("docker.io/library/base",)

    run(main())


@pytest.mark.parametrize("unpacked", [False, True])
def test_forcing_recompresses_a_remote_layer_to_the_same_content(store, run, unpacked):
    """Its folder, made a tar again, would not be the tar that it came as."""
    diff_id, descriptor, remote = remote_layer({"a": b"x" * 100_000})

    async def main():
        layer = store.layers.register_remote(diff_id, descriptor, remote, "r")
        if unpacked:
            await store.layers.folder(layer)
        same = await store.layers.blob(layer, GZIP, force=True)
        assert same.descriptor == descriptor
        ours = await store.layers.blob(layer, GZIP, ours=True)
        assert (ours.diff_id, ours.descriptor == descriptor) == (diff_id, False)
        assert await store.layers.blob(layer, GZIP, ours=True) == ours
        assert await store.layers.blob(layer, GZIP) == same, "nothing else asks for it"
        other = await store.layers.blob(layer, Compression("uncompressed"), force=True)
        assert other.diff_id == diff_id == other.descriptor.digest
        assert other.descriptor.media_type == "application/vnd.oci.image.layer.v1.tar"

    run(main())


@pytest.mark.parametrize("lie", ["digest", "diff_id", "size", "truncated"])
def test_a_lying_registry_leaves_nothing(store, run, lie):
    diff_id, descriptor, remote = remote_layer({"a": os.urandom(3_000_000)}, chunk=100_000)
    real = remote.blobs[descriptor.digest]
    if lie == "digest":
        remote.blobs[descriptor.digest] = gzipped(archive({"evil": b"x"}))
    elif lie == "diff_id":
        diff_id = Digest.of(b"other")
    elif lie == "size":
        remote.blobs[descriptor.digest] = real + b"\0" * 10
    else:
        remote.blobs[descriptor.digest] = real[:-1000]

    async def main():
        layer = store.layers.register_remote(diff_id, descriptor, remote, "r")
        for ask in (store.layers.fetch, store.layers.folder, store.layers.entries):
            with pytest.raises(Corrupt):
                await ask(layer)

    run(main())
    assert os.listdir(os.path.join(store.root, "blobs/sha256")) == []
    assert os.listdir(os.path.join(store.root, "snapshots")) == []


def test_a_connection_that_breaks_is_the_error_that_is_shown(store, run):
    diff_id, descriptor, remote = remote_layer({"a": os.urandom(3_000_000)}, chunk=100_000)

    class Broken(Remote):
        def read(self, descriptor):
            from contextlib import asynccontextmanager

            @asynccontextmanager
            async def opened():
                async with super(Broken, self).read(descriptor) as reader:

                    class Reader:
                        count = 0

                        async def read(inner, size=1 << 20):
                            inner.count += 1
                            if inner.count > 3:
                                raise ConnectionResetError("the peer hung up")
                            return await reader.read(size)

                    yield Reader()

            return opened()

    broken = Broken(chunk=100_000)
    broken.blobs = remote.blobs
    layer = store.layers.register_remote(diff_id, descriptor, broken, "r")
    with pytest.raises(ConnectionResetError):
        run(asyncio.wait_for(store.layers.fetch(layer), 10))


def test_cancelling_a_pull_ends_it(store, run):
    diff_id, descriptor, _ = remote_layer({"a": os.urandom(1_000_000)})

    class Stuck(Remote):
        def read(self, descriptor):
            from contextlib import asynccontextmanager

            @asynccontextmanager
            async def opened():
                class Reader:
                    async def read(_, size=0):
                        await asyncio.sleep(3600)

                yield Reader()

            return opened()

    layer = store.layers.register_remote(diff_id, descriptor, Stuck(), "r")

    async def main():
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await store.layers.folder(layer)

    run(asyncio.wait_for(main(), 10))


def test_blobs_of_the_store_are_unpacked_when_needed(tmp_path, run):
    tar = archive({"a": b"1", "b/c": b"2"})
    with open_store(str(tmp_path)) as store:
        descriptor = store.content.put(gzipped(tar), "application/vnd.oci.image.layer.v1.tar+gzip")
        layer = store.layers.register_blob(Digest.of(tar), descriptor)
        assert store.layers.present(layer)
        assert run(store.layers.blob(layer, Compression("zstd"))).descriptor == descriptor
    with open_store(str(tmp_path)) as store:
        assert store.layers.present(layer)
        assert [entry.path for entry in run(store.layers.entries(layer))] == ["a", "b/c"]
        assert run(store.layers.read_file(layer, "b/c")) == b"2"
        with pytest.raises(NotFound):
            run(store.layers.read_file(layer, "b/d"))
        with pytest.raises(Corrupt):
            run(store.layers.read_file(layer, "a", limit=0))


def test_a_folder_that_vanished_is_made_again(tmp_path, run):
    from trimaran.aio import Cancel
    from trimaran.store.removal import remove_tree

    tar = archive({"a": b"1"})
    with open_store(str(tmp_path)) as store:
        descriptor = store.content.put(tar, "application/vnd.oci.image.layer.v1.tar")
        layer = store.layers.register_blob(Digest.of(tar), descriptor)
        folder = run(store.layers.folder(layer))
    remove_tree(Cancel(), folder)
    with open_store(str(tmp_path)) as store:
        again = run(store.layers.folder(layer))
        assert os.listdir(again) == ["a"]


def test_after_a_reboot_only_synced_folders_are_trusted(tmp_path, run):
    made = {}
    for name in ("synced", "unsynced"):
        tar = archive({name: b"1"})
        with open_store(str(tmp_path)) as store:
            descriptor = store.content.put(tar, "application/vnd.oci.image.layer.v1.tar")
            layer = store.layers.register_blob(Digest.of(tar), descriptor)
            made[name] = (layer, run(store.layers.folder(layer)))
            if name == "synced":
                run(store.sync())
    with open_store(str(tmp_path)) as store:
        store.snapshots.folders._boot = "another boot"
        assert store.snapshots.folders.path(made["synced"][0]) == made["synced"][1]
        assert store.snapshots.folders.path(made["unsynced"][0]) is None
        assert run(store.layers.folder(made["unsynced"][0])) != made["unsynced"][1]


def test_digests_read_only_what_is_not_known(store, run, tmp_path):
    folder = store.snapshots.folders.temporary()
    for name in ("a", "b"):
        with open(os.path.join(folder, name), "w") as file:
            file.write(name * 3)
    os.link(os.path.join(folder, "b"), os.path.join(folder, "c"))

    async def main():
        layer = await store.layers.add_upper(folder, ())
        assert all(entry.digest == "" for entry in await store.layers.entries(layer))
        assert await store.layers.digests(layer, ["c"]) == {"c": Digest.of(b"bbb")}
        entries = await store.layers.entries(layer)
        assert (entries.get("a").digest, entries.get("b").digest) == ("", Digest.of(b"bbb"))
        blob = await store.layers.blob(layer, GZIP)
        assert (await store.layers.entries(layer)).get("a").digest == Digest.of(b"aaa")
        return layer, blob

    layer, blob = run(main())
    with pytest.raises(NotFound):
        run(store.layers.digests(layer, ["nope"]))


def test_equal_work_runs_once_in_two_stores_of_one_folder(tmp_path, run):
    """As two processes would: each has its own locks and database."""
    diff_id, descriptor, remote = remote_layer({"a": os.urandom(500_000)})

    async def main():
        with open_store(str(tmp_path)) as first, open_store(str(tmp_path)) as second:
            for each in (first, second):
                each.layers.register_remote(diff_id, descriptor, remote, "r")
            layer = LayerId(diff_id)
            folders = await asyncio.gather(*(each.layers.folder(layer) for each in (first, second, first)))
            assert len(set(folders)) == 1

    run(main())
    assert remote.read_count == 1
    assert len(os.listdir(tmp_path / "snapshots")) == 1


def test_a_damaged_blob_is_pulled_again_or_made_again(tmp_path, run):
    diff_id, descriptor, remote = remote_layer({"a": b"1" * 1000})
    with open_store(str(tmp_path)) as store:
        layer = store.layers.register_remote(diff_id, descriptor, remote, "r")
        run(store.layers.fetch(layer))
        with open(store.content.path(descriptor.digest), "r+b") as file:
            file.seek(20)
            file.write(b"xxxx")
    with open_store(str(tmp_path)) as store:
        store.layers.register_remote(diff_id, descriptor, remote, "r")
        assert os.listdir(run(store.layers.folder(layer))) == ["a"]
        assert remote.read_count == 2
    os.rename(tmp_path / "snapshots", tmp_path / "old")
    os.mkdir(tmp_path / "snapshots")
    with open(os.path.join(tmp_path, "blobs/sha256", descriptor.digest.hex), "r+b") as file:
        file.write(b"xxxx")
    with open_store(str(tmp_path)) as store:
        with pytest.raises(ResultGone):
            run(store.layers.folder(layer))
        assert not store.layers.present(layer)


@pytest.mark.parametrize("use", ["blob", "folder"])
def test_a_damaged_folder_that_is_copied_from_is_gone_and_a_changed_context_is_not(store, run, tmp_path, use):
    """However many copies lie between: who has the damaged file makes it again; a context is the user's."""

    async def main(below, origin, data):
        entries, _ = listed({"b": data, "c": b"more"})
        middle = await store.layers.add(entries, {"b": origin, "c": Inline(b"more")})
        entries, _ = listed({"d": data})
        top = await store.layers.add(entries, {"d": store.layers.origin(middle, "b")})
        with pytest.raises(ResultGone if below else ContextChanged) as caught:
            await (store.layers.blob(top, GZIP) if use == "blob" else store.layers.folder(top))
        if below:
            assert caught.value.part == below
            assert not store.layers.present(below)

    made = tmp_path / "made"
    made.mkdir()
    (made / "a").write_bytes(b"hello")
    with Folder(str(made)) as context:
        (made / "a").write_bytes(b"hellO")
        run(main("", FolderFile(context, "a"), b"hello"))
    upper = store.snapshots.folders.temporary()
    with open(os.path.join(upper, "a"), "wb") as file:
        file.write(b"hellO")
    layer = run(store.layers.add_upper(upper, ()))
    run(main(layer, store.layers.origin(layer, "a"), b"howdy"))


def test_a_copy_of_a_whole_context_is_that_context(store, run):
    """Equal lists are one layer: its bytes stay where they are, and are not looked for in itself."""
    entries, origins = listed({"a": b"hello"})

    async def main():
        layer = await store.layers.add(entries, origins)
        again = await store.layers.add(entries, {"a": store.layers.origin(layer, "a")})
        assert again == layer
        assert os.read(store.layers.open_file(layer, "a"), 10) == b"hello"

    run(main())
