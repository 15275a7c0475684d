"""What holds for every test: a skip is no way out on the reference machine, and end-to-end tests come last."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
sys.path[:0] = [str(TESTS), str(TESTS / "e2e")]  # for `bases` and `stage`, whatever the import mode
if find_spec("trimaran") is None:  # `./run` installs the wheel; a plain pytest in a checkout takes the sources
    sys.path.insert(0, str(TESTS.parent / "src"))
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(TESTS.parent / "src"), os.environ.get("PYTHONPATH"))))

ALLOW_SKIP = "TRIMARAN_ALLOW_SKIP"


def _on_reference_machine() -> bool:
    """Debian 12 as root: everything the tests need can be had there (`./run test` gets it)."""
    try:
        release = Path("/etc/os-release").read_text().splitlines()
    except OSError:
        return False
    return "ID=debian" in release and 'VERSION_ID="12"' in release and os.geteuid() == 0


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_STRICT] = _on_reference_machine() and not os.environ.get(ALLOW_SKIP)


_STRICT = pytest.StashKey[bool]()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: "e2e" in item.path.parts)


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
