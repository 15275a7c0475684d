"""python -m goldens.record [CASE...]: build the cases with real BuildKit and write what it made to golden.json.

Needs docker-buildx in a plugin folder of $DOCKER_CONFIG, a daemon at $DOCKER_HOST whose docker.io is mirrored by the
registry $PEERS_REGISTRY (host:port, plain HTTP, on this machine), and the base images (python -m bases make).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import bases
from goldens import base, cases, golden
from goldens.images import Tree, archive, images


def main(names: list[str]) -> int:
    registry = os.environ.get("PEERS_REGISTRY", "")
    if not registry:
        print(__doc__, file=sys.stderr)
        return 2
    kept = os.environ.get("TRIMARAN_BASES") or Path(__file__).parents[2] / ".work/bases"
    bases.make(kept)
    for _ in bases.push(kept, registry):
        pass
    version = _version()
    trees = base.trees(registry)
    failed = 0
    for case in [cases.read(name) for name in names] or cases.read_all():
        try:
            document = {"buildkit": version, "platforms": record(case, registry, trees)}
        except subprocess.CalledProcessError as problem:
            failed += 1
            print(f"{case.name}: {problem.stderr.decode(errors='replace')[-1500:]}", file=sys.stderr)
            continue
        case.golden.write_text(golden.text(document))
        print(f"recorded {case.name}", flush=True)
    return 1 if failed else 0


def record(case: cases.Case, registry: str, trees: dict[str, Tree]) -> dict[str, object]:
    if case.base:
        base.push(registry, case.base_name, case.base)
    folder = Path(tempfile.mkdtemp(prefix="golden-"))
    try:
        context, output = folder / "context", folder / "output.tar"
        context.mkdir()
        case.write_context(context)
        begun = int(time.time())
        options = ["--provenance=false", "--no-cache", "--pull", "--output", f"type=oci,dest={output}"]
        subprocess.run([_buildx(), "build", *options, *case.options, "."], cwd=context, check=True, capture_output=True)
        with archive(output) as (opened, descriptor):
            found = images(opened, descriptor)
    finally:
        shutil.rmtree(folder)
    bases_of = {name: {} if case.scratch else trees[name] for name in found}
    return golden.document(found, bases_of, begun, with_layers=case.with_layers)


def _buildx() -> str:
    configured = os.environ.get("DOCKER_CONFIG") or os.path.expanduser("~/.docker")
    return os.path.join(configured, "cli-plugins", "docker-buildx")


def _version() -> str:
    server = subprocess.run(
        ["docker", "version", "--format", "{{.Server.Version}}"], check=True, capture_output=True, text=True
    )
    buildx = subprocess.run([_buildx(), "version"], check=True, capture_output=True, text=True)
    return f"BuildKit of dockerd {server.stdout.strip()}, buildx {buildx.stdout.split()[1]}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
