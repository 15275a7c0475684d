"""What names a build file: the same across edits, another for another file."""

from __future__ import annotations

import pytest

from trimaran.engine.request import BuildRequest
from trimaran.graph.frontend import FrontendRequest
from trimaran.platforms import Platform


def scope(context: str = "/ctx", dockerfile: str = "/ctx", filename: str = "Dockerfile", url: str = "") -> str:
    folders = [("context", context), ("dockerfile", dockerfile)]
    frontend = FrontendRequest(filename=filename, context_url=url, build_platform=Platform("linux", "amd64"))
    return BuildRequest(frontend=frontend, folders=tuple(each for each in folders if each[1])).scope


OTHERS = {
    "context": {"context": "/other", "dockerfile": "/other"},
    "folder of the file": {"dockerfile": "/ctx/docker"},
    "file": {"filename": "Dockerfile.test"},
    "url": {"url": "https://host/a.git"},
}


@pytest.mark.parametrize("words", OTHERS.values(), ids=OTHERS)
def test_another_file_is_another_scope(words):
    assert scope(**words) != scope()


def test_a_file_from_standard_input_is_named_by_its_context():
    assert scope(dockerfile="/tmp/one") == scope(dockerfile="/tmp/two")  # noqa: S108 - nothing is written there


def test_there_need_not_be_a_context():
    assert scope(context="", dockerfile="")
    assert scope(context="", dockerfile="/x")
