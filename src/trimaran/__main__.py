"""`python -m trimaran` and the `trimaran` program."""

from __future__ import annotations

import gc
import os
import sys


def main() -> int:
    if sys.argv[1:] == ["--version"]:
        # Asked by scripts in loops: answered before anything is imported.
        from trimaran import __version__

        sys.stdout.write(f"trimaran {__version__}\n")
        return 0
    # Start-up makes tens of thousands of objects, none of them garbage: the collector would visit them in vain.
    gc.set_threshold(50_000, 20, 100)
    # Ctrl-C ends the process as it is: an exception that falls into the import of msgspec is swallowed there, and what
    # is left of that module crashes when it is used. Where it is ignored (nohup, `&`) it stays so.
    from signal import SIG_DFL, SIGINT, default_int_handler, getsignal, signal

    handler = getsignal(SIGINT)
    if handler is default_int_handler:
        signal(SIGINT, SIG_DFL)
    from trimaran.cli.main import main as run

    if handler is default_int_handler:
        signal(SIGINT, handler)
    code = run()
    _leave(code)
    return code


def _leave(code: int) -> None:
    """End at once: taking all modules apart takes longer than many a command. Nothing is left to be closed by it."""
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:
        return  # the interpreter has its own words and code for that
    os._exit(code)


if __name__ == "__main__":
    sys.exit(main())
