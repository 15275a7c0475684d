"""The documentation as a site: built with every warning an error, whole, and asking nobody when it is read."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
FETCHED = re.compile(r"""(?:src|href)=["']?(https?:)?//[^"' >]+\.(?:js|css|woff2?|png|svg)""")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Built as `./run docs` does."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


def test_every_page_is_there_and_can_be_found(site):
    pages = {path.name for path in (REPOSITORY / "docs").glob("*.md")}
    named = (REPOSITORY / "mkdocs.yml").read_text()
    assert not [page for page in sorted(pages) if page not in named], "pages that no list names"
    assert (site / "index.html").read_text().count("getting-started/") >= 1
    assert (site / "cli/build/index.html").exists()
    assert (site / "search/search_index.json").stat().st_size > 10_000


def test_tables_of_three_columns_of_commands_are_read_on_a_phone(site):
    """What docs/stylesheets/narrow.css says holds for these pages alone."""
    marked = {path.parent.name for path in site.rglob("index.html") if '<div class="rows">' in path.read_text()}
    assert marked == {path.stem for path in (REPOSITORY / "docs").glob("coming-from-*.md")} != set()
    assert ".rows td" in (site / "stylesheets/narrow.css").read_text()


def test_nothing_is_fetched_from_elsewhere(site):
    for page in site.rglob("*.html"):
        assert not FETCHED.search(page.read_text()), page


def test_pictures_are_whole(site):
    shown = {name for page in site.rglob("*.html") for name in re.findall(r"pictures/([\w-]+\.svg)", page.read_text())}
    assert shown
    for name in shown:
        assert (site / "pictures" / name).read_text().endswith("</svg>\n"), name
