from __future__ import annotations

import pytest
from stage.git_server import GitServer

from trimaran.digest import Digest
from trimaran.events import Progress, discard
from trimaran.store.store import open_store


@pytest.fixture
def store(tmp_path):
    with open_store(str(tmp_path / "store")) as opened:
        yield opened


@pytest.fixture
def progress():
    return Progress(discard, Digest.of(b"test"))


@pytest.fixture
def git_server(tmp_path):
    with GitServer(tmp_path / "repositories").serving() as running:
        yield running
