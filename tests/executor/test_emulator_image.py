"""Emulators out of an image: the right platform, the right files, verified, and never a path of the archive's choice."""

import asyncio
import gzip
import io
import os
import stat
import tarfile

import pytest

from trimaran import platforms
from trimaran.errors import Corrupt, NotFound, TrimaranError
from trimaran.executor import binfmt, emulation
from trimaran.executor.emulator_image import fetch
from trimaran.oci import index as indexes
from trimaran.oci import manifest as manifests
from trimaran.oci import media_types
from trimaran.oci.descriptor import Descriptor
from trimaran.platforms import Platform
from trimaran.registry.client import Registry
from trimaran.registry.docker_config import DockerConfig
from trimaran.registry.hosts import DockerFiles
from trimaran.testing.registry import FaultyRegistry

STATIC = emulation._TINY_386
ARM64, RISCV = binfmt.emulator("arm64"), binfmt.emulator("riscv64")


def dynamic():
    """The same program with a PT_INTERP segment."""
    header = bytearray(STATIC)
    header[52] = 3
    return bytes(header)


def layer(*entries):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, content in entries:
            info = tarfile.TarInfo(name)
            if isinstance(content, bytes):
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
            else:
                info.type, info.linkname = content
                archive.addfile(info)
    return gzip.compress(out.getvalue())


@pytest.fixture
def registry():
    with FaultyRegistry() as server:
        yield server


def put(registry, *layers, platform=None, tag="latest"):
    """An index whose one or two children hold the layers; the other platform's child holds nothing of use."""

    def child(blobs, its):
        descriptors = [Descriptor.of(raw, media_types.OCI_LAYER_GZIP) for raw in blobs]
        config = Descriptor.of(b"{}", media_types.OCI_CONFIG)
        for raw in (*blobs, b"{}"):
            registry.put_blob("binfmt", raw)
        made = manifests.build(config, tuple(descriptors))
        registry.put_manifest("binfmt", made.descriptor.digest, made.descriptor.media_type, made.raw)
        return Descriptor(
            media_type=made.descriptor.media_type,
            digest=made.descriptor.digest,
            size=made.descriptor.size,
            platform=its,
        )

    other = child([layer(("usr/bin/qemu-aarch64", b"wrong platform"))], Platform("linux", "s390x"))
    made = indexes.build((other, child(layers, platform or platforms.default())))
    registry.put_manifest("binfmt", tag, made.descriptor.media_type, made.raw)


def pull(registry, folder, *wanted):
    async def run():
        environment = {"PATH": ""}
        config = DockerConfig(f"{folder}/none/config.json", environment)
        async with Registry(None, config, environment=environment, docker_files=DockerFiles()) as client:
            return await fetch(client, f"{registry.host}/binfmt", wanted or (ARM64, RISCV), f"{folder}/qemu")

    return asyncio.run(run())


def test_files_are_kept_for_this_platform(registry, tmp_path):
    put(
        registry,
        layer(("usr/bin/qemu-aarch64", b"old")),
        layer(("./usr/bin/qemu-aarch64", STATIC), ("usr/bin/binfmt", b"x")),
    )
    found = pull(registry, tmp_path)
    assert found == {ARM64: f"{tmp_path}/qemu/qemu-aarch64"}
    assert os.listdir(tmp_path / "qemu") == ["qemu-aarch64"]
    assert stat.S_IMODE(os.stat(found[ARM64]).st_mode) == 0o755
    with open(found[ARM64], "rb") as file:
        assert file.read() == STATIC


def test_static_suffix_and_second_run(registry, tmp_path):
    put(registry, layer(("/usr/bin/qemu-riscv64-static", STATIC)))
    assert list(pull(registry, tmp_path)) == list(pull(registry, tmp_path)) == [RISCV]


@pytest.mark.parametrize(
    "entries",
    [
        [("usr/bin/qemu-aarch64", dynamic())],
        [("usr/bin/qemu-aarch64", b"#!/bin/sh\n")],
        [("usr/bin/qemu-aarch64", (tarfile.SYMTYPE, "/etc/passwd"))],
        [("usr/bin/qemu-aarch64", (tarfile.LNKTYPE, "etc/passwd"))],
        [("usr/bin/../bin/qemu-aarch64", STATIC)],
        [("../../usr/bin/qemu-aarch64", STATIC)],
        [("usr/bin/qemu-aarch64/x", STATIC)],
    ],
    ids=repr,
)
def test_what_is_no_static_program_under_its_own_name_is_not_kept(registry, tmp_path, entries):
    put(registry, layer(*entries))
    assert pull(registry, tmp_path) == {}
    assert not list(tmp_path.rglob("qemu-*"))


def test_nothing_is_taken_out_of_a_damaged_layer(registry, tmp_path):
    good = layer(("usr/bin/qemu-aarch64", STATIC))
    put(registry, good)
    registry.blobs["binfmt", Descriptor.of(good, "").digest] = layer(("usr/bin/qemu-aarch64", STATIC + b"evil"))
    with pytest.raises(TrimaranError) as caught:
        pull(registry, tmp_path)
    assert isinstance(caught.value, Corrupt) or "digest" in str(caught.value) or "bytes" in str(caught.value)
    assert not list(tmp_path.rglob("qemu-*"))


def test_no_image_for_this_platform(registry, tmp_path):
    put(registry, layer(("usr/bin/qemu-aarch64", STATIC)), platform=Platform("plan9", "mips"))
    with pytest.raises(NotFound, match="has nothing for linux/"):
        pull(registry, tmp_path)


def test_a_link_in_the_folder_is_replaced_not_followed(registry, tmp_path):
    put(registry, layer(("usr/bin/qemu-aarch64", STATIC)))
    (tmp_path / "qemu").mkdir()
    (tmp_path / "victim").write_text("mine")
    (tmp_path / "qemu" / "qemu-aarch64").symlink_to(tmp_path / "victim")
    pull(registry, tmp_path)
    assert (tmp_path / "victim").read_text() == "mine"
