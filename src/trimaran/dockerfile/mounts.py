"""`RUN --mount=type=…,key=value,…` (reference §3.4): read once to find what it needs, again with variables set."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from trimaran.dockerfile.problems import DockerfileError
from trimaran.spelling import did_you_mean

TYPES = ("bind", "cache", "tmpfs", "secret", "ssh")
SHARING = ("shared", "private", "locked")
_KEYS = "type from source src target dst destination readonly ro readwrite rw id sharing required size mode uid gid env"
KEYS = tuple(_KEYS.split())
_TRUE = ("1", "t", "T", "true", "TRUE", "True")
_FALSE = ("0", "f", "F", "false", "FALSE", "False")
_UNITS = {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40, "p": 1 << 50}

Expand = Callable[[str], str]


class RunMount(msgspec.Struct, kw_only=True):
    type: str = "bind"
    source_stage: str = ""
    """`from`."""
    source: str = ""
    target: str = ""
    readonly: bool | None = None
    id: str = ""
    sharing: str = ""
    required: bool = False
    size: int = 0
    mode: int | None = None
    uid: int | None = None
    gid: int | None = None
    env: str | None = None

    @property
    def reads_only(self) -> bool:
        return self.readonly if self.readonly is not None else self.type not in ("cache", "tmpfs")


def parse_mount(text: str, expand: Expand) -> RunMount:
    """Read one flag's value; DockerfileError (without a place) says what is wrong."""
    mount = RunMount()
    for field in split_fields(text):
        key, equals, value = field.partition("=")
        key = key.lower()
        if key not in KEYS:
            raise DockerfileError(f"unexpected key '{key}' in '{field}'", hint=did_you_mean(key, KEYS))
        if not equals:
            _bare(mount, key, field)
            continue
        if key == "from" and "$" in value[:-1]:
            raise DockerfileError(
                f"'{key}' doesn't support variable expansion, define alias stage instead",
                hint="FROM $NAME AS alias, then --mount=from=alias",
            )
        _set(mount, key, value if key == "from" else expand(value))
    _check(mount)
    return mount


def source_of(text: str) -> str:
    """The stage, image or context a mount is taken from, "" for none; known before variables are."""
    kind = name = ""
    for field in split_fields(text):
        key, _, value = field.partition("=")
        if key.lower() == "from":
            name = value
        elif key.lower() == "type":
            kind = value.lower()
    return "" if kind == "tmpfs" else name


def split_fields(text: str) -> list[str]:
    """Comma-separated values; a field in double quotes may have commas and doubled quotes."""
    fields: list[str] = []
    position = 0
    while True:
        if text[position : position + 1] == '"':
            field, position = _quoted(text, position)
        else:
            end = text.find(",", position)
            end = len(text) if end < 0 else end
            field = text[position:end]
            if '"' in field:
                raise DockerfileError(f"parse mount {text!r}: a quote inside of a field", hint="quote the whole field")
            position = end
        fields.append(field)
        if position >= len(text):
            return fields
        position += 1


def _quoted(text: str, position: int) -> tuple[str, int]:
    parts: list[str] = []
    position += 1
    while True:
        end = text.find('"', position)
        if end < 0:
            raise DockerfileError(f"parse mount {text!r}: a quote is not closed")
        parts.append(text[position:end])
        if text[end + 1 : end + 2] != '"':
            break
        parts.append('"')
        position = end + 2
    if text[end + 1 : end + 2] not in ("", ","):
        raise DockerfileError(f"parse mount {text!r}: text after a quoted field")
    return "".join(parts), end + 1


def _bare(mount: RunMount, key: str, field: str) -> None:
    if key in ("readonly", "ro"):
        mount.readonly = True
    elif key in ("readwrite", "rw"):
        mount.readonly = False
    elif key == "required":
        _only_for(mount, key, "secret", "ssh")
        mount.required = True
    else:
        raise DockerfileError(f"invalid field '{field}' must be a key=value pair", hint=f"write {key}=VALUE")


def _set(mount: RunMount, key: str, value: str) -> None:
    if key == "type":
        mount.type = _one_of(value, TYPES, "mount type")
    elif key == "from":
        mount.source_stage = value
    elif key in ("source", "src"):
        mount.source = value
    elif key in ("target", "dst", "destination"):
        mount.target = value
    elif key in ("readonly", "ro"):
        mount.readonly = _bool(key, value)
    elif key in ("readwrite", "rw"):
        mount.readonly = not _bool(key, value)
    elif key == "required":
        _only_for(mount, key, "secret", "ssh")
        mount.required = _bool(key, value)
    elif key == "size":
        _only_for(mount, key, "tmpfs")
        mount.size = parse_size(value)
    elif key == "id":
        mount.id = value
    elif key == "sharing":
        mount.sharing = _one_of(value, SHARING, "sharing value")
    elif key == "env":
        mount.env = value
    elif key == "mode":
        mount.mode = _number(key, value, 8)
    elif key == "uid":
        mount.uid = _number(key, value, 10)
    else:
        mount.gid = _number(key, value, 10)


def _check(mount: RunMount) -> None:
    if mount.type not in ("secret", "ssh", "cache"):
        for name in ("mode", "uid", "gid"):
            if getattr(mount, name) is not None:
                raise DockerfileError(f'{name} not allowed for "{mount.type}" type mounts')
    if mount.type == "secret":
        if mount.source_stage:
            raise DockerfileError("secret mount should not have a from")
        if mount.sharing:
            raise DockerfileError("secret mount should not define sharing")
        if not (mount.source or mount.target or mount.id):
            raise DockerfileError("invalid secret mount. one of source, target required", hint="such as id=NAME")
        if mount.source and mount.id:
            raise DockerfileError("both source and id can't be set")
    if mount.sharing and mount.type != "cache":
        raise DockerfileError(f"invalid cache sharing set for {mount.type} mount")


def parse_size(value: str) -> int:
    """Bytes of `10m`, `1.5GiB`, `64 kb`: binary units."""
    text = value.strip().lower()
    digits = text[: len(text) - len(text.lstrip("0123456789."))]
    unit = text[len(digits) :].strip()
    unit = unit.removesuffix("ib") if len(unit) == 3 else unit.removesuffix("b") if len(unit) == 2 else unit
    whole, _, fraction = digits.partition(".")
    if unit not in _UNITS or not digits.strip(".") or "." in fraction or len(digits) > 20:
        raise DockerfileError(f"invalid value for size: {value}", hint="such as 64m or 1g")
    scale = _UNITS[unit]
    part: int = int(fraction or "0") * scale // 10 ** len(fraction)
    return int(whole or "0") * scale + part


def _only_for(mount: RunMount, key: str, *types: str) -> None:
    if mount.type not in types:
        raise DockerfileError(
            f"unexpected key '{key}' for mount type '{mount.type}'",
            hint=f"{key} is for {' and '.join(types)} mounts; name the type first",
        )


def _one_of(value: str, known: tuple[str, ...], what: str) -> str:
    lower = value.lower()
    if lower not in known:
        raise DockerfileError(f'unsupported {what} "{value}"', hint=did_you_mean(value, known))
    return lower


def _bool(key: str, value: str) -> bool:
    if value in _TRUE:
        return True
    if value in _FALSE:
        return False
    raise DockerfileError(f"invalid value for {key}: {value}", hint="true or false")


def _number(key: str, value: str, base: int) -> int:
    digits = "01234567" if base == 8 else "0123456789"
    if not value or value.strip(digits) or len(value) > 20 or int(value, base) > 0xFFFFFFFF:
        raise DockerfileError(f"invalid value {value} for {key}", hint="octal digits" if base == 8 else "a number")
    return int(value, base)
