"""Caches and images that lie about what they hold, and images that are nobody's cache (T60, T61)."""

from __future__ import annotations

import json
import re
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from stage import hostile
from stage.contexts import Context
from stage.faulty import layers_of
from stage.program import Trimaran

from trimaran.testing.registry import FaultyRegistry

Document = dict[str, Any]
APP = "FROM {}/alpine\nRUN echo one > /one\nCOPY a.txt /\nRUN cat /one /a.txt > /two\n"


@pytest.fixture
def app(faulty: FaultyRegistry, context: Context) -> Context:
    context.write("a.txt", "a\n")
    return context.dockerfile(APP.format(faulty.host))


def build(command: Trimaran, context: Context, *words: str, exit_code: int = 0) -> str:
    said = command("build", "--progress=plain", *words, ".", cwd=context.folder, exit_code=exit_code).stderr
    assert "Traceback" not in said
    return said


def forget(command: Trimaran, name: str) -> None:
    """Another store."""
    command.environment["TRIMARAN_ROOT"] = str(command.home / name)


def is_right(command: Trimaran, context: Context, *words: str) -> str:
    """Build; what comes out is what the steps make."""
    said = build(command, context, *words, "-o", f"type=local,dest={command.home}/out")
    assert (command.home / "out/two").read_text() == "one\na\n"
    return said


def cached(said: str) -> list[str]:
    """Steps that were not run; where an image comes from is none."""
    names = dict(re.findall(r"^#(\d+) \[[^]]*\] (RUN|COPY|ADD) ", said, re.M))
    return [names[number] for number in re.findall(r"^#(\d+) CACHED", said, re.M) if number in names]


def warned(said: str) -> str:
    return "\n".join(line for line in said.splitlines() if "WARN: " in line)


# -- T61: what a cache says of its layers -----------------------------------------------------------------------------


class Cache:
    """A cache in a folder, to be changed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._index = json.loads((folder / "index.json").read_text())
        self.manifest: Document = json.loads(self._read(self._index["manifests"][0]["digest"]))
        self.config: Document = json.loads(self._read(self.manifest["config"]["digest"]))

    def _read(self, digest: str) -> bytes:
        return (self.folder / "blobs/sha256" / digest[7:]).read_bytes()

    def _put(self, raw: bytes) -> Document:
        name = sha256(raw).hexdigest()
        (self.folder / "blobs/sha256" / name).write_bytes(raw)
        return {"digest": f"sha256:{name}", "size": len(raw)}

    def write(self) -> None:
        self.manifest["config"] |= self._put(json.dumps(self.config).encode())
        self._index["manifests"][0] |= self._put(json.dumps(self.manifest).encode())
        (self.folder / "index.json").write_text(json.dumps(self._index))


@pytest.fixture
def cache(trimaran: Trimaran, app: Context) -> Cache:
    folder = trimaran.home / "cache"
    build(trimaran, app, f"--cache-to=type=local,dest={folder},mode=max")
    forget(trimaran, "victim")
    return Cache(folder)


def diff_ids(cache: Cache) -> list[str]:
    return [layer["annotations"]["containerd.io/uncompressed"] for layer in cache.manifest["layers"]]


def test_an_honest_cache_is_hit(trimaran: Trimaran, app: Context, cache: Cache) -> None:
    cache.write()
    said = is_right(trimaran, app, f"--cache-from=type=local,src={cache.folder}")
    assert len(cached(said)) == 3
    assert warned(said) == ""


@pytest.mark.parametrize("here", [True, False], ids=["that is here", "that is not here"])
def test_layers_that_are_other_blobs_are_a_miss(
    trimaran: Trimaran, app: Context, cache: Cache, faulty: FaultyRegistry, here: bool
) -> None:
    """Every layer but the base's is said to be the blob of the base: a true digest, of something else."""
    if here:
        build(trimaran, Context(app.folder / "other").dockerfile(f"FROM {faulty.host}/alpine\nRUN echo other\n"))
    base, *others = cache.manifest["layers"]
    for layer in others:
        for field in ("digest", "size"):
            layer[field] = base[field]
    blobs = {layer["blob"] for layer in cache.config["layers"]} - {base["digest"]}
    for layer in cache.config["layers"]:
        layer["blob"] = base["digest"]
    assert blobs, "this test is void when there is one layer"
    cache.write()
    said = is_right(trimaran, app, f"--cache-from=type=local,src={cache.folder}")
    assert "is not what it promises" in said
    assert len(cached(is_right(trimaran, app))) == 3, "what was made instead is kept"


def test_a_cache_cannot_exchange_the_base(
    trimaran: Trimaran, app: Context, cache: Cache, faulty: FaultyRegistry
) -> None:
    """It says that the base's layer is a blob of its own, of another content: what is pushed has the base's own."""
    base, other = cache.manifest["layers"][:2]
    for field in ("digest", "size"):
        base[field], other[field] = other[field], base[field]
    cache.write()
    build(trimaran, app, f"--cache-from=type=local,src={cache.folder}", "-t", f"{faulty.host}/app:1", "--push")
    manifest = json.loads(faulty.manifests["app", "1"][1])
    assert [layer["digest"] for layer in manifest["layers"]][:1] == layers_of(faulty)
    build(trimaran, Context(app.folder / "other").dockerfile(f"FROM {faulty.host}/alpine\nRUN true\n"))


@pytest.mark.parametrize("how", ["circle", "of itself", "chain without end", "millions", "deep", "large"])
def test_configs_meant_to_hurt_are_one_warning_or_none(
    trimaran: Trimaran, app: Context, cache: Cache, how: str
) -> None:
    records, layers = cache.config["records"], cache.config["layers"]
    if how == "circle":
        for record in records:
            record["inputs"] = [[{"link": number} for number in range(len(records))]]
    elif how == "of itself":
        for number, record in enumerate(records):
            record["inputs"] = [[{"link": number}]]
    elif how == "chain without end":
        for number, layer in enumerate(layers):
            layer["parent"] = (number + 1) % len(layers)
    elif how == "millions":
        records[0]["chains"] = [{"layers": [0] * 1_000_000, "createdAt": "0001-01-01T00:00:00Z"}]
    elif how == "deep":
        nested: list[Any] = []
        for _ in range(500):
            nested = [nested]
        cache.config["extra"] = nested
    else:
        cache.config["extra"] = "x" * (65 << 20)
    cache.write()
    said = is_right(trimaran, app, f"--cache-from=type=local,src={cache.folder}")
    assert len(warned(said).splitlines()) <= 1


# -- T61, T62: what an image says of its layers -----------------------------------------------------------------------


def test_an_image_cannot_exchange_the_layers_of_another(
    trimaran: Trimaran, faulty: FaultyRegistry, context: Context
) -> None:
    """A second image of the build becomes one that calls a blob of its own the base's layer; nobody reads that now."""
    name = hostile.image(faulty, "second", hostile.folder("mine"))
    context.dockerfile(f"FROM {faulty.host}/alpine\nCOPY --from={name} /mine /mine\n")
    build(trimaran, context, "-t", f"{faulty.host}/app:1", "--push")
    honest = json.loads(faulty.manifests["app", "1"][1])
    media_type, raw = faulty.manifests["second", "latest"]
    document = json.loads(raw)
    document["layers"][0] |= {key: document["layers"][1][key] for key in ("digest", "size")}
    faulty.put_manifest("second", "latest", media_type, json.dumps(document).encode())
    for (repository, reference), _ in list(faulty.manifests.items()):
        if repository == "app":
            del faulty.manifests[repository, reference]
    said = trimaran("build", "-t", f"{faulty.host}/app:2", "--push", ".", cwd=context.folder, exit_code=None)
    if said.returncode == 0:
        assert json.loads(faulty.manifests["app", "2"][1])["layers"] == honest["layers"]
    else:
        assert "its content is" in said.stderr or "holds" in said.stderr
    context.dockerfile(f"FROM {faulty.host}/alpine\nRUN true\n")
    build(trimaran, context)


def test_an_image_that_lied_spoils_no_later_build(trimaran: Trimaran, faulty: FaultyRegistry, context: Context) -> None:
    """Its first layer is true; a second one is the same blob, said to be the layer of alpine, which never came yet."""
    name = hostile.image(faulty, "lying", hostile.folder("mine"))
    media_type, raw = faulty.manifests["lying", "latest"]
    document = json.loads(raw)
    config = json.loads(faulty.blobs["lying", document["config"]["digest"]])
    document["layers"] = [document["layers"][1]] * 2
    config["rootfs"]["diff_ids"].reverse()
    changed = json.dumps(config).encode()
    document["config"] |= {"digest": faulty.put_blob("lying", changed), "size": len(changed)}
    faulty.put_manifest("lying", "latest", media_type, json.dumps(document).encode())
    for _ in range(2):  # the second time, its true blob is here
        context.dockerfile(f"FROM {name}\nRUN true\n")
        said = build(trimaran, context, exit_code=1)
        assert document["layers"][0]["digest"] in said
    context.dockerfile(f"FROM {faulty.host}/alpine\nRUN true\n")
    build(trimaran, context)
    assert trimaran("fsck").returncode == 0


# -- T60: an image is no cache unless it is named as one --------------------------------------------------------------


def test_images_are_no_cache_unless_they_are_named(
    trimaran: Trimaran, faulty: FaultyRegistry, app: Context, context: Context
) -> None:
    """CVE-2024-24557: the same steps in the history of an image that was pulled, stored, or is the base."""
    name = f"{faulty.host}/app:1"
    build(trimaran, app, "--cache-to=type=inline", "-t", name, "--push")
    forget(trimaran, "victim")
    trimaran("run", name, "true")  # it is here now, and its layers
    context.write("other/Dockerfile", f"FROM {name}\nRUN echo beside\n")
    build(trimaran, Context(context.folder / "other"), "-t", name)
    assert cached(is_right(trimaran, app, "-t", name)) == []
    forget(trimaran, "third")
    assert len(cached(is_right(trimaran, app, "-t", name, f"--cache-from={name}"))) == 3
