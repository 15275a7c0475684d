"""No text makes the frontend crash or crawl: every failure is an error a person can act on."""

from __future__ import annotations

import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trimaran.dockerfile.globs import Glob
from trimaran.dockerfile.gotext import duration, parse_duration, quote
from trimaran.dockerfile.ignore import read_ignore
from trimaran.dockerfile.mounts import parse_mount
from trimaran.dockerfile.parse import parse
from trimaran.dockerfile.words import Expander
from trimaran.errors import TrimaranError
from trimaran.patterns import PatternMatcher, find_last

from .bridge import build

words = st.sampled_from(
    "FROM RUN COPY ADD ENV ARG LABEL CMD ONBUILD HEALTHCHECK EXPOSE SHELL VOLUME WORKDIR USER scratch AS a=b $a ${a:-b} "
    '" \' \\ ` << <<EOF <<-EOF EOF # [ ] ["x"] --from=0 --chown=x --mount=type=cache,target=/x -- / . 80 /tcp , = { }'.split(
        " "
    )
)
line = st.lists(words, max_size=7).map(" ".join)
dockerfile = st.lists(line, max_size=8).map(lambda lines: "FROM scratch\n" + "\n".join(lines))
relaxed = settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@relaxed
@given(st.binary(max_size=300))
def test_dockerfiles_of_bytes(data):
    try:
        build(b"FROM scratch\n" + data)
    except TrimaranError:
        pass


@relaxed
@given(
    st.text(alphabet="ab${}:-+?#%/\\'\"*[] ", max_size=60), st.dictionaries(st.sampled_from("ab"), st.text(max_size=9))
)
def test_expander(text, env):
    for expander in (Expander(), Expander("`"), Expander(keep_unset=True, keep_quotes=True, keep_escapes=True)):
        try:
            result = expander.expand(text, env)
        except TrimaranError:
            continue
        # Words are the value but for the spaces they were split at.
        assert "".join("".join(result.words).split()) == "".join(result.value.split())
        assert result.matched <= set(env)
        assert result.unmatched.isdisjoint(env)


@relaxed
@given(st.text(alphabet='type=cach,trgzid"ro from/', max_size=50))
def test_mounts(text):
    try:
        parse_mount(text, lambda value: value)
    except TrimaranError:
        pass


@relaxed
@given(st.text(alphabet="ab*?\\/!#[] \n-", max_size=60), st.text(alphabet="ab/.", max_size=20))
def test_ignore_files(text, path):
    file = read_ignore(text.encode())
    try:
        matcher = PatternMatcher(file.patterns)
    except TrimaranError:
        return
    clean_path = "/".join(part for part in path.split("/") if part not in ("", ".", ".."))
    if clean_path:
        assert (find_last(file.patterns, clean_path) is not None) == matcher.matches_or_parent(clean_path)


@relaxed
@given(st.text(alphabet="ab*?", max_size=8), st.text(alphabet="ab", max_size=12), st.booleans())
def test_globs_are_right(pattern, value, longest):
    import re

    glob = Glob(pattern)
    star = ".*" if longest else ".*?"
    regex = "".join({"*": star, "?": "."}.get(c, c) for c in pattern)
    match = re.match(regex, value)
    assert glob.without_prefix(value, longest=longest) == (value[match.end() :] if match else value)
    assert glob.replace(value, "X", everywhere=False) == re.sub(regex.replace(".*?", ".*"), "X", value, count=1)


@relaxed
@given(st.integers(min_value=-(1 << 62), max_value=1 << 62))
def test_durations_round_trip(value):
    assert parse_duration(duration(value)) == value


@relaxed
@given(st.text(max_size=30))
def test_quoted_text_is_printable(text):
    assert quote(text).isprintable()


@pytest.mark.parametrize(
    "text",
    [
        "ENV a=" + "${a:-" * 15000,
        "ENV a=" + "${a:-" * 9000 + "}" * 9000,
        "RUN <<" + "${a:-" * 9000,
        "ONBUILD " * 8000 + "RUN x",
        "CMD " + "[" * 60000,
        "RUN " + "<<a " * 8000,
        "ENV a=${x//" + "*a" * 20000 + "/b}",
        "ENV a=${PATH%" + "?*" * 20000 + "}",
        "LABEL " + "a=b " * 15000,
        "RUN --mount=" + "," * 60000,
        "COPY " + "a " * 30000 + "/",
        "\\\n" * 60000,
        "# " + "x" * 60000 + "\n" * 60000,
        "EXPOSE " + "1-65535 " * 2,
        "FROM scratch AS a\nCOPY --from=a / /\n" * 2000,
        "USER " + "9" * 5000,
        "HEALTHCHECK --interval=" + "9" * 5000 + "s CMD x",
        "STOPSIGNAL " + "9" * 5000,
        "COPY --chmod=" + "7" * 5000 + " a /",
        "COPY --from=" + "9" * 5000 + " a /",
        "RUN --mount=type=tmpfs,target=/a,size=" + "9" * 5000 + " a",
    ],
    ids=lambda text: text[:16].replace("\n", " "),
)
def test_large_and_deep(text):
    start = time.process_time()
    try:
        build("FROM scratch\n" + text + "\n")
    except TrimaranError:
        pass
    assert time.process_time() - start < 5


def test_values_that_double_end_in_an_error():
    text = "FROM scratch\nENV a=xxxxxxxxxxxxxxxx\n" + "ENV a=$a$a\n" * 64
    with pytest.raises(TrimaranError, match="larger than"):
        build(text)


def test_thousands_of_stages():
    chain = "FROM scratch AS s0\n" + "".join(f"FROM s{i} AS s{i + 1}\nCOPY a b\n" for i in range(3000))
    start = time.process_time()
    build(chain)
    assert time.process_time() - start < 8


def test_ranges_are_inside_of_the_file():
    text = b"FROM scratch\nRUN a \\\n # c\n  b\nCOPY <<E \\\n /x\nE\n"
    for node in parse(text).nodes:
        for place in (*node.where.ranges, *node.at().ranges):
            assert 1 <= place.start.line <= place.end.line <= 7


@relaxed
@given(dockerfile)
def test_every_error_has_a_place(text):
    error = refusal(text)
    if error is None:
        return
    assert error.where is not None, error
    lines = text.split("\n")
    for place in error.where.ranges:
        assert 1 <= place.start.line <= place.end.line <= len(lines)
        assert 0 <= place.start.character <= len(lines[place.start.line - 1])
        assert 0 <= place.end.character <= len(lines[place.end.line - 1])


def refusal(text):
    try:
        build(text)
    except TrimaranError as error:
        return error
    return None


@relaxed
@given(st.lists(words, min_size=1, max_size=7), st.sampled_from([" ", "  ", " \\\n ", "\t"]))
def test_words_stand_where_their_ranges_say(parts, gap):
    """The law of `lines`, on words that nothing was taken from."""
    text = "COPY " + gap.join(parts) + "\n"
    try:
        node = parse(text.encode()).nodes[0]
    except TrimaranError:
        return
    lines = text.split("\n")
    for word in node.arguments if not node.is_json else ():
        (place,) = node.at(word).ranges
        if place.start.line == place.end.line:
            assert lines[place.start.line - 1][place.start.character : place.end.character] == word.text
