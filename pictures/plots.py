"""Bars and lines of the benchmarks, from the JSON that `./run bench --json` writes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any
from xml.sax.saxutils import escape

OURS, PEER = "trimaran", "buildkit"
_STYLE = """
text { font: 12px ui-sans-serif, system-ui, "Segoe UI", "DejaVu Sans", sans-serif; fill: #24292f }
.end { text-anchor: end } .ours { fill: #0969da } .line-ours { stroke: #0969da } .line-peer { stroke: #bf8700 }
.peer { fill: #bf8700 } .grid { stroke: #d0d7de } .one { stroke: #57606a; stroke-dasharray: 4 3 }
.note { fill: #57606a }
.head { font-weight: 700 } path { fill: none; stroke-width: 2 }
@media (prefers-color-scheme: dark) {
text { fill: #d1d7e0 } .ours { fill: #79c0ff } .peer { fill: #e3b341 } .line-ours { stroke: #79c0ff }
.line-peer { stroke: #e3b341 } .grid { stroke: #3d444d } .one { stroke: #9198a1 } .note { fill: #9198a1 }
}
"""


def ratios(rows: Sequence[dict[str, Any]]) -> str:
    """Per workload and phase our median as a share of BuildKit's: shorter is faster, the dashed line is equal."""
    known = [row for row in rows if row.get("ratio") is not None]
    left, wide, high, top = 370, 420, 22, 36
    height = top + len(known) * high + 16
    scale = wide / max(1.1, *(row["ratio"] for row in known))
    parts = [_open(left + wide + 60, height, "Time against BuildKit, same run")]
    parts.append('<text class="head" x="12" y="20">Seconds, as a share of BuildKit&#8217;s in the same run</text>')
    for number, row in enumerate(known):
        y = top + number * high
        label = escape(f"{row['title']}, {row['phase']}")
        length = row["ratio"] * scale
        parts.append(f'<text class="end" x="{left - 8}" y="{y + 14}">{label}</text>')
        parts.append(f'<rect class="ours" x="{left}" y="{y + 3}" width="{length:.1f}" height="{high - 7}" rx="2"/>')
        parts.append(f'<text x="{left + length + 6:.1f}" y="{y + 14}">{row["ratio"]:.2f}</text>')
    parts.append(f'<path class="one" d="M{left + scale:.1f} {top - 4} V{height - 12}"/>')
    return "\n".join([*parts, "</svg>", ""])


def growth(rows: Sequence[dict[str, Any]]) -> str:
    """One small plot per workload and phase: seconds over size, both in doublings."""
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["workload"], row["phase"]), []).append(row)
    columns, wide, high = min(3, len(groups)), 260, 170
    lines = math.ceil(len(groups) / columns)
    parts = [_open(columns * wide + 20, lines * high + 30, "How cost grows with size")]
    parts.append('<text class="ours" x="14" y="20">Trimaran</text><text class="peer" x="90" y="20">BuildKit</text>')
    for number, (key, group) in enumerate(groups.items()):
        row, column = divmod(number, columns)
        parts.append(_small(group, f"{key[0]}, {key[1]}", 10 + column * wide, 30 + row * high, wide - 20, high - 20))
    return "\n".join([*parts, "</svg>", ""])


def _small(group: list[dict[str, Any]], title: str, x: float, y: float, wide: float, high: float) -> str:
    sizes = [row["size"] for row in group]
    seconds = {tool: [row["seconds"].get(tool, {}).get("median") for row in group] for tool in (OURS, PEER)}
    known = [value for values in seconds.values() for value in values if value]
    low, top = math.log2(min(known)), math.log2(max(known))
    left, bottom = x + 54, y + high - 30
    across = wide - 66

    def place(index: int, value: float) -> str:
        share = (math.log2(value) - low) / ((top - low) or 1)
        return f"{left + across * index / max(1, len(sizes) - 1):.1f} {bottom - share * (high - 66):.1f}"

    parts = [f'<text class="head" x="{x}" y="{y + 14}">{escape(title)}</text>']
    parts.append(f'<path class="grid" d="M{left} {y + 24} V{bottom} H{left + across}"/>')
    for value, at in ((min(known), bottom), (max(known), bottom - (high - 66))):
        parts.append(f'<text class="end note" x="{left - 5}" y="{at + 4:.1f}">{value:.3g} s</text>')
    for index, size in ((0, sizes[0]), (len(sizes) - 1, sizes[-1])):
        anchor = ' class="end note"' if index else ' class="note"'
        parts.append(f'<text{anchor} x="{left + across * bool(index)}" y="{bottom + 16}">{size:,}</text>')
    for tool, style in ((PEER, "line-peer"), (OURS, "line-ours")):
        points = [place(index, value) for index, value in enumerate(seconds[tool]) if value]
        parts.append(f'<path class="{style}" d="M{" L".join(points)}"/>' if points else "")
    return "\n".join(parts)


def _open(width: float, height: float, label: str) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" aria-label="{label}">'
        f"<style>{_STYLE}</style>"
    )
