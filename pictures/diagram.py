"""The way of one build through the rooms, as ARCHITECTURE.md tells it."""

from __future__ import annotations

from xml.sax.saxutils import escape

STATIONS = (
    ("cli", "flags → BuildOptions", "events → screen"),
    ("builders", "options → request", "outcome → result"),
    ("engine", "the recipe", "log of the build"),
    ("dockerfile", "Dockerfile → graph", "checks, errors"),
    ("solver", "keys, what is ready", "hit, adopt, explain"),
    ("steps", "source, exec, file, merge, diff", "what each reads"),
    ("store", "layers, snapshots, blobs", "records, images"),
    ("exporters", "config, manifest, index", "registry, archive, folder"),
)
_WIDE, _HIGH, _GAP, _COLUMNS = 200, 74, 34, 4
_STYLE = """
text { font: 13px ui-sans-serif, system-ui, "Segoe UI", "DejaVu Sans", sans-serif; fill: #24292f; text-anchor: middle }
.name { font-weight: 700; font-size: 15px } .box { fill: #f6f8fa; stroke: #0969da } .way { stroke: #57606a; fill: none }
.note { fill: #57606a } marker path { fill: #57606a }
@media (prefers-color-scheme: dark) {
text { fill: #d1d7e0 } .box { fill: #161b22; stroke: #79c0ff } .way { stroke: #9198a1 } .note { fill: #9198a1 }
marker path { fill: #9198a1 }
}
"""


def draw() -> str:
    """Two rows, read as one line of writing after the other."""
    rows = (len(STATIONS) + _COLUMNS - 1) // _COLUMNS
    width = _COLUMNS * _WIDE + (_COLUMNS + 1) * _GAP
    height = rows * _HIGH + (rows + 1) * _GAP
    parts = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img"'
            ' aria-label="The way of one build">'
        ),
        f"<style>{_STYLE}</style>",
        (
            '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
            '<path d="M0 0 L8 4 L0 8 z"/></marker></defs>'
        ),
    ]
    for number, (name, first, second) in enumerate(STATIONS):
        x, y = _place(number)
        middle = x + _WIDE / 2
        parts.append(f'<rect class="box" x="{x}" y="{y}" width="{_WIDE}" height="{_HIGH}" rx="8"/>')
        parts.append(f'<text class="name" x="{middle}" y="{y + 24}">{name}</text>')
        parts.append(f'<text x="{middle}" y="{y + 44}">{escape(first)}</text>')
        parts.append(f'<text class="note" x="{middle}" y="{y + 62}">{escape(second)}</text>')
        if number:
            parts.append(f'<path class="way" marker-end="url(#tip)" d="{_arrow(number - 1, number)}"/>')
    return "\n".join([*parts, "</svg>", ""])


def _place(number: int) -> tuple[int, int]:
    row, column = divmod(number, _COLUMNS)
    return _GAP + column * (_WIDE + _GAP), _GAP + row * (_HIGH + _GAP)


def _arrow(start: int, end: int) -> str:
    (x1, y1), (x2, y2) = _place(start), _place(end)
    if y1 == y2:
        return f"M{x1 + _WIDE} {y1 + _HIGH / 2} H{x2}"
    between = y1 + _HIGH + _GAP / 2
    return f"M{x1 + _WIDE / 2} {y1 + _HIGH} V{between} H{x2 + _WIDE / 2} V{y2}"
