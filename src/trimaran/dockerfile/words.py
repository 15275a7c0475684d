"""Variables and quotes of the Dockerfile language: `$v`, `${v…}` with all modifiers, and splitting into words.

Law: time is linear in the text and what it expands to; nesting is bounded, so hostile text is an error, not a crash.
Source: reference §3.2; POSIX shell, 2.6.2, without bracket patterns.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec

from trimaran.dockerfile.lines import SPACE
from trimaran.errors import UsageError

if TYPE_CHECKING:
    from trimaran.dockerfile.globs import Glob

MAX_DEPTH = 100
MAX_RESULT = 1 << 20
_SPECIAL = frozenset("@*#?-$!0")
_SPACE = frozenset(SPACE)


class ExpansionError(UsageError):
    """The text of a word is wrong, or it says so itself (`${v:?message}`)."""

    unmatched: frozenset[str] = frozenset()
    """Variables that were not set, as far as the text was read."""


class MissingValue(ExpansionError):
    """`${v?message}` without a value: another environment may have one."""


class Expanded(msgspec.Struct, frozen=True):
    value: str
    words: tuple[str, ...]
    matched: frozenset[str] = frozenset()
    unmatched: frozenset[str] = frozenset()


class Expander:
    """How text is to be read. `keep_unset` leaves `$x` as it is when x is not set; so with quotes and escapes."""

    __slots__ = ("escape", "ignore_quotes", "keep_escapes", "keep_quotes", "keep_unset")

    def __init__(
        self,
        escape: str = "\\",
        *,
        keep_unset: bool = False,
        keep_quotes: bool = False,
        keep_escapes: bool = False,
        ignore_quotes: bool = False,
    ) -> None:
        self.escape = escape
        self.keep_unset = keep_unset
        self.keep_quotes = keep_quotes
        self.keep_escapes = keep_escapes
        self.ignore_quotes = ignore_quotes

    def word(self, text: str, env: Mapping[str, str]) -> str:
        """The text with variables replaced and quotes taken away."""
        if self._is_plain(text):
            return text
        return self.expand(text, env).value

    def words(self, text: str, env: Mapping[str, str]) -> tuple[str, ...]:
        """As `word`, split at spaces that are neither quoted nor escaped (those of a variable's value count)."""
        return self.expand(text, env).words

    def expand(self, text: str, env: Mapping[str, str]) -> Expanded:
        scan = _Scan(self, text, env)
        try:
            value, words = scan.until("", keep_escapes=self.keep_escapes, depth=0)
        except ExpansionError as error:
            error.unmatched = frozenset(scan.unmatched)
            raise
        return Expanded(value, tuple(words), frozenset(scan.matched), frozenset(scan.unmatched))

    def _is_plain(self, text: str) -> bool:
        return not ("$" in text or self.escape in text or "'" in text or '"' in text)


class _Words:
    """Collects words: `add` splits at spaces, `add_raw` (quoted or escaped text) does not."""

    __slots__ = ("done", "parts")

    def __init__(self) -> None:
        self.done: list[str] = []
        self.parts: list[str] = []

    def add(self, text: str) -> None:
        for character in text:
            if character not in _SPACE:
                self.parts.append(character)
            elif self.parts:
                self.flush()

    def add_raw(self, text: str) -> None:
        self.parts.append(text)

    def flush(self) -> None:
        word = "".join(self.parts)
        if word:
            self.done.append(word)
            self.parts = []

    def finish(self) -> list[str]:
        self.flush()
        return self.done


class _Scan:
    __slots__ = ("env", "keep_escapes", "length", "matched", "pos", "rules", "text", "unmatched")

    def __init__(self, rules: Expander, text: str, env: Mapping[str, str]) -> None:
        self.rules = rules
        self.text = text
        self.env = env
        self.pos = 0
        self.keep_escapes = rules.keep_escapes
        self.matched: set[str] = set()
        self.unmatched: set[str] = set()
        self.length = 0

    def peek(self) -> str:
        return self.text[self.pos] if self.pos < len(self.text) else ""

    def next(self) -> str:
        character = self.peek()
        self.pos += 1 if character else 0
        return character

    def until(self, stop: str, *, keep_escapes: bool, depth: int) -> tuple[str, list[str]]:
        """Read up to and over `stop` ("": to the end)."""
        if depth > MAX_DEPTH:
            raise ExpansionError(f"expand variables: nested more than {MAX_DEPTH} deep")
        outer, self.keep_escapes = self.keep_escapes, keep_escapes
        result: list[str] = []
        words = _Words()
        while character := self.peek():
            if character == stop:
                self.pos += 1
                self.keep_escapes = outer
                return "".join(result), words.finish()
            if character == "$":
                value = self.dollar(depth)
                result.append(value)
                words.add(value)
            elif character in "'\"" and not self.rules.ignore_quotes:
                value = self.single_quoted() if character == "'" else self.double_quoted(depth)
                result.append(value)
                words.add_raw(value)
            else:
                self.plain(result, words)
        self.keep_escapes = outer
        if stop:
            raise ExpansionError(f"unexpected end of statement while looking for matching {stop}")
        return "".join(result), words.finish()

    def plain(self, result: list[str], words: _Words) -> None:
        character = self.next()
        if character != self.rules.escape:
            words.add(character)
            result.append(character)
            return
        if self.keep_escapes:
            words.add_raw(character)
            result.append(character)
        # an escape at the very end escapes nothing and goes
        character = self.next()
        if character:
            words.add_raw(character)
            result.append(character)

    def single_quoted(self) -> str:
        end = self.text.find("'", self.pos + 1)
        if end < 0:
            self.pos = len(self.text)
            raise ExpansionError("unexpected end of statement while looking for matching single-quote")
        start, self.pos = self.pos, end + 1
        return self.text[start : end + 1] if self.rules.keep_quotes else self.text[start + 1 : end]

    def double_quoted(self, depth: int) -> str:
        result: list[str] = []
        quote = self.next()
        if self.rules.keep_quotes:
            result.append(quote)
        while character := self.peek():
            if character == '"':
                self.pos += 1
                if self.rules.keep_quotes:
                    result.append(character)
                return "".join(result)
            if character == "$":
                result.append(self.dollar(depth))
                continue
            self.pos += 1
            if character == self.rules.escape:
                following = self.peek()
                if not following:
                    break
                # only these three are escaped inside quotes; before others the escape itself stays
                if following in ('"', "$", self.rules.escape):
                    if self.keep_escapes:
                        result.append(character)
                    character = self.next()
            result.append(character)
        raise ExpansionError("unexpected end of statement while looking for matching double-quote")

    def dollar(self, depth: int) -> str:
        value = self.substitution(depth)
        self.length += len(value)
        if self.length > MAX_RESULT:
            raise ExpansionError(f"expand variables: the result is larger than {MAX_RESULT} bytes")
        return value

    def substitution(self, depth: int) -> str:
        self.pos += 1
        if self.peek() != "{":
            name = self.name()
            if not name:
                return "$"
            value = self.get(name)
            return "$" + name if value is None and self.rules.keep_unset else value or ""
        self.pos += 1
        first = self.peek()
        if not first:
            raise ExpansionError("syntax error: missing '}'")
        if first in "{}:":
            raise ExpansionError("syntax error: bad substitution")
        name = self.name()
        modifier = self.next()
        if modifier == "}":
            value = self.get(name)
            return "${" + name + "}" if value is None and self.rules.keep_unset else value or ""
        if modifier == "/":
            return self.replaced(name, depth)
        return self.modified(name, modifier, depth)

    def modified(self, name: str, modifier: str, depth: int) -> str:
        empty_is_unset = modifier == ":"
        shown = modifier
        if empty_is_unset:
            modifier = self.next()
            shown += modifier
        if not modifier:
            raise ExpansionError("syntax error: missing '}'")
        trims = modifier in ("#", "%")
        if modifier not in ("+", "-", "?", "#", "%") or (empty_is_unset and trims):
            raise ExpansionError(
                f"unsupported modifier ({shown}) in substitution", hint="known: :- - :+ + :? ? # ## % %% / //"
            )
        word = self.operand("}", trims, depth, "syntax error: missing '}'")
        value = self.get(name)
        if value is None and self.rules.keep_unset:
            return "${" + name + shown + word + "}"
        missing = value is None or (empty_is_unset and value == "")
        if modifier == "-":
            return word if missing else value or ""
        if modifier == "+":
            return "" if missing else word
        if modifier == "?":
            if missing:
                what = "unset" if value is None else "empty"
                raise MissingValue(f"{name}: {word or f'is not allowed to be {what}'}")
            return value or ""
        greedy = word.startswith(modifier)
        glob = _pattern(word[1:] if greedy else word)
        trim = glob.without_prefix if modifier == "#" else glob.without_suffix
        return trim(value or "", longest=greedy)

    def replaced(self, name: str, depth: int) -> str:
        everywhere = self.peek() == "/"
        self.pos += 1 if everywhere else 0
        pattern = self.operand("/", True, depth, "syntax error: missing '/' in ${}")
        replacement = self.operand("}", True, depth, "syntax error: missing '}'")
        value = self.get(name)
        if value is None and self.rules.keep_unset:
            return "${" + f"{name}/{pattern}/{replacement}" + "}"
        return _pattern(pattern).replace(value or "", replacement, everywhere=everywhere)

    def operand(self, stop: str, raw: bool, depth: int, at_end: str) -> str:
        try:
            return self.until(stop, keep_escapes=raw, depth=depth + 1)[0]
        except ExpansionError as error:
            if self.pos >= len(self.text) and error.message.startswith("unexpected end of statement"):
                raise ExpansionError(at_end) from None
            raise

    def name(self) -> str:
        """A variable's name: letters, digits and _; only digits if it begins with one; or one of @*#?-$!0."""
        text, start = self.text, self.pos
        if start < len(text) and text[start].isdigit():
            while self.pos < len(text) and text[self.pos].isdigit():
                self.pos += 1
        elif self.peek() and self.peek() in _SPECIAL:
            self.pos += 1
        else:
            while self.pos < len(text) and (text[self.pos].isalnum() or text[self.pos] == "_"):
                self.pos += 1
        return text[start : self.pos]

    def get(self, name: str) -> str | None:
        value = self.env.get(name)
        (self.unmatched if value is None else self.matched).add(name)
        return value


def _pattern(text: str) -> Glob:
    from trimaran.dockerfile.globs import Glob

    try:
        return Glob(text)
    except ValueError as error:
        raise ExpansionError(f"invalid pattern ({text}) in substitution: {error}") from None
