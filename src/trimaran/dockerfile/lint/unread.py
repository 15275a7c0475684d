"""Own rule: folders of the build context that nothing reads."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from trimaran.dockerfile.lint.rule import Finding, Rule
from trimaran.dockerfile.stages import Program
from trimaran.patterns import GlobError, glob_match

UNREAD_CONTEXT_FOLDER = Rule(
    name="UnreadContextFolder",
    description="Folders of the build context that no instruction reads should be left out of it",
    message="Folder '{folder}' of the build context is read by no COPY, ADD or mount: name it in .dockerignore",
    experimental=True,
    own=True,
)


def unread_context_folders(program: Program, folders: Iterable[str], read: Iterable[str]) -> Iterator[Finding]:
    """`read` are the paths that steps take, "/" the whole. Told at the first FROM: it is of no instruction."""
    tops = {path.lstrip("/").partition("/")[0] for path in read}
    if "" in tops or any("**" in top for top in tops):
        return
    for folder in folders:
        if not any(_may_mean(top, folder) for top in tops):
            yield UNREAD_CONTEXT_FOLDER.found(program.stages[0].head.node, folder=folder)


def _may_mean(pattern: str, name: str) -> bool:
    try:
        return glob_match(pattern, name)
    except GlobError:
        return True  # the step itself will say what is wrong with it
