"""The table of ops and the steps that run them."""

from __future__ import annotations

from trimaran.graph.ops import DiffOp, ExecOp, FileOp, MergeOp, SourceOp
from trimaran.graph.vertex import Vertex
from trimaran.solver.protocols import Step
from trimaran.steps.context import StepContext


def make_step(vertex: Vertex, context: StepContext) -> Step:
    """The step of `vertex`; its module is loaded here, so that a build without RUN never loads the sandbox."""
    op = vertex.op
    if isinstance(op, SourceOp):
        from trimaran.steps.source import SourceStep

        return SourceStep(vertex, context)
    if isinstance(op, ExecOp):
        from trimaran.steps.exec import ExecStep

        return ExecStep(vertex, context)
    if isinstance(op, FileOp):
        from trimaran.steps.file import FileStep

        return FileStep(vertex, context)
    if isinstance(op, MergeOp):
        from trimaran.steps.merge import MergeStep

        return MergeStep(vertex, context)
    assert isinstance(op, DiffOp)
    from trimaran.steps.diff import DiffStep

    return DiffStep(vertex, context)
