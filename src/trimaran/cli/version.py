"""`version`: which program this is, in one line of three words, as buildx prints it.

As docker's plugin the second word is the buildx whose flags and files these are: programs that call it read that word
to know what they may ask for (docker/actions-toolkit, src/buildx/buildx.ts).
"""

from __future__ import annotations

import sys

from trimaran import __version__
from trimaran.cli.invocation import Invocation
from trimaran.cli.options import DEBUG, Command, Values

BUILDX = "0.29.1"
"""What `build`, `inspect` and the metadata file are held to by tests."""

COMMAND = Command(name="version", summary="Show version information", usage="version", flags=(DEBUG,))


def run(values: Values, invocation: Invocation) -> int:
    del values
    invocation.out(plugin_line() if invocation.plugin else line())
    return 0


def plugin_line() -> str:
    return f"trimaran {BUILDX} trimaran-{__version__}\n"


def line() -> str:
    return f"trimaran {__version__} python{sys.version_info[0]}.{sys.version_info[1]}.{sys.version_info[2]}\n"
