"""Tokens to a tree of nodes. Unknown functions and unsupported actions are refused here, before anything is printed."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from trimaran.cli.template.lexer import Token, failure, tokens
from trimaran.errors import UsageError

DEEPEST = 100
_UNSUPPORTED = frozenset({"define", "template", "block", "break", "continue"})
_CONSTANTS: dict[str, bool | None] = {"true": True, "false": False, "nil": None}


class Text(msgspec.Struct, frozen=True):
    text: str


class Operand(msgspec.Struct, frozen=True, kw_only=True):
    """`kind`: dot, variable, literal, function or pipe; `path` are the fields asked of it."""

    kind: str
    name: str = ""
    literal: str | int | float | bool | None = None
    pipe: Pipe | None = None
    path: tuple[str, ...] = ()
    position: int


class Call(msgspec.Struct, frozen=True):
    operands: tuple[Operand, ...]


class Pipe(msgspec.Struct, frozen=True):
    calls: tuple[Call, ...]
    names: tuple[str, ...] = ()
    """Variables it sets."""
    declares: bool = False
    position: int = 0


class Action(msgspec.Struct, frozen=True):
    pipe: Pipe


class Branch(msgspec.Struct, frozen=True):
    """`word`: if, range or with; `otherwise` is what comes after `else`."""

    word: str
    pipe: Pipe
    body: tuple[Node, ...]
    otherwise: tuple[Node, ...] = ()


Node = Text | Action | Branch


def parse(text: str, functions: frozenset[str]) -> tuple[Node, ...]:
    parser = _Parser(text, tokens(text), functions)
    nodes, end = parser.nodes(depth=0)
    if end:
        raise parser.failed(f"unexpected {{{{{end}}}}}")
    return nodes


class _Parser:
    def __init__(self, text: str, found: Sequence[Token], functions: frozenset[str]) -> None:
        self._text = text
        self._tokens = found
        self._at = 0
        self._functions = functions
        self._variables = ["$"]
        self._parentheses = 0

    def failed(self, message: str, hint: str = "") -> UsageError:
        at = min(self._at, len(self._tokens) - 1)
        return failure(self._text, self._tokens[at].position if self._tokens else 0, message, hint)

    def nodes(self, depth: int) -> tuple[tuple[Node, ...], str]:
        """Nodes up to the end of the text, or up to an `end` or `else` whose word is returned (and consumed)."""
        if depth > DEEPEST:
            raise self.failed("nested too deep")
        found: list[Node] = []
        while self._at < len(self._tokens):
            token = self._next()
            if token.kind == "text":
                found.append(Text(token.text))
                continue
            word = self._peek_word()
            if word in {"end", "else"}:
                self._at += 1
                return tuple(found), word
            if word in {"if", "range", "with"}:
                self._at += 1
                found.append(self._branch(word, depth))
            elif word in _UNSUPPORTED:
                raise self.failed(f"{{{{{word}}}}} is not supported")
            else:
                found.append(Action(self._pipe()))
                self._expect("close")
        return tuple(found), ""

    def _branch(self, word: str, depth: int) -> Branch:
        scope = len(self._variables)
        pipe = self._pipe(in_range=word == "range")
        self._expect("close")
        body, end = self.nodes(depth + 1)
        otherwise: tuple[Node, ...] = ()
        if end == "else":
            follows = self._peek_word()
            if follows in {"if", "with"}:
                self._at += 1
                otherwise = (self._branch(follows, depth + 1),)
                del self._variables[scope:]
                return Branch(word, pipe, body, otherwise)
            self._expect("close")
            otherwise, end = self.nodes(depth + 1)
        if end != "end":
            raise self.failed(f"{{{{{word}}}}} without {{{{end}}}}")
        self._expect("close")
        del self._variables[scope:]
        return Branch(word, pipe, body, otherwise)

    def _pipe(self, *, in_range: bool = False) -> Pipe:
        position = self._tokens[self._at].position
        names, declares = self._declaration(in_range)
        calls = [self._call()]
        while self._kind() == "|":
            self._at += 1
            calls.append(self._call())
        if declares:
            self._variables.extend(names)
        return Pipe(tuple(calls), names, declares, position)

    def _declaration(self, in_range: bool) -> tuple[tuple[str, ...], bool]:
        """`$x :=`, `$x =`, and in a range `$i, $x :=`."""
        ahead = [self._tokens[i].kind for i in range(self._at, min(self._at + 4, len(self._tokens)))]
        names: tuple[str, ...]
        if ahead[:2] in (["variable", ":="], ["variable", "="]):
            names = (self._next().text,)
        elif in_range and ahead[:3] == ["variable", ",", "variable"] and ahead[3:] in ([":="], ["="]):
            names = (self._next().text, self._tokens[self._at + 1].text)
            self._at += 2
        else:
            return (), False
        declares = self._next().kind == ":="
        if not declares:
            for name in names:
                self._known(name)
        return names, declares

    def _call(self) -> Call:
        operands: list[Operand] = []
        while self._kind() not in {"|", ")", "close", ""}:
            if operands and not self._tokens[self._at].spaced and self._kind() != "(":
                raise self.failed(f"unexpected {self._tokens[self._at].text!r}")
            operands.append(self._operand())
        if not operands:
            raise self.failed("missing value for command")
        if len(operands) > 1 and operands[0].kind == "literal":
            raise self.failed("a constant cannot be called")
        return Call(tuple(operands))

    def _operand(self) -> Operand:
        token = self._next()
        position = token.position
        match token.kind:
            case "string":
                return Operand(kind="literal", literal=token.text, position=position)
            case "number":
                return Operand(kind="literal", literal=self._number(token.text), position=position)
            case "dot":
                return Operand(kind="dot", position=position)
            case "field":
                return Operand(kind="dot", path=(token.text[1:], *self._path()), position=position)
            case "variable":
                self._known(token.text)
                return Operand(kind="variable", name=token.text, path=self._path(), position=position)
            case "word":
                return self._word(token)
            case "(":
                self._parentheses += 1
                if self._parentheses > DEEPEST:
                    raise self.failed("nested too deep")
                pipe = self._pipe()
                self._expect(")")
                self._parentheses -= 1
                return Operand(kind="pipe", pipe=pipe, path=self._path(), position=position)
            case _:
                raise failure(self._text, position, f"unexpected {token.text!r}")

    def _word(self, token: Token) -> Operand:
        if token.text in _CONSTANTS:
            return Operand(kind="literal", literal=_CONSTANTS[token.text], position=token.position)
        if token.text not in self._functions:
            from trimaran.spelling import unknown

            message, hint = unknown("function", token.text, sorted(self._functions))
            raise failure(self._text, token.position, message, hint)
        return Operand(kind="function", name=token.text, position=token.position)

    def _path(self) -> tuple[str, ...]:
        """Fields that follow without a blank."""
        path = []
        while self._kind() == "field" and not self._tokens[self._at].spaced:
            path.append(self._next().text[1:])
        return tuple(path)

    def _number(self, text: str) -> int | float:
        try:
            return int(text, 0)
        except ValueError:
            try:
                return float(text)
            except ValueError:
                raise self.failed(f"bad number syntax: {text}") from None

    def _known(self, name: str) -> None:
        if name not in self._variables:
            raise self.failed(f"undefined variable {name}")

    def _kind(self) -> str:
        return self._tokens[self._at].kind if self._at < len(self._tokens) else ""

    def _peek_word(self) -> str:
        token = self._tokens[self._at] if self._at < len(self._tokens) else None
        return token.text if token is not None and token.kind == "word" else ""

    def _next(self) -> Token:
        if self._at >= len(self._tokens):
            raise self.failed("unexpected end")
        self._at += 1
        return self._tokens[self._at - 1]

    def _expect(self, kind: str) -> None:
        token = self._next()
        if token.kind != kind:
            wanted = "}}" if kind == "close" else kind
            raise failure(self._text, token.position, f"unexpected {token.text!r}, want {wanted}")
