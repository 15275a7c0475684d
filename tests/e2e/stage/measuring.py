"""How large a program becomes, whoever starts it."""

from __future__ import annotations

import sys

from stage.contexts import Context
from stage.program import Trimaran

MEASURING = """
import os, sys
pid = os.spawnv(os.P_NOWAIT, sys.argv[2], sys.argv[2:])
_, status, used = os.wait4(pid, 0)
with open(sys.argv[1], "w") as file:
    file.write(str(used.ru_maxrss))
sys.exit(os.waitstatus_to_exitcode(status))
"""
"""A small process between: what the kernel says of a program that we start ourselves is our own size at least."""


def measured(trimaran: Trimaran, context: Context) -> Trimaran:
    """The same program; `peak_of` has the size of its largest process once it has ended."""
    program = Trimaran([sys.executable, "-c", MEASURING, str(context / "peak"), *trimaran.command], trimaran.home)
    program.environment = dict(trimaran.environment)
    return program


def peak_of(context: Context) -> int:
    """Bytes."""
    return int((context / "peak").read_text()) * 1024


def peak(trimaran: Trimaran, context: Context, *words: str, exit_code: int = 0) -> int:
    """Bytes of the largest process of a build, at its peak."""
    measured(trimaran, context)("build", *words, ".", cwd=context.folder, exit_code=exit_code)
    return peak_of(context)
