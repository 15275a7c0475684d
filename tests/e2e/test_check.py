"""Questions about a Dockerfile, and copies that are put on top, with the installed program on real bases."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

import pytest
from stage import reading

TEXT = """\
# check=experimental=PackageCacheInLayer
# base has the tools
FROM alpine AS base
RUN apk add curl
ENV PATH=$PAHT:/x

FROM base
ARG level=1
CMD start
"""


@pytest.fixture
def context():
    """In a folder that every account may read."""
    folder = Path(tempfile.mkdtemp(prefix="trimaran-context-", dir="/var/tmp"))
    folder.chmod(0o755)
    (folder / "Dockerfile").write_text(TEXT)
    yield folder
    shutil.rmtree(folder)


def test_check_outline_and_targets(either, bases, context):
    checked = either("build", "--check", ".", cwd=context, exit_code=1)
    assert checked.stdout.startswith("Check complete, 3 warnings have been found!\n\nWARNING: PackageCacheInLayer\n")
    assert "Usage of undefined variable '$PAHT' (did you mean $PATH?)\nDockerfile:5\n" in checked.stdout
    asked = either("build", "--call=check,format=json,ignorestatus=true", ".", cwd=context)
    assert {one["ruleName"] for one in json.loads(asked.stdout)["warnings"]} == {
        "PackageCacheInLayer",
        "UndefinedVar",
        "JSONArgsRecommended",
    }
    assert either("build", "--call=targets", ".", cwd=context).stdout == (
        "TARGET    DESCRIPTION\nbase      has the tools\n(default) \n"
    )
    outline = either("build", "--call=outline", "--build-arg", "level=2", ".", cwd=context).stdout
    assert outline == "BUILD ARG   VALUE   DESCRIPTION\nlevel       2       \n\n"
    assert list((either.root / "blobs" / "sha256").iterdir()), "only the base's documents were looked up"


def test_a_file_that_cannot_be_built(either, bases, context):
    (context / "Dockerfile").write_text("FROM alpine AS A\nCOPPY x /\n")
    checked = either("build", "--check", ".", cwd=context, exit_code=1)
    assert checked.stdout.startswith("Check complete, 1 warning has been found!")
    assert "ERROR: dockerfile parse error on line 2: unknown instruction: COPPY (did you mean COPY?)" in checked.stderr
    assert "   2 | >>> COPPY x /\n" in checked.stderr


def test_warnings_stop_a_build_that_wants_it(either, bases, context):
    (context / "Dockerfile").write_text("# check=error=true\nFROM scratch AS A\nCOPY Dockerfile /\n")
    refused = either("build", ".", cwd=context, exit_code=1)
    assert "ERROR: lint violation found for rules: StageNameCasing" in refused.stderr
    allowed = either("build", "--build-arg", "BUILDKIT_DOCKERFILE_CHECK=skip=all", ".", cwd=context)
    assert "warning" not in allowed.stderr


def test_linked_copies_survive_a_change_below(either, bases, context, tmp_path):
    (context / "app").mkdir()
    (context / "app" / "kept.txt").write_text("kept\n")
    (context / "app" / "left.md").write_text("left\n")
    text = (
        "FROM alpine\nRUN echo {} > /level\nCOPY --link --exclude=*.md app /srv/app/\nCOPY --parents app/*.md /doc/\n"
    )
    for number in (1, 2):
        (context / "Dockerfile").write_text(text.format(number))
        name = f"{bases}/linked-{either.home.owner()}:{number}"
        built = either("build", "-t", name, "--push", ".", cwd=context).stderr
    step = next(line.split()[0] for line in built.splitlines() if "] COPY --link" in line and "LINK" not in line)
    assert f"{step} CACHED" in built, "what is below changed, and nothing was copied again"
    root = reading.unpack(f"docker://{name}", tmp_path / "read")
    assert (root / "level").read_text() == "2\n"
    assert (root / "srv/app/kept.txt").read_text() == "kept\n"
    assert not (root / "srv/app/left.md").exists()
    assert (root / "doc/app/left.md").read_text() == "left\n"
    layers = [reading.config_of(f"docker://{name[:-1]}{number}")["rootfs"]["diff_ids"] for number in (1, 2)]
    assert len(set(layers[0]) & set(layers[1])) == len(layers[0]) - 1, "only the changed layer differs"
