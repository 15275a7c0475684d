"""Record what a real buildx shows of real builds: `record.py REGISTRY [CASE…]`, with docker and buildx on PATH.

`buildx history logs` shows one recorded build in every mode, so that `rawjson` replayed through our displays must give
the same text as `plain` and `tty-COLUMNSxROWS`. REGISTRY gets a busybox image made from this machine's own.
"""

from __future__ import annotations

import fcntl
import io
import json
import os
import pty
import struct
import subprocess
import sys
import tarfile
import tempfile
import termios
from pathlib import Path

HERE = Path(__file__).parent
SIZES = ((80, 24), (120, 50))
LOOP = "for i in 1 2 3 4 5 6; do echo {0} $i; sleep 0.3; done"


def cases(base: str, registry: str) -> dict[str, tuple[dict[str, str], list[str]]]:
    return {
        "simple": (
            {
                "Dockerfile": f"FROM {base}\nCOPY hello.txt /hello.txt\nRUN cat /hello.txt && echo done >&2\n"
                "RUN seq 1 40 && sleep 0.2\n",
                "hello.txt": "hello\n",
                ".dockerignore": "x\n",
            },
            ["--no-cache"],
        ),
        "cached": (
            {"Dockerfile": f"FROM {base}\nCOPY hello.txt /hello.txt\nRUN cat /hello.txt\n", "hello.txt": "hello\n"},
            [],
        ),
        "failing": ({"Dockerfile": f"FROM {base}\nRUN seq 1 30; exit 7\nRUN echo never\n"}, ["--no-cache"]),
        "parallel-cancel": (
            {
                "Dockerfile": f"FROM {base} AS a\nRUN echo a1; sleep 1; echo a2; exit 3\n"
                f"FROM {base} AS b\nRUN echo b1; sleep 5; echo b2\n"
                "FROM scratch\nCOPY --from=a /x /x\nCOPY --from=b /x /y\n"
            },
            ["--no-cache"],
        ),
        "warnings": ({"Dockerfile": f"from {base} as Base\nMAINTAINER me\nENV A b\nCMD echo hi\n"}, ["--no-cache"]),
        "platforms": (
            {"Dockerfile": "FROM scratch\nCOPY hello.txt /\nWORKDIR /work\n", "hello.txt": "hello\n"},
            ["--no-cache", "--platform=linux/amd64,linux/arm64", "-t", f"{registry}/golden/multi:1", "--push"],
        ),
        "missing": ({"Dockerfile": f"FROM {base}\nCOPY nothere.txt /\n"}, ["--no-cache"]),
        "stages": (
            {
                "Dockerfile": f"FROM {base} AS build\nRUN {LOOP.format('build')}; mkdir /out; "
                "dd if=/dev/zero of=/out/file bs=1M count=3\n"
                f"FROM {base} AS other\nRUN {LOOP.format('other')}\n"
                f"FROM {base}\nCOPY --from=build /out /out\nCOPY --from=other /bin/busybox /bb\n"
                "RUN printf 'progress 10%%\\rprogress 50%%\\rprogress 100%%\\n'; printf 'tab\\there\\n\\n  indented\\n'; "
                "printf 'partial'; sleep 0.3; printf ' line\\n'\n"
            },
            ["--no-cache", "-t", f"{registry}/golden/stages:1"],
        ),
    }


def in_terminal(argv: list[str], columns: int, rows: int) -> bytes:
    child, terminal = pty.fork()
    if child == 0:
        os.environ["TERM"] = "xterm-256color"
        os.execvp(argv[0], argv)
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    out = b""
    while True:
        try:
            piece = os.read(terminal, 65536)
        except OSError:
            break
        if not piece:
            break
        out += piece
    os.waitpid(child, 0)
    return out


def buildx(*words: str, folder: str = ".") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["docker", "buildx", *words], cwd=folder, capture_output=True, check=False)


def push_busybox(name: str) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.add("/bin/busybox", "bin/busybox")
        for applet in ("sh", "echo", "cat", "sleep", "seq", "mkdir", "dd", "printf", "ls", "true"):
            link = tarfile.TarInfo(f"bin/{applet}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            archive.addfile(link)
    subprocess.run(["docker", "import", "--change", 'CMD ["/bin/sh"]', "-", name], input=buffer.getvalue(), check=True)
    subprocess.run(["docker", "push", "-q", name], check=True)
    subprocess.run(["docker", "rmi", name], check=True)


def main() -> None:
    registry, *only = sys.argv[1:]
    base = f"{registry}/golden/busybox:1"
    push_busybox(base)
    for name, (files, flags) in cases(base, registry).items():
        if only and name not in only:
            continue
        target = HERE / name
        target.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory() as folder:
            for file, text in files.items():
                Path(folder, file).write_text(text)
            if name == "cached":
                buildx("build", "-q", ".", folder=folder)
            buildx("build", "--progress=plain", *flags, ".", folder=folder)
        listing = buildx("history", "ls", "--format=json").stdout.splitlines()
        reference = json.loads(listing[0])["ref"].split("/")[-1]
        for mode in ("rawjson", "plain"):
            shown = buildx("history", "logs", "--progress", mode, reference)
            (target / mode).write_bytes(shown.stderr or shown.stdout)
        for columns, rows in SIZES:
            argv = ["docker", "buildx", "history", "logs", "--progress", "tty", reference]
            (target / f"tty-{columns}x{rows}").write_bytes(in_terminal(argv, columns, rows))
    version = buildx("version").stdout.decode()
    (HERE / "VERSION").write_text(version)


if __name__ == "__main__":
    main()
