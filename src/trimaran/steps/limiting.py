"""What the steps of one build may take, each of them and all together, where control groups can be made.

The engine is in no such group: it has to tell what happened, and its own memory is bounded by how it is written.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from types import TracebackType
from typing import TYPE_CHECKING, Self

from trimaran.errors import Unsupported, UsageError

if TYPE_CHECKING:
    from trimaran.executor.runtime import Exit
    from trimaran.linux.limits import Limits
    from trimaran.linux.step_groups import Group


class Limiting:
    """Limits of each step and of all together. The build's group is made for its first step."""

    def __init__(self, each: Limits | None, together: Limits | None) -> None:
        self._each = each if together is None or each is None else each.narrowed(together)
        self._together = together
        self._group: Group | None = None
        self._parent: str | None = None
        self._stack = ExitStack()
        self.notice = ""
        """Which limits cannot be had here, and why."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def of_step(self, parent: str) -> tuple[Limits | None, Group | None]:
        """A step's own limits and the group of the build; `parent` is the step's cgroup parent.

        UsageError where steps of a build with limits ask for several parents: no group is in two places.
        """
        if self._parent is None:
            self._parent = parent
            self._try(parent)
        elif self._group is not None and parent != self._parent:
            raise UsageError(
                f'limit a build: its steps ask for the cgroup parents "{self._parent}" and "{parent}"',
                hint="give all of them the same, or no limits to the whole build",
            )
        return self._each, self._group

    def _try(self, parent: str) -> None:
        from trimaran.linux.step_groups import group

        refused: dict[str, str] = {}
        name = os.urandom(6).hex()
        if self._together is not None:
            try:
                made = group(f"trimaran-build-{name}", self._together, parent=parent)
                self._group = self._stack.enter_context(made)
            except Unsupported as error:
                refused["the build"] = error.message
        if self._each is not None:
            try:
                with group(f"trimaran-probe-{name}", self._each, parent=parent, within=self._group):
                    pass
            except Unsupported as error:
                refused["its steps" if refused else "steps"] = error.message
                self._each = None
        if refused:
            causes = "; ".join(dict.fromkeys(refused.values()))
            verb = "runs" if list(refused) == ["the build"] else "run"
            self.notice = f"{' and '.join(refused)} {verb} without limits: {causes}"

    def explain(self, ended: Exit) -> tuple[str, str]:
        """What lack of memory a step died of, and what helps: the limit nearest to what was used of it is to blame."""
        told, hint, nearest = "killed for lack of memory", "the machine has too little memory for it", 0.0
        if ended.peak_memory is not None:
            told += f", it used {_of(ended.peak_memory, self._each)}"
        if self._each is not None and self._each.memory:
            nearest = (ended.peak_memory or 0) / self._each.memory
            hint = "raise its limit by --memory"
        together = self._group.peak() if self._group is not None else None
        if together is not None and self._together is not None and self._together.memory:
            told += f"; the steps of this build used {_of(together, self._together)}"
            if together / self._together.memory > nearest:
                hint = "raise what the build has by --build-resource memory=…, or run fewer steps at once by --jobs"
        return told, hint


def _of(used: int, limits: Limits | None) -> str:
    text = f"{used / 1e6:.0f} MB at its peak"
    return f"{text}, of {limits.memory / 1e6:.0f} MB allowed" if limits and limits.memory else text
