"""Forms that still work and should not be used: empty continuation lines, MAINTAINER, `ENV name value`."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from trimaran.dockerfile.instructions import Env, Label
from trimaran.dockerfile.lint.rule import Finding, Rule
from trimaran.dockerfile.parse import Document, Node
from trimaran.dockerfile.state import StageState, Target
from trimaran.errors import Location, Position, Range

NO_EMPTY_CONTINUATION = Rule(
    name="NoEmptyContinuation",
    description="Empty continuation lines will become errors in a future release",
    message="Empty continuation line",
)
MAINTAINER_DEPRECATED = Rule(
    name="MaintainerDeprecated",
    description="The MAINTAINER instruction is deprecated, use a label instead to define an image author",
    message="Maintainer instruction is deprecated in favor of using label",
)
LEGACY_KEY_VALUE_FORMAT = Rule(
    name="LegacyKeyValueFormat",
    description="Legacy key/value format with whitespace separator should not be used",
    message='"{name} key=value" should be used instead of legacy "{name} key value" format',
)


def no_empty_continuation(document: Document) -> Iterator[Finding]:
    """Placed at the instruction's last line."""
    for node in document.nodes:
        if node.line.empty_continuation:
            end = Position(node.line.end)
            finding = NO_EMPTY_CONTINUATION.found(node)
            where = Location(node.filename, node.source, (Range(end, end),))
            yield msgspec.structs.replace(finding, where=where)


def maintainer_deprecated(node: Node) -> Iterator[Finding]:
    if node.keyword == "MAINTAINER":
        yield MAINTAINER_DEPRECATED.found(node)


def legacy_key_value_format(item: Env | Label, _state: StageState, _target: Target) -> Iterator[Finding]:
    if item.node.legacy_pair:
        yield LEGACY_KEY_VALUE_FORMAT.found(item.node, name=item.node.name)
