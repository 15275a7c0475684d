"""One stage on its way to a graph, for one platform: what instructions so far made of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from trimaran.dockerfile.config import Image
from trimaran.dockerfile.drafts import Draft, Drafts
from trimaran.dockerfile.instructions import ArgItem, Copy, Instruction, Run, Workdir
from trimaran.dockerfile.lint.linter import Linter
from trimaran.dockerfile.parse import Node
from trimaran.dockerfile.stages import Stage
from trimaran.dockerfile.words import Expander
from trimaran.graph.frontend import FrontendRequest, NamedContext
from trimaran.graph.ops import KEEP_TIME
from trimaran.platforms import Platform

DEFAULT_SHELL = ("/bin/sh", "-c")


class Command:
    """An instruction of a stage with the stages it reads, in the order of its mounts (None: it reads none there)."""

    __slots__ = ("instruction", "sources", "triggered")

    def __init__(
        self, instruction: Instruction, sources: tuple[StageState | None, ...] = (), *, triggered: bool = False
    ) -> None:
        self.instruction = instruction
        self.sources = sources
        self.triggered = triggered
        """It is an ONBUILD trigger."""


class StageState:
    """`stage` is None for an image that only a COPY or a mount names."""

    def __init__(self, stage: Stage | None, base_name: str, node: Node, name: str) -> None:
        self.stage = stage
        self.base_name = base_name
        self.node = node
        self.name = name
        """As shown in vertex names: "" where there is no other stage."""
        self.own_name = name
        """The same, but for that."""
        self.base: StageState | None = None
        self.context: NamedContext | None = None
        """The named context that stands for this stage."""
        self.sources: list[StageState] = []
        self.commands: list[Command] = []
        self.platform: Platform | None = None
        self.image = Image()
        self.base_config = b""
        self.draft: Draft | None = None
        self.env: dict[str, str] = {}
        self.cwd = "/"
        self.user = ""
        self.args: list[ArgItem] = []
        self.paths: set[str] = set()
        """What is read of this state by others; the whole of it when "/" is in."""
        self.resolved = False
        self.triggered = False
        self.dispatched = False
        self.in_trigger = False
        """The instruction at hand is an ONBUILD trigger."""
        self.ignore_cache = False
        self.latest: dict[type[Instruction], Instruction] = {}
        """The last instruction of each kind in this stage."""
        self.has_workdir = False
        """WORKDIR was given in this stage or one below."""
        self.sets_cmd = False
        """CMD was given in this stage, so ENTRYPOINT leaves it alone."""
        self.total = 0
        self.index = 0

    def count(self) -> None:
        """How many steps the vertex names will count."""
        self.total = int(self.base_name != "scratch" and self.base is None)
        self.total += sum(isinstance(command.instruction, (Copy, Run, Workdir)) for command in self.commands)

    @property
    def place(self) -> str:
        """Of the step that was named last. It stays when a second stage comes to the first."""
        return f"{self.own_name}/{self.index}"

    def set_env(self, name: str, value: str) -> None:
        """The last set comes last, as LLB's environment lists have it."""
        self.env.pop(name, None)
        self.env[name] = value

    def inherit(self, base: StageState) -> None:
        self.draft = base.draft
        self.platform = base.platform
        self.image = base.image.copy()
        self.image.run.on_build = None
        self.base_config = base.base_config
        self.env = dict(base.env)
        self.cwd, self.user = base.cwd, base.user
        self.has_workdir = base.has_workdir
        self.args = list(base.args)
        self.paths = base.paths


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """What is the same for all stages of one platform."""

    request: FrontendRequest
    platform: Platform
    implicit: bool
    """No platform was asked for."""
    prefixed: bool
    """Vertex names begin with the platform."""
    arguments: Mapping[str, str]
    """Global ones: predefined, and those before the first FROM."""
    build_args: Mapping[str, str]
    declared: frozenset[str]
    """Names of the ARGs before the first FROM, with a value or without."""
    expander: Expander
    linter: Linter
    drafts: Drafts
    context: Draft
    context_paths: set[str]
    ignored: list[str]
    """Patterns of what is not in the context: known when stages are dispatched."""
    epoch: int | None

    @property
    def created(self) -> str | None:
        """The time of new history entries, where the build fixes it."""
        if self.epoch is None:
            return None
        import time

        return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.epoch))

    @property
    def timestamp(self) -> int:
        """Of folders made: nanoseconds, or KEEP_TIME."""
        return KEEP_TIME if self.epoch is None else self.epoch * 1_000_000_000

    @property
    def copied_timestamp(self) -> int:
        """Of what is copied: BuildKit keeps the source's time, whatever SOURCE_DATE_EPOCH says."""
        return self.timestamp if self.request.reproducible else KEEP_TIME


def with_shell(state: StageState, arguments: Sequence[str]) -> list[str]:
    """The process that a line in shell form is."""
    return [*(state.image.run.shell or DEFAULT_SHELL), " ".join(arguments)]
