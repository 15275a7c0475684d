"""`version`: which program this is, in one line of three words, as buildx prints it."""

from __future__ import annotations

import sys

from trimaran import __version__
from trimaran.cli.invocation import Invocation
from trimaran.cli.options import DEBUG, Command, Values

COMMAND = Command(name="version", summary="Show version information", usage="version", flags=(DEBUG,))


def run(values: Values, invocation: Invocation) -> int:
    del values
    invocation.out(line())
    return 0


def line() -> str:
    return f"trimaran {__version__} python{sys.version_info[0]}.{sys.version_info[1]}.{sys.version_info[2]}\n"
