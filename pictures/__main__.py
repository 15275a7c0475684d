"""python -m pictures --program TRIMARAN --bases FOLDER [--bench FILE] [--growth FILE] [--out docs/pictures]"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

import bases
from bases.registry import serve
from pictures import diagram, plots, scenes
from pictures.terminal import draw

REPOSITORY = Path(__file__).parents[1]


def main() -> int:
    options = _options()
    options.out.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="trimaran-pictures-", dir="/var/tmp"))
    try:
        bases.make(options.bases)
        with serve(folder / "registry") as address:
            for _ in bases.push(options.bases, address):
                pass
            stage = scenes.Stage(folder, options.program, address)
            for name, scene in scenes.ALL.items():
                _write(options.out / f"{name}.svg", draw(scene(stage), scenes.TITLES[name]))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    _write(options.out / "way-of-a-build.svg", diagram.draw())
    if options.bench:
        _write(options.out / "ratios.svg", plots.ratios(json.loads(options.bench.read_text())["rows"]))
    if options.growth:
        _write(options.out / "growth.svg", plots.growth(json.loads(options.growth.read_text())["rows"]))
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="pictures", description=sys.modules["pictures"].__doc__)
    parser.add_argument("--program", required=True, help="the installed command")
    parser.add_argument("--bases", type=Path, required=True, help="where base images are kept")
    parser.add_argument("--out", type=Path, default=REPOSITORY / "docs/pictures")
    parser.add_argument("--bench", type=Path, help="what ./run bench --json wrote")
    parser.add_argument("--growth", type=Path, help="what ./run bench --growth --json wrote")
    return parser.parse_args()


def _write(path: Path, text: str) -> None:
    path.write_text(text)
    print(f"{os.path.relpath(path)}: {len(text) >> 10} KiB")


if __name__ == "__main__":
    sys.exit(main())
