"""Named places where tests stop the world or make the disk fail: whatever happens there, the store must go on.

One test of a global where nothing is set. `TRIMARAN_FAILPOINT="PLACE=WHAT[@N]"` sets one for a whole process, for tests
of the installed program: WHAT is `kill` (SIGKILL) or an errno's name (`ENOSPC`), at the Nth time PLACE is reached.
Places whose name begins with `before ` stand right before the system call they name.
"""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Callable

hook: Callable[[str], None] | None = None
"""Called with the name of the place that was reached; what it raises, the place raises."""


def reached(place: str) -> None:
    if hook is not None:
        hook(place)


def failpoint(place: str, what: str, count: int = 1) -> Callable[[str], None]:
    """A hook that does `what` the `count`th time that `place` is reached, and nothing else."""
    number = 0 if what == "kill" else getattr(errno, what)
    seen = 0

    def hook(name: str) -> None:
        nonlocal seen
        seen += name == place
        if name == place and seen == count:
            if not number:
                os.kill(os.getpid(), signal.SIGKILL)
                os._exit(128 + signal.SIGKILL)  # the first process of a PID namespace is not killed from inside it
            raise OSError(number, os.strerror(number))

    return hook


def _from_environment(text: str) -> Callable[[str], None]:
    place, _, what = text.partition("=")
    what, _, count = what.partition("@")
    return failpoint(place, what, int(count or 1))


if "TRIMARAN_FAILPOINT" in os.environ:
    hook = _from_environment(os.environ["TRIMARAN_FAILPOINT"])
