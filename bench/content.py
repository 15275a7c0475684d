"""Files to build from. The same seed gives the same bytes on every machine, so that results can be compared."""

from __future__ import annotations

import random
import string
from pathlib import Path

MIB = 1 << 20


def words(seed: str, size: int) -> bytes:
    """Text of `size` bytes that compresses about as program sources do."""
    source = random.Random(seed)
    vocabulary = ["".join(source.choices(string.ascii_lowercase, k=source.randint(2, 11))) for _ in range(4096)]
    # Common words are common: the squared draw leans to the front of the list.
    lines = [" ".join(vocabulary[int(source.random() ** 2 * 4096)] for _ in range(11)) + "\n" for _ in range(16384)]
    mean = sum(map(len, lines)) // len(lines)
    return "".join(source.choices(lines, k=size // (mean - 4) + 64)).encode()[:size]


def machine_code(seed: str, size: int) -> bytes:
    """Bytes as uneven as compiled programs, without repeated strings."""
    source = random.Random(seed)
    uneven = bytes(int((value / 255) ** 3 * 255) for value in range(256))
    return b"".join(source.randbytes(min(MIB, size - at)).translate(uneven) for at in range(0, size, MIB))


def noise(seed: str, size: int) -> bytes:
    """Bytes that do not compress, as in archives and pictures."""
    source = random.Random(seed)
    return b"".join(source.randbytes(min(MIB, size - at)) for at in range(0, size, MIB))


def tree(folder: Path, count: int, mean: int = 4100) -> None:
    """`count` small files of about `mean` bytes, a hundred to a folder, every fifth one not compressible."""
    source = random.Random(count)
    text, blob = words("tree", 4 * MIB), noise("tree", MIB)
    for number in range(count):
        if number % 100 == 0:
            home = folder / f"package{number // 1000:03}" / f"part{number // 100:04}"
            home.mkdir(parents=True)
        size = source.randint(mean // 8, mean * 15 // 8)
        pool = blob if number % 5 == 0 else text
        at = source.randrange(len(pool) - size)
        (home / f"file{number:06}.txt").write_bytes(b"%d\n" % number + pool[at : at + size])


def ignored(folder: Path, count: int) -> list[str]:
    """`count` small files; two hundred patterns that leave about one of 300."""
    patterns = []
    for number in range(count):
        if number % 100 == 0:
            home = folder / f"module{number // 5000:02}" / f"part{number // 100:04}"
            home.mkdir(parents=True)
        kind = "py" if number % 250 == 249 else ("o", "tmp", "log")[number % 3]
        (home / f"file{number:06}.{kind}").write_bytes(b"%d\n" % number)
    for number in range(count // 100):
        if number % 100 and len(patterns) < 120:
            patterns.append(f"module{number // 50:02}/part{number:04}")
    patterns += ["**/*.o", "**/*.tmp", "**/*.log", "!**/keep.log", "*/*/.git", "**/__pycache__", "**/[a-c]*.bak"]
    patterns += [f"**/cache{number:02}/**/*.x?" for number in range(200 - len(patterns))]
    return patterns


def big(folder: Path, mebibytes: int) -> None:
    """One layer's worth of data in eight files: half text, a quarter program code, a quarter noise."""
    share = mebibytes * MIB // 8
    folder.mkdir(parents=True, exist_ok=True)
    for number, make in enumerate((words, words, words, words, machine_code, machine_code, noise, noise)):
        (folder / f"data{number}").write_bytes(make(f"big{number}", share))
