"""Platforms: `os/architecture[/variant]`, parsed, normalised and matched by containerd's rules (reference §7.3).

Law: `parse` keeps what was written (aliases resolved), `normalize` gives the form to compare and to put into an index.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable

import msgspec

from trimaran.errors import UsageError

_OS_NAMES = (
    "aix android darwin dragonfly freebsd hurd illumos ios js linux nacl netbsd openbsd plan9 solaris windows zos"
)
_ARCHITECTURE_NAMES = (
    "386 amd64 amd64p32 arm armbe arm64 arm64be ppc64 ppc64le loong64 mips mipsle mips64 mips64le mips64p32 "
    "mips64p32le ppc riscv riscv64 s390 s390x sparc sparc64 wasm"
)
KNOWN_OS = frozenset(_OS_NAMES.split())
KNOWN_ARCHITECTURES = frozenset(_ARCHITECTURE_NAMES.split())

_COMPONENT = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-")
_OS_NAME = _COMPONENT - {"."}
_OS_OPTION = _COMPONENT | {"%"}


class Platform(msgspec.Struct, frozen=True, order=True):
    os: str
    architecture: str
    variant: str = ""
    os_version: str = ""
    os_features: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str, host: Platform | None = None) -> Platform:
        """Read `os`, `architecture`, `os/architecture` or `os/architecture/variant`; UsageError for anything else.

        The os may carry `(version+feature+feature)` with %-escapes. What is left out comes from `host` (this machine).
        """
        if "*" in text:
            raise UsageError(f"parse platform {text!r}: wildcards are not supported")
        parts = text.split("/", 3)
        name, version, features = _parse_os(parts[0], text)
        for part in parts[1:]:
            if not part or not _COMPONENT.issuperset(part):
                raise UsageError(
                    f"parse platform {text!r}: {part!r} is not a valid component", hint=_hint_for_platform(text)
                )
        if len(parts) > 3:
            raise UsageError(f"parse platform {text!r}: want os/architecture[/variant]", hint=_hint_for_platform(text))
        if len(parts) == 1:
            return _parse_single(text, name, version, features, host)
        architecture, variant = normalize_architecture(parts[1], parts[2] if len(parts) == 3 else "")
        if len(parts) == 2:
            if (architecture, variant) == ("arm", "v7"):
                variant = ""
        elif architecture == "arm64" and not variant:
            variant = "v8"
        return cls(name, architecture, variant, version, features)

    def normalize(self) -> Platform:
        """The form in which equal platforms are equal: `linux/arm64/v8` is `linux/arm64`, `linux/arm` is v7."""
        architecture, variant = normalize_architecture(self.architecture, self.variant)
        features = tuple(sorted(set(self.os_features)))
        return Platform(normalize_os(self.os) if self.os else "", architecture, variant, self.os_version, features)

    def __str__(self) -> str:
        """`os/architecture[/variant]`, without version and features of the os (containerd's Format)."""
        return "/".join(part for part in (self.os or "unknown", self.architecture, self.variant) if part)

    def format_all(self) -> str:
        """As `str`, with `(version+feature…)` after the os where there are any (containerd's FormatAll)."""
        if not self.os or not (self.os_version or self.os_features):
            return str(self)
        options = _escape(self.os_version) + "".join("+" + _escape(name) for name in sorted(self.os_features))
        return "/".join(part for part in (f"{self.os}({options})", self.architecture, self.variant) if part)


class PlatformFields(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A platform as OCI documents write it (image-spec, image-index.md): nest it in Structs of such documents."""

    architecture: str = msgspec.field(default_factory=str)
    os: str = msgspec.field(default_factory=str)
    os_version: str | None = msgspec.field(name="os.version", default=None)
    os_features: tuple[str, ...] | None = msgspec.field(name="os.features", default=None)
    variant: str | None = None

    @classmethod
    def of(cls, platform: Platform) -> PlatformFields:
        return cls(
            architecture=platform.architecture,
            os=platform.os,
            os_version=platform.os_version or None,
            os_features=platform.os_features or None,
            variant=platform.variant or None,
        )

    @property
    def platform(self) -> Platform:
        """As written; call `normalize` to compare."""
        return Platform(
            self.os, self.architecture, self.variant or "", self.os_version or "", tuple(self.os_features or ())
        )


class Matcher:
    """An ordered choice of platforms: which candidates would do, and which does best."""

    __slots__ = ("platforms",)

    def __init__(self, platforms: Iterable[Platform]) -> None:
        self.platforms = tuple(platform.normalize() for platform in platforms)

    def match(self, candidate: Platform) -> bool:
        return self.rank(candidate) is not None

    def rank(self, candidate: Platform) -> tuple[int, ...] | None:
        """The smaller the better; None: does not match. More of the wanted os features, newer Windows come first."""
        other = candidate.normalize()
        for index, wanted in enumerate(self.platforms):
            if (
                (other.os, other.architecture, other.variant) == (wanted.os, wanted.architecture, wanted.variant)
                and set(other.os_features) <= set(wanted.os_features)
                and (wanted.os != "windows" or _windows_runs(wanted.os_version, other.os_version))
            ):
                version = _numbers(other.os_version) if other.os == "windows" else ()
                return index, -len(other.os_features), *(-number for number in version)
        return None

    def best(self, candidates: Iterable[Platform]) -> int | None:
        """Index of the best candidate, the first among equals; None when none matches."""
        ranks = [(rank, index) for index, candidate in enumerate(candidates) if (rank := self.rank(candidate))]
        return min(ranks)[1] if ranks else None


def only(platform: Platform) -> Matcher:
    """Match what a machine of `platform` runs, its own kind first (containerd's Only)."""
    return Matcher(_compatible(platform.normalize()))


_host: Platform | None = None


def default() -> Platform:
    """This machine's platform, normalised; arm carries its variant, amd64 never (ask `amd64_level`)."""
    global _host  # noqa: PLW0603 - a machine does not change under a process
    if _host is None:
        _host = of_machine(*_machine())
    return _host


def _machine() -> tuple[str, str]:
    if hasattr(os, "uname"):
        uname = os.uname()
        return uname.machine, uname.sysname
    import platform  # slow to load, and everywhere

    return platform.machine(), platform.system()


def of_machine(machine: str, system: str = "Linux", byteorder: str = sys.byteorder) -> Platform:
    """The platform `uname` means: `armv6l` is linux/arm/v6, `mips64` depends on the byte order."""
    name = machine.lower()
    if name in ("mips", "mips64") and byteorder == "little":
        name += "le"
    elif name == "loongarch64":
        name = "loong64"
    elif name == "i86pc":
        name = "amd64"
    elif name[:1] == "i" and name[2:] == "86":
        name = "386"
    elif name.startswith("armv") and name[4:5].isdigit():
        return Platform(normalize_os(system), "arm", "v" + name[4])
    architecture, variant = normalize_architecture(name, "")
    return Platform(normalize_os(system), architecture, variant)


_AMD64_LEVELS = (
    "cx16 lahf_lm popcnt pni sse4_1 sse4_2 ssse3",
    "avx avx2 bmi1 bmi2 f16c fma abm movbe",
    "avx512f avx512bw avx512cd avx512dq avx512vl",
)


def amd64_level(cpuinfo: str = "/proc/cpuinfo") -> int:
    """The x86-64 psABI level of this machine, 1 to 4; reads the file at each call."""
    try:
        with open(cpuinfo, encoding="ascii", errors="replace") as file:
            line = next((line for line in file if line.startswith("flags")), "")
    except OSError:
        return 1
    flags = set(line.partition(":")[2].split())
    level = 1
    for needed in _AMD64_LEVELS:
        if not flags.issuperset(needed.split()):
            break
        level += 1
    return level


def normalize_os(name: str) -> str:
    name = name.lower()
    return "darwin" if name == "macos" else name


def normalize_architecture(architecture: str, variant: str) -> tuple[str, str]:
    """containerd's normalizeArch: aliases resolved, default variants dropped (amd64, arm64) or spelled out (arm)."""
    architecture, variant = architecture.lower(), variant.lower()
    if architecture == "i386":
        return "386", ""
    if architecture in ("x86_64", "x86-64", "amd64"):
        return "amd64", "" if variant == "v1" else variant
    if architecture in ("aarch64", "arm64"):
        return "arm64", _ARM64_VARIANTS.get(variant, variant)
    if architecture == "armhf":
        return "arm", "v7"
    if architecture == "armel":
        return "arm", "v6"
    if architecture == "arm":
        return "arm", _ARM_VARIANTS.get(variant, variant)
    return architecture, variant


_ARM64_VARIANTS = {"8": "", "v8": "", "v8.0": "", "9": "v9", "9.0": "v9", "v9.0": "v9"}
_ARM_VARIANTS = {"": "v7", "7": "v7", "5": "v5", "6": "v6", "8": "v8"}


def _parse_os(part: str, text: str) -> tuple[str, str, tuple[str, ...]]:
    name, bracket, options = part.partition("(")
    if not name or not _OS_NAME.issuperset(name) or (bracket and not options.endswith(")")):
        raise UsageError(f"parse platform {text!r}: {part!r} is not a valid os", hint=_hint_for_platform(text))
    if not bracket:
        return normalize_os(name), "", ()
    version, *features = options[:-1].split("+")
    if not _OS_OPTION.issuperset(version) or not all(item and _OS_OPTION.issuperset(item) for item in features):
        raise UsageError(
            f"parse platform {text!r}: want os(version+feature)",
            hint="write other characters as %XX, such as %2B for +",
        )
    return normalize_os(name), _unescape(version, text), tuple(_unescape(item, text) for item in features)


def _parse_single(text: str, name: str, version: str, features: tuple[str, ...], host: Platform | None) -> Platform:
    host = host or default()
    if name in KNOWN_OS:
        variant = host.variant if host.architecture == "arm" and host.variant != "v7" else ""
        return Platform(name, host.architecture, variant, version, features)
    architecture, variant = normalize_architecture(text, "")
    if architecture not in KNOWN_ARCHITECTURES:
        raise UsageError(
            f"parse platform {text!r}: unknown operating system or architecture", hint=_hint_for_platform(text)
        )
    return Platform(host.os, architecture, "" if (architecture, variant) == ("arm", "v7") else variant)


def _hint_for_platform(text: str) -> str:
    from trimaran.spelling import nearest

    known = ["linux/" + name for name in sorted(KNOWN_ARCHITECTURES)] + sorted(KNOWN_ARCHITECTURES | KNOWN_OS)
    near = nearest(text.strip(), known)
    return f"did you mean {near}?" if near else "such as linux/amd64, linux/arm64 or linux/arm/v7"


def _escape(text: str) -> str:
    return "".join(c if c in _COMPONENT else "".join(f"%{byte:02X}" for byte in c.encode()) for c in text)


def _unescape(text: str, whole: str) -> str:
    head, *rest = text.split("%")
    data = bytearray(head.encode())
    try:
        for item in rest:
            if len(item) < 2 or item[0] in "+-_" or item[1] == "_":
                raise ValueError(item)  # noqa: TRY301 - one error for all ways an escape can be wrong
            data.append(int(item[:2], 16))
            data += item[2:].encode()
        return data.decode()
    except ValueError:
        raise UsageError(f"parse platform {whole!r}: {text!r} has a bad %-escape") from None


def _compatible(platform: Platform) -> list[Platform]:
    """What `platform` (normalised) also runs, best first."""
    number = platform.variant.removeprefix("v")
    if platform.architecture == "amd64":
        lower = range(int(number) - 1, 0, -1) if number.isdigit() else range(0)
        vector = [platform, *(_with(platform, "amd64", f"v{level}") for level in lower)]
        return [*vector, _with(platform, "386", "")]
    if platform.architecture == "arm":
        lower = range(int(number) - 1, 4, -1) if number.isdigit() else range(0)
        return [platform, *(_with(platform, "arm", f"v{level}") for level in lower)]
    if platform.architecture == "arm64":
        vector = [_with(platform, "arm64", variant) for variant in _arm64_variants(platform.variant or "v8")]
        if platform.variant[:2] in ("", "v8", "v9"):
            vector += [_with(platform, "arm", f"v{level}") for level in (8, 7, 6, 5)]
        return vector
    return [platform]


def _arm64_variants(variant: str) -> list[str]:
    major, _, minor = variant.removeprefix("v").partition(".")
    if major not in ("8", "9") or not (minor or "0").isdigit():
        return [variant]
    top = int(minor or "0")
    if major == "8":
        return [f"v8.{x}" for x in range(top, 0, -1)] + ["v8"]
    # An Armv9.x core has the features of Armv8.(x+5), of which 8.9 is the last.
    return [f"v9.{x}" for x in range(top, 0, -1)] + ["v9"] + [f"v8.{x}" for x in range(min(top + 5, 9), 0, -1)] + ["v8"]


def _with(platform: Platform, architecture: str, variant: str) -> Platform:
    return Platform(platform.os, architecture, variant, platform.os_version, platform.os_features)


_WINDOWS_LTSC_2022 = 20348


def _windows_runs(host: str, image: str) -> bool:
    """Windows Server containers: equal builds before LTSC 2022, since then all from that one up to the host's."""
    ours, theirs = _numbers(host), _numbers(image)
    if len(ours) < 3 or len(theirs) < 3:
        return True
    if ours[:2] != theirs[:2]:
        return False
    if ours[2] < _WINDOWS_LTSC_2022:
        return ours[2] == theirs[2]
    return _WINDOWS_LTSC_2022 <= theirs[2] <= ours[2]


def _numbers(version: str) -> tuple[int, ...]:
    parts = version.split(".")
    return tuple(int(part) for part in parts) if all(part.isdigit() for part in parts) else ()
