"""python -m goldens.caches.record: have real BuildKit build the Dockerfiles here and keep the caches it exports.

Needs what goldens.record needs. `configs/NAME.json` is BuildKit's config of all steps; `layouts/MODE.tar` of the
Dockerfile `whole` (which needs no base image) are whole caches with their blobs.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from goldens.caches import contexts

HERE = Path(__file__).parent
ARGUMENTS = ("--allow", "network.host", "--add-host", "foo:1.2.3.4", "--ulimit", "nofile=1000:2000")


def main() -> int:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        context = contexts.write(folder / "context")
        for dockerfile in sorted((HERE / "dockerfiles").iterdir()):
            arguments = ARGUMENTS if dockerfile.name == "runs" else ()
            cache = folder / dockerfile.name
            _build(context, dockerfile, f"--cache-to=type=local,dest={cache},mode=max", "--no-cache", *arguments)
            (HERE / "configs" / f"{dockerfile.name}.json").write_bytes(_config(cache))
        whole = HERE / "dockerfiles" / "whole"
        for mode in ("min", "max"):
            cache = folder / f"whole-{mode}"
            _build(context, whole, f"--cache-to=type=local,dest={cache},mode={mode}")
            _pack(cache, HERE / "layouts" / f"{mode}.tar")
        inline = folder / "inline"
        _build(context, whole, "--cache-to=type=inline", f"--output=type=oci,tar=false,dest={inline}")
        _pack(inline, HERE / "layouts" / "inline.tar")
    return 0


def _build(context: Path, dockerfile: Path, *arguments: str) -> None:
    command = ["docker", "buildx", "build", "-f", str(dockerfile), "--provenance=false", *arguments, str(context)]
    subprocess.run(command, check=True)


def _config(layout: Path) -> bytes:
    index = json.loads((layout / "index.json").read_bytes())
    manifest = json.loads(_blob(layout, index["manifests"][0]["digest"]))
    return _blob(layout, manifest["config"]["digest"])


def _blob(layout: Path, digest: str) -> bytes:
    return (layout / "blobs" / digest.replace(":", "/")).read_bytes()


def _pack(layout: Path, archive: Path) -> None:
    archive.parent.mkdir(exist_ok=True)
    with tarfile.open(archive, "w", format=tarfile.USTAR_FORMAT) as packed:
        for path in sorted(layout.rglob("*")):
            if path.is_file():
                member = tarfile.TarInfo(str(path.relative_to(layout)))
                member.size = path.stat().st_size
                with path.open("rb") as file:
                    packed.addfile(member, file)


if __name__ == "__main__":
    sys.exit(main())
