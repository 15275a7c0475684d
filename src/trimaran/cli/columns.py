"""Columns as Go's text/tabwriter lays them out (minimum width 0, padding 1, blanks): what docker's tables are made by.

A cell is text that a tab ends. Neighbouring lines that have a cell in a column share that column's width. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence

from trimaran.cli.display.terminal import columns as width_of


def align(text: str, *, padding: int = 1, least: int = 0) -> str:
    """`text` with its tabs replaced by blanks; what follows the last tab of a line is in no column."""
    lines = [line.split("\t") for line in text.split("\n")]
    widths: list[list[int]] = [[0] * (len(cells) - 1) for cells in lines]
    deepest = max(len(row) for row in widths)
    for column in range(deepest):
        _measure(lines, widths, column, padding, least)
    return "\n".join(_line(cells, row) for cells, row in zip(lines, widths, strict=True))


def _measure(lines: Sequence[Sequence[str]], widths: list[list[int]], column: int, padding: int, least: int) -> None:
    """Give each run of lines that have the column its width there."""
    begin = 0
    while begin < len(lines):
        end = begin
        while end < len(lines) and len(widths[end]) > column:
            end += 1
        width = max((width_of(lines[index][column]) + padding for index in range(begin, end)), default=0)
        for index in range(begin, end):
            widths[index][column] = max(width, least)
        begin = max(end, begin + 1)


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    head = "".join(cell + " " * (width - width_of(cell)) for cell, width in zip(cells, widths, strict=False))
    return head + cells[-1]
