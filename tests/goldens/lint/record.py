"""python tests/goldens/lint/record.py [CASE...]: write what real BuildKit says of the Dockerfiles in tests/corpus/lint.

Needs docker-buildx in a plugin folder of $DOCKER_CONFIG and a daemon at $DOCKER_HOST whose docker.io is mirrored by a
registry that has busybox and alpine. lint.json is the result without the source's definition (it names a session);
lint.txt is what `docker buildx build --check` prints, and its exit code. request.json may ask for other calls.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

CORPUS = Path(__file__).parents[2] / "corpus" / "lint"


def main(names: list[str]) -> int:
    for folder in [CORPUS / name for name in names] or sorted(path for path in CORPUS.iterdir() if path.is_dir()):
        request = json.loads((folder / "request.json").read_text()) if (folder / "request.json").exists() else {}
        if request.get("own"):
            continue
        for call in request.get("calls", ["lint"]):
            with tempfile.TemporaryDirectory() as context:
                for name in ("Dockerfile", ".dockerignore"):
                    if (folder / name).exists():
                        shutil.copy(folder / name, context)
                asked = "check" if call == "lint" else call
                text = run(context, request, asked)
                document = run(context, request, f"{asked},format=json")
            (folder / f"{call}.json").write_bytes(masked(document.stdout))
            said = text.stdout + problem(text.stderr) + f"exit code {text.returncode}\n".encode()
            (folder / f"{call}.txt").write_bytes(said)
        print(f"recorded {folder.name}", flush=True)
    return 0


def run(context: str, request: dict[str, object], call: str) -> subprocess.CompletedProcess[bytes]:
    options = [f"--call={call}"]
    for name, value in request.get("build_args", {}).items():  # type: ignore[attr-defined]
        options += ["--build-arg", f"{name}={value}"]
    for name in ("target", "platform"):
        if name in request:
            options += [f"--{name}", str(request[name])]
    return subprocess.run([buildx(), "build", *options, "."], cwd=context, capture_output=True, check=False)


def problem(stderr: bytes) -> bytes:
    """What follows the progress: the error of a file that cannot be built."""
    _, mark, rest = stderr.partition(b"\nERROR: ")
    return b"ERROR: " + rest if mark else b""


def masked(output: bytes) -> bytes:
    """The JSON alone, without what changes from run to run."""
    document, _ = json.JSONDecoder().raw_decode(output.decode())
    for source in document.get("sources", []) if isinstance(document, dict) else ():
        if isinstance(source, dict):
            source.pop("definition", None)
    return json.dumps(document, indent=2, ensure_ascii=False).encode() + b"\n"


def buildx() -> str:
    configured = os.environ.get("DOCKER_CONFIG") or os.path.expanduser("~/.docker")
    return os.path.join(configured, "cli-plugins", "docker-buildx")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
