"""python -m bases make FOLDER | push FOLDER HOST:PORT"""

from __future__ import annotations

import sys

from bases import make, push


def main(arguments: list[str]) -> int:
    match arguments:
        case ["make", folder]:
            make(folder)
        case ["push", folder, registry]:
            for name in push(folder, registry):
                print(f"pushed {registry}/{name}", flush=True)
        case _:
            print(__doc__, file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
