"""python -m goldens.rewrite: what real BuildKit makes with SOURCE_DATE_EPOCH and rewrite-timestamp, to the last bit.

Other goldens mask times; here they are what is compared: the image config, in which the diff ids name every byte of
every layer. Nothing is copied into a folder that a lower layer made, for BuildKit then lists that folder once more.
Needs what `goldens.record` needs.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import bases
from goldens import cases
from goldens.images import archive, images
from goldens.record import _buildx, _version

GOLDEN = Path(__file__).parent / "rewrite.json"
EPOCHS = (1_700_000_000, 1_600_000_000)
"""The time of all that is in the base, and an earlier one: what came from elsewhere stays as it is."""
OPTIONS = "rewrite-timestamp=true"
DOCKERFILE = """\
FROM busybox AS base
WORKDIR /work
COPY old new /copied/
COPY --link dir /linked/
COPY <<EOF /inline
hello
EOF
RUN echo x > /made; mkdir -p /a/b; touch -d @1000000000 /a/b/old; touch -d @1900000000 /a/future; \\
    ln /made /hard; ln -s made /soft; chmod 2755 /a
RUN rm /inline
FROM base
RUN true
COPY --from=base /a /from-stage/
ADD things.tar /unpacked/
LABEL made=yes
"""


def write_context(folder: Path) -> None:
    """Files older than the epochs, and newer ones."""
    archived = {"archive": {"one": "1\n", "two": {"text": "2\n", "mode": "600", "owner": "5:6"}}}
    files = {"Dockerfile": DOCKERFILE, "old": "old\n", "new": "new\n", "dir/deep/file": "d\n", "things.tar": archived}
    cases.write_files(folder, files)
    os.utime(folder / "new", (1_790_000_000,) * 2)
    os.utime(folder / "dir/deep", (1_795_000_000,) * 2)


def config(path: Path) -> dict[str, Any]:
    """The config of the one image of an OCI archive, without what the base gave it."""
    with archive(path) as (opened, descriptor):
        (image,) = images(opened, descriptor).values()
    document = dict(image.config)
    document["rootfs"] = {**document["rootfs"], "diff_ids": document["rootfs"]["diff_ids"][1:]}
    document["history"] = [document["history"][0]["created"], *document["history"][1:]]
    return document


def main() -> int:
    registry = os.environ.get("PEERS_REGISTRY", "")
    if not registry:
        print(__doc__, file=sys.stderr)
        return 2
    kept = os.environ.get("TRIMARAN_BASES") or Path(__file__).parents[2] / ".work/bases"
    for _ in bases.push(kept, registry):
        pass
    found = {}
    for epoch in EPOCHS:
        with tempfile.TemporaryDirectory() as name:
            folder, output = Path(name) / "context", Path(name) / "out.tar"
            folder.mkdir()
            write_context(folder)
            line = [_buildx(), "build", "--provenance=false", "--no-cache", "-o", f"type=oci,dest={output},{OPTIONS}"]
            environment = {**os.environ, "SOURCE_DATE_EPOCH": str(epoch)}
            subprocess.run([*line, "."], cwd=folder, env=environment, check=True, capture_output=True)
            found[str(epoch)] = config(output)
        time.sleep(1)
    GOLDEN.write_text(json.dumps({"buildkit": _version(), "configs": found}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
