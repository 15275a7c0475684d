"""argv read as spf13/pflag reads it: messages are those a docker 28.5 CLI prints for the same words."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies

from trimaran.cli.options import Flag, FlagError, HelpAsked, Values, parse
from trimaran.errors import UsageError

FLAGS = (
    Flag(name="push", kind="bool"),
    Flag(name="quiet", shorthand="q", kind="bool"),
    Flag(name="debug", shorthand="D", kind="bool"),
    Flag(name="tag", shorthand="t", kind="stringArray"),
    Flag(name="file", shorthand="f"),
    Flag(name="add-host", kind="strings"),
    Flag(name="shm-size", kind="bytes"),
    Flag(name="count", kind="int", default="3"),
    Flag(name="timeout", kind="duration"),
    Flag(name="progress", default="auto", environment="BUILDKIT_PROGRESS"),
    Flag(name="squash", kind="bool", ignored=True, note="flag --squash is ignored"),
    Flag(name="secret", kind="stringArray", unsupported="use something else"),
    Flag(name="check", kind="bool", unsupported="leave it out"),
)


def read(*argv: str, environment: dict[str, str] | None = None, interspersed: bool = True) -> Values:
    return parse(FLAGS, argv, environment=environment or {}, interspersed=interspersed)


@pytest.mark.parametrize(
    ("argv", "push", "arguments"),
    [
        (("--push", "."), True, (".",)),
        ((".", "--push"), True, (".",)),
        (("--push=false", "."), False, (".",)),
        (("--push=1", "--push=f"), False, ()),
        (("--push=T", "x", "--", "--push=false"), True, ("x", "--push=false")),
        (("-", "--push"), True, ("-",)),
    ],
)
def test_booleans_take_no_word(argv: tuple[str, ...], push: bool, arguments: tuple[str, ...]) -> None:
    values = read(*argv)
    assert (values.boolean("push"), values.arguments) == (push, arguments)


@pytest.mark.parametrize(
    ("argv", "tags"),
    [
        (("-t", "a", "-t", "b"), ("a", "b")),
        (("-ta", "--tag=b", "--tag", "c"), ("a", "b", "c")),
        (("-t=a", "-qta", "-qDt", "b"), ("a", "a", "b")),
        (("-t", "a,b"), ("a,b",)),
        (("--tag", "--push"), ("--push",)),
        (("--tag=",), ("",)),
    ],
)
def test_lists_grow(argv: tuple[str, ...], tags: tuple[str, ...]) -> None:
    assert read(*argv).texts("tag") == tags


def test_csv_lists_split() -> None:
    assert read("--add-host", 'a:1,"b:2,3"', "--add-host=c:4").texts("add-host") == ("a:1", "b:2,3", "c:4")


def test_sizes_durations_and_numbers() -> None:
    values = read("--shm-size", "1.5g", "--timeout=1m30.5s")
    assert values.number("shm-size") == 3 << 29
    assert values.number("timeout") == 90_500_000_000
    assert values.number("count") == 3
    assert read("--count=-7").number("count") == -7


def test_environment_stands_in_until_the_flag_is_given() -> None:
    assert read(environment={"BUILDKIT_PROGRESS": "plain"}).text("progress") == "plain"
    assert read("--progress=tty", environment={"BUILDKIT_PROGRESS": "plain"}).text("progress") == "tty"
    assert read(environment={"BUILDKIT_PROGRESS": ""}).text("progress") == "auto"
    assert not read(environment={"BUILDKIT_PROGRESS": "plain"}).given("progress")


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (("--foo",), "unknown flag: --foo"),
        (("-Z", "."), "unknown shorthand flag: 'Z' in -Z"),
        (("-qx",), "unknown shorthand flag: 'x' in -x"),
        (("--push=maybe",), 'invalid argument "maybe" for "--push" flag: strconv.ParseBool: parsing "maybe": invalid syntax'),
        (("-q=no",), 'invalid argument "no" for "-q, --quiet" flag: strconv.ParseBool: parsing "no": invalid syntax'),
        (("--tag",), "flag needs an argument: --tag"),
        (("-t",), "flag needs an argument: 't' in -t"),
        (("-f",), "flag needs an argument: 'f' in -f"),
        (("--=x",), "bad flag syntax: --=x"),
        (("---x",), "bad flag syntax: ---x"),
        (("-=x",), "unknown shorthand flag: '=' in -=x"),
        (("--shm-size=abc",), "invalid argument \"abc\" for \"--shm-size\" flag: invalid size: 'abc'"),
        (("--count=x",), 'invalid argument "x" for "--count" flag: strconv.ParseInt: parsing "x": invalid syntax'),
    ],
)  # fmt: skip
def test_messages(argv: tuple[str, ...], message: str) -> None:
    with pytest.raises(FlagError) as caught:
        read(*argv)
    assert str(caught.value) == message


def test_the_nearest_flag_is_named() -> None:
    with pytest.raises(FlagError) as caught:
        read("--pusch")
    assert caught.value.hint == "did you mean --push?"


@pytest.mark.parametrize("argv", [("-h",), ("--help",), ("-qh",), (".", "--help")])
def test_help(argv: tuple[str, ...]) -> None:
    with pytest.raises(HelpAsked):
        read(*argv)


def test_what_is_not_done_is_refused_by_name() -> None:
    with pytest.raises(UsageError, match="--secret=id=x: not done") as caught:
        read("--secret", "id=x")
    assert caught.value.hint == "use something else"
    with pytest.raises(UsageError, match="--check: not done"):
        read("--check")
    read("--check=false")


def test_ignored_flags_leave_a_note() -> None:
    assert read("--squash", "--squash").notes == ["flag --squash is ignored"]


def test_words_after_the_first_argument_can_belong_to_somebody_else() -> None:
    values = read("-q", "image", "ls", "-q", "--push", interspersed=False)
    assert values.arguments == ("image", "ls", "-q", "--push")
    assert values.boolean("quiet")
    assert not values.boolean("push")


@given(strategies.lists(strategies.text(alphabet="-=tqfD.a,1", max_size=6), max_size=6))
def test_any_words_are_read_or_refused(argv: list[str]) -> None:
    try:
        read(*argv)
    except (UsageError, HelpAsked):
        return
