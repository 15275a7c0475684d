"""What a build leaves for its caller: ids, and the JSON of `--metadata-file` (reference §1.5). Pure."""

from __future__ import annotations

from typing import Any

import msgspec

from trimaran.builders.options import BuildResult, BuildStep
from trimaran.engine.request import BuildOutcome, StepRecord
from trimaran.oci.descriptor import Descriptor

NODE = "trimaran/trimaran0"


def build_result(outcome: BuildOutcome) -> BuildResult:
    image_id = str(outcome.config or (outcome.root.digest if outcome.root else ""))
    return BuildResult(
        digest=str(outcome.root.digest) if outcome.root else "",
        digests={str(platform.normalize()): str(digest) for platform, digest in outcome.manifests},
        tags=outcome.names,
        steps=tuple(_step(step, outcome.log_folder) for step in outcome.steps),
        image_id=image_id,
        build_id=outcome.build_id,
        metadata=_metadata(outcome),
        images=outcome.names if outcome.stored else (),
        log_folder=outcome.log_folder,
        answer=outcome.answer,
    )


def _step(step: StepRecord, folder: str) -> BuildStep:
    return BuildStep(
        name=step.name,
        cached=step.cached,
        execution=step.execution,
        seconds=max(step.completed - step.started, 0) / 1e9 if step.started else 0.0,
        log=f"{folder}/{step.number}.log" if step.logged else "",
    )


def _metadata(outcome: BuildOutcome) -> bytes:
    fields: dict[str, Any] = {"buildx.build.ref": f"{NODE}/{outcome.build_id}"}
    if outcome.cache:
        fields["cache.manifest"] = _descriptor(outcome.cache)
    if outcome.config:
        fields["containerimage.config.digest"] = str(outcome.config)
    if outcome.root:
        fields["containerimage.descriptor"] = _descriptor(outcome.root)
        fields["containerimage.digest"] = str(outcome.root.digest)
    if outcome.names:
        fields["image.name"] = ",".join(outcome.names)
    return msgspec.json.format(msgspec.json.encode(fields), indent=2)


def _descriptor(descriptor: Descriptor) -> dict[str, Any]:
    return {
        "mediaType": descriptor.media_type,
        "digest": str(descriptor.digest),
        "size": descriptor.size,
    }
