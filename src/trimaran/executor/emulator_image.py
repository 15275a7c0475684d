"""Emulators out of an image such as `tonistiigi/binfmt`: only their files are kept, nothing of the image is run."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Collection

from trimaran import platforms
from trimaran.aio import Cancel, in_thread
from trimaran.errors import Denied, NotFound
from trimaran.executor.binfmt import Emulator, is_static
from trimaran.oci import index as indexes
from trimaran.oci.blobs import Blobs
from trimaran.oci.descriptor import Descriptor
from trimaran.oci.index import Index
from trimaran.oci.matching import pick
from trimaran.reference import Reference
from trimaran.registry.client import Registry
from trimaran.store.decompression import decompress
from trimaran.tar.header import FILE
from trimaran.tar.reader import Reader

LARGEST = 256 << 20
"""Bytes of one emulator; real ones have 3 to 20 MB."""


async def fetch(registry: Registry, reference: str, wanted: Collection[Emulator], folder: str) -> dict[Emulator, str]:
    """The emulators the image has for this machine, as files `folder/qemu-NAME` (made, mode 0755), by emulator.

    Costs the download of its layers. Errors are those of the registry; NotFound when it has no fitting image, Denied
    when `folder` cannot be written to.
    """
    name = Reference.parse(reference)
    repository = registry.repository(name)
    _, raw = await repository.get_manifest(name.digest or name.tag)
    document = indexes.parse_any(raw)
    if isinstance(document, Index):
        child = pick(document, platforms.default())
        if child is None:
            raise NotFound(f"read image {name.familiar}: it has nothing for {platforms.default()}")
        _, raw = await repository.get_manifest(child.digest)
        document = indexes.parse_any(raw)
    layers = () if isinstance(document, Index) else document.layers
    found: dict[Emulator, str] = {}
    for layer in reversed(layers):  # an upper layer's file hides that of a lower one
        missing = [each for each in wanted if each not in found]
        if missing:
            found.update(await _from_layer(repository, layer, missing, folder))
    return found


async def _from_layer(blobs: Blobs, layer: Descriptor, wanted: list[Emulator], folder: str) -> dict[Emulator, str]:
    """Spooled first: nothing is taken out before digest and size of the whole layer are known to be right."""
    with tempfile.TemporaryFile() as spool:
        async with blobs.read(layer) as reader:
            while chunk := await reader.read():
                spool.write(chunk)
        spool.seek(0)
        return await in_thread(_extract, spool.fileno(), wanted, folder)


def _extract(cancel: Cancel, archive: int, wanted: list[Emulator], folder: str) -> dict[Emulator, str]:
    """Names in the archive are compared, never used as paths."""
    names = {f"usr/bin/{each.name}{suffix}": each for each in wanted for suffix in ("", "-static")}
    found: dict[Emulator, str] = {}
    reader = Reader(decompress(lambda size: os.read(archive, size)))
    while (entry := reader.next()) is not None:
        cancel.check()
        emulator = names.get(entry.name.removeprefix("./").lstrip("/"))
        if emulator is not None and entry.type == FILE and entry.size <= LARGEST:
            path = _keep(reader, folder, emulator.name)
            if path:
                found[emulator] = path
    return found


def _keep(reader: Reader, folder: str, name: str) -> str:
    """Write the current entry to `folder/name`, whole or not at all; "" when it is no static program."""
    path, temporary = f"{folder}/{name}", f"{folder}/.{name}.{os.urandom(8).hex()}"
    try:
        os.makedirs(folder, 0o755, exist_ok=True)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o755)
        with os.fdopen(descriptor, "wb") as file:
            for piece in reader.chunks():
                file.write(piece)
            os.fchmod(descriptor, 0o755)
        if not is_static(temporary):
            os.unlink(temporary)
            return ""
        # A running emulator keeps its old file: the kernel holds it open.
        os.replace(temporary, path)
    except OSError as error:
        raise Denied(f"keep emulator {path}: {error.strerror}", hint="run it as root with sudo") from error
    return path
