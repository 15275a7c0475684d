"""Who is shown which credentials: everything works, and nothing leaks (threats T48, T51-T55)."""

import asyncio
import base64
import json

import pytest

from trimaran.errors import Denied, TrimaranError
from trimaran.oci import media_types
from trimaran.oci.blobs import read_all
from trimaran.oci.descriptor import Descriptor
from trimaran.registry.auth import realm_trusted
from trimaran.registry.challenges import parse
from trimaran.registry.docker_config import Credential, HelperFailed, find_helper
from trimaran.registry.urls import Url
from trimaran.settings import RegistrySettings, Settings
from trimaran.testing import registry as faulty
from trimaran.testing.registry import FaultyRegistry

RAW = b"blob"
BLOB = Descriptor.of(RAW, media_types.OCI_LAYER)
BASIC = base64.b64encode(b"user:secret").decode()


def config_for(*hosts, **more):
    return json.dumps({"auths": {host: {"auth": BASIC} for host in hosts}, **more})


def pull(make_client, host, config=None, **options):
    async def main():
        async with make_client(config=config, **options) as client:
            return await read_all(client.repository(f"{host}/a/b:v1"), BLOB)

    return asyncio.run(main())


def push(make_client, host, config=None, **options):
    async def main():
        async with make_client(config=config, **options) as client:
            repository = client.repository(f"{host}/a/b:v1")
            async with repository.ingest(BLOB.media_type, BLOB) as sink:
                await sink.write(RAW)
                await sink.commit(BLOB)

    asyncio.run(main())


def authorizations(server):
    return {seen.headers["authorization"] for seen in server.requests if "authorization" in seen.headers}


# -- what must work ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("token", [False, True])
def test_pull_and_push_with_credentials(make_client, token):
    with FaultyRegistry(users={"user": "secret"}, token=token) as server:
        server.put_blob("a/b", RAW)
        assert pull(make_client, server.host, config_for(server.host)) == RAW
        server.blobs.clear()
        push(make_client, server.host, config_for(server.host))
        assert server.blobs
        basics = {text for text in authorizations(server) if text.startswith("Basic")}
        assert basics == {f"Basic {BASIC}"}
        if token:
            shown = [seen for seen in server.requests if seen.headers.get("authorization", "").startswith("Basic")]
            assert {seen.path for seen in shown} == {"/token"}, "the password goes to the token server only"


def test_anonymous_token(make_client):
    with FaultyRegistry(token=True) as server:
        server.put_blob("a/b", RAW)
        assert pull(make_client, server.host) == RAW
        assert "scope=repository%3Aa%2Fb%3Apull" in server.seen("GET", "/token")[0].query


def test_identity_token_by_oauth2_post(make_client):
    with FaultyRegistry(users={"user": "secret"}, token=True) as server:
        server.put_blob("a/b", RAW)
        server.identity_tokens.add("refresh-me")
        config = json.dumps({"auths": {server.host: {"identitytoken": "refresh-me"}}})
        assert pull(make_client, server.host, config) == RAW
        assert server.seen("POST", "/token")


def test_tokens_are_fetched_once_and_renewed_when_refused(make_client):
    with FaultyRegistry(token=True) as server:
        server.put_blob("a/b", RAW)

        async def main():
            async with make_client() as client:
                repository = client.repository(f"{server.host}/a/b:v1")
                for _ in range(3):
                    await read_all(repository, BLOB)
                assert len(server.seen("GET", "/token")) == 1
                server.tokens.clear()
                await read_all(repository, BLOB)
                assert len(server.seen("GET", "/token")) == 2

        asyncio.run(main())


def test_a_token_that_expires_within_an_upload_is_renewed(make_client):
    with FaultyRegistry(token=True) as server:

        async def main():
            async with make_client() as client:
                repository = client.repository(f"{server.host}/a/b:v1")
                from trimaran.oci.copy import write_blob

                real = server.take

                def take(kinds, method, path):
                    if method == "PUT" and not getattr(server, "dropped", False):
                        server.dropped = True
                        server.tokens.clear()
                    return real(kinds, method, path)

                server.take = take
                await write_blob(BLOB, RAW, repository)

        asyncio.run(main())
        assert ("a/b", BLOB.digest) in server.blobs


def test_wrong_password_is_not_tried_for_ever(make_client):
    with FaultyRegistry(users={"user": "other"}) as server:
        with pytest.raises(Denied) as caught:
            pull(make_client, server.host, config_for(server.host))
        assert "were refused" in caught.value.hint
        assert "secret" not in str(caught.value) + caught.value.hint
        assert len(server.seen("GET", "/blobs/")) <= 2


def test_token_server_on_another_port_of_the_host(make_client):
    with FaultyRegistry(users={"user": "secret"}, token=True) as tokens:
        with FaultyRegistry(users={"user": "secret"}, token=True, realm=f"{tokens.url}/token") as server:
            server.tokens = tokens.tokens
            server.put_blob("a/b", RAW)
            assert pull(make_client, server.host, config_for(server.host)) == RAW


# -- what must not leak -----------------------------------------------------------------------------------------------


def test_t53_a_foreign_realm_gets_no_password(make_client):
    with FaultyRegistry(bind="127.0.0.2", token=True) as evil:
        with FaultyRegistry(users={"user": "secret"}, token=True, realm=f"{evil.url}/token") as server:
            with pytest.raises(Denied, match="wants its credentials") as caught:
                pull(make_client, server.host, config_for(server.host))
            assert not evil.requests
            assert f'auth-realms = ["{evil.host}"]' in caught.value.hint


def test_t53_a_foreign_realm_gets_no_identity_token(make_client):
    with FaultyRegistry(bind="127.0.0.2", token=True) as evil:
        with FaultyRegistry(users={"user": "secret"}, token=True, realm=f"{evil.url}/token") as server:
            config = json.dumps({"auths": {server.host: {"identitytoken": "refresh-me"}}})
            with pytest.raises(Denied):
                pull(make_client, server.host, config)
            assert not evil.requests


def test_t53_lookalike_a_realm_allowed_by_settings_works(make_client):
    with FaultyRegistry(bind="127.0.0.2", users={"user": "secret"}, token=True) as tokens:
        with FaultyRegistry(users={"user": "secret"}, token=True, realm=f"{tokens.url}/token") as server:
            server.tokens = tokens.tokens
            server.put_blob("a/b", RAW)
            settings = Settings(registry={server.host: RegistrySettings(auth_realms=(tokens.host,))})
            assert pull(make_client, server.host, config_for(server.host), settings=settings) == RAW


def test_t51_a_redirect_gets_no_authorization(make_client):
    with FaultyRegistry(bind="127.0.0.2") as storage, FaultyRegistry(users={"user": "secret"}) as server:
        storage.put_blob("a/b", RAW)
        server.put_blob("a/b", RAW)
        server.fail(
            faulty.REDIRECT,
            method="GET",
            path="/blobs/",
            times=0,
            location=f"{storage.url}/v2/a/b/blobs/{BLOB.digest}?sig=1",
        )
        server.fail(faulty.STATUS, method="GET", path="/v2/", status=200, body=b"{}")
        assert pull(make_client, server.host, config_for(server.host, "127.0.0.2", storage.host)) == RAW
        assert storage.requests
        assert not authorizations(storage)


def test_t51_the_challenge_of_a_redirects_target_is_not_answered(make_client):
    with FaultyRegistry(bind="127.0.0.2", users={"user": "secret"}) as storage:
        with FaultyRegistry() as server:
            server.fail(
                faulty.REDIRECT,
                method="GET",
                path="/blobs/",
                times=0,
                location=f"{storage.url}/v2/a/b/blobs/{BLOB.digest}",
            )
            with pytest.raises(Denied):
                pull(make_client, server.host, config_for(server.host, storage.host))
            assert not authorizations(storage)


def test_t52_an_upload_location_elsewhere_gets_no_authorization(make_client):
    with FaultyRegistry(bind="127.0.0.2") as storage, FaultyRegistry(users={"user": "secret"}) as server:
        storage.uploads["session0"] = bytearray()
        server.fail(
            faulty.HEADER, method="POST", times=0, headers={"Location": f"{storage.url}/v2/a/b/blobs/uploads/session0"}
        )
        push(make_client, server.host, config_for(server.host, storage.host))
        assert ("a/b", BLOB.digest) in storage.blobs
        assert not authorizations(storage)


def test_credentials_of_one_host_are_not_for_another(make_client):
    with FaultyRegistry(users={"user": "secret"}) as server:
        server.put_blob("a/b", RAW)
        with pytest.raises(Denied):
            pull(make_client, server.host, config_for("127.0.0.1", "https://index.docker.io/v1/"))
        assert not authorizations(server)


def test_a_mirror_gets_its_own_credentials_only(make_client):
    with FaultyRegistry(bind="127.0.0.2", users={"user": "secret"}) as mirror, FaultyRegistry() as server:
        server.put_blob("a/b", RAW)
        settings = Settings(registry={server.host: RegistrySettings(mirrors=(f"http://{mirror.host}",))})
        assert pull(make_client, server.host, config_for(server.host), settings=settings) == RAW
        assert not authorizations(mirror)


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Bearer",
        'Bearer realm="',
        'Bearer realm="ftp://x/"',
        'Bearer realm="http://user:pw@127.0.0.1/"',
        'Bearer realm="/token"',
        "Bearer realm=" + "a" * 10_000,
        "Basic " * 1000,
        'Bearer realm="http://127.0.0.1:1/\\r\\nX: y"',
        "Digest realm=x, nonce=y",
        ",,,=,=",
        "\x00\x01",
        "Bearer realm=\u00e9",
    ],
)
def test_hostile_challenges_are_errors_of_ours(make_client, header):
    with FaultyRegistry(users={"user": "secret"}) as server:
        server.challenge = (
            header.encode("latin-1", "replace").decode("latin-1").replace("\r", "").replace("\n", "") or "x"
        )
        with pytest.raises(TrimaranError):
            pull(make_client, server.host, config_for(server.host))


@pytest.mark.parametrize("token", ["", "a b", "a\r\nX: y", "a\nb", "x" * 100_000, "\u00e9"])
def test_hostile_tokens_are_errors_of_ours(make_client, token):
    with FaultyRegistry(token=True) as server:
        server.fail(faulty.STATUS, path="/token", status=200, times=0, body=json.dumps({"token": token}).encode())
        with pytest.raises(Denied):
            pull(make_client, server.host)


# -- pure parts -------------------------------------------------------------------------------------------------------


def test_parse_challenges():
    (one,) = parse('Bearer realm="https://a/t",service="s, \\"q\\"",scope="repository:a/b:pull,push"')
    assert (one.scheme, one.get("realm"), one.get("service")) == ("bearer", "https://a/t", 's, "q"')
    assert one.get("scope") == "repository:a/b:pull,push"
    both = parse('Basic realm="x", Bearer realm="y", Negotiate')
    assert [(each.scheme, each.get("realm")) for each in both] == [("basic", "x"), ("bearer", "y"), ("negotiate", "")]


@pytest.mark.parametrize(
    ("registry", "realm", "trusted"),
    [
        ("https://registry-1.docker.io", "https://auth.docker.io/token", True),
        ("https://registry-1.docker.io", "http://auth.docker.io/token", False),
        ("https://registry.gitlab.com", "https://gitlab.com/jwt/auth", True),
        ("https://registry.cn-hangzhou.aliyuncs.com", "https://dockerauth.cn-hangzhou.aliyuncs.com/auth", True),
        ("https://ghcr.io", "https://ghcr.io/token", True),
        ("https://ghcr.io", "https://ghcr.io.evil.example/token", False),
        ("https://registry.example.com", "https://example.com.evil.com/token", False),
        ("https://registry.example.com", "https://evil.com/token", False),
        ("https://registry.co.uk", "https://evil.co.uk/token", False),
        ("https://registry.corp.co.uk", "https://login.corp.co.uk/token", True),
        ("https://one.azurecr.io", "https://two.azurecr.io/token", False),
        ("https://one.azurecr.cn", "https://two.azurecr.cn/token", False),
        ("https://a.compute-1.amazonaws.com", "https://b.compute-1.amazonaws.com/token", False),
        ("https://rg.nl-ams.scw.cloud", "https://api.scaleway.com/registry-internal/v1/tokens", True),
        ("https://uk", "https://evil.uk/token", False),
        ("http://127.0.0.1:5000", "http://127.0.0.1:5001/token", True),
        ("http://127.0.0.1:5000", "http://127.0.0.2:5001/token", False),
        ("https://10.0.0.1", "https://10.0.0.2/token", False),
        ("https://localhost", "https://evil/token", False),
        ("http://registry.example.com", "http://auth.example.com/token", False),
    ],
)
def test_realms(registry, realm, trusted):
    assert realm_trusted(Url.parse(registry), Url.parse(realm)) is trusted


def test_credentials_print_no_secret():
    text = repr(Credential("me", "hunter2", "identity", "token", "file"))
    assert "hunter2" not in text
    assert "identity" not in text


# -- credential helpers -----------------------------------------------------------------------------------------------


def helper(folder, name, script):
    folder.mkdir(exist_ok=True)
    program = folder / f"docker-credential-{name}"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return program


def test_helper_gives_credentials(make_client, tmp_path):
    with FaultyRegistry(users={"user": "secret"}) as server:
        server.put_blob("a/b", RAW)
        helper(
            tmp_path / "bin",
            "good",
            f'[ "$1" = get ] && [ "$(cat)" = {server.host} ] && [ "$PWD" = / ] && echo \'{{"Username":"user","Secret":"secret"}}\'',
        )
        config = json.dumps({"credHelpers": {server.host: "good"}})
        environment = {"PATH": f"{tmp_path}/bin:/usr/bin:/bin"}
        assert pull(make_client, server.host, config, environment=environment) == RAW


def test_a_helper_that_is_missing_does_not_stop_public_images(make_client):
    with FaultyRegistry(token=True) as server:
        server.put_blob("a/b", RAW)
        assert pull(make_client, server.host, json.dumps({"credsStore": "desktop.exe"})) == RAW


def test_t54_a_missing_helper_is_named_and_no_other_credentials_are_sent(make_client):
    with FaultyRegistry(users={"user": "secret"}) as server:
        config = config_for("https://index.docker.io/v1/", credHelpers={server.host: "nowhere"})
        with pytest.raises(Denied) as caught:
            pull(make_client, server.host, config)
        assert "docker-credential-nowhere: not found on PATH" in caught.value.hint
        assert not authorizations(server)


def test_t48_helpers_come_from_no_current_or_open_folder(tmp_path, monkeypatch):
    helper(tmp_path / "here", "x", "exit 0")
    monkeypatch.chdir(tmp_path / "here")
    for path in ("", ".", "here", ":", f"{tmp_path}/none:."):
        with pytest.raises(HelperFailed):
            find_helper("x", path)
    assert find_helper("x", f"{tmp_path}/here") == f"{tmp_path}/here/docker-credential-x"
    (tmp_path / "here").chmod(0o777)
    with pytest.raises(HelperFailed, match="everybody can write"):
        find_helper("x", f"{tmp_path}/here")
    for name in ("../x", "a/b", "", "a b", "x;id"):
        with pytest.raises(HelperFailed, match="not a helper's name"):
            find_helper(name, f"{tmp_path}/here")


def test_errors_hold_no_query_secrets(make_client):
    with FaultyRegistry(bind="127.0.0.2") as storage, FaultyRegistry() as server:
        server.fail(faulty.REDIRECT, path="/blobs/", times=0, location=f"{storage.url}/gone?X-Amz-Signature=topsecret")
        with pytest.raises(TrimaranError) as caught:
            pull(make_client, server.host)
        assert "topsecret" not in str(caught.value)
        assert storage.host in str(caught.value)
