"""The context all Dockerfiles of these goldens read: the same bytes, modes and links wherever it is written."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

FILES = {
    "a.txt": "hello\n",
    "run.sh": "#!/bin/sh\necho hi\n",
    "pkg/package.json": "{}\n",
    "pkg/other": "y\n",
    "src/f1.txt": "1\n",
    "src/f2.txt": "2\n",
    "src/f3.txt": "3\n",
    "src/empty": "",
    "src/umläut <&>.txt": "z",
    "src/deep/x.md": "d\n",
    "src/deep/keep.txt": "k\n",
    "src/deep-er/y.md": "e\n",
}
MODES = {"run.sh": 0o755, "src/f3.txt": 0o4755, "src/deep": 0o700}


def program() -> bytes:
    """An ELF file for amd64 that does mkdir("/made", 0755), so that steps run with no base image."""
    path = b"/made\0"
    code_at = 0x400000 + 120
    code = b"\xb8\x53\0\0\0" + b"\xbf" + (code_at + 26).to_bytes(4, "little")  # mov eax, 83 (mkdir); mov edi, path
    code += b"\xbe" + (0o755).to_bytes(4, "little") + b"\x0f\x05"  # mov esi, mode; syscall
    code += b"\xb8\x3c\0\0\0" + b"\x31\xff" + b"\x0f\x05"  # mov eax, 60 (exit); xor edi, edi; syscall
    assert len(code) == 26
    size = 120 + len(code) + len(path)
    header = b"\x7fELF\x02\x01\x01" + bytes(9) + (2).to_bytes(2, "little") + (62).to_bytes(2, "little")
    header += (1).to_bytes(4, "little") + code_at.to_bytes(8, "little") + (64).to_bytes(8, "little") + bytes(12)
    header += (64).to_bytes(2, "little") + (56).to_bytes(2, "little") + (1).to_bytes(2, "little") + bytes(6)
    segment = (1).to_bytes(4, "little") + (5).to_bytes(4, "little") + bytes(8)
    segment += (0x400000).to_bytes(8, "little") * 2 + size.to_bytes(8, "little") * 2 + (0x1000).to_bytes(8, "little")
    return header + segment + code + path


def write(folder: Path) -> Path:
    """Make the context in a folder that is empty or not there."""
    for name, text in FILES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (folder / "program").write_bytes(program())
    (folder / "arch.tar").write_bytes(_archive())
    for path in [folder, *folder.rglob("*")]:
        name = str(path.relative_to(folder))
        path.chmod(MODES.get(name, 0o755 if path.is_dir() or name == "program" else 0o644))
    (folder / "src/lnk").symlink_to("f1.txt")
    (folder / "src/dlnk").symlink_to("deep")
    os.link(folder / "src/f2.txt", folder / "src/hard")
    return folder


def _archive() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name in ("deep", "deep/in-archive"):
            member = tarfile.TarInfo(name)
            member.type = tarfile.DIRTYPE if name == "deep" else tarfile.REGTYPE
            member.mode, member.size = (0o755, 0) if name == "deep" else (0o600, 3)
            archive.addfile(member, io.BytesIO(b"in\n") if member.size else None)
    return buffer.getvalue()
