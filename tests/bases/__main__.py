"""python -m bases make FOLDER [busybox]
python -m bases push FOLDER HOST:PORT
python -m bases serve FOLDER CONTENT [busybox]

`serve` runs a registry with the bases; it prints its address and stops with SIGTERM or SIGINT. `busybox`: that base
alone, which takes seconds.
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path

from bases import make, push, registry


def main(arguments: list[str]) -> int:
    # Who is started in the background of a shell inherits that Ctrl-C is ignored; what is half made has to end.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    only_busybox = arguments[-1:] == ["busybox"]
    match arguments[:-1] if only_busybox else arguments:
        case ["make", folder]:
            make(folder, only_busybox=only_busybox)
        case ["push", folder, address]:
            for name in push(folder, address):
                print(f"pushed {address}/{name}", flush=True)
        case ["serve", folder, content]:
            _serve(folder, Path(content), only_busybox=only_busybox)
        case _:
            print(__doc__, file=sys.stderr, end="")
            return 2
    return 0


def _serve(folder: str, content: Path, *, only_busybox: bool) -> None:
    # Turned into an exception, so that the registry is stopped on every way out.
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(0))
    with registry.serve(content) as address:
        for _ in push(folder, address, only_busybox=only_busybox):
            pass
        print(address, flush=True)
        while True:
            signal.pause()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
