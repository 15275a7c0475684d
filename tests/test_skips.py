"""The rules of tests/conftest.py: where a skip is a failure, what is left out, who shares a process."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

CONFTEST = Path(__file__).with_name("conftest.py")

SKIPS = """
import pytest

def test_skips():
    pytest.skip("no moon tonight")

@pytest.mark.xfail(strict=True)
def test_is_expected_to_fail():
    assert False
"""

TABLES = """
import pytest

@pytest.mark.parametrize("row", [])
def test_rows(row):
    pass

def test_other():
    pass
"""


def on_reference_machine() -> bool:
    # Several files have this name, so it is loaded by its path.
    spec = importlib.util.spec_from_file_location("conftest_of_all", CONFTEST)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module._on_reference_machine()


def outcome(folder: Path, text: str = SKIPS, *options: str, allow: str = "", cases: Path | str = "") -> str:
    shutil.copy(CONFTEST, folder / "conftest.py")
    (folder / "test_it.py").write_text(text)
    environment = {**os.environ, "TRIMARAN_ALLOW_SKIP": allow, "TRIMARAN_CASES": str(cases), "PYTEST_ADDOPTS": ""}
    environment["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # of which only one is needed, and some take long to load
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-c", os.devnull, "--rootdir", str(folder)]
    said = subprocess.run(
        [*command, *options, str(folder)], capture_output=True, text=True, check=False, env=environment
    )
    return said.stdout


def test_skip_fails_on_the_reference_machine_only(tmp_path: Path) -> None:
    said = outcome(tmp_path)
    if on_reference_machine():
        assert "1 failed, 1 xfailed" in said
        assert "no moon tonight" in said
    else:
        assert "1 skipped, 1 xfailed" in said


def test_skip_may_be_allowed(tmp_path: Path) -> None:
    assert "1 skipped, 1 xfailed" in outcome(tmp_path, allow="1")


def test_tables_that_are_not_there_are_not_tested(tmp_path: Path) -> None:
    said = outcome(tmp_path, TABLES, cases=tmp_path / "none")
    assert "1 passed, 1 deselected" in said
    assert "is not there" in said


def test_tables_without_a_row_are_a_skip_like_any_other(tmp_path: Path) -> None:
    said = outcome(tmp_path, TABLES, cases=tmp_path)
    assert ("1 passed, 1 error" if on_reference_machine() else "1 passed, 1 skipped") in said


WORKERS = """
import os
import time

import pytest

@pytest.mark.parametrize("number", range(8))
def test_where(number, pytestconfig):
    time.sleep(0.05)
    with open(pytestconfig.rootpath / "workers", "a") as file:
        print(os.environ["PYTEST_XDIST_WORKER"], file=file)
"""


def test_end_to_end_tests_of_a_file_share_one_process(tmp_path: Path) -> None:
    (tmp_path / "e2e").mkdir()
    (tmp_path / "e2e/test_where.py").write_text(WORKERS)
    said = outcome(tmp_path, SKIPS, "-p", "xdist", "-n", "2", allow="1")
    assert "8 passed" in said
    assert len(set((tmp_path / "workers").read_text().split())) == 1
