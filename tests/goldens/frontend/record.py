"""python -m goldens.frontend.record [CASE...]: ask real BuildKit about the Dockerfiles in tests/corpus/dockerfile.

Writes buildkit.txt into each: the graph and config that its frontend answers with, or its error and the lines it names.
Nothing is run or copied. Needs grpcio and protobuf, and a daemon at $DOCKER_HOST whose docker.io is mirrored by the
registry $PEERS_REGISTRY (host:port, plain HTTP), to which the cases' images are pushed as corpus/NAME.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from dockerfile.bridge import text
from goldens.frontend.client import Answer, Client
from goldens.frontend.pushed import push_named
from trimaran.errors import TrimaranError
from trimaran.graph.frontend import Built, FrontendResult
from trimaran.graph.llb import decode_definition
from trimaran.graph.ops import SourceOp
from trimaran.graph.vertex import Edge, Vertex
from trimaran.platforms import Platform

CORPUS = Path(__file__).parents[2] / "corpus" / "dockerfile"
SESSION = "local.session"


def main(names: list[str]) -> int:
    registry = os.environ.get("PEERS_REGISTRY", "")
    if not registry:
        print(__doc__, file=sys.stderr)
        return 2
    folders = [CORPUS / name for name in names] or sorted(path for path in CORPUS.iterdir() if path.is_dir())
    client = Client()
    for folder in folders:
        request = json.loads((folder / "request.json").read_text()) if (folder / "request.json").exists() else {}
        if "own" in request:
            continue
        (folder / "buildkit.txt").write_text(record(client, registry, folder, request))
    client.close()
    return 0


def record(client: Client, registry: str, folder: Path, request: Mapping[str, Any]) -> str:
    data = (folder / "Dockerfile").read_bytes()
    named = " ".join([data.decode("utf-8", "replace"), json.dumps(request)])
    push_named(registry, named, request.get("images", {}))
    answer = client.solve(_options(request), _folders(folder, data, request))
    try:
        return _error(answer) if answer.error else _graph(answer)
    except TrimaranError as error:  # BuildKit itself would refuse it once it is to run
        return f"graph that cannot run: {error.message}\n"


def _options(request: Mapping[str, Any]) -> dict[str, str]:
    options = {f"build-arg:{name}": value for name, value in request.get("build_args", {}).items()}
    options |= {f"label:{name}": value for name, value in request.get("labels", {}).items()}
    options |= {f"context:{name}": value for name, value in request.get("named", {}).items()}
    if request.get("platforms"):
        options["platform"] = ",".join(request["platforms"])
    if request.get("target"):
        options["target"] = request["target"]
    if request.get("no_cache_stages"):
        options["no-cache"] = ",".join(request["no_cache_stages"])
    # a syntax line would have it look for an image of itself, but for this mark that it did
    options["cmdline"] = "docker/dockerfile"
    return options | request.get("options", {})


def _folders(folder: Path, data: bytes, request: Mapping[str, Any]) -> dict[str, dict[str, bytes]]:
    context = folder / ".dockerignore"
    folders = {"dockerfile": {"Dockerfile": data}, "context": {}}
    if context.exists():
        folders["context"] = {".dockerignore": context.read_bytes()}
    for name, files in request.get("contexts", {}).items():
        folders[name] = {path: content.encode() for path, content in files.items()}
    return folders


def _error(answer: Answer) -> str:
    lines = " ".join(f"{first}-{last}" for first, last in answer.lines)
    return f"error: {answer.error}\nlines {lines}\n"


def _graph(answer: Answer) -> str:
    platforms = {one["ID"]: one["Platform"] for one in json.loads(answer.metadata["refs.platforms"])["Platforms"]}
    built = []
    for name, described in platforms.items():
        definition = answer.definitions.get(name) or answer.definitions.get("", b"")
        config = answer.metadata.get(f"containerimage.config/{name}") or answer.metadata["containerimage.config"]
        platform = Platform(
            described["os"], described["architecture"], described.get("variant", ""), described.get("os.version", "")
        )
        edge = _without_session(decode_definition(definition)) if definition else None
        built.append(Built(platform=platform, edge=edge, config=config, base_config=b""))
    return text(FrontendResult(built=tuple(built), metadata=()))


def _without_session(edge: Edge) -> Edge:
    """The graph without the id of the session it was asked in."""
    made: dict[str, Vertex] = {}
    todo = [edge.vertex]
    while todo:
        vertex = todo[-1]
        missing = [each.vertex for each in vertex.inputs if each.vertex.digest not in made]
        if missing:
            todo += missing
            continue
        todo.pop()
        op = vertex.op
        if isinstance(op, SourceOp):
            op = replace(op, attrs=tuple(pair for pair in op.attrs if pair[0] != SESSION))
        inputs = tuple(Edge(made[each.vertex.digest], each.index) for each in vertex.inputs)
        made[vertex.digest] = Vertex(op, inputs, constraints=vertex.constraints, hints=vertex.hints)
    return Edge(made[edge.vertex.digest], edge.index)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
