"""WORKDIR relative to a folder that the base image chose."""

from __future__ import annotations

from collections.abc import Iterator

from trimaran.dockerfile import gotext
from trimaran.dockerfile.instructions import Workdir
from trimaran.dockerfile.lint.rule import Finding, Rule
from trimaran.dockerfile.state import StageState, Target
from trimaran.dockerfile.words import ExpansionError

WORKDIR_RELATIVE_PATH = Rule(
    name="WorkdirRelativePath",
    description="Relative workdir without an absolute workdir declared within the build can have unexpected results "
    "if the base image changes",
    message="Relative workdir {path} can have unexpected results if the base image changes",
)


def workdir_relative_path(item: Workdir, state: StageState, target: Target) -> Iterator[Finding]:
    """Only for the first WORKDIR of a stage and the stages it is built on."""
    if state.has_workdir:
        return
    try:
        path = target.expander.word(item.path, state.env)
    except ExpansionError:
        return
    windows = state.platform is not None and state.platform.os == "windows"
    if not path.startswith("/") and not (windows and (path.startswith("\\") or path[1:2] == ":")):
        yield WORKDIR_RELATIVE_PATH.found(item.node, path=gotext.quote(path))
