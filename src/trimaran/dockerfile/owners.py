"""`user[:group]` of WORKDIR's folder and of `--chown`: numbers as they are, names looked up in the stage."""

from __future__ import annotations

from trimaran.dockerfile.problems import DockerfileError
from trimaran.graph.ops import SCRATCH_INPUT, NamedUser, Owner

MAX_ID = (1 << 31) - 1


def owner(text: str, *, input: int) -> Owner | None:  # noqa: A002 - the op's own word
    """None for an empty text; what is left out beside a colon is root's. `input` is where names are looked up.

    T19b: numbers that would wrap are refused.
    """
    if not text:
        return None
    user, colon, group = text.partition(":")
    return Owner(user=_one(user, input), group=_one(group, input) if colon else None)


def _one(text: str, index: int) -> int | NamedUser:
    if not text:
        return 0
    if text.startswith("-") and text[1:].isdigit():
        raise DockerfileError(f"user or group number {text} is negative")
    if text.isascii() and text.isdigit():
        if len(text) > 10 or int(text) > MAX_ID:
            raise DockerfileError(f"user or group number {text} is larger than {MAX_ID}")
        return int(text)
    if text == "root":  # in every image, as for BuildKit's clients: it is in the cache digest
        return 0
    if index != SCRATCH_INPUT:
        return NamedUser(text, index)
    raise DockerfileError(
        f'look up user or group "{text}": the stage is empty, it has no /etc/passwd', hint="give its number"
    )
