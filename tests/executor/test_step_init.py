"""The first process of a step without a PID namespace, with shells as runtimes: it ends what a step leaves behind."""

import subprocess
from pathlib import Path

import pytest

from trimaran.executor.step_init import init_command

RUNTIME = """#!/bin/sh
# As a runtime that waits for all that its container started.
sh -c 'sleep 321 & echo $! > {folder}/left' &
program=$!
{before}
echo $program > {folder}/pid
wait $program
while kill -0 "$(cat {folder}/left)" 2>/dev/null; do sleep 0.05; done
exit 7
"""


@pytest.mark.parametrize("before", ["", "wait $program"], ids=["told in time", "told when it has ended"])
def test_what_a_program_leaves_is_ended(tmp_path: Path, before: str) -> None:
    runtime = tmp_path / "runtime"
    runtime.write_text(RUNTIME.format(folder=tmp_path, before=before))
    runtime.chmod(0o755)
    said = subprocess.run(init_command("exec", str(tmp_path / "pid"), str(runtime)), timeout=20, check=False)
    assert said.returncode == 7
    assert not Path("/proc", (tmp_path / "left").read_text().strip()).exists()
