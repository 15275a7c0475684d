"""What is compared of a file system: the same whether umoci unpacked an image or Trimaran wrote an archive."""

from __future__ import annotations

import io
import tarfile

Files = dict[str, list[object]]
"""Path → kind, mode, uid, gid, content or link target, and the first of the names of a file that has several."""


def of_tar(data: bytes) -> Files:
    found: Files = {}
    names: dict[str, list[str]] = {}
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        for entry in archive:
            path = entry.name.removeprefix("./").strip("/")
            if path in {"", "."}:
                continue
            if entry.islnk():
                first = entry.linkname.removeprefix("./").strip("/")
                names[first].append(path)
                found[path] = list(found[first])
                continue
            names[path] = [path]
            file = archive.extractfile(entry) if entry.isreg() else None
            content = file.read().decode("latin-1") if file is not None else entry.linkname
            kind = "file" if entry.isreg() else "folder" if entry.isdir() else "link" if entry.issym() else "other"
            found[path] = [kind, entry.mode & 0o7777, entry.uid, entry.gid, content]
    for group in names.values():
        for path in group:
            found[path].append(min(group) if len(group) > 1 else "")
    return found


def changed(files: Files, base: Files) -> dict[str, list[object] | None]:
    """Where `files` is not `base`; None for what is gone. Without a base below it, /etc is a folder whose time alone
    changed, which says nothing."""
    if "bin" not in files:
        return {path: facts for path, facts in files.items() if path != "etc"}
    paths = sorted({*files, *base})
    return {path: files.get(path) for path in paths if files.get(path) != base.get(path)}
