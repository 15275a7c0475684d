"""What holds for every test: a skip is no way out on the reference machine, and end-to-end tests go file by file.

Tables of expected results that lie beside the repository are no part of it: where they are not, the tests that read
them are deselected, and the header says so.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

TESTS = Path(__file__).parent
if find_spec("trimaran") is None:  # `./run` installs the wheel; a plain pytest in a checkout takes the sources
    sys.path.insert(0, str(TESTS.parent / "src"))
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(TESTS.parent / "src"), os.environ.get("PYTHONPATH"))))

DAEMONS = ("e2e/test_caches_buildkit.py", "e2e/test_load.py")
"""They start Docker daemons, of which two that start at once can be in each other's way."""
LONG = ("e2e/test_other_kernels.py", "e2e/test_debian.py")
"""Few tests of more than a minute: begun last, one process would wait for the other."""
WHOLE = ("tests/test_architecture.py", "store/test_many_records.py")
"""Unit tests of one file that share what takes seconds to make: all sources parsed, a store with 10,000 records."""
ALLOW_SKIP = "TRIMARAN_ALLOW_SKIP"
CASES = Path(os.environ.get("TRIMARAN_CASES") or TESTS.parents[1] / "shared" / "cases")


def _on_reference_machine() -> bool:
    """Debian 12 as root: everything the tests need can be had there (`./run test` gets it)."""
    try:
        release = Path("/etc/os-release").read_text().splitlines()
    except OSError:
        return False
    return "ID=debian" in release and 'VERSION_ID="12"' in release and os.geteuid() == 0


def pytest_configure(config: pytest.Config) -> None:
    # Who is started in the background of a shell may have inherited that Ctrl-C is ignored; what we start must not.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    config.stash[_STRICT] = _on_reference_machine() and not os.environ.get(ALLOW_SKIP)


_STRICT = pytest.StashKey[bool]()


def pytest_report_header() -> str:
    return f"tables of expected results: {CASES}{'' if CASES.exists() else ' is not there, so what it would say is not tested'}"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not CASES.exists():
        config.hook.pytest_deselected(items=[item for item in items if _has_no_case(item)])
        items[:] = [item for item in items if not _has_no_case(item)]
    items.sort(key=_turn)


def _turn(item: pytest.Item) -> int:
    """Long files first, then the other end-to-end tests, and last what any process can take one by one."""
    if item.path.as_posix().endswith(LONG):
        return 0
    return 1 if "e2e" in item.path.parts else 2


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> object:
    """Any process takes the next unit test; of the end-to-end tests it takes a file, whose fixtures it makes once."""
    from xdist.scheduler import LoadScopeScheduling

    config.option.loadscopereorder = False  # else by how many tests a file has, not by how long they take

    class Scheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            if file.endswith(DAEMONS):
                return "daemons"
            return file if "e2e/" in file or file.endswith(WHOLE) else nodeid

    return Scheduling(config, log)


def _has_no_case(item: pytest.Item) -> bool:
    """A parametrized test over nothing; pytest itself marks it."""
    return any("got empty parameter set" in mark.kwargs.get("reason", "") for mark in item.iter_markers("skip"))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    outcome = yield
    _fail_if_skipped(item.config, outcome.get_result())


@pytest.hookimpl(hookwrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Iterator[None]:
    outcome = yield
    _fail_if_skipped(collector.config, outcome.get_result())


def _fail_if_skipped(config: pytest.Config, report: pytest.TestReport | pytest.CollectReport) -> None:
    if not report.skipped or hasattr(report, "wasxfail") or not config.stash[_STRICT]:
        return
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    report.outcome = "failed"
    report.longrepr = f"a skip is a failure on the reference machine ({ALLOW_SKIP}=1 allows it): {reason}"
