"""Random images: small, valid, made of real gzipped tar layers, reproducible by seed."""

from __future__ import annotations

import gzip
import random
from collections.abc import Iterable

import msgspec

from trimaran.digest import Digest
from trimaran.oci import image_config, media_types
from trimaran.oci import index as indexes
from trimaran.oci import manifest as manifests
from trimaran.oci.blobs import Blobs
from trimaran.oci.copy import write_blob
from trimaran.oci.descriptor import Descriptor
from trimaran.oci.image_config import ContainerConfig, History, ImageConfig
from trimaran.oci.manifest import Manifest
from trimaran.platforms import Platform
from trimaran.tar.header import Header
from trimaran.tar.writer import Writer

AMD64 = Platform("linux", "amd64")
ARM64 = Platform("linux", "arm64")


class RandomImage(msgspec.Struct, frozen=True):
    """`root` with everything under it, children first."""

    root: Descriptor
    contents: tuple[tuple[Descriptor, bytes], ...]

    async def write_to(self, blobs: Blobs) -> None:
        """Put all of it somewhere."""
        for descriptor, raw in self.contents:
            await write_blob(descriptor, raw, blobs)


def random_image(
    seed: int = 0, *, platforms: Iterable[Platform] = (AMD64,), layers: int = 2, size: int = 10_000
) -> RandomImage:
    """One manifest for one platform, an index for several; `size` is about the bytes of a layer."""
    source = random.Random(seed)  # noqa: S311 - test data
    contents: dict[str, tuple[Descriptor, bytes]] = {}
    children = []
    for platform in platforms:
        image = _image(source, platform, layers, size, contents)
        children.append(msgspec.structs.replace(image.descriptor, platform=platform))
    if len(children) == 1:
        root = children[0].plain()
    else:
        index = indexes.build(tuple(children))
        root = index.descriptor
        contents[root.digest] = (root, index.raw)
    return RandomImage(root, tuple(contents.values()))


def _image(
    source: random.Random, platform: Platform, layers: int, size: int, contents: dict[str, tuple[Descriptor, bytes]]
) -> Manifest:
    descriptors, diff_ids = [], []
    for number in range(layers):
        tar = random_tar(source, f"{platform.architecture}-{number}", size)
        packed = gzip.compress(tar, 1, mtime=0)
        descriptor = Descriptor.of(packed, media_types.OCI_LAYER_GZIP)
        contents[descriptor.digest] = (descriptor, packed)
        descriptors.append(descriptor)
        diff_ids.append(Digest.of(tar))
    config = image_config.encode(
        ImageConfig(
            platform=platform,
            config=ContainerConfig(env=("PATH=/bin",), cmd=("/bin/sh",)),
            diff_ids=tuple(diff_ids),
            history=tuple(History(created_by=f"layer {number}") for number in range(layers)),
        )
    )
    config_descriptor = Descriptor.of(config, media_types.OCI_CONFIG)
    contents[config_descriptor.digest] = (config_descriptor, config)
    manifest = manifests.build(config_descriptor, tuple(descriptors))
    contents[manifest.descriptor.digest] = (manifest.descriptor, manifest.raw)
    return manifest


def random_tar(source: random.Random, name: str, size: int) -> bytes:
    """A tar with one folder and one file of `size` random bytes."""
    parts: list[bytes] = []
    writer = Writer(parts.append)
    writer.add(Header(name=f"{name}/", type=b"5", mode=0o755))
    writer.add(Header(name=f"{name}/data", mode=0o644, size=size))
    writer.write(source.randbytes(size))
    writer.close()
    return b"".join(parts)
