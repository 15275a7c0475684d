"""Path patterns of `.dockerignore`, `--exclude` and the like: moby's matcher, compiled for whole trees.

Semantics (moby/patternmatcher): `*`, `?` and `[a-z]` stay within a name, `**` crosses names, a matched folder matches
all below it, `!` takes back, the last that applies wins. Law: matching is linear in the path; no pattern can make it
backtrack over more than one star. Neighbouring patterns of one sign are matched together, as a *run*.
Where moby hands text on to Go's regexp, a backslash here always just quotes (`\\d` is a `d`), and so do brackets.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from trimaran.errors import UsageError

_SPACE = " \t\n\v\f\r\x85\xa0"


class GlobError(UsageError):
    """The pattern itself is wrong."""

    def __init__(self, pattern: str, cause: str) -> None:
        super().__init__(f"parse pattern {pattern!r}: {cause}")
        self.pattern = pattern


def clean(path: str) -> str:
    """Go's path.Clean: no empty, `.` or inner `..` elements, no trailing slash; "" is "."."""
    rooted = path.startswith("/")
    parts: list[str] = []
    for part in path.split("/"):
        if part in ("", "."):
            continue
        if part != "..":
            parts.append(part)
        elif parts and parts[-1] != "..":
            parts.pop()
        elif not rooted:
            parts.append(part)
    return ("/" + "/".join(parts)) if rooted else "/".join(parts) or "."


class PatternMatcher:
    """A compiled list. Paths are relative, cleaned, with `/`; an empty list matches nothing."""

    __slots__ = ("_folders", "_runs", "has_exclusions", "texts")

    def __init__(self, patterns: Iterable[str]) -> None:
        """Patterns in order, blank ones left out; GlobError for the first wrong one."""
        self._runs: list[_Run] = []
        self._folders: dict[str, int] = {"": 0}
        self.has_exclusions = False
        texts: list[str] = []
        for pattern in patterns:
            text = pattern.strip(_SPACE)
            if not text:
                continue
            text = clean(text)
            excluding = text.startswith("!")
            if text == "!":
                raise GlobError(pattern, "illegal exclusion pattern: nothing after '!'")
            texts.append(text)
            self.has_exclusions |= excluding
            if not self._runs or self._runs[-1].excluding != excluding:
                self._runs.append(_Run(excluding))
            self._runs[-1].add(text[1:] if excluding else text)
        self.texts = tuple(texts)

    def __bool__(self) -> bool:
        return bool(self.texts)

    def matches(self, path: str) -> bool:
        """Whether `path` alone, without its parents, is matched."""
        return self._decide(path, 0)[0]

    def matches_or_parent(self, path: str) -> bool:
        """Whether `path` or a folder it is in is matched, each pattern being asked about all of them in turn."""
        chain = _parents(path)
        matched = False
        for run in self._runs:
            if run.excluding == matched and any(run.matches(step) for step in chain):
                matched = not run.excluding
        return matched

    def excludes(self, path: str) -> bool:
        """For walks from the top: `child` with what is known of the folders above, which is kept here."""
        return self._decide(path, self._folder(path.rpartition("/")[0]))[0]

    def _folder(self, path: str) -> int:
        info = self._folders.get(path)
        if info is None:
            info, end = 0, -1
            while end < len(path):
                end = path.find("/", end + 1)
                end = len(path) if end < 0 else end
                info = self._decide(path[:end], info)[1]
            self._folders[path] = info
        return info

    def child(self, path: str, parent: int = 0) -> tuple[bool, int]:
        """For walks: whether `path` is matched, given what this returned for the folder it is in (0 at the top).

        Keep the number for the walk into a folder. This is what BuildKit's file sync does, and it differs from
        `matches_or_parent` where a folder is matched by a pattern that only counts after another of its files' ones.
        """
        return self._decide(path, parent)

    def may_include_below(self, folder: str) -> bool:
        """Whether a walk has to enter `folder`, itself matched, because some `!pattern` could match inside of it."""
        parts = folder.split("/")
        return any(run.excluding and run.reaches_into(parts) for run in self._runs)

    def _decide(self, path: str, parent: int) -> tuple[bool, int]:
        matched, info = False, 0
        for index, run in enumerate(self._runs):
            if parent >> index & 1 or (run.excluding == matched and run.matches(path)):
                info |= 1 << index
                matched = not run.excluding
        return matched, info


def find_last(patterns: Sequence[str], path: str) -> int | None:
    """Index of the pattern that decided that `path` (or a folder it is in) is matched; None when it is not."""
    chain = _parents(path)
    decided: int | None = None
    for index, pattern in enumerate(patterns):
        single = PatternMatcher((pattern,))
        for run in single._runs:  # noqa: SLF001 - one pattern has one run
            if run.excluding == (decided is not None) and any(run.matches(step) for step in chain):
                decided = None if run.excluding else index
    return decided


def glob_match(pattern: str, name: str) -> bool:
    """Go's path.Match for one pattern without `**` and parents; GlobError when the pattern is wrong."""
    return _plain_regex(_tokens(pattern, doubled=False)).fullmatch(name) is not None


def _parents(path: str) -> list[str]:
    """The path first, then the folders it is in from the top."""
    parts = path.split("/")
    return [path, *("/".join(parts[:end]) for end in range(1, len(parts)))]


# Tokens: a character to match literally, or one of these.
_STAR, _ANY, _DEEP, _REST, _START = 1, 2, 3, 4, 5
_Class = tuple[bool, tuple[tuple[str, str], ...]]
_Token = str | int | _Class


class _Run:
    """Neighbouring patterns of one sign: does any of them match?"""

    __slots__ = (
        "_by_depth",
        "_by_tail",
        "_deep",
        "_everything",
        "_exact",
        "_folders",
        "_odd",
        "_ready",
        "_suffixes",
        "_texts",
        "excluding",
    )

    def __init__(self, excluding: bool) -> None:
        self.excluding = excluding
        self._texts: list[list[_Token]] = []
        self._exact: set[str] = set()
        self._folders: tuple[str, ...] = ()
        self._suffixes: tuple[str, ...] = ()
        self._everything = False
        self._by_depth: dict[int, re.Pattern[str]] = {}
        self._by_tail: dict[int, re.Pattern[str]] = {}
        self._deep: re.Pattern[str] | None = None
        self._odd: list[_Automaton] = []
        self._ready = False

    def add(self, text: str) -> None:
        self._texts.append(_tokens(text, doubled=True))

    def matches(self, path: str) -> bool:
        if not self._ready:
            self._compile()
        if self._everything or path in self._exact:
            return True
        if path.endswith(self._suffixes) or path.startswith(self._folders):
            return True
        if self._by_depth:
            regex = self._by_depth.get(path.count("/"))
            if regex is not None and regex.fullmatch(path):
                return True
        for slashes, regex in self._by_tail.items():
            tail = path if path.count("/") == slashes else _tail(path, slashes)
            if tail is not None and regex.fullmatch(tail):
                return True
        if self._deep is not None and self._deep.fullmatch(path):
            return True
        return any(automaton.matches(path) for automaton in self._odd)

    def reaches_into(self, folder: list[str]) -> bool:
        """Whether a pattern could match something below the folder (whose own match is known to the caller)."""
        return any(_reaches_into(tokens, folder) for tokens in self._texts)

    def _compile(self) -> None:
        by_depth: dict[int, list[str]] = {}
        by_tail: dict[int, list[str]] = {}
        deep: list[str] = []
        folders: list[str] = []
        suffixes: list[str] = []
        for tokens in self._texts:
            if all(isinstance(token, str) for token in tokens):
                self._exact.add("".join(map(str, tokens)))
            elif tokens == [_REST]:
                self._everything = True
            elif tokens[-1] is _REST and _literal(tokens[:-1]):
                folders.append("".join(map(str, tokens[:-1])))
            elif tokens[0] is _REST and _literal(tokens[1:]):
                suffixes.append("".join(map(str, tokens[1:])))
            elif tokens[0] is _DEEP and (suffix := _suffix(tokens)) is not None:
                suffixes += suffix[0]
                self._exact.update(suffix[1])
            elif _is_odd(tokens):
                self._odd.append(_Automaton(tokens))
            elif tokens[0] is _DEEP and not _crosses(tokens[1:]):
                by_tail.setdefault(tokens.count("/"), []).append(_regex(tokens[1:]))
            elif _crosses(tokens):
                deep.append(_regex(tokens))
            else:
                by_depth.setdefault(tokens.count("/"), []).append(_regex(tokens))
        self._folders, self._suffixes = tuple(folders), tuple(suffixes)
        self._by_depth = {depth: _any_of(regexes) for depth, regexes in by_depth.items()}
        self._by_tail = {depth: _any_of(regexes) for depth, regexes in by_tail.items()}
        self._deep = _any_of(deep) if deep else None
        self._ready = True


def _literal(tokens: list[_Token]) -> bool:
    return all(isinstance(token, str) for token in tokens)


def _crosses(tokens: list[_Token]) -> bool:
    return _DEEP in tokens or _REST in tokens


def _suffix(tokens: list[_Token]) -> tuple[list[str], list[str]] | None:
    """(endings, whole paths) that `**/name` or `**/*.ext` stand for; None when it takes more than that."""
    rest = tokens[1:]
    if _literal(rest):
        text = "".join(map(str, rest))
        return ["/" + text], [text]
    if rest[0] is _STAR and _literal(rest[1:]) and "/" not in rest:
        return ["".join(map(str, rest[1:]))], []
    return None


def _tail(path: str, slashes: int) -> str | None:
    """The last `slashes` + 1 names; None when there are fewer."""
    position = len(path)
    for _ in range(slashes + 1):
        position = path.rfind("/", 0, position)
        if position < 0:
            return None
    return path[position + 1 :]


def _tokens(pattern: str, *, doubled: bool) -> list[_Token]:
    """`doubled`: `**` crosses names. moby eats the slash after it; `**name` (no slash) counts at any place."""
    tokens: list[_Token] = []
    position = 0
    while position < len(pattern):
        character = pattern[position]
        position += 1
        if character == "*":
            if doubled and pattern[position : position + 1] == "*":
                position += 1
                slash = pattern[position : position + 1] == "/"
                position += 1 if slash else 0
                if position >= len(pattern):
                    tokens.append(_REST)
                elif not tokens and not slash:
                    tokens += _loose(pattern, position)
                else:
                    tokens.append(_DEEP)
            elif not tokens or tokens[-1] is not _STAR:
                tokens.append(_STAR)
        elif character == "?":
            tokens.append(_ANY)
        elif character == "[":
            token, position = _class(pattern, position)
            tokens.append(token)
        elif character == "\\":
            if position >= len(pattern):
                raise GlobError(pattern, "syntax error in pattern: nothing after the last \\")
            tokens.append(pattern[position])
            position += 1
        else:
            tokens.append(character)
    return tokens


def _loose(pattern: str, position: int) -> list[_Token]:
    """The beginning of `**name`: moby compares a literal name with the end of the path, whatever stands before it."""
    rest = pattern[position:]
    return [_REST] if not any(character in "*?[\\" for character in rest) else [_DEEP]


def _class(pattern: str, position: int) -> tuple[_Class, int]:
    negated = pattern[position : position + 1] == "^"
    position += 1 if negated else 0
    ranges: list[tuple[str, str]] = []
    while True:
        if pattern[position : position + 1] == "]" and ranges:
            return (negated, tuple(ranges)), position + 1
        low, position = _class_character(pattern, position)
        high = low
        if pattern[position : position + 1] == "-":
            high, position = _class_character(pattern, position + 1)
        ranges.append((low, high))


def _class_character(pattern: str, position: int) -> tuple[str, int]:
    character = pattern[position : position + 1]
    if character == "\\":
        position += 1
        character = pattern[position : position + 1]
    elif character in ("-", "]"):
        character = ""
    if not character or position + 1 >= len(pattern):
        raise GlobError(pattern, "syntax error in pattern: a bracket is not closed or has a bare - or ]")
    return character, position + 1


def _can_be_slash(token: _Token) -> bool:
    if not isinstance(token, tuple):
        return False
    negated, ranges = token
    return negated != any(low <= "/" <= high for low, high in ranges)


def _is_odd(tokens: list[_Token]) -> bool:
    """Patterns for which "leftmost is right" does not hold: `**` within a name, brackets that match a slash."""
    for index, token in enumerate(tokens):
        if _can_be_slash(token):
            return True
        if token is _DEEP and index and tokens[index - 1] != "/" and tokens[index - 1] is not _DEEP:
            return True
        if token is _REST and index + 1 < len(tokens):
            return True
        if token is _REST and index and tokens[index - 1] != "/" and tokens[index - 1] is not _DEEP:
            return True
    return False


def _regex(tokens: list[_Token]) -> str:
    """A regular expression that never tries a second place for anything but the last star of a name.

    Between two stars (or two `**`) the leftmost fitting place is always right, so the groups are atomic.
    """
    parts: list[str] = []
    groups = _split(tokens)
    for index, (glue, group) in enumerate(groups):
        body = "".join(_part(token) for token in group)
        last_of_name = index + 1 == len(groups) or groups[index + 1][0] is not glue or "/" in group
        if glue is None:
            parts.append(body)
        elif glue is _STAR:
            parts.append(f"[^/]*{body}" if last_of_name and "/" not in group else f"(?>[^/]*?{body})")
        elif glue is _REST:
            parts.append(".*")
        else:
            is_last = not any(later is _DEEP for later, _ in groups[index + 1 :])
            simple = index + 1 < len(groups) and groups[index + 1][0] is _DEEP
            parts.append(f"(?>(?:[^/]*/)*?{body})" if simple and not is_last else f"(?:[^/]*/)*{body}")
    return "".join(parts)


def _split(tokens: list[_Token]) -> list[tuple[_Token | None, list[_Token]]]:
    groups: list[tuple[_Token | None, list[_Token]]] = [(None, [])]
    for token in tokens:
        if token in (_STAR, _DEEP, _REST) and isinstance(token, int):
            groups.append((token, []))
        else:
            groups[-1][1].append(token)
    return groups


def _part(token: _Token) -> str:
    if isinstance(token, str):
        return re.escape(token)
    if isinstance(token, tuple):
        negated, ranges = token
        inner = "".join(f"{_quoted(low)}-{_quoted(high)}" for low, high in ranges if low <= high)
        if not inner:  # only empty ranges: nothing, or anything
            return r"[\s\S]" if negated else r"[^\s\S]"
        return f"[{'^' if negated else ''}{inner}]"
    return "[^/]"


def _quoted(character: str) -> str:
    return "\\" + character if character in "\\]^-[&~|" else character


def _plain_regex(tokens: list[_Token]) -> re.Pattern[str]:
    return re.compile(_regex(tokens), re.DOTALL)


def _any_of(regexes: list[str]) -> re.Pattern[str]:
    return re.compile("|".join(f"(?:{regex})" for regex in regexes), re.DOTALL)


class _Automaton:
    """All ways through an odd pattern at once, as bits of a number: linear, if slowly."""

    __slots__ = ("_accept", "_literal", "_tokens")

    def __init__(self, tokens: list[_Token]) -> None:
        self._tokens = tokens
        self._accept = 1 << len(tokens)
        count = next((index for index, token in enumerate(tokens) if not isinstance(token, str)), len(tokens))
        self._literal = "".join(map(str, tokens[:count]))

    def matches(self, path: str) -> bool:
        if not path.startswith(self._literal):
            return False
        states = self._closed(1)
        for character in path:
            states = self._closed(self._after(states, character))
            if not states:
                return False
        return bool(states & self._accept)

    def _after(self, states: int, character: str) -> int:
        """Bit i: tokens before i are used up. A number with a marker above the tokens says "inside a `**`"."""
        size = len(self._tokens) + 1
        after = 0
        for index, token in enumerate(self._tokens):
            if states >> index & 1:
                if token is _STAR:
                    after |= (character != "/") << index
                elif token is _REST:
                    after |= 1 << index
                elif token is _DEEP:
                    after |= 1 << (size + index)
                    after |= (character == "/") << (index + 1)
                elif _accepts(token, character):
                    after |= 1 << (index + 1)
            if states >> (size + index) & 1:
                after |= 1 << (size + index)
                after |= (character == "/") << (index + 1)
        return after

    def _closed(self, states: int) -> int:
        """Stars and `**` may match nothing."""
        for index, token in enumerate(self._tokens):
            if states >> index & 1 and token in (_STAR, _REST, _DEEP) and isinstance(token, int):
                states |= 1 << (index + 1)
        return states


def _accepts(token: _Token, character: str) -> bool:
    if isinstance(token, str):
        return token == character
    if isinstance(token, tuple):
        negated, ranges = token
        return negated != any(low <= character <= high for low, high in ranges)
    return character != "/"


def _reaches_into(tokens: list[_Token], folder: list[str]) -> bool:
    segments: list[list[_Token]] = [[]]
    for item in tokens:
        if item == "/":
            segments.append([])
        else:
            segments[-1].append(item)
    for index, segment in enumerate(segments):
        if any(token in (_DEEP, _REST) and isinstance(token, int) for token in segment) or any(
            map(_can_be_slash, segment)
        ):
            return True
        if index == len(folder):
            return True
        if not _plain_regex(segment).fullmatch(folder[index]):
            return False
    return False  # the pattern ends at the folder or above it: decided by the folder's own match
