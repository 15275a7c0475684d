"""Sizes, durations and csv as Go's libraries have them."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given, strategies

from trimaran.cli.units import (
    parse_bool,
    parse_bytes,
    parse_duration,
    parse_integer,
    progress_size,
    split_csv,
)
from trimaran.sizes import decimal_size
from trimaran.spelling import edits, nearest


@pytest.mark.parametrize(
    ("text", "size"),
    [("512", 512), ("64m", 64 << 20), ("1.5GiB", 3 << 29), ("2kb", 2048), ("1 GB", 1 << 30), ("10B", 10), ("0", 0)],
)
def test_bytes(text: str, size: int) -> None:
    assert parse_bytes(text) == size


@pytest.mark.parametrize("text", ["", "abc", "-1", "1x", "1ib", ".5m", "1.2.3m", "m", "1mm", "١m", "8192p"])
def test_bytes_refused(text: str) -> None:
    with pytest.raises(ValueError, match="invalid size"):
        parse_bytes(text)


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        ("1h30m", 5400 * 10**9),
        ("250ms", 250 * 10**6),
        ("1.5s", 1_500_000_000),
        ("-2us", -2000),
        ("0", 0),
        ("1µs", 1000),
    ],
)
def test_durations(text: str, nanoseconds: int) -> None:
    assert parse_duration(text) == nanoseconds


@pytest.mark.parametrize("text", ["", "1", "s", "1x", "1.2.3s", "1h 2m"])
def test_durations_refused(text: str) -> None:
    with pytest.raises(ValueError, match="invalid duration"):
        parse_duration(text)


def test_booleans_and_numbers_refused() -> None:
    for text in ("", "yes", "TrUe"):
        with pytest.raises(ValueError, match="ParseBool"):
            parse_bool(text)
    for text in ("", "1.5", "0x1", "1_0", "٣"):
        with pytest.raises(ValueError, match="ParseInt"):
            parse_integer(text)
    with pytest.raises(ValueError, match="out of range"):
        parse_integer(str(2**63))


@given(strategies.lists(strategies.text(alphabet='abc," =', max_size=5), min_size=1, max_size=4))
def test_csv_reads_back_what_csv_writes(fields: list[str]) -> None:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="").writerow(fields)
    assert split_csv(buffer.getvalue()) == fields


@pytest.mark.parametrize("text", ['"a', 'a"b', '"a"b,c', 'x,"'])
def test_csv_refused(text: str) -> None:
    with pytest.raises(ValueError, match="parse csv"):
        split_csv(text)


@pytest.mark.parametrize(
    ("count", "shown"), [(0, "0B"), (999, "999B"), (1000, "1.00kB"), (1080187, "1.08MB"), (3 * 10**9, "3.00GB")]
)
def test_progress_sizes(count: int, shown: str) -> None:
    assert progress_size(count) == shown


@pytest.mark.parametrize(("count", "shown"), [(0, "0B"), (1000, "1kB"), (1080187, "1.08MB"), (123456, "123.5kB")])
def test_decimal_sizes(count: int, shown: str) -> None:
    assert decimal_size(count) == shown


def test_nearest_words() -> None:
    known = ["--platform", "--push", "--pull"]
    assert nearest("--platfrom", known) == "--platform"
    assert nearest("--pus", known) == "--push"
    assert nearest("something", known) == ""
    assert edits("ab", "ba") == 1
    assert edits("", "abc") == 3
