"""What a build may take, from flags: `--resource` as buildx has it, the old builder's flags for the same, and ours.

buildx's are of each RUN step. `--build-resource` says the same of all of a build's steps together.
"""

from __future__ import annotations

from trimaran.cli.attributes import Attributes
from trimaran.cli.options import Values
from trimaran.cli.units import parse_bytes, parse_integer
from trimaran.engine.request import Resources
from trimaran.errors import UsageError
from trimaran.linux.limits import Limits

_PERIOD = 100_000
"""Microseconds: the kernel's default."""
KEYS = ("memory", "memory-swap", "cpus", "cpu-shares", "cpu-period", "cpu-quota", "cpuset-cpus", "cpuset-mems")
"""`cpus` is ours, the others are buildx's."""


def resources(values: Values) -> Resources:
    """UsageError for what is no limit. A flag of its own goes before the same key of `--resource`."""
    each = _keys(values, "resource") | {key: text for key in KEYS if (text := values.text(key))}
    jobs = values.number("jobs")
    if jobs < 0 or (values.given("jobs") and jobs == 0):
        raise UsageError(f"read --jobs {jobs}: it is the number of RUN steps at the same time, at least 1")
    return Resources(
        cache_limit=values.number("cache-limit"),
        jobs=jobs,
        limits=_limits(each),
        build_limits=_limits(_keys(values, "build-resource")),
    )


def _keys(values: Values, flag: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in values.texts(flag):
        attributes = Attributes.parse(flag, text)
        found |= {key: value for key in KEYS if (value := attributes.text(key))}
        attributes.finish("resource limits")
    return found


def _limits(found: dict[str, str]) -> Limits | None:
    if not found:
        return None
    if "cpus" in found:
        found["cpu-quota"] = str(_quota(found["cpus"], _number(found, "cpu-period") or _PERIOD))
    memory, total = _size(found, "memory"), _size(found, "memory-swap")
    if total is not None and total >= 0 and (memory is None or total < memory):
        raise UsageError(
            f"read memory-swap {found['memory-swap']}: it is memory and swap together, so not less than the memory",
            hint="give --memory too, or -1 for unlimited swap",
        )
    shares = _number(found, "cpu-shares")
    return Limits(
        memory=memory,
        memory_swap=None if total is None or total < 0 or memory is None else total - memory,
        cpu_quota=_number(found, "cpu-quota"),
        cpu_period=_number(found, "cpu-period") or _PERIOD,
        cpu_weight=None if not shares else 1 + (min(max(shares, 2), 262_144) - 2) * 9999 // 262_142,
        cpuset_cpus=_set(found, "cpuset-cpus"),
        cpuset_mems=_set(found, "cpuset-mems"),
    )


def _size(found: dict[str, str], key: str) -> int | None:
    text = found.get(key, "")
    if not text or (text == "-1" and key == "memory-swap"):
        return -1 if text else None
    try:
        size = parse_bytes(text)
    except ValueError as error:
        raise UsageError(f"read {key} {text!r}: {error}", hint="such as 512m or 2g") from None
    if size <= 0:
        raise UsageError(f"read {key} {text!r}: it is more than nothing", hint="such as 512m or 2g")
    return size


def _number(found: dict[str, str], key: str) -> int | None:
    if key not in found:
        return None
    try:
        number = parse_integer(found[key])
    except ValueError as error:
        raise UsageError(f"read {key} {found[key]!r}: {error}") from None
    if number < 0:
        raise UsageError(f"read {key} {number}: it is not less than 0")
    return number or None


def _quota(text: str, period: int) -> int:
    try:
        cpus = float(text)
    except ValueError:
        cpus = 0.0
    if not 0.01 <= cpus <= 65_536:
        raise UsageError(f"read cpus {text!r}: it is a number of processors", hint="such as --cpus=1.5")
    return int(cpus * period)


def _set(found: dict[str, str], key: str) -> str:
    """Numbers and ranges, as the kernel takes them: nothing else reaches its files."""
    text = found.get(key, "")
    for part in text.split(",") if text else ():
        first, dash, last = part.partition("-")
        if not (first.isascii() and first.isdigit() and (not dash or (last.isascii() and last.isdigit()))):
            raise UsageError(f"read {key} {text!r}: not a list of numbers and ranges", hint="such as 0-3,8")
    return text
