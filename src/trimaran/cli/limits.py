"""What a build may take, from flags: `--resource` as buildx has it, the old builder's flags for the same, and ours.

buildx's are of each RUN step. `--build-resource` says the same of all of a build's steps together.
"""

from __future__ import annotations

from typing import NamedTuple

from trimaran.cli.attributes import Attributes
from trimaran.cli.build_flags import LIMITS as KEYS
from trimaran.cli.options import Values
from trimaran.cli.units import parse_bytes, parse_integer
from trimaran.engine.request import Resources
from trimaran.errors import UsageError
from trimaran.linux.limits import Limits

_PERIOD = 100_000
"""Microseconds: the kernel's default."""


class _Given(NamedTuple):
    said: str
    """As it stands on the command line: `--memory 2g`, `--resource memory=2g`."""
    text: str


def resources(values: Values) -> Resources:
    """UsageError for what is no limit. A flag of its own goes before the same key of `--resource`."""
    own = {key: _Given(f"--{key} {text}", text) for key in KEYS if (text := values.text(key))}
    each = _keys(values, "resource") | own
    jobs = values.number("jobs")
    if jobs < 0 or (values.given("jobs") and jobs == 0):
        raise UsageError(f"read --jobs {jobs}: it is the number of RUN steps at the same time, at least 1")
    return Resources(
        cache_limit=values.number("cache-limit"),
        jobs=jobs,
        limits=_limits(each),
        build_limits=_limits(_keys(values, "build-resource")),
    )


def _keys(values: Values, flag: str) -> dict[str, _Given]:
    found: dict[str, _Given] = {}
    for text in values.texts(flag):
        attributes = Attributes.parse(flag, text)
        found |= {key: _Given(f"--{flag} {key}={value}", value) for key in KEYS if (value := attributes.text(key))}
        attributes.finish("resource limits")
    return found


def _limits(found: dict[str, _Given]) -> Limits | None:
    if not found:
        return None
    period = _number(found, "cpu-period") or _PERIOD
    memory, total = _size(found, "memory"), _size(found, "memory-swap")
    if total is not None and total >= 0 and (memory is None or total < memory):
        raise UsageError(
            f"read {found['memory-swap'].said}: it is memory and swap together, so not less than the memory",
            hint="give --memory too, or -1 for unlimited swap",
        )
    shares = _number(found, "cpu-shares")
    limits = Limits(
        memory=memory,
        memory_swap=None if total is None or total < 0 or memory is None else total - memory,
        cpu_quota=_quota(found["cpus"], period) if "cpus" in found else _number(found, "cpu-quota"),
        cpu_period=period,
        cpu_weight=None if not shares else 1 + (min(max(shares, 2), 262_144) - 2) * 9999 // 262_142,
        cpuset_cpus=_text(found, "cpuset-cpus"),
        cpuset_mems=_text(found, "cpuset-mems"),
    )
    if fault := limits.fault():
        key = fault.field.replace("_", "-")
        given = found["cpus" if key == "cpu-quota" and "cpus" in found else key]
        raise UsageError(f"read {given.said}: {fault.cause}", hint=fault.hint)
    return limits


def _size(found: dict[str, _Given], key: str) -> int | None:
    if key not in found:
        return None
    said, text = found[key]
    if text == "-1" and key == "memory-swap":
        return -1
    try:
        size = parse_bytes(text)
    except ValueError as error:
        raise UsageError(f"read {said}: {error}", hint="such as 512m or 2g") from None
    return size


def _number(found: dict[str, _Given], key: str) -> int | None:
    if key not in found:
        return None
    said, text = found[key]
    try:
        number = parse_integer(text)
    except ValueError:
        raise UsageError(f"read {said}: it is a whole number") from None
    if number < 0:
        raise UsageError(f"read {said}: it is not less than 0")
    return number or None


def _quota(given: _Given, period: int) -> int:
    try:
        cpus = float(given.text)
    except ValueError:
        cpus = 0.0
    if not 0.01 <= cpus <= 65_536:
        raise UsageError(f"read {given.said}: it is a number of processors, at least 0.01", hint="such as 1.5")
    return int(cpus * period)


def _text(found: dict[str, _Given], key: str) -> str:
    return found[key].text if key in found else ""
