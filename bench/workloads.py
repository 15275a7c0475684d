"""What is built: one entry per workload of the budgets, each with its context, options and phases."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from bench import content

COLD, CACHED, CHANGED = "cold", "cached", "changed"
EXPORT, IMPORT = "export", "import"  # of a shared cache: after a cold build, and by an empty store
FOUR = ("linux/amd64", "linux/arm64", "linux/arm/v7", "linux/ppc64le")


class Workload(NamedTuple):
    name: str
    title: str
    make: Callable[[Path, str, int], None]  # (folder, registry, size) writes the context
    size: int
    output: str  # "push" or "oci"
    phases: tuple[str, ...] = (COLD, CACHED)
    platforms: tuple[str, ...] = ()
    compression: str = ""
    change: Callable[[Path, int], None] | None = None  # (folder, number) edits the context; 0 restores it


def _seed(folder: Path, registry: str, _size: int) -> None:
    _dockerfile(folder, [f"FROM --platform=$TARGETPLATFORM {registry}/alpine", "CMD ls /root"])


def _runs(folder: Path, registry: str, size: int) -> None:
    steps = [f"RUN echo step {number} > /step{number:03}" for number in range(size)]
    _dockerfile(folder, [f"FROM {registry}/busybox", *steps])


def _stages(folder: Path, registry: str, size: int) -> None:
    lines: list[str] = []
    for number in range(size):
        lines += [f"FROM {registry}/busybox AS stage{number}", f"RUN echo stage {number} > /made"]
    lines.append(f"FROM {registry}/busybox")
    lines += [f"COPY --from=stage{number} /made /made{number:03}" for number in range(size)]
    _dockerfile(folder, lines)


def _graph(folder: Path, registry: str, size: int) -> None:
    graph(folder, f"{registry}/busybox", size)


def graph(folder: Path, base: str, size: int, before: Sequence[str] = ()) -> None:
    """Stages of a hundred vertices on `base`, side by side, all of which the last stage reads; `before` comes first."""
    (folder / "file").write_text("one\n")
    lines = list(before)
    stages = -(-size // 100)
    copies = size // stages - 1
    for stage in range(stages):
        lines.append(f"FROM {base} AS stage{stage}")
        lines += [f"COPY file /{stage}/{copy}" for copy in range(copies)]
    lines.append(f"FROM {base}")
    lines += [f"COPY --from=stage{stage} /{stage} /{stage}" for stage in range(stages)]
    _dockerfile(folder, lines)


def _chain(folder: Path, registry: str, size: int) -> None:
    for number in range(size):
        (folder / f"file{number:03}").write_text(f"file {number}\n")
    steps = [f"COPY file{number:03} /app/file{number:03}" for number in range(size)]
    _dockerfile(folder, [f"FROM {registry}/busybox", *steps])


def _files(folder: Path, registry: str, size: int) -> None:
    content.tree(folder / "tree", size)
    _dockerfile(folder, [f"FROM {registry}/busybox", "COPY tree /srv/tree"])


def _cache(folder: Path, registry: str, size: int) -> None:
    content.tree(folder / "tree", size)
    steps = [f"RUN seq {number} 40000 > /step{number:03}" for number in range(30)]
    _dockerfile(folder, [f"FROM {registry}/busybox", "COPY tree /srv/tree", *steps])


def _change_file(folder: Path, number: int) -> None:
    path = next(iter(sorted((folder / "tree").glob("*/*/file000042.txt"))))
    original = path.read_bytes().partition(b"\nchanged ")[0]
    path.write_bytes(original + (b"\nchanged %d\n" % number if number else b""))


def _ignore(folder: Path, _registry: str, size: int) -> None:
    (folder / ".dockerignore").write_text("\n".join(content.ignored(folder, size)) + "\n")
    _dockerfile(folder, ["FROM scratch", "COPY . /"])


def _big(folder: Path, registry: str, size: int) -> None:
    content.big(folder / "data", size)
    _dockerfile(folder, [f"FROM {registry}/busybox", "COPY data /srv/data"])


def _cross(folder: Path, registry: str, _size: int) -> None:
    (folder / "main.txt").write_text("source\n")
    _dockerfile(
        folder,
        [
            f"FROM --platform=$BUILDPLATFORM {registry}/busybox AS compile",
            "WORKDIR /src",
            "COPY main.txt .",
            "ARG TARGETPLATFORM",
            "RUN (cat main.txt; echo built for $TARGETPLATFORM) > /program",
            f"FROM {registry}/busybox",
            "COPY --from=compile /program /usr/local/bin/program",
            "RUN uname -m > /machine && cat /usr/local/bin/program >> /machine",
            'CMD ["cat", "/machine"]',
        ],
    )


def _dockerfile(folder: Path, lines: list[str]) -> None:
    (folder / "Dockerfile").write_text("\n".join(lines) + "\n")


ALL = (
    Workload("seed", "seed's push for two platforms", _seed, 1, "push", platforms=FOUR[:2]),
    Workload("run30", "30 RUN steps, amd64", _runs, 30, "oci", platforms=FOUR[:1]),
    Workload("run30-arm64", "30 RUN steps, arm64 emulated", _runs, 30, "oci", platforms=FOUR[1:2]),
    Workload("stages", "40 parallel stages", _stages, 40, "oci"),
    Workload("chain", "chain of 120 COPY steps", _chain, 120, "oci"),
    Workload(
        "files",
        "20,000 files (82 MB) COPY to an OCI archive",
        _files,
        20_000,
        "oci",
        phases=(COLD, CACHED, CHANGED),
        change=_change_file,
    ),
    Workload(
        "cache",
        "shared cache of 30 RUN steps and 2,000 files, mode=max",
        _cache,
        2_000,
        "oci",
        phases=(COLD, EXPORT, IMPORT),
    ),
    Workload("ignore", "50,000 files under 200 patterns of .dockerignore", _ignore, 50_000, "oci"),
    Workload("gzip", "512 MiB layer, gzip", _big, 512, "oci", phases=(COLD,), compression="gzip"),
    Workload("zstd", "512 MiB layer, zstd", _big, 512, "oci", phases=(COLD,), compression="zstd"),
    Workload("cross", "cross and emulated for four platforms, pushed", _cross, 1, "push", platforms=FOUR),
)
GRAPH = Workload("graph", "graph of 10,000 vertices", _graph, 10_000, "oci")  # of --growth alone
NAMED = {workload.name: workload for workload in (*ALL, GRAPH)}
