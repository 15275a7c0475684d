"""Comments above stages and arguments, which `--call=outline` and `--call=targets` take for descriptions."""

from __future__ import annotations

from collections.abc import Iterator

from trimaran.dockerfile.lint.rule import Finding, Rule
from trimaran.dockerfile.parse import Node

INVALID_DEFINITION_DESCRIPTION = Rule(
    name="InvalidDefinitionDescription",
    description="Comment for build stage or argument should follow the format: `# <arg/stage name> <description>`. "
    "If this is not intended to be a description comment, add an empty line or comment between the instruction and "
    "the comment.",
    message="Comment for {keyword} should follow the format: `# {name} <description>`",
    experimental=True,
)


def invalid_definition_description(node: Node) -> Iterator[Finding]:
    """Of the comments above, the last has to begin with the name; an empty one describes nothing."""
    if node.keyword == "FROM":
        names = [node.arguments[2].text.lower()] if len(node.arguments) == 3 else []
    elif node.keyword == "ARG":
        names = [word.text.partition("=")[0] for word in node.arguments]
    else:
        return
    comment = node.comments[-1] if node.comments else ""
    if not names or not comment or comment.partition(" ")[0] in names:
        return
    name = names[0] if len(names) == 1 else "<arg_key>"
    yield INVALID_DEFINITION_DESCRIPTION.found(node, keyword=node.keyword, name=name)
