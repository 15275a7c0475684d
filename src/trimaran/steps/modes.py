"""--chmod: octal, or symbolic as chmod(1) without umask (`u=rwX,go-w`), applied to a mode.

Pure. Octal keeps the set-id and sticky bits it names and drops the others, as BuildKit.
"""

from __future__ import annotations

import msgspec

from trimaran.errors import UsageError

_WHO = {"u": 0o4700, "g": 0o2070, "o": 0o1007, "a": 0o7777}
_SHIFT = {"u": 6, "g": 3, "o": 0}


class ModeChange(msgspec.Struct, frozen=True):
    """`octal` when 0 or more, else the clauses of `text`."""

    octal: int
    text: str = ""

    def apply(self, mode: int, *, folder: bool) -> int:
        if self.octal >= 0:
            return self.octal
        original = mode
        for clause in self.text.split(","):
            mode = _apply_clause(clause, mode, original, folder=folder)
        return mode


def parse_mode(octal: int, text: str) -> ModeChange | None:
    """None when neither is given; the text counts where there is one, whatever BuildKit wrote beside it."""
    if not text:
        return ModeChange(octal) if octal >= 0 else None
    change = ModeChange(-1, text)
    change.apply(0, folder=False)
    return change


def _apply_clause(clause: str, mode: int, original: int, *, folder: bool) -> int:
    position = 0
    while position < len(clause) and clause[position] in "ugoa":
        position += 1
    who = clause[:position] or "a"
    if position == len(clause):
        raise _bad(clause)
    while position < len(clause):
        operator = clause[position]
        if operator not in "+-=":
            raise _bad(clause)
        end = position + 1
        while end < len(clause) and clause[end] not in "+-=":
            end += 1
        mode = _apply_one(who, operator, clause[position + 1 : end], mode, original, folder=folder)
        position = end
    return mode


def _apply_one(who: str, operator: str, permissions: str, mode: int, original: int, *, folder: bool) -> int:
    mask = 0
    for one in who:
        mask |= _WHO[one]
    bits = _bits(permissions, mode, original, folder=folder) & mask
    if operator == "+":
        return mode | bits
    if operator == "-":
        return mode & ~bits
    keep = 0o7000 if folder else 0o1000 if "o" not in who and "a" not in who else 0
    return (mode & ~(mask & ~(keep & mode if folder else 0))) | bits


def _bits(permissions: str, mode: int, original: int, *, folder: bool) -> int:
    bits = 0
    for letter in permissions:
        if letter == "r":
            bits |= 0o444
        elif letter == "w":
            bits |= 0o222
        elif letter == "x" or (letter == "X" and (folder or original & 0o111)):
            bits |= 0o111
        elif letter == "s":
            bits |= 0o6000
        elif letter == "t":
            bits |= 0o1000
        elif letter in _SHIFT and len(permissions) == 1:
            copied = (mode >> _SHIFT[letter]) & 7
            bits |= copied << 6 | copied << 3 | copied
        elif letter != "X":
            raise _bad(permissions)
    return bits


def _bad(text: str) -> UsageError:
    return UsageError(f"read mode {text!r}: want octal digits, or clauses like u=rwX,go-w")
