"""What a cache mount is bound from while another step changes it: never anything outside of it (T02, T09)."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from trimaran.errors import Denied, TrimaranError
from trimaran.linux import paths
from trimaran.steps.select import MissingSource
from trimaran.steps.staging import _open_cached, open_shown


@pytest.fixture(params=["openat2", "walk"])
def cache(request, tmp_path, monkeypatch):
    """The folder of a cache mount beside a folder of the machine."""
    monkeypatch.setattr(paths, "_openat2_works", request.param == "openat2")
    (tmp_path / "victim").mkdir()
    (tmp_path / "cache").mkdir()
    return tmp_path / "cache"


SWAPPER = """import os, sys
cache, victim = sys.argv[1:]
os.chdir(cache)
while True:
    for make, take_away in ((lambda: os.mkdir("sub"), os.rmdir), (lambda: os.symlink(victim, "sub"), os.unlink),
                            (lambda: os.symlink("../../../../.." + victim, "sub"), os.unlink)):
        make()
        for _ in range(20): os.stat(".")
        take_away("sub")
"""


def test_a_path_that_is_swapped_meanwhile(cache):
    """Another process makes it a folder, a link out and nothing, as fast as it can."""
    victim = cache.parent / "victim"
    stranger = victim.stat().st_ino
    swapper = subprocess.Popen([sys.executable, "-c", SWAPPER, cache, victim])
    opened = refused = 0
    deadline = time.monotonic() + 20
    try:
        while (opened < 20 or refused < 20) and time.monotonic() < deadline:
            for attempt in (_open_cached, open_shown):
                try:
                    fd = attempt(str(cache), "sub")
                except TrimaranError:
                    refused += 1
                    continue
                opened += 1
                assert os.fstat(fd).st_ino != stranger
                os.close(fd)
    finally:
        swapper.kill()
        swapper.wait()
    assert opened, "this test is void when it never saw the folder"
    assert refused, "this test is void when it never saw anything else"


def test_what_lies_inside_is_found_through_links(cache):
    (cache / "real").mkdir()
    (cache / "real/file").write_text("x")
    (cache / "link").symlink_to("/real")
    (cache / "up").symlink_to("../../../../real/file")
    for path, found in (("link", cache / "real"), ("link/file", cache / "real/file"), ("up", cache / "real/file")):
        fd = _open_cached(str(cache), path)
        assert os.fstat(fd).st_ino == found.stat().st_ino
        os.close(fd)


def test_what_is_not_there_or_can_not_be_shown(cache):
    (cache / "out").symlink_to(cache.parent / "victim")
    (cache / "ring").symlink_to("ring")
    os.mkfifo(cache / "fifo")
    with pytest.raises(MissingSource, match='"/no": not found') as missing:
        _open_cached(str(cache), "no")
    assert "a step has to make it" in missing.value.hint
    with pytest.raises(MissingSource):
        _open_cached(str(cache), "out")
    for path in ("ring", "fifo"):
        with pytest.raises(Denied):
            _open_cached(str(cache), path)
