"""What a build leaves for its caller: ids, and the JSON of `--metadata-file` (reference §1.5). Pure."""

from __future__ import annotations

from typing import Any

import msgspec

from trimaran.builders.options import BuildResult
from trimaran.engine.request import BuildOutcome

NODE = "trimaran/trimaran0"


def build_result(outcome: BuildOutcome) -> BuildResult:
    image_id = str(outcome.config or (outcome.root.digest if outcome.root else ""))
    return BuildResult(
        image_id=image_id,
        build_id=outcome.build_id,
        metadata=_metadata(outcome),
        images=outcome.names if outcome.stored else (),
        log_folder=outcome.log_folder,
        answer=outcome.answer,
    )


def _metadata(outcome: BuildOutcome) -> bytes:
    fields: dict[str, Any] = {"buildx.build.ref": f"{NODE}/{outcome.build_id}"}
    if outcome.config:
        fields["containerimage.config.digest"] = str(outcome.config)
    if outcome.root:
        fields["containerimage.descriptor"] = {
            "mediaType": outcome.root.media_type,
            "digest": str(outcome.root.digest),
            "size": outcome.root.size,
        }
        fields["containerimage.digest"] = str(outcome.root.digest)
    if outcome.names:
        fields["image.name"] = ",".join(outcome.names)
    return msgspec.json.format(msgspec.json.encode(fields), indent=2)
