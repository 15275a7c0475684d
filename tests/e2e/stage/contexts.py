"""Build contexts: folders that any account may read."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory


class Context:
    """A folder with a Dockerfile and files; `os.fspath` gives its path."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

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


@contextmanager
def open_folder() -> Iterator[Path]:
    """A new folder that every account may come to, which pytest's own may not be."""
    with TemporaryDirectory(prefix="trimaran-e2e-", ignore_cleanup_errors=True) as name:
        os.chmod(name, 0o755)  # noqa: S103 - it is meant to be read
        yield Path(name)
