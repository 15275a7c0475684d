"""`python -m trimaran` and the `trimaran` program."""

from __future__ import annotations

import sys


def main() -> int:
    if sys.argv[1:] == ["--version"]:
        # Asked by scripts in loops: answered before anything is imported.
        from trimaran import __version__

        sys.stdout.write(f"trimaran {__version__}\n")
        return 0
    from trimaran.cli.main import main as run

    return run()


if __name__ == "__main__":
    sys.exit(main())
