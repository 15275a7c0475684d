"""`--name=value` before an instruction's arguments: which there are, of which kind, and what was given."""

from __future__ import annotations

from trimaran.dockerfile.parse import Node, Word
from trimaran.dockerfile.problems import DockerfileError
from trimaran.spelling import did_you_mean

BOOL = "bool"
TEXT = "text"
TEXTS = "texts"
"""May be given several times."""

FLAGS: dict[str, dict[str, str]] = {
    "ADD": {
        "chown": TEXT,
        "chmod": TEXT,
        "link": BOOL,
        "keep-git-dir": BOOL,
        "checksum": TEXT,
        "unpack": BOOL,
        "exclude": TEXTS,
    },
    "COPY": {"from": TEXT, "chown": TEXT, "chmod": TEXT, "link": BOOL, "parents": BOOL, "exclude": TEXTS},
    "FROM": {"platform": TEXT},
    "HEALTHCHECK": {
        "interval": TEXT,
        "timeout": TEXT,
        "start-period": TEXT,
        "start-interval": TEXT,
        "retries": TEXT,
    },
    "RUN": {"mount": TEXTS, "network": TEXT, "security": TEXT, "device": TEXTS},
}


class Flags:
    """What an instruction was given; asking for a flag it does not have is a bug."""

    __slots__ = ("_given", "_known", "node")

    def __init__(self, node: Node) -> None:
        self.node = node
        self._known = FLAGS.get(node.keyword, {})
        self._given: dict[str, list[Word]] = {}
        for word in node.flags:
            self._take(word)

    def _take(self, word: Word) -> None:
        name, equals, value = word.text[2:].partition("=")
        kind = self._known.get(name)
        if kind is None:
            raise self._unknown(name, word)
        if name in self._given and kind != TEXTS:
            raise self.node.error(f"duplicate flag specified: --{name}", word)
        if (kind != BOOL and not equals) or (equals and kind == BOOL and not value):
            raise self.node.error(f"missing a value on flag: --{name}", word, hint=f"write --{name}=VALUE")
        if kind == BOOL and value.lower() not in ("", "true", "false"):
            raise self.node.error(f"expecting boolean value for flag --{name}, not: {value}", word)
        self._given.setdefault(name, []).append(Word(value, word.start, word.end))

    def _unknown(self, name: str, word: Word) -> DockerfileError:
        others = [keyword for keyword, flags in FLAGS.items() if name in flags]
        hint = did_you_mean("--" + name, ["--" + known for known in self._known])
        if others and not hint.startswith("did"):
            hint = f"{', '.join(others)} has it, {self.node.keyword} has not"
        return self.node.error(f"unknown flag: --{name}", word, hint=hint or f"{self.node.keyword} has no flags")

    def text(self, name: str) -> str:
        words = self._given.get(name)
        return words[0].text if words else ""

    def texts(self, name: str) -> tuple[str, ...]:
        return tuple(word.text for word in self._given.get(name, ()))

    def bool(self, name: str) -> bool | None:
        """None when it was not given."""
        words = self._given.get(name)
        return None if not words else words[0].text.lower() != "false"

    def word(self, name: str) -> Word | None:
        """Where the flag stands."""
        words = self._given.get(name)
        return words[0] if words else None
