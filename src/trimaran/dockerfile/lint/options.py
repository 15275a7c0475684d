"""`# check=skip=…;error=…;experimental=…`: which rules count, and whether a finding stops the build."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from trimaran.errors import UsageError
from trimaran.spelling import did_you_mean

KEYS = ("skip", "error", "experimental")
ALL = "all"
_TRUE = ("1", "t", "T", "true", "TRUE", "True")
_FALSE = ("0", "f", "F", "false", "FALSE", "False")
_PREFIX = "check="


class CheckOptions(msgspec.Struct, frozen=True, kw_only=True):
    skipped: frozenset[str] = frozenset()
    """Rules, or ALL; experimental ones are not meant by it."""
    experimental: frozenset[str] = frozenset()
    """Experimental rules to check too, or ALL."""
    error: bool = False

    def counts(self, name: str, *, experimental: bool) -> bool:
        if experimental:
            return ALL in self.experimental or name in self.experimental
        return ALL not in self.skipped and name not in self.skipped


def parse_check(text: str) -> CheckOptions:
    """The value of the directive, or of the build argument BUILDKIT_DOCKERFILE_CHECK, which stands in for it."""
    text = text.strip()
    options = CheckOptions()
    for part in text.split(";", 2) if text else ():
        key, equals, value = part.partition("=")
        key, value = key.strip(), value.strip()
        if not equals or key not in KEYS:
            wrong, hint = (
                (key, did_you_mean(key, KEYS)) if equals else (part, "such as skip=StageNameCasing;error=true")
            )
            raise UsageError(f'failed to parse check options: invalid check option "{wrong}"', hint=hint)
        if key == "error":
            options = msgspec.structs.replace(options, error=_bool(part, value))
        elif key == "skip":
            options = msgspec.structs.replace(options, skipped=_names(value))
        else:
            options = msgspec.structs.replace(options, experimental=_names(value))
    return options


def skips(comments: Iterable[str], name: str) -> bool:
    """Whether a comment `# check=skip=…` above an instruction names this rule, or all."""
    for comment in comments:
        text = comment.replace(" ", "")
        if not text.startswith(_PREFIX):
            continue
        try:
            skipped = parse_check(text.removeprefix(_PREFIX)).skipped
        except UsageError:
            continue
        if name in skipped or ALL in skipped:
            return True
    return False


def _names(value: str) -> frozenset[str]:
    return frozenset((ALL,) if value == ALL else (name.strip() for name in value.split(",")))


def _bool(part: str, value: str) -> bool:
    if value not in _TRUE and value not in _FALSE:
        raise UsageError(
            f'failed to parse check options: failed to parse check option "{part}": '
            f'strconv.ParseBool: parsing "{value}": invalid syntax',
            hint="error=true or error=false",
        )
    return value in _TRUE
