"""Template text to tokens: literal text, and the words between `{{` and `}}`. One pass."""

from __future__ import annotations

import msgspec

from trimaran.errors import UsageError

_OPERATORS = ("|", "(", ")", ",", ":=", "=")
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "f": "\f", "v": "\v", "\\": "\\", '"': '"', "'": "'"}
_SPACE = " \t\r\n"


class Token(msgspec.Struct, frozen=True):
    """`kind`: text, open, close, word, field, variable, string, number, dot, or an operator itself."""

    kind: str
    text: str
    position: int
    #: A blank stands before it: `.a .b` are two operands, `.a.b` is one.
    spaced: bool = True


def failure(text: str, position: int, message: str, hint: str = "") -> UsageError:
    line = text.count("\n", 0, position) + 1
    column = position - (text.rfind("\n", 0, position) + 1) + 1
    return UsageError(f"read template: {message} (line {line}, column {column})", hint=hint)


def tokens(text: str) -> list[Token]:
    found: list[Token] = []
    position = 0
    trim = False
    while True:
        opening = text.find("{{", position)
        piece = text[position : opening if opening >= 0 else len(text)]
        if trim:
            piece = piece.lstrip(_SPACE)
        if opening < 0:
            _add_text(found, piece, position)
            return found
        inside = opening + 2
        if text.startswith("-", inside) and text[inside + 1 : inside + 2] in set(_SPACE):
            piece = piece.rstrip(_SPACE)
            inside += 1
        _add_text(found, piece, position)
        position, trim = _action(text, inside, found, opening)


def _add_text(found: list[Token], piece: str, position: int) -> None:
    if piece:
        found.append(Token("text", piece, position))


def _action(text: str, position: int, found: list[Token], opening: int) -> tuple[int, bool]:
    """Tokens of one action; where the text goes on, and whether blanks there are dropped."""
    start = position + len(text[position : position + 1]) * (text[position : position + 1] in set(_SPACE) - {""})
    if text.startswith("/*", start):
        return _comment(text, start, opening)
    found.append(Token("open", "{{", opening))
    spaced = True
    while True:
        if position >= len(text):
            raise failure(text, opening, "unclosed action")
        char = text[position]
        if text.startswith("}}", position):
            found.append(Token("close", "}}", position))
            return position + 2, False
        if char in _SPACE:
            end = position
            while end < len(text) and text[end] in _SPACE:
                end += 1
            if text.startswith("-}}", end):
                found.append(Token("close", "}}", end))
                return end + 3, True
            position, spaced = end, True
            continue
        token, position = _token(text, position, spaced)
        found.append(token)
        spaced = False


def _comment(text: str, start: int, opening: int) -> tuple[int, bool]:
    end = text.find("*/", start + 2)
    if end < 0:
        raise failure(text, opening, "unclosed comment")
    rest = text[end + 2 :]
    if rest.startswith("}}"):
        return end + 4, False
    blank = rest.lstrip(_SPACE)
    if blank.startswith("-}}") and blank != rest:
        return end + 2 + len(rest) - len(blank) + 3, True
    raise failure(text, opening, "comment ends before closing delimiter")


def _token(text: str, position: int, spaced: bool) -> tuple[Token, int]:
    char = text[position]
    if char == '"':
        return _quoted(text, position, spaced)
    if char == "`":
        end = text.find("`", position + 1)
        if end < 0:
            raise failure(text, position, "unterminated raw quoted string")
        return Token("string", text[position + 1 : end], position, spaced), end + 1
    operator = next((word for word in _OPERATORS if text.startswith(word, position)), "")
    if operator:
        return Token(operator, operator, position, spaced), position + len(operator)
    follows = text[position + 1 : position + 2]
    if char.isdigit() or (char in "+-." and follows.isdigit()):
        end = _while(text, position + 1, "0123456789abcdefxABCDEFX._")
        return Token("number", text[position:end], position, spaced), end
    if char in ".$" or _is_word(char):
        end = position + 1
        while end < len(text) and _is_word(text[end]):
            end += 1
        word = text[position:end]
        kind = "word" if _is_word(char) else "variable" if char == "$" else "field" if len(word) > 1 else "dot"
        return Token(kind, word, position, spaced), end
    raise failure(text, position, f"unexpected {char!r} in an action")


def _is_word(char: str) -> bool:
    return char.isalnum() or char == "_"


def _while(text: str, position: int, allowed: str) -> int:
    while position < len(text) and text[position] in allowed:
        position += 1
    return position


def _quoted(text: str, position: int, spaced: bool) -> tuple[Token, int]:
    out: list[str] = []
    at = position + 1
    while at < len(text) and text[at] != "\n":
        char = text[at]
        if char == '"':
            return Token("string", "".join(out), position, spaced), at + 1
        if char != "\\":
            out.append(char)
            at += 1
            continue
        letter = text[at + 1 : at + 2]
        width = {"x": 2, "u": 4, "U": 8}.get(letter, 0)
        digits = text[at + 2 : at + 2 + width]
        if letter in _ESCAPES and letter:
            out.append(_ESCAPES[letter])
        elif width and len(digits) == width and all(digit in "0123456789abcdefABCDEF" for digit in digits):
            out.append(chr(int(digits, 16)))
        else:
            raise failure(text, at, f"unknown escape \\{letter} in a string")
        at += 2 + width
    raise failure(text, position, "unterminated quoted string")
