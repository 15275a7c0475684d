"""What the goldens cannot show: several vertices at once, terminals of all sizes, colours, hostile output."""

from __future__ import annotations

import os
import threading
import time

import pytest
from hypothesis import given, strategies

from cli.progress_lines import parse_time
from trimaran.cli.display import screen
from trimaran.cli.display.colours import Colours
from trimaran.cli.display.epilogue import epilogue, execution_summary, warnings
from trimaran.cli.display.plain import Plain
from trimaran.cli.display.rawjson import format_time
from trimaran.cli.display.terminal import Tail, columns, cut, printable, strip_escapes
from trimaran.cli.display.trace import SECOND, Trace
from trimaran.cli.display.tty import Row, Tty, fit
from trimaran.digest import Digest
from trimaran.errors import Location, Position, Range, UsageError
from trimaran.events import Event, LogEvent, ProgressGroup, StatusEvent, VertexEvent, WarningEvent
from trimaran.snippet import snippet

T0 = 1_700_000_000 * SECOND


def digest(name: str) -> Digest:
    return Digest.of(name.encode())


def begin(name: str, at: float = 0.0) -> VertexEvent:
    return VertexEvent(digest=digest(name), name=name, started=T0 + int(at * SECOND))


def end(name: str, start: float, stop: float, **more: object) -> VertexEvent:
    return VertexEvent(
        digest=digest(name), name=name, started=T0 + int(start * SECOND), completed=T0 + int(stop * SECOND), **more
    )  # type: ignore[arg-type]


def log(name: str, text: str | bytes, at: float = 0.0) -> LogEvent:
    data = text.encode() if isinstance(text, str) else text
    return LogEvent(vertex=digest(name), stream=1, data=data, timestamp=T0 + int(at * SECOND))


class Clocked:
    """A plain display whose events say when they happen."""

    def __init__(self) -> None:
        self.display = Plain()
        self.text = ""

    def at(self, seconds: float, *events: Event) -> str:
        shown = self.display.update(events, T0 + int(seconds * SECOND))
        self.text += shown
        return shown


def test_plain_stays_with_a_vertex_for_five_seconds() -> None:
    clocked = Clocked()
    assert clocked.at(0, begin("a"), log("a", "a1\n")) == "#1 a\n#1 0.000 a1\n"
    assert clocked.at(1, begin("b", 1), log("b", "b1\n", 1)) == ""
    assert clocked.at(2, log("a", "a2\n", 2)) == "#1 2.000 a2\n"
    assert clocked.at(6, log("b", "b2\n" * 9, 6)).startswith("#1 ...\n\n#2 b\n#2 0.000 b1\n#2 5.000 b2\n")


def test_plain_hides_nobody_longer_than_ten_seconds() -> None:
    clocked = Clocked()
    clocked.at(0, begin("a"))
    clocked.at(0.1, begin("b", 0.1), log("b", "quiet\n", 0.1))
    for second in range(1, 30):
        clocked.at(second, *(log("a", "busy\n", second) for _ in range(100)))
        if "quiet" in clocked.text:
            break
    assert second <= 11


def test_plain_reprints_an_open_line_after_an_interruption() -> None:
    clocked = Clocked()
    clocked.at(0, begin("a"), log("a", "down"))
    assert clocked.text == "#1 a\n#1 0.000 down"
    assert clocked.at(0.1, log("a", "load")) == "load"
    assert clocked.at(0.2, begin("b", 0.1), end("b", 0.1, 0.2)) == "\n#1 ...\n\n#2 b\n#2 DONE 0.1s\n\n#1 a\n"
    assert clocked.at(0.3, log("a", "ing\n", 0.3)) == "#1 0.000 downloading\n"


def test_plain_keeps_bytes_that_are_no_text() -> None:
    clocked = Clocked()
    clocked.at(0, begin("a"), log("a", b"\xff\xc3"))
    clocked.at(0, log("a", b"\xa9\n"))
    assert clocked.text.encode("utf-8", "surrogateescape") == b"#1 a\n#1 0.000 \xff\xc3\xa9\n"


def test_plain_says_progress_in_steps() -> None:
    clocked = Clocked()
    clocked.at(0, begin("pull"))

    def status(current: int, at: float, done: bool = False) -> StatusEvent:
        now = T0 + int(at * SECOND)
        return StatusEvent(
            id="layer",
            vertex=digest("pull"),
            current=current,
            total=1000,
            timestamp=now,
            started=T0,
            completed=now * done,
        )

    assert clocked.at(1, status(10, 1)) == "#1 layer 10B / 1.00kB 1.0s\n"
    assert clocked.at(1.1, status(20, 1.1)) == ""
    assert clocked.at(1.2, status(100, 1.2)) == "#1 layer 100B / 1.00kB 1.2s\n"
    assert clocked.at(7, status(101, 7)) == "#1 layer 101B / 1.00kB 7.0s\n"
    assert clocked.at(7.1, status(1000, 7.1, True)) == "#1 layer 1.00kB / 1.00kB 7.1s done\n"


def test_epilogue_shows_the_last_lines_of_what_failed() -> None:
    trace = Trace()
    trace.apply([begin("ok"), end("ok", 0, 1), begin("bad"), begin("cut")])
    trace.apply([log("bad", "".join(f"{n}\n" for n in range(30)) + "open"), end("bad", 0, 1, error="exit code: 1")])
    trace.apply([end("cut", 0, 1, error="cancelled")])
    shown = epilogue(trace, lines=3)
    assert shown == "------\n > bad:\n0.000 28\n0.000 29\n0.000 open\n------\n"


def test_groups_are_one_row_once_a_strong_member_started() -> None:
    trace = Trace()
    weak, strong = ProgressGroup("g", "group", weak=True), ProgressGroup("g", "group")
    trace.apply([VertexEvent(digest=digest("w"), name="w", started=T0, completed=T0 + 1, progress_group=weak)])
    assert [vertex.name for vertex in trace.shown()] == []
    trace.apply([VertexEvent(digest=digest("s"), name="s", started=T0, completed=T0 + 5, progress_group=strong)])
    assert [vertex.name for vertex in trace.shown()] == ["group"]
    assert [vertex.name for vertex in trace.started] == ["group"]


def test_time_of_a_vertex_counts_overlapping_runs_once() -> None:
    trace = Trace()
    trace.apply([end("a", 0, 2), end("a", 1, 3), end("a", 5, 6), begin("a", 8)])
    assert trace.vertices[digest("a")].seconds(T0 + 9 * SECOND) == 5.0


def test_emulation_is_summed_up() -> None:
    trace = Trace()
    trace.apply([end("n", 0, 1, execution="native"), end("h", 0, 1, execution="native", cached=True)])
    assert execution_summary(trace) == ""
    trace.apply([end("e", 0, 9, execution="emulated", emulated=4 * SECOND), end("c", 0, 1, execution="cross")])
    assert execution_summary(trace) == "Steps run: 1 native, 1 cross, 1 emulated (4.0s under emulation)\n"


def test_warnings_in_brief_and_in_full() -> None:
    where = Location("Dockerfile", b"FROM x as y\n", (Range(Position(1), Position(1)),))
    trace = Trace()
    trace.apply(
        [WarningEvent(vertex=digest("a"), short=b"Rule: no (line 1)", detail=(b"why",), url="http://u", where=where)]
    )
    brief = warnings(trace, expand="docker --debug", colour=False, detailed=False)
    assert brief == "\n 1 warning found (use docker --debug to expand):\n - Rule: no (line 1)\n"
    full = warnings(trace, expand="", colour=True, detailed=True)
    assert full.startswith(
        "\n \x1b[33m1 warning found:\n\x1b[0m - Rule: no (line 1)\nwhy\nMore info: http://u\nDockerfile:1\n"
    )


def test_snippet_window() -> None:
    source = b"".join(b"line %d\n" % n for n in range(1, 11))

    def shown(first: int, last: int) -> list[str]:
        return snippet(Location("D", source, (Range(Position(first), Position(last)),))).splitlines()[2:-1]

    assert [line[:4].strip() for line in shown(5, 5)] == ["3", "4", "5", "6", "7"]
    assert [line[:4].strip() for line in shown(5, 6)] == ["4", "5", "6", "7"]
    assert [line[:4].strip() for line in shown(1, 1)] == ["1", "2", "3"]
    assert shown(5, 5)[2] == "   5 | >>> line 5"
    assert snippet(Location("D", source, ())) == ""
    assert snippet(Location("D", source, (Range(Position(99), Position(99)),))) == ""


@given(strategies.integers(1, 200), strategies.integers(1, 60), strategies.text(max_size=80))
def test_no_row_is_wider_than_the_terminal(width: int, height: int, name: str) -> None:
    display = Tty(lambda: (width, height), label="embedded:trimaran")
    vertex = VertexEvent(digest=digest("x"), name=name, started=T0)
    text = display.update([vertex, log("x", name + "\n" + name)], T0 + SECOND)
    assert all(columns(strip_escapes(line)) <= width for line in text.split("\n"))


def test_rows_that_run_stay_in_sight() -> None:
    rows = [Row("r1", 0, going=True), *(Row(f"d{n}", 0) for n in range(5)), Row("r2", 0, going=True)]
    assert [row.name for row in fit(rows, 4)] == ["r1", "d3", "d4", "r2"]
    assert fit(rows, 0) == []
    assert fit(rows, 99) == rows
    assert len(fit([Row(str(n), 0, going=True) for n in range(9)], 3)) == 3


def test_a_picture_is_replaced_by_one_of_its_size() -> None:
    display = Tty(lambda: (80, 24), colours=Colours.of({"NO_COLOR": "1"}))
    display.update([begin("a"), begin("b")], T0)
    again = display.update([], T0 + SECOND)
    assert again.startswith("\x1b[1A\x1b[1A\x1b[1A\x1b[0G")
    assert again.count("\n") == 3


def test_colours() -> None:
    assert Colours.of({}).run == "\x1b[34m"
    chosen = Colours.of({"BUILDKIT_COLORS": "run=green:cancel=255,165,0:error=nonsense:foo=red"})
    assert (chosen.run, chosen.cancel, chosen.error) == ("\x1b[32m", "\x1b[38;2;255;165;0m", "\x1b[31m")
    assert Colours.of({"NO_COLOR": "1", "BUILDKIT_COLORS": "run=green"}).run == ""


def tail(*pieces: bytes, width: int = 20, height: int = 6) -> list[str]:
    kept = Tail()
    for piece in pieces:
        kept.write(piece, width, height)
    return kept.visible(width, height)


def test_tail_is_what_a_terminal_would_show() -> None:
    assert tail(b"10%\r50%\r100%\nnext") == ["100%", "next"]
    assert tail(b"abcdef\rXY") == ["XYcdef"]
    assert tail(b"a\tb\n") == ["a       b"]
    assert tail(*(b"%d\n" % n for n in range(20))) == ["15", "16", "17", "18", "19"]
    assert tail(b"x" * 45) == ["x" * 20, "x" * 20, "x" * 5]
    assert tail(b"\x1b[31mred\x1b[0m \x1b]0;title\x07end\x1b(B") == ["red end"]


def test_names_cannot_steer_the_terminal() -> None:
    display = Tty(lambda: (80, 24), colours=Colours.of({"NO_COLOR": "1"}))
    text = display.update([begin("RUN echo \x1b]0;evil\x07\r\n\x1b[2J")], T0)
    assert "\x1b]0" not in text
    assert "\x1b[2J" not in text
    assert text.count("\n") == 2


@given(strategies.text())
def test_escapes_are_gone_whatever_comes(text: str) -> None:
    assert "\x1b" not in strip_escapes(text)
    assert printable(text).isprintable()


@given(strategies.text(max_size=40), strategies.integers(0, 50))
def test_cut_fits(text: str, width: int) -> None:
    assert columns(cut(text, width)) <= width


def test_wide_characters_count_two() -> None:
    assert columns("日本e\u0301") == 5
    assert cut("日本語", 5) == "日本"


@given(strategies.integers(1, 2**62))
def test_times_read_back(nanoseconds: int) -> None:
    assert parse_time(format_time(nanoseconds)) == nanoseconds


@pytest.mark.parametrize(
    ("mode", "environment", "terminal", "chosen"),
    [
        ("auto", {"TERM": "xterm"}, True, "tty"),
        ("auto", {"TERM": "xterm"}, False, "plain"),
        ("auto", {"TERM": "dumb"}, True, "plain"),
        ("auto", {"CI": "true"}, True, "plain"),
        ("tty", {"CI": "true"}, True, "tty"),
        ("rawjson", {}, False, "rawjson"),
    ],
)
def test_auto_looks_at_the_terminal(mode: str, environment: dict[str, str], terminal: bool, chosen: str) -> None:
    assert screen.choose(mode, environment, terminal=terminal) == chosen  # type: ignore[arg-type]


def test_tty_without_a_terminal_is_refused() -> None:
    with pytest.raises(UsageError, match="not a terminal"):
        screen.choose("tty", {}, terminal=False)


def test_screen_shows_all_events_of_all_threads() -> None:
    out: list[str] = []
    shown = screen.Screen(Plain(), out.append, every=0.01)
    shown.start()
    shown.sink(begin("a"))

    def work(name: str) -> None:
        for number in range(200):
            shown.sink(log("a", f"{name}{number}\n"))

    threads = [threading.Thread(target=work, args=(name,)) for name in "xyz"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    shown.sink(end("a", 0, 1))
    shown.stop()
    text = "".join(out)
    assert all(f" {name}{number}\n" in text for name in "xyz" for number in range(200))
    assert text.endswith("#1 DONE 1.0s\n")


def test_much_output_is_shown_in_time() -> None:
    """10 MB of log in one vertex: the tail looks at what can be seen only."""
    display = Tty(lambda: (80, 24))
    display.update([begin("a")], T0)
    begun = time.process_time()
    for _ in range(10):
        display.update([log("a", b"some line of a log\n" * 50_000)], T0)
    assert time.process_time() - begun < 5


def test_writing_to_nobody_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(number: int, data: bytes) -> int:
        raise BrokenPipeError

    monkeypatch.setattr(os, "write", refuse)
    screen.write_stderr("text")
