"""Where an answer may send us, and what it may say of what it sends (threats T51-T54, T62)."""

import asyncio
import base64
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trimaran.digest import Digest
from trimaran.errors import Corrupt, Denied, TrimaranError, UsageError
from trimaran.oci import media_types
from trimaran.oci.blobs import read_all
from trimaran.oci.descriptor import Descriptor
from trimaran.registry import challenges, crossing, proxy
from trimaran.registry.hosts import DockerFiles, Hosts
from trimaran.registry.urls import Url
from trimaran.settings import RegistrySettings, Settings
from trimaran.testing import registry as faulty
from trimaran.testing.registry import FaultyRegistry

HTTPS, HTTP = Url.parse("https://registry.example.com/v2/"), Url.parse("http://registry.example.com/v2/")
INDEX = b'{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}'
KIND = media_types.OCI_INDEX
OTHER = b'{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[ ]}'


@pytest.mark.parametrize(
    "target",
    [
        "https://cdn.example.net/blob",
        "https://registry.example.com:8443/blob",
        "https://10.0.0.7/blob",
        "https://192.168.1.2/blob",
        "https://127.example.com/",
        "https://169.254.example.com/",
        "https://[2001:db8::1]/",
    ],
)
def test_places_that_may_be_led_to(target):
    assert crossing.refusal(HTTPS, Url.parse(target)) == ""


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "127.1", "2130706433", "0x7f000001", "0177.0.0.1", "0.0.0.0", "localhost", "x.localhost"),
        *("localhost.", "127.0.0.1.", "[::1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "LOCALHOST"),
        *("169.254.169.254", "[fe80::1]", "[fd00:ec2::254]", "100.100.100.200", "[::ffff:169.254.169.254]"),
    ],
)
def test_a_host_out_there_leads_nobody_into_this_machine(host):
    target = Url.parse(f"https://{host}:8443/latest")
    assert crossing.refusal(HTTPS, target) == "into this machine"
    assert crossing.refusal(Url.parse("http://127.0.0.1:5000/v2/"), target) == "", "who is here may"


def test_nothing_falls_back_to_plain_http():
    for target in ("http://registry.example.com/", "http://cdn.example.net/"):
        assert crossing.refusal(HTTPS, Url.parse(target)) == "to plain HTTP"
        assert crossing.refusal(HTTP, Url.parse(target)) == ""
    with pytest.raises(Denied, match="redirect of https://registry.example.com/v2/: it leads to plain HTTP") as caught:
        crossing.follow(HTTPS, "http://registry.example.com/v2/?X-Signature=secret", "follow redirect")
    assert "X-Forwarded-Proto" in caught.value.hint, "what it mostly is"
    with pytest.raises(Denied) as caught:
        crossing.follow(HTTPS, "http://cdn.example.net/", "follow redirect")
    assert caught.value.hint == ""


@pytest.mark.parametrize("location", ["http://[x/", "//[::1", "http://a:99999/", "gopher://a/", "?" * 20_000])
@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_locations_that_are_none_are_errors_of_ours(make_client, location, method):
    with FaultyRegistry() as server:
        server.fail(faulty.STATUS, path="/manifests/", times=0, status=307, headers={"Location": location})

        async def main(repository):
            asked = repository.get_manifest("v1") if method == "GET" else repository.put_manifest(INDEX, KIND, "v1")
            with pytest.raises(TrimaranError):
                await asked

        use(make_client, server, main, logins={})


@pytest.mark.parametrize("text", ["http://user:hush@[x", "user:hush@[x", "ftp://user:hush@mirror", "user:hush@"])
def test_a_mirror_that_is_none_is_named_without_its_password(text):
    ours = Settings(registry={"docker.io": RegistrySettings(mirrors=(text,))})
    with pytest.raises(UsageError, match="read mirror") as caught:
        Hosts(ours, DockerFiles()).to_pull("docker.io")
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize("text", ["http://user:hush@[x", "http://user:hush@", "http://user:hush@proxy:99999"])
def test_a_proxy_that_is_none_is_named_without_its_password(text):
    with pytest.raises(UsageError, match="no host and port") as caught:
        proxy.parse(text)
    assert "hush" not in str(caught.value)


def test_another_port_is_another_origin(make_client):
    """The password of host:5000 is not for host:5001, whoever listens there."""
    raw = b"blob"
    descriptor = Descriptor.of(raw, media_types.OCI_LAYER)
    with FaultyRegistry() as beside, FaultyRegistry(users={"user": "secret"}) as server:
        beside.put_blob("a/b", raw)
        beside.uploads["session0"] = bytearray()
        server.put_manifest("a/b", "v1", KIND, INDEX)
        location = f"{beside.url}/v2/a/b/blobs"
        server.fail(faulty.REDIRECT, method="GET", path="/blobs/", times=0, location=f"{location}/{descriptor.digest}")
        server.fail(faulty.HEADER, method="POST", times=0, headers={"Location": f"{location}/uploads/session0"})

        async def main(repository):
            await repository.get_manifest("v1")  # from now on the password is known to be wanted
            assert await read_all(repository, descriptor) == raw
            async with repository.ingest(descriptor.media_type, descriptor) as sink:
                await sink.write(raw)
                await sink.commit(descriptor)

        use(make_client, server, main, logins={"a": server.host, "b": beside.host})
        assert len(beside.requests) == 2
        assert not [seen for seen in beside.requests if "authorization" in seen.headers]


def test_two_repositories_that_ask_for_a_password_at_once_both_get_it(make_client):
    with FaultyRegistry(users={"user": "secret"}) as server:
        server.put_manifest("a/b", "v1", KIND, INDEX)
        server.fail(faulty.SLOW, seconds=0.2, times=0)

        async def main(repository):
            await asyncio.gather(*(repository.get_manifest("v1") for _ in range(4)))

        use(make_client, server, main, logins={"a": server.host})


def test_a_password_of_one_namespace_is_not_for_the_next(make_client):
    """containers-auth.json(5): `host/path` entries. Basic is asked for by the host, and answered for the repository."""
    with FaultyRegistry(users={"user": "secret"}) as server:
        for name in ("one/app", "two/app"):
            server.put_manifest(name, "v1", KIND, INDEX)

        async def main(client):
            await client.repository(f"{server.host}/one/app").get_manifest("v1")
            with pytest.raises(Denied):
                await client.repository(f"{server.host}/two/app").get_manifest("v1")

        use(make_client, server, main, logins={"a": f"{server.host}/one"}, whole=True)
        assert not [seen for seen in server.seen("GET", "/two/") if "authorization" in seen.headers]


def use(make_client, server, work, *, logins, whole=False):
    encoded = base64.b64encode(b"user:secret").decode()
    config = json.dumps({"auths": {name: {"auth": encoded} for name in logins.values()}})

    async def main():
        async with make_client(config=config) as client:
            await work(client if whole else client.repository(f"{server.host}/a/b:v1"))

    asyncio.run(main())


# -- what is said of what is sent -------------------------------------------------------------------------------------


def resolve(make_client, server, reference):
    async def main():
        async with make_client() as client:
            return await client.repository(f"{server.host}/a/b").resolve(reference)

    return asyncio.run(main())


def test_t62_what_was_asked_for_by_digest_is_not_exchanged_for_another(make_client):
    with FaultyRegistry() as server:
        wanted, other = Digest.of(INDEX), Digest.of(OTHER)
        server.put_manifest("a/b", "evil", KIND, OTHER)
        server.manifests["a/b", wanted] = (KIND, OTHER)  # says truly that it is another
        with pytest.raises(Corrupt, match="other bytes"):
            resolve(make_client, server, wanted)
        server.put_manifest("a/b", "good", KIND, INDEX)
        server.fail(faulty.HEADER, method="HEAD", times=0, headers={"Docker-Content-Digest": other})
        assert resolve(make_client, server, wanted).digest == wanted, "a wrong header over the right bytes does no harm"


@pytest.mark.parametrize("said", ["../../../etc/passwd", "sha256:../../x", "sha256:" + "A" * 64, "md5:00", "sha256:"])
def test_t55b_a_digest_that_is_none_is_no_name(make_client, said):
    with FaultyRegistry() as server:
        server.put_manifest("a/b", "v1", KIND, INDEX)
        server.fail(faulty.HEADER, method="HEAD", times=0, headers={"Docker-Content-Digest": said})
        with pytest.raises(Corrupt, match="parse digest"):
            resolve(make_client, server, "v1")
        assert len(server.seen("", "/manifests/")) == 1


def test_t62_lookalike_digests_as_they_should_be(make_client):
    with FaultyRegistry() as server:
        server.put_manifest("a/b", "v1", KIND, INDEX)
        by_tag = resolve(make_client, server, "v1")
        assert by_tag == resolve(make_client, server, by_tag.digest)
        assert {seen.method for seen in server.seen("", "/manifests/")} == {"HEAD"}


# -- any text that a server may send ----------------------------------------------------------------------------------

TEXT = st.text(st.sampled_from('htps:/\\@[]?#%.a1-_~ \t"=,;BearerBasicrealm\x00\x7f\u00e9'), max_size=60)


@settings(max_examples=300, deadline=None)
@given(TEXT | st.text(max_size=40))
def test_any_location_is_a_place_or_refused_and_read_in_one_way_only(text):
    for base in (HTTPS, HTTP):
        try:
            target = base.join(text)
        except TrimaranError:
            continue
        assert Url.parse(str(target)) == target
        assert not set(target.host) & set("/?#@ \t")
        assert target.scheme in ("http", "https")
        assert crossing.refusal(base, target) in ("", "to plain HTTP", "into this machine")


@settings(max_examples=300, deadline=None)
@given(TEXT | st.text(max_size=40))
def test_any_challenge_is_read_or_left(text):
    for each in challenges.parse(text) + challenges.parse(f"Bearer {text}"):
        assert each.scheme == each.scheme.lower()
        assert each.get("realm").isprintable()


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=40))
def test_a_challenge_comes_out_as_it_was_meant(value):
    quoted = value.replace("\\", "\\\\").replace('"', '\\"')
    (one,) = challenges.parse(f'Bearer realm="{quoted}", service=registry')
    assert (one.scheme, one.get("realm"), one.get("service")) == ("bearer", value, "registry")
