"""What the engine needs itself does not grow with what it carries (`bench/memory.py` measures more, and larger)."""

from __future__ import annotations

import os

from stage.measuring import peak

MIB = 1 << 20


def test_layers_are_streamed(trimaran, bases, context):
    """A context's file and what a RUN left: hashed, compressed, written to an archive."""
    used = []
    for size in (64 * MIB, 384 * MIB):
        with open(context / "big", "wb") as file:
            file.write(os.urandom(MIB))
            file.truncate(size)
        context.dockerfile(f"FROM alpine\nCOPY big /\nRUN truncate -s {size} /made\n")
        used.append(peak(trimaran, context, "-o", "type=oci,compression=zstd,dest=/dev/null"))
    assert used[1] < used[0] + 32 * MIB
    assert 20 * MIB < used[1] < 200 * MIB


def test_a_context_of_many_files_is_small(trimaran, bases, context):
    """A path costs less than 1.6 kilobytes, however often it is hashed, copied and listed."""
    used = []
    for count in (100, 20_000):
        for number in range(count):
            (context / f"{number // 1000}").mkdir(exist_ok=True)
            (context / f"{number // 1000}" / f"{number}").write_bytes(b"%d" % number)
        context.dockerfile("FROM scratch\nCOPY . /\n")
        used.append(peak(trimaran, context, "-o", "type=cacheonly"))
    assert used[1] < used[0] + 20_000 * 1600


def graph(before, base, size):
    """Stages of a hundred vertices side by side, all of which the last one reads."""
    lines = list(before)
    for stage in range(size // 100):
        lines.append(f"FROM {base} AS stage{stage}")
        lines += [f"COPY file /{stage}/{copy}" for copy in range(98)]
    lines.append(f"FROM {base}")
    lines += [f"COPY --from=stage{stage} /{stage} /{stage}" for stage in range(size // 100)]
    return "\n".join([*lines, ""])


def test_a_vertex_costs_little(trimaran, context):
    """Of a graph that is built, less than 20 kilobytes each."""
    context.write("file", "one\n")
    used = [
        peak(trimaran, context.dockerfile(graph((), "scratch", size)), "-o", "type=cacheonly") for size in (100, 1_000)
    ]
    assert used[1] < used[0] + 900 * 20_000


def test_ten_thousand_vertices_whose_first_step_fails(trimaran, bases, context):
    """All hang on that one: none of them runs, and what was planned for them is small."""
    context.write("file", "one\n")
    context.dockerfile(graph(("FROM alpine AS base", "RUN exit 3"), "base", 10_000))
    used = peak(trimaran, context, "--progress=plain", "-o", "type=cacheonly", exit_code=1)
    assert 20 * MIB < used < 200 * MIB
