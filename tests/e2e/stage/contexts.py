"""Build contexts: folders that any account may read."""

from __future__ import annotations

import os
from pathlib import Path


class Context:
    """A folder with a Dockerfile and files; `os.fspath` gives its path."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        readable(folder)

    def __fspath__(self) -> str:
        return os.fspath(self.folder)

    def __truediv__(self, name: str) -> Path:
        return self.folder / name

    def dockerfile(self, text: str) -> Context:
        (self.folder / "Dockerfile").write_text(text)
        return self

    def write(self, name: str, content: str | bytes = "") -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path


def readable(folder: Path) -> None:
    """Let every account come to `folder`: pytest's own folders are closed to others."""
    for parent in (folder, *folder.parents):
        mode = parent.stat().st_mode
        if parent.is_relative_to("/tmp") and parent != Path("/tmp") and mode & 0o055 != 0o055:  # noqa: S108
            parent.chmod(mode | 0o055)
