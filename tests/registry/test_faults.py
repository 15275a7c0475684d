"""A registry that fails in every way: what is retried, taken up, refused, and what the user is told."""

import asyncio
import os
import time

import pytest

from trimaran.digest import Digest
from trimaran.errors import Corrupt, Denied, NotFound, Unavailable
from trimaran.oci import media_types
from trimaran.oci.blobs import read_all
from trimaran.oci.copy import copy_blob, copy_image
from trimaran.oci.descriptor import Descriptor
from trimaran.oci.layout import Layout
from trimaran.registry.errors import RegistryRefused
from trimaran.settings import RegistrySettings, Settings
from trimaran.testing import registry as faulty
from trimaran.testing.images import AMD64, ARM64, random_image
from trimaran.testing.registry import FaultyRegistry

LAYER = media_types.OCI_LAYER_GZIP


@pytest.fixture
def server():
    with FaultyRegistry() as registry:
        yield registry


@pytest.fixture
def use(make_client):
    """Run `work(repository)` against a server."""

    def run(server, work, name="a/b:v1", **options):
        async def main():
            async with make_client(**options) as client:
                return await work(client.repository(f"{server.host}/{name}"))

        return asyncio.run(main())

    return run


def blob_on(server, size=300_000):
    raw = os.urandom(size)
    return raw, Descriptor(media_type=LAYER, digest=Digest.parse(server.put_blob("a/b", raw)), size=size)


@pytest.mark.parametrize("after", [0, 1, 100_000, 299_999])
@pytest.mark.parametrize("kind", [faulty.RESET, faulty.TRUNCATE])
def test_a_broken_download_is_taken_up_by_range(server, use, kind, after):
    raw, descriptor = blob_on(server)
    server.fail(kind, path="/blobs/", after=after)
    assert use(server, lambda repository: read_all(repository, descriptor)) == raw
    ranges = [seen.headers.get("range") for seen in server.seen("GET", "/blobs/")]
    # a reset may throw away what was sent but not yet read, so the exact offset is known for a clean end only
    assert len(ranges) == 2
    if kind == faulty.TRUNCATE and after:
        assert ranges[1] == f"bytes={after}-"


def test_a_server_without_ranges_sends_all_again(server, use):
    raw, descriptor = blob_on(server)
    server.ranges = False
    server.fail(faulty.TRUNCATE, path="/blobs/", after=1000, times=2)
    assert use(server, lambda repository: read_all(repository, descriptor)) == raw


def test_wrong_bytes_are_corrupt_and_not_retried(server, use):
    _, descriptor = blob_on(server)
    server.fail(faulty.CORRUPT, path="/blobs/", times=0)
    with pytest.raises(Corrupt, match="other bytes"):
        use(server, lambda repository: read_all(repository, descriptor))
    assert len(server.seen("GET", "/blobs/")) == 1


def test_a_blob_of_another_length_is_corrupt(server, use):
    _, descriptor = blob_on(server)
    lying = Descriptor(media_type=LAYER, digest=descriptor.digest, size=descriptor.size - 1)
    with pytest.raises(Corrupt, match="300000 bytes, not 299999"):
        use(server, lambda repository: read_all(repository, lying))


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_passing_errors_are_retried(server, use, status):
    raw, descriptor = blob_on(server, 10)
    server.fail(faulty.STATUS, status=status, path="/blobs/", times=2)
    assert use(server, lambda repository: read_all(repository, descriptor)) == raw
    assert len(server.seen("GET", "/blobs/")) == 3


def test_retry_after_is_obeyed(server, use):
    raw, descriptor = blob_on(server, 10)
    server.fail(faulty.STATUS, status=429, path="/blobs/", headers={"Retry-After": "1"})
    start = time.monotonic()
    assert use(server, lambda repository: read_all(repository, descriptor)) == raw
    assert time.monotonic() - start >= 1


def test_too_long_a_retry_after_is_reported_at_once(server, use):
    _, descriptor = blob_on(server, 10)
    server.fail(faulty.STATUS, status=429, path="/blobs/", headers={"Retry-After": "100000"}, times=0)
    with pytest.raises(Unavailable, match="429") as caught:
        use(server, lambda repository: read_all(repository, descriptor))
    assert len(server.seen("GET", "/blobs/")) == 1
    assert "log in" in caught.value.hint


def test_a_refusal_is_not_retried_and_tells_the_registrys_words(server, use):
    body = b'{"errors":[{"code":"NAME_INVALID","message":"no\\u001b[31m such name"}]}'
    server.fail(faulty.STATUS, status=400, body=body, times=0)
    with pytest.raises(RegistryRefused, match="no .31m such name") as caught:
        use(server, lambda repository: repository.get_manifest("v1"))
    assert "\x1b" not in str(caught.value)
    assert len(server.requests) == 2  # /v2/ to find the scheme, and the one


async def push(repository, raw):
    """As copy_blob does, from memory."""

    class Memory:
        def read(self, descriptor):
            return self

        async def __aenter__(self):
            self.left = memoryview(raw)
            return self

        async def __aexit__(self, *_):
            pass

        async def read_piece(self, size):
            piece, self.left = bytes(self.left[:50_000]), self.left[50_000:]
            return piece

    class Source:
        def read(self, descriptor):
            memory = Memory()
            memory.read = memory.read_piece
            return memory

    descriptor = Descriptor.of(raw, LAYER)
    await copy_blob(descriptor, Source(), repository)
    return descriptor


def test_a_broken_upload_is_taken_up_where_it_broke(server, use):
    raw = os.urandom(1_000_000)
    server.fail(faulty.RESET, method="PUT", after=400_000)
    descriptor = use(server, lambda repository: push(repository, raw))
    assert server.blobs["a/b", descriptor.digest] == raw
    assert [seen.size for seen in server.seen("PATCH")] == [600_000]
    assert len(server.seen("POST")) == 1


def test_an_upload_the_server_forgot_begins_anew(server, use):
    raw = os.urandom(1_000_000)
    server.fail(faulty.RESET, method="PUT", after=400_000)
    server.fail(faulty.DROP_UPLOAD, method="GET")
    descriptor = use(server, lambda repository: push(repository, raw))
    assert server.blobs["a/b", descriptor.digest] == raw
    assert len(server.seen("POST")) == 2


def test_an_upload_that_always_breaks_ends(server, use):
    server.fail(faulty.STATUS, status=503, method="PUT", times=0, headers={"Retry-After": "0"})
    with pytest.raises(Unavailable, match="503"):
        use(server, lambda repository: push(repository, b"x"))
    assert len(server.seen("PUT")) == 6


@pytest.mark.parametrize("status", [401, 403, 404, 405, 500, 503, 400])
def test_any_refusal_of_a_mount_falls_back_to_the_upload(server, use, status):
    raw, descriptor = blob_on(server)
    server.blobs = {("other", descriptor.digest): raw}
    server.fail(faulty.STATUS, status=status, method="POST", path="/uploads/", times=1)

    async def work(repository):
        repository.mount_from[descriptor.digest] = ("other",)
        return await push(repository, raw)

    use(server, work)
    assert server.blobs["a/b", descriptor.digest] == raw


def test_a_mount_moves_no_byte(server, use):
    raw, descriptor = blob_on(server)
    server.blobs = {("other", descriptor.digest): raw}

    async def work(repository):
        repository.mount_from[descriptor.digest] = ("other",)
        await push(repository, raw)

    use(server, work)
    assert not server.seen("PUT")
    assert ("a/b", descriptor.digest) in server.blobs


def test_mirrors_come_first_and_their_failures_are_passed_over(server, use):
    raw, descriptor = blob_on(server, 100)
    with FaultyRegistry() as mirror:
        settings = Settings(
            registry={server.host: RegistrySettings(mirrors=(f"http://{mirror.host}/prefix", "127.0.0.1:9"))}
        )
        mirror.fail(faulty.STATUS, status=500)
        assert use(server, lambda repository: read_all(repository, descriptor), settings=settings) == raw
        (asked,) = mirror.seen("GET", f"/v2/prefix/a/b/blobs/{descriptor.digest}")
        assert asked.query == f"ns={server.host}"
        mirror.put_blob("prefix/a/b", raw)
        before = len(server.requests)
        assert use(server, lambda repository: read_all(repository, descriptor), settings=settings) == raw
        assert len(server.requests) == before


def test_nothing_is_pushed_to_a_mirror(server, use):
    with FaultyRegistry() as mirror:
        settings = Settings(registry={server.host: RegistrySettings(mirrors=(f"http://{mirror.host}",))})
        use(server, lambda repository: push(repository, b"bytes"), settings=settings)
        assert not mirror.requests


def test_docker_content_digest_is_not_believed(server, use):
    raw = b'{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}'
    server.put_manifest("a/b", "v1", media_types.OCI_INDEX, raw)
    server.fail(
        faulty.HEADER, path="/manifests/v1", headers={"Docker-Content-Digest": str(Digest.of(b"other"))}, times=0
    )
    descriptor, got = use(server, lambda repository: repository.get_manifest("v1"))
    assert (descriptor.digest, got) == (Digest.of(raw), raw)


def test_a_manifest_asked_by_digest_must_have_it(server, use):
    raw = b'{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}'
    wanted = Digest.of(b"wanted")
    server.manifests["a/b", str(wanted)] = (media_types.OCI_INDEX, raw)
    with pytest.raises(Corrupt, match="other bytes"):
        use(server, lambda repository: repository.get_manifest(str(wanted)))


def test_a_manifest_served_as_another_kind_is_refused(server, use):
    raw = b'{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}'
    server.put_manifest("a/b", "v1", media_types.OCI_MANIFEST, raw)
    with pytest.raises(Corrupt, match="served as"):
        use(server, lambda repository: repository.get_manifest("v1"))


def test_an_endless_manifest_is_refused(server, use):
    server.put_manifest("a/b", "v1", media_types.OCI_MANIFEST, b" " * (5 << 20))
    with pytest.raises(Corrupt, match="allowed"):
        use(server, lambda repository: repository.get_manifest("v1"))


def test_a_wrong_content_type_does_not_hide_a_good_manifest(server, use):
    raw = b'{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}'
    server.put_manifest("a/b", "v1", "text/plain; charset=utf-8", raw)
    assert use(server, lambda repository: repository.get_manifest("v1"))[0].media_type == media_types.OCI_INDEX


def test_a_stored_manifest_with_another_digest_is_told(server, use):
    raw = b'{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}'
    server.fail(faulty.HEADER, method="PUT", headers={"Docker-Content-Digest": str(Digest.of(b"other"))})
    with pytest.raises(Corrupt, match="stored"):
        use(server, lambda repository: repository.put_manifest(raw, media_types.OCI_INDEX, "v1"))


def test_what_speaks_no_http_is_said_so(make_client):
    async def main():
        async def garbage(reader, writer):
            writer.write(b"SSH-2.0-OpenSSH_9\r\n\r\n")
            writer.close()

        service = await asyncio.start_server(garbage, "127.0.0.1", 0)
        port = service.sockets[0].getsockname()[1]
        async with make_client() as client:
            with pytest.raises(Unavailable) as caught:
                await client.repository(f"127.0.0.1:{port}/a:v1").get_manifest("v1")
        service.close()
        await service.wait_closed()
        return caught.value

    error = asyncio.run(main())
    assert "does not speak HTTP" in str(error)


def test_a_dead_idle_connection_is_replaced(server, use):
    raw, descriptor = blob_on(server, 10)

    async def work(repository):
        await read_all(repository, descriptor)
        (streams,) = repository._endpoints[0]._client._idle.values()
        streams[0][1]._socket.shutdown(2)
        return await read_all(repository, descriptor)

    assert use(server, work) == raw


def test_connections_are_kept(server, use, monkeypatch):
    from trimaran.registry import sockets

    made = []
    real = sockets.connect

    async def counted(*args):
        made.append(args)
        return await real(*args)

    monkeypatch.setattr(sockets, "connect", counted)
    raw, descriptor = blob_on(server)

    async def work(repository):
        for _ in range(5):
            await read_all(repository, descriptor)

    use(server, work)
    assert len(made) == 1


def test_copy_of_an_index_between_registries_and_a_layout(server, use, tmp_path):
    image = random_image(1, platforms=(AMD64, ARM64))

    async def work(repository):
        layout = await Layout.create(str(tmp_path / "layout"))
        await image.write_to(layout)
        await copy_image(image.root, layout, repository)
        back = await Layout.create(str(tmp_path / "back"))
        await copy_image(image.root, repository, back)
        first = len(server.requests)
        await copy_image(image.root, layout, repository)
        return back, server.requests[first:]

    back, again = use(server, work)
    assert {seen.method for seen in again} == {"HEAD"}, "a second copy moves nothing"
    for descriptor, raw in image.contents:
        assert (tmp_path / "back" / "blobs" / "sha256" / descriptor.digest.hex).read_bytes() == raw
    order = [seen.path for seen in server.seen("PUT", "/manifests/")]
    assert order[-1].endswith(image.root.digest), "the index comes last"


def test_copy_of_a_missing_layer_says_which(server, use, tmp_path):
    image = random_image(2)

    async def work(repository):
        layout = await Layout.create(str(tmp_path / "layout"))
        await image.write_to(layout)
        victim = image.contents[0][0].digest
        os.unlink(tmp_path / "layout" / "blobs" / "sha256" / victim.hex)
        with pytest.raises(NotFound, match=victim):
            await copy_image(image.root, layout, repository)
        assert not server.manifests

    use(server, work)


def test_denied_names_what_to_do(use, tmp_path):
    with FaultyRegistry(users={"u": "p"}) as server:
        with pytest.raises(Denied) as caught:
            use(server, lambda repository: repository.get_manifest("v1"))
        assert "401: authentication required" in str(caught.value)
        assert f"no credentials for {server.host} in {tmp_path}/docker/config.json" in caught.value.hint
        assert f"trimaran login {server.host}" in caught.value.hint


def test_uploads_at_the_same_time_are_apart_whatever_ended_before(server):
    """Two pushed at once got one session, and each the other's bytes, when a third one had just ended."""
    from contextlib import closing
    from http.client import HTTPConnection

    def asked(method, path, body=b""):
        with closing(HTTPConnection(server.host)) as connection:
            connection.request(method, path, body)
            with connection.getresponse() as response:
                return response.status, response.headers["Location"]

    (_, first), (_, second) = (asked("POST", "/v2/a/blobs/uploads/") for _ in range(2))
    assert asked("PUT", f"{first}&digest={Digest.of(b'one')}", b"one")[0] == 201
    _, third = asked("POST", "/v2/a/blobs/uploads/")
    assert len({first, second, third}) == 3
    for place, body in ((second, b"two"), (third, b"three")):
        assert asked("PUT", f"{place}&digest={Digest.of(body)}", body)[0] == 201
