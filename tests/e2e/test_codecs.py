"""Where the native codecs are not installed: Python's own serve under names of their own, or one line says what to get."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import sys
import tarfile
from pathlib import Path

import pytest
from stage.contexts import Context
from stage.pythons import environment, python_zstd

NO_ZSTD = "ERROR: use zstd: neither the package zstandard nor a Python with zstd is here\nhint: install trimaran[fast]"


@pytest.fixture(scope="session")
def bare(tmp_path_factory) -> Path:
    """A program without isal and zstandard, on a Python that has no zstd."""
    return environment(tmp_path_factory.mktemp("bare") / "env", Path(sys.executable), "trimaran", "msgspec", "h11")


@pytest.fixture(scope="session")
def future(tmp_path_factory) -> Path:
    """A program without both, on a Python that has zstd."""
    program = environment(tmp_path_factory.mktemp("own") / "env", Path(sys.executable), "trimaran", "msgspec", "h11")
    if sys.version_info < (3, 14):
        python_zstd(program)
    return program


@pytest.fixture
def by(trimaran):
    """Runs a build by a given program (None: the usual one), all on one store; gives the layers of its one image."""
    usual = list(trimaran.command)

    def build(program: Path | None, context: Context, options: str = "", *flags: str) -> list[dict]:
        trimaran.command = usual if program is None else [str(program)]
        output = trimaran.home / "out.tar"
        output.unlink(missing_ok=True)
        trimaran("build", "-o", f"type=oci,dest={output}{options}", *flags, context)
        return layers(output)

    return build


def layers(output: Path) -> list[dict]:
    """The layers' descriptors; every blob is what its name says."""
    with tarfile.open(output) as archive:
        blobs = {
            Path(m.name).name: archive.extractfile(m).read()
            for m in archive
            if "blobs/sha256/" in m.name and m.isfile()
        }
        index = json.load(archive.extractfile("index.json"))
    assert all(hashlib.sha256(content).hexdigest() == name for name, content in blobs.items())
    root = json.loads(blobs[index["manifests"][0]["digest"][7:]])
    return root["layers"]


@pytest.fixture
def text(context: Context) -> Context:
    context.write("text", "".join(f"{number} lines of text\n" for number in range(100_000)))
    return context.dockerfile("FROM scratch\nCOPY text /\n")


@pytest.mark.parametrize("level", ["", ",compression-level=1"])
def test_gzip_by_zlib_is_never_taken_for_that_of_isal(by, bare, text, trimaran, level):
    (fast,) = by(None, text, level)
    (own,) = by(bare, text, level)
    assert own["mediaType"] == fast["mediaType"]
    assert own["digest"] != fast["digest"], "each makes its own, though the store has the other's"
    assert by(None, text, level) == [fast]
    assert by(bare, text, level) == [own]
    trimaran("fsck")


def test_what_has_to_be_the_same_everywhere_is(by, bare, text):
    assert by(None, text, "", "--reproducible") == by(bare, text, "", "--reproducible")


def test_zstd_without_a_library_is_refused_before_anything_is_done(trimaran, bare, faulty, context):
    trimaran.command = [str(bare)]
    context.dockerfile(f"FROM {faulty.host}/alpine\n")
    for words in (
        ("-o", f"type=oci,dest={trimaran.home}/x.tar,compression=zstd"),
        ("--cache-to", f"type=local,dest={trimaran.home}/c,compression=zstd", "-o", "type=cacheonly"),
    ):
        said = trimaran("build", *words, context, exit_code=1)
        assert NO_ZSTD in said.stderr
    assert not faulty.requests
    assert not (trimaran.home / "x.tar").exists()


def test_a_base_in_zstd_needs_a_library_too(trimaran, bare, text, registry):
    reference = f"{registry}/codecs/zstd:1"
    trimaran("build", "-o", f"type=image,name={reference},push=true,compression=zstd", text)
    again = text.dockerfile(f"FROM {reference}\nCOPY --from=0 /text /copy\n")
    text.dockerfile(f"FROM {reference} AS base\nFROM scratch\nCOPY --from=base /text /copy\n")
    trimaran("prune", "-af")
    trimaran.command = [str(bare)]
    assert NO_ZSTD in trimaran("build", again, exit_code=1).stderr


def test_zstd_by_python_itself(by, future, text, trimaran):
    (fast,) = by(None, text, ",compression=zstd")
    (own,) = by(future, text, ",compression=zstd")
    assert own["mediaType"] == fast["mediaType"] == "application/vnd.oci.image.layer.v1.tar+zstd"
    with_identity = "SELECT compression FROM layer_blobs ORDER BY compression"
    names = [row[0] for row in rows(trimaran.root, with_identity)]
    assert len(names) == 2, names
    assert names[0].startswith("zstd-1.")
    assert names[1].startswith("zstd-python-1.")
    assert by(None, text, ",compression=zstd") == [fast]
    assert own["digest"] == fast["digest"] or names[0].split("-")[1] != names[1].split("-")[2]


def test_each_reads_what_the_other_wrote(trimaran, future, text, registry):
    usual = list(trimaran.command)
    for number, (writer, reader) in enumerate(((usual, [str(future)]), ([str(future)], usual))):
        reference = f"{registry}/codecs/both:{number}"
        trimaran.command = writer
        text.dockerfile("FROM scratch\nCOPY text /\n")
        trimaran("build", "-o", f"type=image,name={reference},push=true,compression=zstd", text)
        trimaran("rmi", reference)
        trimaran("prune", "-af")
        trimaran.command = reader
        text.dockerfile(f"FROM {reference} AS base\nFROM scratch\nCOPY --from=base /text /copy\n")
        out = trimaran.home / f"out{number}"
        trimaran("build", "-o", str(out), text)
        assert (out / "copy").read_bytes() == (text / "text").read_bytes()


def test_what_is_asked_for_where(bare):
    """The wheel asks for the codecs where they have wheels, and has an extra for the rest."""
    from packaging.requirements import Requirement

    asked = [Requirement(line) for line in importlib.metadata.requires("trimaran")]
    mine = {"extra": "", "platform_python_implementation": "CPython", "python_version": "3.13"}

    def wanted(**place):
        return {each.name for each in asked if each.marker is None or each.marker.evaluate({**mine, **place})}

    assert (
        wanted(platform_machine="x86_64") == wanted(platform_machine="arm64") == {"msgspec", "h11", "isal", "zstandard"}
    )
    assert wanted(platform_machine="riscv64") == {"msgspec", "h11"}
    assert wanted(platform_machine="x86_64", platform_python_implementation="PyPy") == {"msgspec", "h11"}
    assert wanted(platform_machine="x86_64", python_version="3.15") == {"msgspec", "h11", "isal"}
    assert wanted(platform_machine="riscv64", extra="fast") == {"msgspec", "h11", "isal", "zstandard"}


def rows(root: Path, sql: str) -> list[tuple]:
    import sqlite3

    connection = sqlite3.connect(root / "store.db")
    try:
        return connection.execute(sql).fetchall()
    finally:
        connection.close()
