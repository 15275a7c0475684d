"""python -m bases make FOLDER
python -m bases push FOLDER HOST:PORT
python -m bases serve FOLDER CONTENT    a registry with the bases; prints its address, stops with SIGTERM or SIGINT
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path

from bases import make, push, registry


def main(arguments: list[str]) -> int:
    match arguments:
        case ["make", folder]:
            make(folder)
        case ["push", folder, address]:
            for name in push(folder, address):
                print(f"pushed {address}/{name}", flush=True)
        case ["serve", folder, content]:
            _serve(folder, Path(content))
        case _:
            print(__doc__, file=sys.stderr, end="")
            return 2
    return 0


def _serve(folder: str, content: Path) -> None:
    # Turned into an exception, so that the registry is stopped on every way out.
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(0))
    with registry.serve(content) as address:
        for _ in push(folder, address):
            pass
        print(address, flush=True)
        while True:
            signal.pause()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
