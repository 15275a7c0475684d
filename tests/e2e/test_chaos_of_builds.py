"""Random Dockerfiles, several builds at once on one store, some interrupted, some killed, pruned under: as one cold build.

What the solver's own tests try with layers made by hand (`tests/store/test_chaos.py`), tried with the installed program,
real steps and real signals. Law: every build that ends gives the image of one serial build on an empty store; nobody
suffers from what is done to another; afterwards the store is sound, and all that was built is cached.
"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st
from stage.contexts import Context
from stage.program import TIMEOUT, Trimaran

ALLOWED = {None: {0}, signal.SIGINT: {0, 130, -signal.SIGINT}, signal.SIGKILL: {0, -signal.SIGKILL}}
"""Exit codes after a signal: a build may have been at its end, or not have begun to listen."""

Step = tuple[str, int]
"""Its kind, and which earlier stage it reads (modulo their number)."""


class Stage(NamedTuple):
    base: int
    """Of which earlier stage (modulo their number, and the base image); its steps follow."""
    steps: Sequence[Step]


class Builder(NamedTuple):
    """One build of stage `target` (modulo their number), and the signal it gets after so many milliseconds."""

    target: int
    signal: signal.Signals | None
    after: int


STEPS = st.tuples(st.sampled_from(["run", "copy", "from", "mount"]), st.integers(0, 5))
STAGES = st.builds(Stage, st.integers(0, 5), st.lists(STEPS, min_size=1, max_size=3))
SIGNALS = st.sampled_from([None, signal.SIGINT, signal.SIGKILL, signal.SIGKILL])
BUILDERS = st.builds(Builder, st.integers(0, 5), SIGNALS, st.integers(20, 1200))
DIAMOND = [
    Stage(0, [("run", 0)]),
    Stage(1, [("run", 0), ("copy", 0)]),
    Stage(1, [("mount", 1), ("run", 0)]),
    Stage(2, [("from", 2), ("run", 0)]),
]


def dockerfile(stages: Sequence[Stage]) -> str:
    """What each step writes follows from all that its stage holds by then, so a wrong input shows in all above it."""
    lines = []
    for number, stage in enumerate(stages):
        below = stage.base % (number + 1)
        lines.append(f"FROM {f's{below - 1}' if below else 'alpine'} AS s{number}")
        lines.append(f"COPY a /d/{number}")
        for step, (kind, other) in enumerate(stage.steps):
            lines.append(_step(kind, other % number if number else None, f"{number}.{step}"))
    return "\n".join([*lines, ""])


def _step(kind: str, other: int | None, name: str) -> str:
    if kind == "copy" or (kind == "from" and other is None):
        return f"COPY b /d/{name}"
    if kind == "from":
        return f"COPY --from=s{other} /d /d/{name}"
    mount = f"--mount=from=s{other},target=/m " if kind == "mount" and other is not None else ""
    return f"RUN {mount}find /d /m -type f | sort | xargs cat | md5sum > /tmp/sum; mkdir -p /d; mv /tmp/sum /d/{name}"


def words(target: int, *more: str) -> list[str]:
    return ["build", "-q", "--reproducible", "--target", f"s{target}", *more, "."]


def ended(process: subprocess.Popen[str], builder: Builder) -> str | None:
    """The digest it gave; None when it did not come to that, which only those may that were told to end."""
    out, err = process.communicate(timeout=TIMEOUT)
    if builder.signal == signal.SIGINT and err.rstrip().endswith("KeyboardInterrupt") and "main()" not in err:
        return None  # the interpreter's own words: it had not come to our first line yet
    assert "Traceback" not in err, err
    assert process.returncode in ALLOWED[builder.signal], err
    return out.strip() or None


@pytest.mark.timeout(240)
def test_whatever_is_done_to_builds_the_result_is_that_of_one_cold_build(
    trimaran: Trimaran, bases: str, context: Context
) -> None:
    context.write("a", "a\n")
    context.write("b", "b\n")

    @settings(
        max_examples=4,
        derandomize=True,
        deadline=None,
        database=None,
        phases=(Phase.explicit, Phase.generate),
        suppress_health_check=list(HealthCheck),
    )
    @example(
        stages=DIAMOND,
        builders=[Builder(3, signal.SIGKILL, 500), Builder(2, signal.SIGINT, 700), Builder(3, None, 0)],
        prunes=True,
    )
    @given(
        stages=st.lists(STAGES, min_size=2, max_size=4),
        builders=st.lists(BUILDERS, min_size=3, max_size=4),
        prunes=st.booleans(),
    )
    def chaos(stages: list[Stage], builders: list[Builder], prunes: bool) -> None:
        with tempfile.TemporaryDirectory(dir=trimaran.home, ignore_cleanup_errors=True) as folder:
            context.dockerfile(dockerfile(stages))
            _try(trimaran, context, Path(folder), len(stages), builders, prunes)

    chaos()


def _try(
    trimaran: Trimaran, context: Context, folder: Path, stages: int, builders: Sequence[Builder], prunes: bool
) -> None:
    targets = [builder.target % stages for builder in builders]
    alone = {"TRIMARAN_ROOT": str(folder / "cold")}
    cold = {
        target: trimaran(*words(target, "--jobs=1"), cwd=context.folder, env=alone).stdout.strip()
        for target in set(targets)
    }
    shared = {"TRIMARAN_ROOT": str(folder / "shared")}
    begun = time.monotonic()
    running = [trimaran.start(*words(target), cwd=context.folder, env=shared) for target in targets]
    for builder, process in sorted(zip(builders, running, strict=True), key=lambda pair: pair[0].after):
        time.sleep(max(0.0, begun + builder.after / 1000 - time.monotonic()))
        if builder.signal is not None:
            process.send_signal(builder.signal)
    if prunes:
        trimaran("prune", "--all", "--force", env=shared)
    found = [ended(process, builder) for process, builder in zip(running, builders, strict=True)]
    assert all(digest in {cold[target], None} for digest, target in zip(found, targets, strict=True)), (found, cold)
    for target, digest in cold.items():
        assert trimaran(*words(target), cwd=context.folder, env=shared).stdout.strip() == digest
    for target, digest in cold.items():
        again = trimaran(*words(target, "--fail-on-miss"), cwd=context.folder, env=shared)
        assert again.stdout.strip() == digest
    assert json.loads(trimaran("fsck", "--json", env=shared).stdout)["damages"] == []
    left = [path for name in ("temp", "live") for path in (folder / "shared" / name).rglob("*")]
    assert not left, "what the killed left is swept"
    shutil.rmtree(folder / "shared")
