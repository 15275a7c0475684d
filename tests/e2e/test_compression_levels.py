"""`compression`, `compression-level` and `force-compression`: of what is new, of the base, and what each level comes to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from stage import reading
from stage.contexts import Context
from stage.program import Trimaran

pytestmark = pytest.mark.root
TEXT = "FROM alpine\nRUN seq 200000 > /numbers && touch -d @1 /numbers\n"


def layers(command: Trimaran, context: Context, attributes: str) -> list[dict[str, Any]]:
    output = command.home / "out.tar"
    command("build", "--reproducible", "-o", f"type=oci,dest={output},{attributes}", ".", cwd=context.folder)
    manifest: dict[str, Any] = json.loads(reading.skopeo("inspect", "--raw", f"oci-archive:{output}"))
    return list(manifest["layers"])


def test_levels_are_those_of_buildkit(trimaran: Trimaran, bases: str, context: Context) -> None:
    context.dockerfile(TEXT)

    def made(attributes: str) -> tuple[int, str]:
        layer = layers(trimaran, context, attributes)[-1]
        return layer["size"], layer["digest"]

    gzip = [made(f"compression-level={level}") for level in (0, 1, 9)]
    assert gzip[0][0] > 1_000_000 > gzip[1][0] > gzip[2][0], "0 stores"
    zstd = [made(f"compression=zstd,compression-level={level}") for level in (1, 3, 22)]
    assert zstd[0][0] != zstd[1][0]
    assert zstd[2][0] < min(zstd[0][0], zstd[1][0])
    assert made("compression=zstd,compression-level=0") == made("compression=zstd") == zstd[1], "0 is the default"
    assert made("compression=uncompressed,compression-level=9")[0] > 1_000_000
    words = ("build", "-o", "type=oci,dest=x.tar,compression=zstd,compression-level=23", ".")
    said = trimaran(*words, cwd=context.folder, exit_code=1).stderr
    assert "ERROR: read --output compression-level=23: zstd has 0 to 22" in said
    assert not Path(context / "x.tar").exists()


def test_the_base_is_recompressed_by_force_alone(trimaran: Trimaran, bases: str, context: Context) -> None:
    context.dockerfile(TEXT)
    base = reading.index_of(f"{bases}/alpine")
    if "manifests" in base:
        (digest,) = (m["digest"] for m in base["manifests"] if m["platform"]["architecture"] == "amd64")
        base = json.loads(reading.skopeo("inspect", "--raw", "--tls-verify=false", f"docker://{bases}/alpine@{digest}"))
    kept = layers(trimaran, context, "compression=zstd")
    assert kept[0]["digest"] == base["layers"][0]["digest"], "as it was pulled"
    assert kept[1]["mediaType"].endswith("+zstd")
    forced = layers(trimaran, context, "compression=zstd,force-compression=true")
    assert all(layer["mediaType"].endswith("+zstd") for layer in forced)
    assert forced[0]["digest"] != kept[0]["digest"]
    assert forced[1] == kept[1]
