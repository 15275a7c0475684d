"""Somebody beside us who makes a folder a link and a folder again, as fast as the kernel lets him (T34)."""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def swapped(folder: Path, target: Path) -> Iterator[None]:
    """`folder`, once it is there, is a link to `target` half of the time, until the context is left."""
    aside, link = folder.with_name(".aside"), folder.with_name(".link")
    over = threading.Event()

    def swap() -> None:
        while not over.is_set():
            with suppress(OSError):
                if folder.is_symlink() or not folder.is_dir():
                    continue
                link.unlink(missing_ok=True)
                link.symlink_to(target)
                os.rename(folder, aside)
                os.rename(link, folder)
                time.sleep(random.random() / 1000)
            with suppress(OSError):
                if folder.is_symlink():
                    folder.unlink()
                if aside.is_dir() and not folder.exists():
                    os.rename(aside, folder)
                    time.sleep(random.random() / 1000)

    swapper = threading.Thread(target=swap)
    swapper.start()
    try:
        yield
    finally:
        over.set()
        swapper.join()
        link.unlink(missing_ok=True)
