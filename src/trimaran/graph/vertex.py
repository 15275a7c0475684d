"""A vertex is an op with the edges it reads; its digest names it for good (sha256 of its deterministic LLB bytes)."""

from __future__ import annotations

import msgspec

from trimaran.digest import Digest
from trimaran.errors import Location
from trimaran.events import ProgressGroup
from trimaran.graph.ops import Constraints, ExecOp, FileOp, Op
from trimaran.platforms import Platform


class Hints(msgspec.Struct, frozen=True, kw_only=True):
    """What is not in the digest: BuildKit's OpMetadata plus where the vertex comes from."""

    name: str = ""
    ignore_cache: bool = False
    where: Location | None = None
    progress_group: ProgressGroup | None = None
    description: tuple[tuple[str, str], ...] = ()
    place: str = ""
    """Stage and number of the step in its build file: the same across edits of what it does."""
    arguments: tuple[str, ...] = ()
    """Which of a process's variables are build arguments."""


class Edge:
    """Output `index` of `vertex`. Compared by digest and index."""

    __slots__ = ("index", "vertex")

    def __init__(self, vertex: Vertex, index: int = 0) -> None:
        self.vertex = vertex
        self.index = index

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Edge) and self.index == other.index and self.vertex.digest == other.vertex.digest

    def __hash__(self) -> int:
        return hash((self.vertex.digest, self.index))

    def __repr__(self) -> str:
        return f"Edge({self.vertex!r}, {self.index})"


class Vertex:
    """Immutable. Equal ops over equal inputs are equal vertices, whoever built them."""

    __slots__ = ("constraints", "digest", "hints", "inputs", "op", "platform")

    def __init__(
        self,
        op: Op,
        inputs: tuple[Edge, ...] = (),
        *,
        constraints: Constraints | None = None,
        hints: Hints | None = None,
    ) -> None:
        from trimaran.graph.llb import encode_op

        self.op = op
        self.inputs = inputs
        self.constraints = constraints or Constraints()
        self.hints = hints or Hints()
        self.platform: Platform | None = self.constraints.platform
        if self.platform is None and inputs:
            self.platform = inputs[0].vertex.platform
        """What it is for: its own, else that of what it works on. Not in the digest, unless it is its own."""
        self.digest = Digest.of(encode_op(self))

    @property
    def outputs(self) -> int:
        """How many outputs the op has."""
        if isinstance(self.op, ExecOp):
            return 1 + max((mount.output for mount in self.op.mounts), default=-1)
        if isinstance(self.op, FileOp):
            return 1 + max((action.output for action in self.op.actions), default=-1)
        return 1

    def edge(self, index: int = 0) -> Edge:
        return Edge(self, index)

    def __repr__(self) -> str:
        return f"Vertex({type(self.op).__name__}, {self.hints.name!r}, {self.digest[7:19]})"
