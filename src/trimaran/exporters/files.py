"""`type=local` and `type=tar`: the files of a result, into a folder of the user's or as one archive.

Law: the destination belongs to the user, its symlinks do not lead us: every path is walked by folder descriptors.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

import msgspec

from trimaran import aio
from trimaran.events import Task, vertex
from trimaran.exporters.context import ExportContext, Exported
from trimaran.exporters.folder import FolderWriter
from trimaran.exporters.options import LocalOutput, TarOutput
from trimaran.exporters.output import output_file
from trimaran.platforms import Platform
from trimaran.store.entries import FILE, FOLDER, HARDLINK, NANOSECONDS, Entry, EntryList, Origin
from trimaran.store.render import write_layer
from trimaran.store.rootfs import Rootfs
from trimaran.store.store import Store


class Files(msgspec.Struct, frozen=True):
    """A whole root: entries of the merged tree (hard links as links), and where each file's bytes are."""

    entries: EntryList
    origins: Mapping[str, Origin]

    def open(self, entry: Entry) -> int:
        return self.origins[entry.path].open()


async def export_local(options: LocalOutput, context: ExportContext) -> Exported:
    with vertex(context.sink, "exporting to client directory") as progress:
        for part in context.parts:
            files = await _files(context.store, part.rootfs)
            folder = os.path.join(options.dest, _prefix(part.platform, _split(options.platform_split, context)))
            name = f"copying files {part.platform}" if len(context.parts) > 1 else "copying files"
            with progress.task(name) as task:
                await aio.in_thread(_write_folder, folder, files, options, task)
    return Exported()


async def export_tar(options: TarOutput, context: ExportContext) -> Exported:
    with vertex(context.sink, "exporting to client tarball") as progress, output_file(options.dest) as fd:
        split = _split(options.platform_split, context)
        merged: list[Entry] = []
        origins: dict[str, Origin] = {}
        for part in context.parts:
            files = await _files(context.store, part.rootfs)
            _add_below(merged, origins, files, _prefix(part.platform, split))
        entries = _clamped(EntryList.of(merged), options.source_date_epoch)
        with progress.task("sending tarball") as task:
            await aio.in_thread(_write_tar, Files(entries, origins), fd, task)
    return Exported()


def _split(asked: bool | None, context: ExportContext) -> bool:
    return context.as_index if asked is None else asked


def _prefix(platform: Platform, split: bool) -> str:
    return str(platform.normalize()).replace("/", "_") if split else ""


async def _files(store: Store, rootfs: Rootfs) -> Files:
    tree = await store.roots.tree(rootfs)
    entries = [entry for entry in tree.walk("") if entry.path]
    by_layer: dict[int, dict[str, str]] = {}
    listed: list[Entry] = []
    firsts: dict[tuple[int, str], str] = {}
    for entry in entries:
        if entry.kind != FILE:
            listed.append(entry)
            continue
        number = tree.layer(entry.path)
        own = tree.layers[number].get(entry.path)
        name = own.target if own is not None and own.kind == HARDLINK else entry.path
        first = firsts.setdefault((number, name), entry.path)
        if first != entry.path:
            listed.append(msgspec.structs.replace(entry, kind=HARDLINK, target=first, size=0, digest=""))
        else:
            by_layer.setdefault(number, {})[name] = entry.path
            listed.append(entry)
    origins: dict[str, Origin] = {}
    for number, names in by_layer.items():
        layer = rootfs.layers[number]
        await store.layers.readable(layer)
        origins.update((path, store.layers.origin(layer, name)) for name, path in names.items())
    return Files(EntryList.of(listed), origins)


def _add_below(merged: list[Entry], origins: dict[str, Origin], files: Files, prefix: str) -> None:
    if prefix:
        merged.append(Entry(prefix, FOLDER, 0o755))
    for entry in files.entries:
        path = f"{prefix}/{entry.path}" if prefix else entry.path
        target = f"{prefix}/{entry.target}" if prefix and entry.kind == HARDLINK else entry.target
        merged.append(msgspec.structs.replace(entry, path=path, target=target))
        if entry.path in files.origins:
            origins[path] = files.origins[entry.path]


def _clamped(entries: EntryList, epoch: int | None) -> EntryList:
    if epoch is None:
        return entries
    return entries.not_later(epoch * NANOSECONDS)


def _write_tar(cancel: aio.Cancel, files: Files, fd: int, task: Task) -> None:
    write_layer(cancel, files.entries, files.open, _writer(fd, task))


def _writer(fd: int, task: Task) -> Callable[[bytes], None]:
    def write(data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]
        task.add(len(data))

    return write


def _write_folder(cancel: aio.Cancel, folder: str, files: Files, options: LocalOutput, task: Task) -> None:
    entries = _clamped(files.entries, options.source_date_epoch)
    with FolderWriter(folder) as writer:
        for entry in entries:
            cancel.check()
            writer.write(entry, files.origins.get(entry.path))
            task.add(entry.size)
        if options.mode == "delete":
            writer.delete_others({entry.path for entry in entries})
        writer.finish()
