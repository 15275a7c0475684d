"""The bytes that are promised to be the same on every processor, made on one without any of the newer instructions."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import trimaran
from trimaran.store.compression import Compression

PROGRAM = """
import hashlib, random
from trimaran.aio import Cancel
from trimaran.store.compression import Compression
from trimaran.store.encoders import compressed
source = random.Random(7)
words = [source.randbytes(source.randint(2, 12)) for _ in range(300)]
data = b"".join(source.choices(words, k=60_000))
for compression in (Compression("gzip", portable=True), Compression("gzip", 9, portable=True), Compression("zstd")):
    hasher = hashlib.sha256()
    with compressed(Cancel(), hasher.update, compression) as write:
        write(data)
    print(compression.identity, hasher.hexdigest())
"""


def made(*emulator):
    packages = [path for path in sys.path if path.endswith("site-packages")]
    python_path = os.pathsep.join([str(Path(trimaran.__file__).parents[1]), *packages])
    interpreter = os.path.realpath(sys.executable)
    run = subprocess.run(
        [*emulator, interpreter, "-S", "-c", PROGRAM],
        env={"PYTHONPATH": python_path, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=True,
        timeout=200,
    )
    return run.stdout


@pytest.mark.emulated
def test_portable_bytes_are_the_same_on_the_oldest_processor():
    emulator = shutil.which("qemu-x86_64-static") or shutil.which("qemu-x86_64")
    assert emulator, "qemu's user mode is part of the set-up"
    here = made()
    assert here == made(emulator, "-cpu", "qemu64"), "SSE2 and nothing newer"
    assert Compression("gzip", portable=True).identity in here
