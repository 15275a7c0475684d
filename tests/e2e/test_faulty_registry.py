"""Registries that fail on the way: builds go on, or end with one clear line, and the next build works."""

from __future__ import annotations

import json
import time

import pytest
from stage.contexts import Context
from stage.faulty import lacking, layers_of, uploads
from stage.program import Trimaran

from trimaran.testing.registry import CORRUPT, DROP_UPLOAD, HEADER, RESET, STATUS, TRUNCATE, FaultyRegistry

LIE = "sha256:" + "0" * 64


@pytest.fixture
def reads_base(faulty: FaultyRegistry, context: Context) -> Context:
    """A context whose build fetches the base's layer and makes one of half a megabyte."""
    text = f"FROM {faulty.host}/alpine\nRUN head -c 500000 /dev/urandom > /noise\nCMD wc -c < /noise\n"
    return context.dockerfile(text)


def push(command: Trimaran, faulty: FaultyRegistry, context: Context, exit_code: int = 0) -> str:
    words = ("build", "-t", f"{faulty.host}/team/app:1", "--push", ".")
    return command(*words, cwd=context.folder, exit_code=exit_code).stderr


def one_error(text: str) -> str:
    assert "Traceback" not in text
    (line,) = [line for line in text.splitlines() if line.startswith("ERROR: ")]
    return line


def is_whole(command: Trimaran, faulty: FaultyRegistry, repository: str = "team/app") -> None:
    """What was pushed has everything it names, and runs from another store."""
    manifest = json.loads(faulty.manifests[repository, "1"][1])
    for blob in (manifest["config"], *manifest["layers"]):
        assert len(faulty.blobs[repository, blob["digest"]]) == blob["size"]
    elsewhere = {"TRIMARAN_ROOT": str(command.home / "elsewhere")}
    assert command("run", f"{faulty.host}/{repository}:1", env=elsewhere).stdout == "500000\n"


PASSING = {
    "429 with Retry-After on pull": {
        "kind": STATUS,
        "status": 429,
        "headers": {"Retry-After": "1"},
        "path": "/alpine/",
    },
    "503s on pull": {"kind": STATUS, "status": 503, "path": "/alpine/blobs/", "times": 3},
    "reset within a layer": {"kind": RESET, "method": "GET", "path": "/alpine/blobs/", "after": 300_000},
    "layer cut short": {"kind": TRUNCATE, "method": "GET", "path": "/alpine/blobs/", "after": 300_000, "times": 2},
    "500 on beginning an upload": {"kind": STATUS, "status": 500, "method": "POST", "path": "/team/app/", "times": 2},
    "reset within an upload": {"kind": RESET, "method": "PUT", "path": "/team/app/blobs/", "after": 100_000},
    "reset within an upload by pieces": {
        "kind": RESET,
        "method": "PATCH",
        "path": "/team/app/blobs/",
        "after": 100_000,
    },
    "upload forgotten": {"kind": DROP_UPLOAD, "path": "/team/app/blobs/"},
    "502 on the manifest": {"kind": STATUS, "status": 502, "method": "PUT", "path": "/manifests/", "times": 2},
    "429 on the manifest": {"kind": STATUS, "status": 429, "method": "PUT", "path": "/manifests/"},
}


@pytest.mark.parametrize("name", PASSING)
def test_passing_faults_are_overcome(
    trimaran: Trimaran, faulty: FaultyRegistry, reads_base: Context, name: str
) -> None:
    faulty.fail(**PASSING[name])
    push(trimaran, faulty, reads_base)
    if "by pieces" not in name:  # which of the two ways of sending is taken is the client's to choose
        assert not faulty.faults, "this test is void when the fault was not met"
    is_whole(trimaran, faulty)


def test_retry_after_is_waited_for(trimaran: Trimaran, faulty: FaultyRegistry, reads_base: Context) -> None:
    faulty.fail(STATUS, status=429, headers={"Retry-After": "2"}, method="PUT", path="/team/app/manifests/")
    begun = time.monotonic()
    push(trimaran, faulty, reads_base)
    assert time.monotonic() - begun >= 2


LASTING = {
    "500 on pull": ({"kind": STATUS, "status": 500, "path": "/alpine/blobs/"}, "500"),
    "403 on pull": ({"kind": STATUS, "status": 403, "path": "/alpine/manifests/"}, "403"),
    "403 on push": ({"kind": STATUS, "status": 403, "method": "POST", "path": "/team/app/"}, "403"),
    "manifest refused": ({"kind": STATUS, "status": 400, "method": "PUT", "path": "/manifests/"}, "400"),
    "no room at the registry": ({"kind": STATUS, "status": 507, "method": "PUT", "path": "/team/app/blobs/"}, "507"),
    "layer of other bytes": ({"kind": CORRUPT, "method": "GET", "path": "LAYER"}, "LAYER"),
    "manifest of other bytes": ({"kind": CORRUPT, "method": "GET", "path": "/alpine/manifests/sha256"}, "sha256:"),
    "digest that is a lie": (
        {"kind": HEADER, "headers": {"Docker-Content-Digest": LIE}, "method": "PUT", "path": "/team/app/manifests"},
        LIE,
    ),
}


@pytest.mark.parametrize("name", LASTING)
def test_lasting_faults_are_said_in_one_line_and_the_next_build_works(
    trimaran: Trimaran, faulty: FaultyRegistry, reads_base: Context, name: str
) -> None:
    (layer,) = layers_of(faulty)
    rule, words = LASTING[name]
    fault = faulty.fail(**{**rule, "path": str(rule["path"]).replace("LAYER", layer), "times": 0})
    said = one_error(push(trimaran, faulty, reads_base, exit_code=1))
    assert words.replace("LAYER", layer) in said
    if fault.kind != HEADER:
        assert ("team/app", "1") not in faulty.manifests, "a tag appears when all it stands for is there"
    faulty.faults.remove(fault)
    push(trimaran, faulty, reads_base)
    is_whole(trimaran, faulty)


def test_too_long_a_wait_is_refused_at_once(trimaran: Trimaran, faulty: FaultyRegistry, reads_base: Context) -> None:
    faulty.fail(STATUS, status=429, headers={"Retry-After": "3600"}, path="/alpine/manifests/", times=0)
    begun = time.monotonic()
    assert "429" in one_error(push(trimaran, faulty, reads_base, exit_code=1))
    assert time.monotonic() - begun < 60


def test_base_is_mounted_across_repositories_not_sent(
    trimaran: Trimaran, faulty: FaultyRegistry, reads_base: Context
) -> None:
    (layer,) = layers_of(faulty)
    push(trimaran, faulty, reads_base)
    mounts = [each.query for each in faulty.seen("POST", "/team/app/blobs/uploads/")]
    assert any(f"mount={layer.replace(':', '%3A')}" in query or f"mount={layer}" in query for query in mounts)
    assert any("from=alpine" in query for query in mounts)
    sent = [each.size for method in ("PUT", "PATCH") for each in faulty.seen(method, "/team/app/blobs/")]
    assert sum(sent) < 600_000, "the new layer and the config, not the base"
    is_whole(trimaran, faulty)


def test_a_base_that_no_step_reads_is_never_fetched(
    trimaran: Trimaran, faulty: FaultyRegistry, context: Context
) -> None:
    """Not for an image, nor for a cache: it is mounted where it is wanted. The image stays one that can be built on."""
    (layer,) = layers_of(faulty)
    context.write("file", "one\n")
    text = f"FROM {faulty.host}/alpine\nCOPY --link file /\nENV A=1\n"
    cache = f"type=registry,ref={faulty.host}/cache:1"
    words = ("-t", f"{faulty.host}/team/app:1", "--push", ".")
    trimaran("build", f"--cache-to={cache},mode=max", *words, cwd=context.dockerfile(text).folder)
    trimaran.forget()
    context.write("second", "two\n")
    context.dockerfile(f"{text}COPY --link second /\n")
    trimaran("build", f"--cache-from={cache}", *words, cwd=context.folder)
    assert not faulty.seen("GET", layer)
    assert layer not in uploads(faulty)
    assert lacking(faulty) == []
    trimaran("prune", "--all", "--force")
    context.dockerfile(f"FROM {faulty.host}/team/app:1\nRUN cat /file /second\n")
    said = trimaran("build", "--offline", ".", cwd=context.folder, exit_code=1).stderr
    assert f"read {layer} of {faulty.host}/alpine: it is not on this machine, and --offline" in said
    assert not faulty.seen("GET", layer)
    trimaran("build", ".", cwd=context.folder)
    assert len(faulty.seen("GET", layer)) == 1, "this test is void when nobody is seen to fetch it"


def test_registry_that_mounts_nothing_is_sent_the_base(
    trimaran: Trimaran, faulty: FaultyRegistry, reads_base: Context
) -> None:
    faulty.mounts = False
    push(trimaran, faulty, reads_base)
    is_whole(trimaran, faulty)


def test_mount_that_is_denied_falls_back_to_sending(
    trimaran: Trimaran, faulty: FaultyRegistry, reads_base: Context
) -> None:
    """Registries say 401 or 403 to a mount from where one may not read; that is no reason to give up."""
    faulty.fail(STATUS, status=403, method="POST", path="/team/app/blobs/uploads/?mount=")
    push(trimaran, faulty, reads_base)
    assert not faulty.faults, "this test is void when nothing was to be mounted"
    is_whole(trimaran, faulty)


def test_children_are_pushed_by_digest_and_tags_last(
    trimaran: Trimaran, faulty: FaultyRegistry, context: Context
) -> None:
    context.dockerfile(f"FROM {faulty.host}/alpine\nCMD id\n")
    tags = ("-t", f"{faulty.host}/team/many:1", "-t", f"{faulty.host}/team/many:latest")
    trimaran("build", "--platform", "linux/amd64,linux/arm64", *tags, "--push", ".", cwd=context.folder)
    puts = [each.path.rpartition("/")[2] for each in faulty.seen("PUT", "/team/many/manifests/")]
    index = json.loads(faulty.manifests["team/many", "1"][1])
    assert sorted(puts[:2]) == sorted(child["digest"] for child in index["manifests"])
    assert puts[2:] == ["1", "latest"]
    order = [each.path for each in faulty.requests if each.method in ("PUT", "POST", "PATCH")]
    first_manifest = next(number for number, path in enumerate(order) if "/manifests/" in path)
    assert not [path for path in order[first_manifest:] if "/blobs/" in path], "blobs come before what names them"


def test_again_nothing_is_sent(trimaran: Trimaran, faulty: FaultyRegistry, reads_base: Context) -> None:
    push(trimaran, faulty, reads_base)
    faulty.requests.clear()
    push(trimaran, faulty, reads_base)
    assert not faulty.seen("", "/blobs/uploads/")
    assert not faulty.seen("GET", "/blobs/"), "nor fetched"


def test_push_of_a_stored_image_can_be_tried_again(
    trimaran: Trimaran, faulty: FaultyRegistry, reads_base: Context
) -> None:
    """A push that failed costs no build: the image is in the store."""
    name = f"{faulty.host}/team/app:1"
    trimaran("build", "-t", name, ".", cwd=reads_base.folder)
    (reads_base / "Dockerfile").unlink()
    fault = faulty.fail(STATUS, status=500, method="PUT", path="/team/app/blobs/", times=0)
    assert "500" in one_error(trimaran("push", name, exit_code=1).stderr)
    faulty.faults.remove(fault)
    trimaran("push", name)
    is_whole(trimaran, faulty)
