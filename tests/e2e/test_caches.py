"""Shared caches end to end: what one store cached another hits, and what real BuildKit cached we hit."""

from __future__ import annotations

import json
import os
import re
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from stage.account import Account
from stage.contexts import Context, open_folder
from stage.program import Trimaran

from goldens.caches import contexts

GOLDENS = Path(contexts.__file__).parent
APP = """\
FROM alpine AS base
WORKDIR /app
RUN echo one > /one
COPY a.txt /app/
FROM base AS build
RUN echo two > /two
COPY --from=base /app/a.txt /copied
FROM alpine
COPY --from=build /two /copied /
RUN --mount=type=bind,source=sub,target=/mnt cat /mnt/b.txt > /three
"""


@pytest.fixture
def app(context: Context) -> Context:
    context.write("a.txt", f"{os.urandom(8).hex()}\n")
    context.write("sub/b.txt", "b\n")
    return context.dockerfile(APP)


@pytest.fixture
def golden() -> Iterator[Path]:
    """The context of the Dockerfile `whole`, and the caches BuildKit made of it, in folders everybody may read."""
    with open_folder() as folder:
        contexts.write(folder / "context")
        shutil.copy(GOLDENS / "dockerfiles/whole", folder / "context/Dockerfile")
        for archive in (GOLDENS / "layouts").iterdir():
            unpack(archive, folder / archive.stem)
        yield folder


def unpack(archive: Path, folder: Path) -> None:
    with tarfile.open(archive) as packed:
        for member in packed:
            file = packed.extractfile(member)
            assert file is not None
            path = folder / member.name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(file.read())


def build(command: Trimaran, context: Path | Context, *arguments: str, exit_code: int = 0) -> str:
    words = ("build", "--progress=plain", *arguments, str(os.fspath(context)))
    return command(*words, exit_code=exit_code).stderr


def steps(said: str) -> dict[str, str]:
    """Name of each step of a stage → CACHED, DONE or ERROR."""
    names = dict(re.findall(r"^#(\d+) (\[(?![^]]*internal).*)$", said, re.M))
    ends = dict(re.findall(r"^#(\d+) (CACHED|DONE|ERROR)", said, re.M))
    return {name: ends.get(number, "") for number, name in names.items()}


def ran(said: str) -> list[str]:
    """Steps of stages that were not served; an image is where it comes from."""
    return [name for name, end in steps(said).items() if end != "CACHED" and "] FROM " not in name]


def warnings(said: str) -> list[str]:
    return [line for line in said.splitlines() if "WARN: cache of" in line]


@pytest.mark.parametrize(
    "form", ["image-manifest=true", "image-manifest=false", "image-manifest=false,oci-mediatypes=false"]
)
@pytest.mark.parametrize("mode", ["min", "max"])
def test_a_registry_hands_a_cache_on(trimaran: Trimaran, bases: str, app: Context, form: str, mode: str) -> None:
    ref = f"{bases}/cache-{mode}:{form.count(',')}{form.count('true')}"
    said = build(trimaran, app, f"--cache-to=type=registry,ref={ref},mode={mode},{form}")
    assert len(ran(said)) == 7
    assert "exporting cache to registry" in said
    trimaran.forget()
    said = build(trimaran, app, f"--cache-from={ref}", f"--output=type=local,dest={trimaran.home}/out")
    assert f"importing cache manifest from {ref}" in said
    assert ran(said) == []
    out = trimaran.home / "out"
    assert (out / "two").read_text() == "two\n"
    assert (out / "copied").read_text() == (app / "a.txt").read_text()
    assert (out / "three").read_text() == "b\n"


def test_an_ordinary_account_hands_it_on_to_root_and_back(
    trimaran: Trimaran, rootless: Trimaran, bases: str, app: Context
) -> None:
    ref = f"{bases}/cache-either:v1"
    build(rootless, app, f"--cache-to=type=registry,ref={ref},mode=max")
    assert ran(build(trimaran, app, f"--cache-from={ref}")) == []
    rootless.forget()
    assert ran(build(rootless, app, f"--cache-from={ref}", f"--output=type=local,dest={rootless.home}/out")) == []


def test_only_what_changed_runs_and_only_what_is_new_is_sent(trimaran: Trimaran, bases: str, app: Context) -> None:
    ref = f"{bases}/cache-new:v1"
    build(trimaran, app, f"--cache-to=type=registry,ref={ref},mode=max")
    app.write("sub/b.txt", "changed\n")
    trimaran.forget()
    said = build(trimaran, app, f"--cache-from={ref}", f"--cache-to=type=registry,ref={ref},mode=max")
    assert [name for name in ran(said) if "three" not in name] == []
    assert len(ran(said)) == 1
    trimaran.forget()
    assert ran(build(trimaran, app, f"--cache-from={ref}")) == []


def test_an_unchanged_cache_is_not_written_again(trimaran: Trimaran, bases: str, app: Context) -> None:
    ref = f"{bases}/cache-same:v1"
    build(trimaran, app, f"--cache-to=type=registry,ref={ref},mode=max")
    said = build(trimaran, app, f"--cache-to=type=registry,ref={ref},mode=max")
    assert "exporting cache to registry" in said
    assert "writing layer" not in said


def test_an_image_carries_its_own_cache(trimaran: Trimaran, bases: str, app: Context) -> None:
    name = f"{bases}/cache-inline:v1"
    build(trimaran, app, "--cache-to=type=inline", "--push", "-t", name)
    trimaran.forget()
    assert ran(build(trimaran, app, f"--cache-from={name}")) == []


def test_platforms_share_one_cache(trimaran: Trimaran, bases: str, context: Context) -> None:
    context.write("a.txt", "a\n")
    context.dockerfile("FROM alpine\nCOPY a.txt /\nARG TARGETARCH\nCOPY a.txt /of-$TARGETARCH\n")
    both = "--platform=linux/amd64,linux/arm64"
    ref, name = f"{bases}/cache-platforms:v1", f"{bases}/inline-platforms:v1"
    build(
        trimaran, context, both, f"--cache-to=type=registry,ref={ref}", "--cache-to=type=inline", "--push", "-t", name
    )
    for cache in (ref, name):
        trimaran.forget()
        assert ran(build(trimaran, context, both, f"--cache-from={cache}")) == []


def test_a_folder_holds_a_cache_and_reset_clears_it(trimaran: Trimaran, bases: str, app: Context) -> None:
    folder = trimaran.home / "cache"
    build(trimaran, app, f"--cache-to=type=local,dest={folder},mode=max")
    before = {path.name for path in (folder / "blobs/sha256").iterdir()}
    app.write("a.txt", "other\n")
    build(trimaran, app, f"--cache-to=type=local,dest={folder},mode=max,tag=second,reset=true")
    after = {path.name for path in (folder / "blobs/sha256").iterdir()}
    assert before - after
    trimaran.forget()
    assert ran(build(trimaran, app, f"--cache-from=type=local,src={folder},tag=second")) == []
    said = build(trimaran, app, "--no-cache", f"--cache-from=type=local,src={folder}")
    assert any("is not used" in line for line in warnings(said))


def test_the_metadata_file_names_the_cache(trimaran: Trimaran, bases: str, app: Context) -> None:
    told = trimaran.home / "metadata.json"
    build(trimaran, app, f"--cache-to=type=local,dest={trimaran.home}/cache", f"--metadata-file={told}")
    described = json.loads(told.read_text())["cache.manifest"]
    (entry,) = json.loads((trimaran.home / "cache/index.json").read_text())["manifests"]
    assert described["digest"] == entry["digest"]


def test_a_blob_that_is_gone_is_a_miss_that_says_so(trimaran: Trimaran, bases: str, app: Context) -> None:
    folder = trimaran.home / "cache"
    build(trimaran, app, f"--cache-to=type=local,dest={folder},mode=max")
    manifest = json.loads((folder / "index.json").read_text())["manifests"][0]["digest"].partition(":")[2]
    layers = json.loads((folder / "blobs/sha256" / manifest).read_text())["layers"]
    own = {layer["digest"].partition(":")[2] for layer in layers if layer["size"] < 10_000}
    for name in own:
        (folder / "blobs/sha256" / name).unlink()
    trimaran.forget()
    said = build(
        trimaran, app, f"--cache-from=type=local,src={folder}", f"--output=type=local,dest={trimaran.home}/out"
    )
    assert f"record found in local:{folder} but its blob is gone" in said
    assert len(ran(said)) == 7
    assert (trimaran.home / "out/three").read_text() == "b\n"


def test_blobs_of_other_bytes_are_a_miss_not_a_result(trimaran: Trimaran, bases: str, app: Context) -> None:
    """A cache may promise what it likes (T32): bytes are used only when digest and content are what was promised."""
    folder = trimaran.home / "cache"
    build(trimaran, app, f"--cache-to=type=local,dest={folder},mode=max")
    for path in (folder / "blobs/sha256").iterdir():
        if path.stat().st_size < 10_000 and path.read_bytes()[:2] == b"\x1f\x8b":
            path.write_bytes(path.read_bytes()[:-1] + b"x")
    trimaran.forget()
    said = build(
        trimaran, app, f"--cache-from=type=local,src={folder}", f"--output=type=local,dest={trimaran.home}/out"
    )
    assert "is not what it promises" in said
    assert (trimaran.home / "out/three").read_text() == "b\n"


@pytest.mark.parametrize(
    "config", [b"{", b'{"layers":[{"blob":"sha256:x"}]}', b'{"records":[{"inputs":[[{"link":9}]]}]}']
)
def test_a_hostile_config_is_one_warning(trimaran: Trimaran, bases: str, app: Context, config: bytes) -> None:
    folder = trimaran.home / "cache"
    build(trimaran, app, f"--cache-to=type=local,dest={folder}")
    index = json.loads((folder / "index.json").read_text())
    blobs = folder / "blobs/sha256"
    manifest = json.loads((blobs / index["manifests"][0]["digest"][7:]).read_text())
    manifest["config"] |= put(blobs, config)
    index["manifests"][0] |= put(blobs, json.dumps(manifest).encode())
    (folder / "index.json").write_text(json.dumps(index))
    trimaran.forget()
    said = build(trimaran, app, f"--cache-from=type=local,src={folder}")
    assert len(warnings(said)) == 1
    assert len(ran(said)) == 7


def put(blobs: Path, raw: bytes) -> dict[str, object]:
    from hashlib import sha256

    name = sha256(raw).hexdigest()
    (blobs / name).write_bytes(raw)
    return {"digest": f"sha256:{name}", "size": len(raw)}


def test_a_cache_that_cannot_be_had_or_written_is_a_warning_unless_one_insists(
    trimaran: Trimaran, bases: str, app: Context
) -> None:
    nowhere = "127.0.0.1:1/cache:v1"
    said = build(trimaran, app, f"--cache-from={nowhere}", f"--cache-to=type=registry,ref={nowhere}")
    assert f"cache of {nowhere} is not used" in said
    assert f"cache is not exported to {nowhere}" in said
    said = build(trimaran, app, f"--cache-to=type=registry,ref={nowhere},ignore-error=false", exit_code=1)
    assert "127.0.0.1:1" in said


@pytest.mark.parametrize("mode", ["min", "max", "inline"])
def test_a_cache_that_buildkit_made_is_hit(trimaran: Trimaran, golden: Path, mode: str) -> None:
    said = build(
        trimaran,
        golden / "context",
        f"--cache-from=type=local,src={golden / mode}",
        f"--output=type=local,dest={trimaran.home}/out",
    )
    assert ran(said) == []
    out = trimaran.home / "out"
    assert (out / "copied").read_text() == "hello\n"
    assert (out / "linked/deep/in-archive").read_text() == "in\n"
    assert (out / "run.sh").stat().st_mode & 0o777 == 0o755


@pytest.mark.rootless
def test_an_ordinary_account_hits_it_too(rootless: Trimaran, account: Account, golden: Path) -> None:
    said = build(rootless, golden / "context", f"--cache-from=type=local,src={golden / 'max'}")
    assert ran(said) == []


@pytest.mark.root
def test_what_we_export_is_the_graph_buildkit_exports(trimaran: Trimaran, golden: Path) -> None:
    build(trimaran, golden / "context", f"--cache-to=type=local,dest={trimaran.home}/cache,mode=max")
    assert graph(config_of(trimaran.home / "cache")) == graph((GOLDENS / "configs/whole.json").read_bytes())


def config_of(folder: Path) -> bytes:
    blobs = folder / "blobs/sha256"
    manifest = json.loads((folder / "index.json").read_text())["manifests"][0]["digest"][7:]
    return (blobs / json.loads((blobs / manifest).read_text())["config"]["digest"][7:]).read_bytes()


def graph(raw: bytes) -> set[tuple[object, ...]]:
    """Each record: its digest, whether it has a result, and by which links it hangs on which others."""
    records = json.loads(raw)["records"]
    return {
        (
            record["digest"],
            bool(record.get("layers")),
            tuple(
                tuple(sorted((link.get("selector", ""), records[link["link"]]["digest"]) for link in links))
                for links in record.get("inputs", ())
            ),
        )
        for record in records
    }
