"""The cases: a folder each with the Dockerfile, case.json (options, context, base) and golden.json (what BuildKit made).

The context stands in case.json and not in files beside it, because modes, hard links, archives and times have to be
the same on every machine and no version control keeps all of them. A path's value is the text of a file, or an object:
text, bytes (hex), mode, size, folder, symlink, hardlink, or archive (another such mapping) with compress.
"""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

FOLDER = Path(__file__).parent / "cases"
TIME = 1_000_000_000  # every file of a context was changed then: 2001-09-09
COMPRESS = {"": bytes, "gz": lambda data: gzip.compress(data, mtime=0), "bz2": bz2.compress, "xz": lzma.compress}
KINDS = {"symlink": tarfile.SYMTYPE, "hardlink": tarfile.LNKTYPE, "fifo": tarfile.FIFOTYPE}


class Case(NamedTuple):
    name: str
    options: list[str]  # of `build`, without the output
    context: Mapping[str, Any]
    base: Mapping[str, Any]  # config of an image that is pushed first as golden-NAME, with busybox's layer
    scratch: bool  # the last stage begins from nothing
    allowed: Mapping[str, str]  # where Trimaran differs on purpose -> why
    allowed_rootless: Mapping[str, str]  # where it cannot help it without root -> why
    with_layers: bool  # what is in each layer is compared, too
    needs_root: str  # why an ordinary account cannot build it at all

    @property
    def golden(self) -> Path:
        return FOLDER / self.name / "golden.json"

    @property
    def base_name(self) -> str:
        return f"library/golden-{self.name}"

    def write_context(self, folder: Path, owner: int = -1) -> None:
        """Put the Dockerfile and the context into `folder`, which is empty; all is the user `owner`'s if one is given."""
        dockerfile = (FOLDER / self.name / "Dockerfile").read_text()
        write_files(folder, {"Dockerfile": dockerfile, **self.context}, owner)


def read_all() -> list[Case]:
    return [read(path.parent.name) for path in sorted(FOLDER.glob("*/Dockerfile"))]


def read(name: str) -> Case:
    path = FOLDER / name / "case.json"
    document = json.loads(path.read_text()) if path.exists() else {}
    parts = (document.get("options", []), document.get("context", {}), document.get("base", {}))
    differing = (document.get("allowed", {}), document.get("allowed_rootless", {}))
    flags = (document.get("layers", False), document.get("needs_root", ""))
    return Case(name, *parts, document.get("scratch", False), *differing, *flags)


def write_files(folder: Path, files: Mapping[str, Any], owner: int = -1) -> None:
    for name, described in files.items():
        entry: Mapping[str, Any] = {"text": described} if isinstance(described, str) else described
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if "symlink" in entry:
            path.symlink_to(entry["symlink"])
        elif "hardlink" in entry:
            path.hardlink_to(folder / entry["hardlink"])
        elif entry.get("folder"):
            path.mkdir(exist_ok=True)
        elif entry.get("fifo"):
            os.mkfifo(path)
        else:
            path.write_bytes(_content(entry))
        os.chown(path, owner, owner, follow_symlinks=False)  # before the mode: it takes set-id bits away
        if "symlink" not in entry and "hardlink" not in entry:
            path.chmod(int(entry.get("mode", "755" if entry.get("folder") else "644"), 8))
    for above, folders, names in os.walk(folder, topdown=False):
        for name in (*folders, *names, "."):
            os.utime(os.path.join(above, name), (TIME, TIME), follow_symlinks=False)
        if os.path.relpath(above, folder) not in files:
            os.chown(above, owner, owner)
            os.chmod(above, 0o755)  # whatever the umask says


def _content(entry: Mapping[str, Any]) -> bytes:
    if "archive" in entry:
        return COMPRESS[entry.get("compress", "")](_archive(entry["archive"]))
    if "bytes" in entry:
        return bytes.fromhex(entry["bytes"])
    return str(entry.get("text", "")).encode()


def _archive(files: Mapping[str, Any]) -> bytes:
    output = io.BytesIO()
    with tarfile.open(fileobj=output, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, described in files.items():
            entry: Mapping[str, Any] = {"text": described} if isinstance(described, str) else described
            member, content = tarfile.TarInfo(name), b""
            member.mtime = TIME
            member.uid, member.gid = map(int, entry.get("owner", "0:0").split(":"))
            for kind, flag in KINDS.items():
                if kind in entry:
                    member.type, member.linkname = flag, str(entry[kind]) if kind != "fifo" else ""
            if entry.get("folder"):
                member.type = tarfile.DIRTYPE
            elif member.type == tarfile.REGTYPE:
                content = _content(entry)
            member.size = len(content)
            member.mode = int(entry.get("mode", "755" if entry.get("folder") else "644"), 8)
            member.pax_headers = {
                f"SCHILY.xattr.{key}": bytes.fromhex(value).decode("utf-8", "surrogateescape")
                for key, value in entry.get("xattrs", {}).items()
            }
            archive.addfile(member, io.BytesIO(content))
    return output.getvalue()
