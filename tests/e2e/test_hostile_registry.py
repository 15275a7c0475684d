"""Registries that are out to get passwords, or to have other bytes used than were asked for (T51-T55b, T62, T63).

Each attack is beside what looks like it and has to work. `evil` is a host of its own (127.0.0.2) that keeps all it was
told; the program has a password for every host there is, so that only its rules keep it from saying one.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from stage import hostile
from stage.certificates import Authority
from stage.contexts import Context
from stage.faulty import fill, layers_of
from stage.program import PATH, Trimaran
from stage.proxy import Proxy

from trimaran.testing.registry import CORRUPT, HEADER, REDIRECT, SLOW, STATUS, TRUNCATE, FaultyRegistry, Seen

USER, PASSWORD = "captain", "three-hulls"
LOGIN = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()


@pytest.fixture
def evil() -> Iterator[FaultyRegistry]:
    with FaultyRegistry(bind="127.0.0.2") as running:
        yield running


@pytest.fixture
def guarded(base_layout: Path) -> Iterator[FaultyRegistry]:
    """A registry that wants a password, with the base."""
    with FaultyRegistry(users={USER: PASSWORD}) as running:
        fill(running, base_layout)
        yield running


@pytest.fixture
def secured(base_layout: Path, authority: Authority) -> Iterator[FaultyRegistry]:
    """A registry that wants a password, over TLS, with the base."""
    with FaultyRegistry(users={USER: PASSWORD}, tls=(str(authority.certificate), str(authority.key))) as running:
        fill(running, base_layout)
        yield running


def log_in(command: Trimaran, *registries: FaultyRegistry, **more: object) -> None:
    hosts = (*(each.host for each in registries), "127.0.0.1", "127.0.0.2", "https://index.docker.io/v1/")
    document = {"auths": {host: {"auth": LOGIN} for host in hosts}, **more}
    (command.docker_config / "config.json").write_text(json.dumps(document))


def trusting(command: Trimaran, authority: Authority, registry: FaultyRegistry) -> None:
    command.settings.write_text(f'[registry."{registry.host}"]\nca = ["{authority.ca}"]\n')


def build(command: Trimaran, context: Context, dockerfile: str, *words: str, exit_code: int = 0) -> str:
    context.dockerfile(dockerfile)
    said = command("build", "--progress=plain", *words, ".", cwd=context.folder, exit_code=exit_code).stderr
    assert "Traceback" not in said
    return said


def one_error(said: str) -> str:
    (line,) = [line for line in said.splitlines() if line.startswith("ERROR: ")]
    return line


def shown(registry: FaultyRegistry) -> list[str]:
    """Where this registry was shown a password or token."""
    return [each.path for each in registry.requests if "authorization" in each.headers]


# -- T51, T52: redirects, foreign layers, upload locations ------------------------------------------------------------


def test_storage_elsewhere_works_and_is_shown_nothing(
    trimaran: Trimaran, guarded: FaultyRegistry, evil: FaultyRegistry, base_layout: Path, context: Context
) -> None:
    """Layers behind a redirect, as all clouds have them, and a push whose bytes go elsewhere."""
    fill(evil, base_layout)
    log_in(trimaran, guarded, evil)
    (layer,) = layers_of(guarded)
    location = f"{evil.url}/v2/alpine/blobs/{layer}?signature=x"
    guarded.fail(REDIRECT, method="GET", path=f"/alpine/blobs/{layer}", location=location, times=0)
    evil.uploads["here"] = bytearray()
    guarded.fail(HEADER, method="POST", path="/app/", headers={"Location": f"{evil.url}/v2/app/blobs/uploads/here"})
    build(trimaran, context, f"FROM {guarded.host}/alpine\nRUN echo a > /a\n")
    build(trimaran, context, "FROM scratch\nCOPY Dockerfile /\n", "-t", f"{guarded.host}/app:1", "--push")
    assert [blob for repository, blob in evil.blobs if repository == "app"]
    assert evil.seen("GET", layer)
    assert shown(guarded)
    assert shown(evil) == []


def test_addresses_within_a_manifest_are_asked_nothing(
    trimaran: Trimaran, faulty: FaultyRegistry, evil: FaultyRegistry, context: Context
) -> None:
    """CVE-2020-15157: a manifest may name any URL for a layer. Layers come from the registry, or not at all."""
    log_in(trimaran, faulty, evil)
    index = json.loads(faulty.manifests["alpine", "latest"][1])
    child = next(each for each in index["manifests"] if each["platform"]["architecture"] == "amd64")
    media_type, raw = faulty.manifests["alpine", child["digest"]]
    manifest = json.loads(raw)
    manifest["layers"][0]["urls"] = [f"{evil.url}/layer", "file:///etc/passwd"]
    faulty.put_manifest("alpine", "foreign", media_type, json.dumps(manifest).encode())
    build(trimaran, context, f"FROM {faulty.host}/alpine:foreign\nRUN true\n")
    trimaran.environment["TRIMARAN_ROOT"] = str(trimaran.home / "new")
    del faulty.blobs["alpine", manifest["layers"][0]["digest"]]
    said = build(trimaran, context, f"FROM {faulty.host}/alpine:foreign\nRUN true\n", exit_code=1)
    assert manifest["layers"][0]["digest"] in one_error(said)
    assert evil.requests == []


@pytest.mark.parametrize("what", ["layer", "manifest", "upload"])
def test_nothing_goes_on_over_plain_http(
    trimaran: Trimaran,
    secured: FaultyRegistry,
    evil: FaultyRegistry,
    authority: Authority,
    context: Context,
    base_layout: Path,
    what: str,
) -> None:
    trusting(trimaran, authority, secured)
    log_in(trimaran, secured, evil)
    push = ("-t", f"{secured.host}/app:1", "--push")
    build(trimaran, context, f"FROM {secured.host}/alpine\nRUN true\n", *push)  # what has to work
    trimaran.environment["TRIMARAN_ROOT"] = str(trimaran.home / "new")
    fill(evil, base_layout)
    if what == "upload":
        secured.fail(HEADER, method="POST", times=0, headers={"Location": f"{evil.url}/v2/app/blobs/uploads/x"})
    else:
        path = "/alpine/blobs/" if what == "layer" else "/alpine/manifests/"
        secured.fail(REDIRECT, path=path, times=0, location=f"{evil.url}/v2/alpine/")
    said = build(trimaran, context, f"FROM {secured.host}/alpine\nRUN echo new\nCOPY . /\n", *push, exit_code=1)
    assert "leads to plain HTTP" in one_error(said)
    assert evil.requests == []


# -- T53, T55: token servers ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "realm",
    [
        *("https://{evil}/token", "https://{evil}/token?https://{host}/", "https://{host}@{evil}/token"),
        *("http://{host}/token", "file:///etc/passwd", "//{host}/token", "https://{host}.{evil}/token", ""),
    ],
)
def test_token_servers_of_somebody_else_get_no_password(
    trimaran: Trimaran, secured: FaultyRegistry, authority: Authority, context: Context, realm: str
) -> None:
    """All there is to be trusted by certificate is: only whose server it is decides."""
    trimaran.environment["SSL_CERT_FILE"] = str(authority.ca)
    log_in(trimaran, secured)
    secured.token = True
    build(trimaran, context, f"FROM {secured.host}/alpine\n")  # its own works
    assert set(shown(secured)) >= {"/token"}
    secured.requests.clear()
    with FaultyRegistry(token=True, tls=(str(authority.certificate), str(authority.key))) as evil:
        told = realm.format(evil=f"localhost:{evil.port}", host=secured.host)
        secured.challenge = f'Bearer realm="{told}",service="registry"'
        said = build(trimaran, context, f"FROM {secured.host}/alpine:2\n", exit_code=1)
    assert secured.host in one_error(said)
    assert PASSWORD not in said
    assert LOGIN not in said
    assert evil.requests == []
    assert shown(secured) == []


def test_docker_hub_and_its_token_server_work(
    trimaran: Trimaran, secured: FaultyRegistry, authority: Authority, proxy: Proxy, context: Context
) -> None:
    """Hosts of two names, and known to be one's: nobody has to allow it, and the password goes to one of them alone."""
    trimaran.environment.update(SSL_CERT_FILE=str(authority.ca), HTTPS_PROXY=proxy.url)
    proxy.names.update({f"{name}:443": secured.host for name in ("registry-1.docker.io", "auth.docker.io")})
    secured.token, secured.realm = True, "https://auth.docker.io/token"
    log_in(trimaran, secured)
    secured.manifests["library/alpine", "latest"] = secured.manifests["alpine", "latest"]
    for (name, reference), each in list(secured.manifests.items()):
        secured.manifests[f"library/{name}", reference] = each
    for (name, digest), raw in list(secured.blobs.items()):
        secured.blobs[f"library/{name}", digest] = raw
    build(trimaran, context, "FROM alpine\nRUN true\n")
    told = {(each.headers["host"], each.path) for each in secured.requests if "basic" in _authorization(each)}
    assert told == {("auth.docker.io", "/token")}


def _authorization(seen: Seen) -> str:
    return seen.headers.get("authorization", "").lower()


def test_token_server_that_nobody_vouches_for_gets_no_password(
    trimaran: Trimaran, secured: FaultyRegistry, authority: Authority, context: Context
) -> None:
    """CVE-2019-10214: that a registry is not verified, by its settings, says nothing of its token server."""
    tls = (str(authority.certificate), str(authority.key))
    with FaultyRegistry(users={USER: PASSWORD}, token=True, tls=tls) as tokens:
        realm = tokens.url.replace("127.0.0.1", "localhost")
        secured.token, secured.realm, secured.tokens = True, f"{realm}/token", tokens.tokens
        allowed = f'auth-realms = ["localhost:{tokens.port}"]\n'
        trimaran.settings.write_text(f'[registry."{secured.host}"]\ninsecure = true\n{allowed}')
        log_in(trimaran, secured)
        said = build(trimaran, context, f"FROM {secured.host}/alpine\n", exit_code=1)
        assert "certificate" in one_error(said)
        assert tokens.requests == []
        trimaran.settings.write_text(
            f'{trimaran.settings.read_text()}[registry."localhost:{tokens.port}"]\nca = ["{authority.ca}"]\n'
        )
        build(trimaran, context, f"FROM {secured.host}/alpine\n")
        assert shown(tokens)


# -- T54: credential helpers ------------------------------------------------------------------------------------------


def test_helpers_of_the_context_are_not_run(trimaran: Trimaran, guarded: FaultyRegistry, context: Context) -> None:
    """Whoever wrote the context cannot have a program run by being the current folder; a helper on PATH is."""
    answer = json.dumps({"Username": USER, "Secret": PASSWORD})
    log = trimaran.home / "ran"
    for folder in (context.folder, trimaran.home / "bin"):
        folder.mkdir(exist_ok=True)
        program = folder / "docker-credential-mine"
        program.write_text(f"#!/bin/sh\necho $0 >> {log}\necho '{answer}'\n")
        program.chmod(0o755)
    (trimaran.docker_config / "config.json").write_text(json.dumps({"credHelpers": {guarded.host: "mine"}}))
    for path in (f".:{PATH}", f":{PATH}", f"{PATH}:", f"../{context.folder.name}:{PATH}"):
        trimaran.environment["PATH"] = path
        said = build(trimaran, context, f"FROM {guarded.host}/alpine\n", exit_code=1)
        assert "docker-credential-mine: not found on PATH" in said
    assert not log.exists()
    assert shown(guarded) == []
    trimaran.environment["PATH"] = f"{trimaran.home}/bin:{PATH}"
    build(trimaran, context, f"FROM {guarded.host}/alpine\n")
    assert log.read_text() == f"{trimaran.home}/bin/docker-credential-mine\n"


def test_a_helper_that_is_missing_sends_nobody_elses_password(
    trimaran: Trimaran, guarded: FaultyRegistry, context: Context
) -> None:
    """CVE-2021-41092: the password of one host, since that of another could not be had."""
    log_in(trimaran, credsStore="nowhere")
    said = build(trimaran, context, f"FROM {guarded.host}/alpine\n", exit_code=1)
    assert "docker-credential-nowhere: not found on PATH" in said
    assert shown(guarded) == []


# -- T55b: documents that can be read in two ways ---------------------------------------------------------------------

Change = Callable[[dict[str, Any]], bytes]


def _with(**more: object) -> Change:
    return lambda document: json.dumps(document | more).encode()


def _twice(document: dict[str, Any]) -> bytes:
    return b'{"mediaType":"","layers":[],' + json.dumps(document).encode()[1:]


def _with_layer(**more: object) -> Change:
    def change(document: dict[str, Any]) -> bytes:
        layers = document["layers"]
        return json.dumps(document | {"layers": [{**layers[0], **more}, *layers[1:]]}).encode()

    return change


DOCUMENTS: dict[str, Change] = {
    "an image and an index": _with(manifests=[]),
    "says it is an index": _with(mediaType="application/vnd.oci.image.index.v1+json"),
    "of another schema": _with(schemaVersion=1),
    "a key twice": _twice,
    "a key in capitals": _with(Layers=[]),
    "a digest that is a path": _with_layer(digest="../../../../etc/passwd"),
    "a digest that is a path behind its algorithm": _with_layer(digest="sha256:../../../etc/passwd"),
    "a digest in capitals": _with_layer(digest="sha256:" + "A" * 64),
    "a digest of nothing": _with_layer(digest=""),
    "a size below nothing": _with_layer(size=-1),
    "a size beyond all": _with_layer(size=1 << 70),
    "a layer less than its config has": _with(layers=[]),
    "no object": lambda _: b"[]",
    "a thousand deep": lambda _: b'{"a":' + b"[" * 1000 + b"]" * 1000 + b"}",
}


def _manifest(registry: FaultyRegistry) -> tuple[str, dict[str, Any]]:
    index = json.loads(registry.manifests["alpine", "latest"][1])
    child = next(each for each in index["manifests"] if each["platform"]["architecture"] == "amd64")
    media_type, raw = registry.manifests["alpine", child["digest"]]
    return media_type, json.loads(raw)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_documents_that_no_honest_builder_writes(
    trimaran: Trimaran, faulty: FaultyRegistry, context: Context, name: str
) -> None:
    media_type, document = _manifest(faulty)
    faulty.put_manifest("alpine", "bad", media_type, DOCUMENTS[name](document))
    said = build(trimaran, context, f"FROM {faulty.host}/alpine:bad\n", exit_code=1)
    assert one_error(said)
    assert not [path for path in trimaran.root.rglob("*") if "etc" in path.name or "passwd" in path.name]


def test_documents_that_only_look_odd(trimaran: Trimaran, faulty: FaultyRegistry, context: Context) -> None:
    """Fields nobody knows, other white space, no media type of its own, a media type with parameters."""
    media_type, document = _manifest(faulty)
    odd = {key: value for key, value in document.items() if key != "mediaType"}
    odd["x-unknown"] = {"layers": [{"layers": None}], "mediaType": ":", "annotations": {"a:b": '"quoted\\\\"'}}
    raw = json.dumps(odd, indent=7).encode() + b"\n"
    faulty.put_manifest("alpine", "odd", f"{media_type}; charset=utf-8", raw)
    build(trimaran, context, f"FROM {faulty.host}/alpine:odd\nRUN true\n")


# -- T62: bytes are those that were asked for -------------------------------------------------------------------------


def test_an_image_of_a_digest_is_no_other(trimaran: Trimaran, faulty: FaultyRegistry, context: Context) -> None:
    """A registry that answers for one digest with another, truly named: `FROM …@sha256:…` is a promise."""
    hostile.image(faulty, "other", hostile.folder("hostile"))
    wanted = _digest(faulty, "alpine")
    faulty.manifests["alpine", wanted] = faulty.manifests["other", "latest"]
    text = f"FROM {faulty.host}/alpine@{wanted}\nRUN test ! -e /hostile\n"
    said = build(trimaran, context, text, exit_code=1)
    assert "other bytes" in one_error(said)
    faulty.manifests["alpine", wanted] = faulty.manifests["alpine", "latest"]
    build(trimaran, context, text)  # nothing of it was kept


def test_an_image_of_a_lock_is_no_other(trimaran: Trimaran, faulty: FaultyRegistry, context: Context) -> None:
    hostile.image(faulty, "other", hostile.folder("hostile"))
    wanted = _digest(faulty, "alpine")
    text = f"FROM {faulty.host}/alpine\nRUN test ! -e /hostile\n"
    build(trimaran, context, text, "--lock", str(trimaran.home / "lock.json"))
    faulty.manifests["alpine", wanted] = faulty.manifests["other", "latest"]
    faulty.manifests["alpine", "latest"] = faulty.manifests["other", "latest"]
    locked = ("--lock", str(trimaran.home / "lock.json"), "--locked")
    trimaran.environment["TRIMARAN_ROOT"] = str(trimaran.home / "new")
    assert "other bytes" in one_error(build(trimaran, context, text, *locked, exit_code=1))


def _digest(registry: FaultyRegistry, repository: str) -> str:
    raw = registry.manifests[repository, "latest"]
    return next(
        key for (name, key), each in registry.manifests.items() if name == repository and each == raw and ":" in key
    )


LIES: dict[str, dict[str, Any]] = {
    "an index of other bytes": {"kind": CORRUPT, "method": "GET", "path": "/alpine/manifests/sha256:"},
    "a layer of other bytes": {"kind": CORRUPT, "method": "GET", "path": "/alpine/blobs/LAYER"},
    "a config of other bytes": {"kind": CORRUPT, "method": "GET", "path": "/alpine/blobs/CONFIG"},
    "a layer of another length": {"kind": STATUS, "path": "/alpine/blobs/LAYER", "status": 200, "body": b"short"},
    "no layer but a page": {"kind": STATUS, "path": "/alpine/blobs/LAYER", "status": 200, "body": b"<html>" * 999},
    "another range than asked for": {
        "kind": STATUS,
        "path": "/alpine/blobs/LAYER",
        "status": 206,
        "headers": {"Content-Range": "bytes 0-9/10"},
        "body": b"0123456789",
    },
}


@pytest.mark.parametrize("name", LIES)
def test_other_bytes_are_an_error_and_are_not_kept(
    trimaran: Trimaran, faulty: FaultyRegistry, context: Context, name: str
) -> None:
    (layer,) = layers_of(faulty)
    config = str(_manifest(faulty)[1]["config"]["digest"])
    path = LIES[name]["path"].replace("LAYER", layer).replace("CONFIG", config)
    faulty.fail(**{**LIES[name], "path": path, "times": 0})
    text = f"FROM {faulty.host}/alpine\nRUN true\n"
    said = build(trimaran, context, text, exit_code=1)
    assert "alpine" in one_error(said) or layer in one_error(said) or config in one_error(said)
    faulty.faults.clear()
    build(trimaran, context, text)
    assert trimaran("fsck").returncode == 0


def test_a_layer_is_verified_over_all_its_pieces(trimaran: Trimaran, faulty: FaultyRegistry, context: Context) -> None:
    """The first half is right, and what a second request for the rest gives is not."""
    (layer,) = layers_of(faulty)
    text = f"FROM {faulty.host}/alpine\nRUN true\n"
    good = faulty.blobs["alpine", layer]
    faulty.blobs["alpine", layer] = good[:300_000] + os.urandom(len(good) - 300_000)
    for _ in range(2):
        faulty.fail(TRUNCATE, method="GET", path=layer, after=300_000)
        said = build(trimaran, context, text, exit_code=int(faulty.blobs["alpine", layer] != good))
        assert [each.headers.get("range") for each in faulty.seen("GET", layer)] == [None, "bytes=300000-"]
        assert ("other bytes" in said) == (faulty.blobs["alpine", layer] != good)
        faulty.requests.clear()
        faulty.blobs["alpine", layer] = good


# -- T63: a name is one image in a build ------------------------------------------------------------------------------


def test_every_use_of_a_tag_is_the_same_image(trimaran: Trimaran, faulty: FaultyRegistry, context: Context) -> None:
    """FROM, COPY --from and mounts, two platforms, a tag that has become another image at every further question."""
    hostile.image(faulty, "moved")
    base = f"{faulty.host}/alpine"
    text = (
        f"FROM {base} AS one\nRUN sleep 1\nFROM {base}\nCOPY --from=one /etc/passwd /one\n"
        f"COPY --from={base} /etc/passwd /two\nRUN --mount=from={base},target=/mnt cp /mnt/etc/passwd /three\n"
    )
    first = faulty.manifests["alpine", "latest"]
    faulty.fail(SLOW, seconds=0.5, method="GET", path="/alpine/manifests/sha256:")
    context.dockerfile(text)
    words = ("build", "--progress=plain", "--platform", "linux/amd64,linux/386", "--metadata-file", "told.json", ".")
    process = trimaran.start(*words, cwd=context.folder)
    while not faulty.seen("", "/alpine/manifests/latest"):
        assert process.poll() is None
    faulty.manifests["alpine", "latest"] = faulty.manifests["moved", "latest"]
    said = process.communicate(timeout=100)[1]
    assert process.returncode == 0, said
    assert len(faulty.seen("", "/alpine/manifests/latest")) == 1
    asked = {each.path.rpartition("/")[2] for each in faulty.seen("", "/alpine/manifests/sha256:")}
    children = {each["digest"] for each in json.loads(first[1])["manifests"]}
    assert asked <= children | {_digest_of(first[1])}


def _digest_of(raw: bytes) -> str:
    from hashlib import sha256

    return "sha256:" + sha256(raw).hexdigest()
