"""Frames as one SVG: a window that plays them once, light or dark as the reader's system is."""

from __future__ import annotations

from collections.abc import Sequence
from xml.sax.saxutils import escape

from pictures.cast import COLUMNS, Frame, Row

_CELL, _LINE, _SIZE = 7.8, 17, 13  # width, height and font size of a character, in pixels
_MARGIN, _TOP = 14, 34
_MOST_FRAMES = 24
_STYLE = """
text { font: 13px ui-monospace, "SF Mono", "DejaVu Sans Mono", Menlo, Consolas, monospace; fill: #24292f;
white-space: pre }
.window { fill: #ffffff; stroke: #d0d7de } .bar { fill: #f6f8fa }
.red { fill: #cf222e } .green { fill: #1a7f37 } .blue { fill: #0969da } .brown { fill: #9a6700 } .cyan { fill: #1b7c83 }
.magenta { fill: #8250df } .bold { font-weight: 700 } .title { fill: #57606a; font-size: 12px }
@media (prefers-color-scheme: dark) {
text { fill: #d1d7e0 } .window { fill: #0d1117; stroke: #3d444d } .bar { fill: #161b22 }
.red { fill: #ff7b72 } .green { fill: #56d364 } .blue { fill: #79c0ff } .brown { fill: #e3b341 } .cyan { fill: #76e3ea }
.magenta { fill: #d2a8ff } .title { fill: #9198a1 }
}
"""
_KNOWN = frozenset({"red", "green", "blue", "brown", "cyan", "magenta"})


def draw(frames: Sequence[Frame], title: str) -> str:
    """The SVG's text. Readers who want no motion see the last frame; so does whatever knows no animation."""
    frames = _thinned(frames)
    rows = max(len(frame.rows) for frame in frames)
    width = round(COLUMNS * _CELL + 2 * _MARGIN)
    height = _TOP + rows * _LINE + _MARGIN
    label = escape(title, {'"': "&quot;"})
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" aria-label="{label}">',
        f"<style>{_STYLE}{_timing(frames)}</style>",
        f'<rect class="window" x=".5" y=".5" width="{width - 1}" height="{height - 1}" rx="8"/>',
        f'<rect class="bar" x="1" y="1" width="{width - 2}" height="24" rx="7"/>',
        f'<text class="title" x="{width / 2}" y="17" text-anchor="middle">{label}</text>',
    ]
    for number, frame in enumerate(frames):
        parts.append(f'<g class="f f{number}">{"".join(_text(row, at) for at, row in enumerate(frame.rows))}</g>')
    return "\n".join([*parts, "</svg>", ""])


def _thinned(frames: Sequence[Frame]) -> list[Frame]:
    """At most _MOST_FRAMES: short ones give their time to the one before."""
    kept = list(frames)
    while len(kept) > _MOST_FRAMES:
        at = min(range(1, len(kept) - 1), key=lambda index: kept[index].seconds)
        kept[at - 1] = kept[at - 1]._replace(seconds=kept[at - 1].seconds + kept[at].seconds)
        del kept[at]
    return kept


def _timing(frames: Sequence[Frame]) -> str:
    """Every frame but the last is shown for its time, then never again; without motion only the last is there."""
    rules = [".f { visibility: hidden }", f".f{len(frames) - 1} {{ visibility: visible }}"]
    begun = 0.0
    moving = []
    for number, frame in enumerate(frames[:-1]):
        moving.append(f".f{number} {{ animation: shown {frame.seconds:.2f}s {begun:.2f}s step-end }}")
        begun += frame.seconds
    last = len(frames) - 1
    moving.append(f".f{last} {{ animation: waiting {begun:.2f}s step-end }}")
    moving.append("@keyframes shown { from { visibility: visible } to { visibility: hidden } }")
    moving.append("@keyframes waiting { from { visibility: hidden } to { visibility: visible } }")
    rules.append("@media (prefers-reduced-motion: no-preference) {" + " ".join(moving) + "}")
    return "\n".join(rules)


def _text(row: Row, at: int) -> str:
    if not row:
        return ""
    spans, column = [], 0
    for span in row:
        names = [*([span.colour] if span.colour in _KNOWN else []), *(["bold"] if span.bold else [])]
        style = f' class="{" ".join(names)}"' if names else ""
        if span.text.strip():
            wide = len(span.text.rstrip())
            text = escape(span.text.rstrip())
            spans.append(
                f'<tspan x="{_MARGIN + column * _CELL:.1f}" textLength="{wide * _CELL:.1f}"{style}>{text}</tspan>'
            )
        column += len(span.text)
    return f'<text y="{_TOP + (at + 1) * _LINE - 4}">{"".join(spans)}</text>'
