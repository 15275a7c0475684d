"""Platforms: containerd's rules, and the shared tables of expected results where they lie beside the project."""

import json
import os
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimaran import platforms
from trimaran.errors import UsageError
from trimaran.platforms import KNOWN_ARCHITECTURES, KNOWN_OS, Matcher, Platform, PlatformFields, only

AMD64 = Platform("linux", "amd64")
CASES = Path(os.environ.get("TRIMARAN_CASES") or Path(__file__).parents[2] / "shared" / "cases")


def rows(name):
    """The rows of one table, or none where the tables are not at hand."""
    file = CASES / "tables_ext.json"
    if not file.exists():
        return []
    tables = json.loads(file.read_text())["cases"]
    return [
        row for table in tables if table["id"].startswith("containerd+platforms:.:" + name) for row in table["rows"]
    ]


def platform_of(fields):
    return Platform(
        fields["OS"],
        fields["Architecture"],
        fields.get("Variant", ""),
        fields.get("OSVersion", ""),
        tuple(fields.get("OSFeatures", ())),
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("linux/amd64", Platform("linux", "amd64")),
        ("Linux/X86_64", Platform("linux", "amd64")),
        ("arm", Platform("linux", "arm")),
        ("armel", Platform("linux", "arm", "v6")),
        ("armhf", Platform("linux", "arm")),
        ("linux/arm/v6", Platform("linux", "arm", "v6")),
        ("linux/arm64", Platform("linux", "arm64")),
        ("linux/arm64/v8", Platform("linux", "arm64", "v8")),
        ("linux/aarch64/8", Platform("linux", "arm64", "v8")),
        ("macOS", Platform("darwin", "amd64")),
        ("linux/anything", Platform("linux", "anything")),
        ("windows(10.0.17763%2Bx+win32k)", Platform("windows", "amd64", "", "10.0.17763+x", ("win32k",))),
        ("linux(+b+a)/arm64", Platform("linux", "arm64", "", "", ("b", "a"))),
    ],
)
def test_parse(text, expected):
    assert Platform.parse(text, AMD64) == expected


@pytest.mark.parametrize(
    "text",
    [
        "", "*", "linux/*", "/linux/arm", "linux/arm/", "linux /arm", "linux/&arm", "linux/arm/foo/bar", "nonsense",
        "linux(/amd64", "linux(1)x/amd64", "linux(+)/amd64", "linux(%zz)/amd64", "linux(%)/amd64", "linux(% 1)/amd64",
        "linux(%-1)/amd64", "linux(%ff)/amd64", "li.nux/amd64",
    ],
)  # fmt: skip
def test_parse_refuses(text):
    with pytest.raises(UsageError, match="parse platform"):
        Platform.parse(text, AMD64)


def test_parse_hints_at_the_nearest():
    with pytest.raises(UsageError) as caught:
        Platform.parse("amd46", AMD64)
    assert "amd64" in caught.value.hint


@pytest.mark.parametrize("row", [row for row in rows("TestParseSelector:") if not row.get("skip")], ids=str)
def test_parse_table(row):
    parsed = Platform.parse(row["input"], AMD64)
    assert parsed == platform_of(row["expected"])
    assert (parsed.format_all() if row["useV2Format"] else str(parsed)) == row["formatted"]
    for other in row.get("matches", ()):
        assert Matcher([parsed]).match(platform_of(other))


@pytest.mark.parametrize("row", rows("TestParseSelectorInvalid"), ids=str)
def test_parse_invalid_table(row):
    with pytest.raises(UsageError):
        Platform.parse(row["input"])


@pytest.mark.parametrize("row", rows("TestFormatAllEncoding"), ids=str)
def test_format_all_table(row):
    platform = platform_of(row["platform"])
    assert platform.format_all() == row["expected"]
    assert Platform.parse(row["expected"]) == platform


@pytest.mark.parametrize("name", ["TestOnly:", "TestOnlyStrict:"])
def test_match_tables(name):
    make = only if name == "TestOnly:" else lambda platform: Matcher([platform])
    for row in rows(name):
        matcher = make(Platform.parse(row["platform"]))
        for text in row["matches"]["True"]:
            assert matcher.match(Platform.parse(text)), (row["platform"], text)
        for text in row["matches"]["False"]:
            assert not matcher.match(Platform.parse(text)), (row["platform"], text)


@pytest.mark.parametrize("row", rows("TestMatchComparerMatch_ABICheckWCOW"), ids=str)
def test_windows_versions(row):
    assert only(platform_of(row["hostPlatform"])).match(platform_of(row["testPlatform"])) == row["match"]


def test_windows_prefers_the_newest_that_runs():
    versions = ["10.0.17763.1", "10.0.20348.1", "10.0.20348.9", "10.0.26100.1"]
    candidates = [AMD64, *(Platform("windows", "amd64", "", version) for version in versions)]
    assert only(Platform("windows", "amd64", "", "10.0.20348.3091")).best(candidates) == 3


@pytest.mark.parametrize(
    ("wanted", "matching", "other"),
    [
        ("linux/amd64", "linux/amd64 linux/amd64/v1 linux/386", "linux/amd64/v2 linux/arm64 windows/amd64"),
        ("linux/amd64/v3", "linux/amd64/v3 linux/amd64/v2 linux/amd64", "linux/amd64/v4"),
        ("linux/arm64", "linux/arm64/v8 linux/arm/v8 linux/arm/v7 linux/arm/v5", "linux/arm/v4 linux/arm64/v9"),
        ("linux/arm64/v9.1", "linux/arm64/v9 linux/arm64/v8.6 linux/arm/v7", "linux/arm64/v9.2 linux/arm64/v8.7"),
        ("linux/arm/v6", "linux/arm/v6 linux/arm/v5", "linux/arm linux/arm64"),
        ("linux/riscv64", "linux/riscv64", "linux/amd64"),
        ("linux(+gpu)/amd64", "linux/amd64 linux(+gpu)/amd64", "linux(+gpu+simd)/amd64"),
    ],
)
def test_only(wanted, matching, other):
    matcher = only(Platform.parse(wanted))
    assert all(matcher.match(Platform.parse(text)) for text in matching.split())
    assert not any(matcher.match(Platform.parse(text)) for text in other.split())


def test_best_prefers_own_kind_then_features_then_order():
    def best(wanted, *texts):
        return only(Platform.parse(wanted)).best([Platform.parse(text) for text in texts])

    assert best("linux/arm64", "linux/arm/v7", "linux/arm64/v8", "linux/arm64") == 1
    assert best("linux/amd64/v2", "linux/386", "linux/amd64", "linux/amd64/v3") == 1
    assert best("linux(+a+b)/amd64", "linux/amd64", "linux(+b)/amd64", "linux(+a+b)/amd64") == 2
    assert best("linux/s390x", "linux/amd64") is None


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("linux/arm", "linux/arm/v7"),
        ("linux/arm64/v8", "linux/arm64"),
        ("linux/arm64/v8.0", "linux/arm64"),
        ("linux/arm64/9.0", "linux/arm64/v9"),
        ("linux/amd64/v1", "linux/amd64"),
        ("linux/i386", "linux/386"),
        ("macos/amd64", "darwin/amd64"),
    ],
)
def test_normalize(text, normal):
    assert str(Platform.parse(text).normalize()) == normal


def test_str_of_the_unknown():
    assert str(Platform("", "")) == "unknown"
    assert str(Platform("unknown", "unknown")) == "unknown/unknown"


WORDS = st.text("abcXYZ09-_", min_size=1, max_size=6)


@given(
    st.builds(
        Platform,
        st.sampled_from(sorted(KNOWN_OS)),
        st.sampled_from(sorted(KNOWN_ARCHITECTURES)) | WORDS.map(str.lower),
        st.sampled_from(["", "v2", "v5", "v6", "v9.3"]),
        st.text(max_size=8).filter(lambda text: text.isprintable()),
        st.lists(st.text(min_size=1, max_size=5).filter(lambda text: text.isprintable()), max_size=3).map(tuple),
    )
)
def test_parse_reverses_format_all(platform):
    normal = platform.normalize()
    assert Platform.parse(normal.format_all()).normalize() == normal
    assert normal.normalize() == normal
    assert only(normal).rank(normal)[0] == 0


@given(st.text(max_size=30))
def test_parse_fails_only_as_usage(text):
    try:
        parsed = Platform.parse(text, AMD64)
    except UsageError:
        return
    assert Platform.parse(parsed.format_all(), AMD64).normalize() == parsed.normalize()


@pytest.mark.parametrize(
    ("machine", "expected"),
    [
        ("x86_64", "linux/amd64"), ("i686", "linux/386"), ("aarch64", "linux/arm64"), ("armv7l", "linux/arm/v7"),
        ("armv6l", "linux/arm/v6"), ("ppc64le", "linux/ppc64le"), ("s390x", "linux/s390x"),
        ("riscv64", "linux/riscv64"), ("mips64", "linux/mips64le"), ("loongarch64", "linux/loong64"),
    ],
)  # fmt: skip
def test_of_machine(machine, expected):
    assert str(platforms.of_machine(machine, "Linux", "little")) == expected


def test_default_is_this_machine():
    assert platforms.default() == platforms.of_machine(os.uname().machine, os.uname().sysname)


@pytest.mark.parametrize(
    ("flags", "level"),
    [
        ("fpu sse2", 1),
        ("cx16 lahf_lm popcnt pni sse4_1 sse4_2 ssse3", 2),
        ("cx16 lahf_lm popcnt pni sse4_1 sse4_2 ssse3 avx avx2 bmi1 bmi2 f16c fma abm movbe", 3),
        ("avx avx2 bmi1 bmi2 f16c fma abm movbe", 1),
    ],
)
def test_amd64_level(tmp_path, flags, level):
    file = tmp_path / "cpuinfo"
    file.write_text(f"processor : 0\nflags\t\t: {flags}\n")
    assert platforms.amd64_level(str(file)) == level
    assert platforms.amd64_level(str(tmp_path / "none")) == 1


def test_json_fields():
    platform = Platform("windows", "amd64", "", "10.0.1", ("win32k",))
    encoded = msgspec.json.encode(PlatformFields.of(platform))
    assert encoded == b'{"architecture":"amd64","os":"windows","os.version":"10.0.1","os.features":["win32k"]}'
    assert msgspec.json.decode(encoded, type=PlatformFields).platform == platform
    assert msgspec.json.encode(PlatformFields.of(Platform("linux", "arm", "v7"))) == (
        b'{"architecture":"arm","os":"linux","variant":"v7"}'
    )
    loose = msgspec.json.decode(b'{"os":"linux","os.features":null,"more":1}', type=PlatformFields)
    assert loose.platform == Platform("linux", "")
