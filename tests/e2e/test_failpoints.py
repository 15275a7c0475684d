"""The installed program killed, or its disk full, at steps of the write protocol: then it is sound, and builds the same."""

from __future__ import annotations

import json
import signal

import pytest

STAMP = "touch -d @1000000000"
DOCKERFILE = f"""FROM alpine AS made
RUN mkdir /d && echo one >/d/one && {STAMP} /d/one /d
COPY a /d/copied
RUN cat /d/one /d/copied >/d/both && {STAMP} /d/both /d/copied /d
FROM scratch
COPY --from=made /d /d
"""
"""What it gives does not depend on when it is built."""
COUNTS = {"image row": 1}
KILLED = 128 + signal.SIGKILL
PLACES = ["before blob rename", "blob row", "snapshot numbered", "snapshot renamed", "layer row", "image row"]


def built(command, context, **options):
    said = command("build", "-q", "-t", "app", "--build-arg", "SOURCE_DATE_EPOCH=1", ".", cwd=context.folder, **options)
    return said.stdout.strip()


@pytest.fixture(scope="module")
def digests() -> dict[str, str]:
    return {}


@pytest.mark.parametrize("place", PLACES)
def test_killed_then_sound_then_the_same(trimaran, bases, context, digests, place):
    context.dockerfile(DOCKERFILE)
    context.write("a", "copied\n")
    said = built(
        trimaran, context, env={"TRIMARAN_FAILPOINT": f"{place}=kill@{COUNTS.get(place, 2)}"}, exit_code=KILLED
    )
    assert not said
    checked = json.loads(trimaran("fsck", "--json").stdout)
    assert checked["damages"] == []
    digest = built(trimaran, context)
    assert digest.startswith("sha256:")
    assert digests.setdefault("digest", digest) == digest


@pytest.mark.parametrize("what", ["ENOSPC", "EIO"])
@pytest.mark.parametrize("place", ["before blob write", "before snapshot write"])
def test_a_disk_that_says_no_is_told_and_nothing_is_lost(trimaran, bases, context, place, what):
    context.dockerfile(DOCKERFILE)
    context.write("a", "copied\n")
    options = {"env": {"TRIMARAN_FAILPOINT": f"{place}={what}@2"}, "cwd": context.folder, "exit_code": 1}
    said = trimaran("build", "-t", "app", ".", **options).stderr
    assert ("No space left on device" if what == "ENOSPC" else "Input/output error") in said
    assert "Traceback" not in said
    assert ("prune" in said) == (what == "ENOSPC")
    assert built(trimaran, context).startswith("sha256:")
    assert json.loads(trimaran("fsck", "--json").stdout)["damages"] == []
