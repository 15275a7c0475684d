"""Stages and what they need of each other: built per platform, then narrowed to what the target reaches.

Law: all walks are loops; a Dockerfile of thousands of stages is as good as one of three.
"""

from __future__ import annotations

from collections.abc import Iterable

from trimaran.dockerfile.contexts import NamedContexts
from trimaran.dockerfile.instructions import Copy, From, Instruction, Run
from trimaran.dockerfile.lint.run import check_head
from trimaran.dockerfile.parse import Node
from trimaran.dockerfile.stages import Program, Stage
from trimaran.dockerfile.state import Command, StageState, Target
from trimaran.dockerfile.words import Expander, ExpansionError
from trimaran.errors import NotFound, UsageError
from trimaran.platforms import Platform
from trimaran.spelling import did_you_mean

SCRATCH = "scratch"


class StageGraph:
    """All stages of a program for one platform, and the images that only COPY and mounts name."""

    def __init__(self, program: Program, target: Target, contexts: NamedContexts, *, all_stages: bool = False) -> None:
        """`all_stages`: none is left out, whatever the target needs."""
        self.target = target
        self.program = program
        self._all_stages = all_stages
        self.states: list[StageState] = []
        self.count = len(program.stages)
        self._by_name: dict[str, StageState] = {}
        for index, stage in enumerate(program.stages):
            self._add(index, stage, contexts)
        for state in list(self.states):
            assert state.stage is not None
            state.commands = [] if state.context else [self.command(item) for item in state.stage.instructions]
            state.sources += [source for command in state.commands for source in command.sources if source]
            state.count()
        self._refuse_cycles()
        if len(self.states) == 1 and not any(command.sources for command in self.states[0].commands):
            self.states[0].name = ""
        self.goal = self._goal()

    @property
    def names(self) -> list[str]:
        return [state.stage.name for state in self.states if state.stage is not None and state.stage.name]

    def _add(self, index: int, stage: Stage, contexts: NamedContexts) -> None:
        head = stage.head
        check_head(head, self.target)
        state = StageState(stage, _base_name(head, self.target), head.node, stage.name or f"stage-{index}")
        state.platform = _platform(head, self.target)
        state.ignore_cache = _ignores_cache(stage.name, self.target)
        if stage.name:
            state.context = contexts.find(stage.name, state.platform or self.target.platform)
        if not state.context:
            state.base = self._by_name.get(state.base_name)
        self.states.append(state)
        if stage.name:
            self._by_name[stage.name] = state

    def command(self, item: Instruction, *, triggered: bool = False) -> Command:
        """The instruction with the stages and images it reads."""
        sources: tuple[StageState | None, ...] = ()
        if isinstance(item, Copy) and item.source_stage:
            sources = (self._source(item.source_stage, item.node, by_index=True),)
        elif isinstance(item, Run) and item.mounts:
            from trimaran.dockerfile.mounts import source_of

            named = (source_of(word.text) for word in item.mounts)
            sources = tuple(
                self._source(name, item.node, by_index=False) if name and name != SCRATCH else None for name in named
            )
        return Command(item, sources, triggered=triggered)

    def _source(self, name: str, node: Node, *, by_index: bool) -> StageState:
        if by_index:
            _refuse_variables(name, node)
            number = name.removeprefix("-")
            if number.isascii() and number.isdigit():
                if number != name or int(number[:9]) >= self.count:
                    raise node.error(
                        f"invalid stage index {name}",
                        node.flag("from"),
                        hint=f"stages are numbered 0 to {self.count - 1}",
                    )
                return self.states[int(number)]
        state = self._by_name.get(name.lower())
        if state is None:
            state = StageState(None, name, node, "")
            self.states.append(state)
            self._by_name[name.lower()] = state
        return state

    def _goal(self) -> StageState:
        name = self.target.request.target
        if not name:
            return self.states[self.count - 1]
        state = self._by_name.get(name.lower())
        if state is None or state.stage is None:
            raise NotFound(
                f'target stage "{name}" could not be found',
                hint=did_you_mean(name, self.names) or "give stages a name: FROM … AS NAME",
            )
        return state

    def reachable(self) -> list[StageState]:
        """What the goal needs, in the order of the file."""
        if self._all_stages:
            return list(self.states)
        found = {id(self.goal)}
        todo = [self.goal]
        while todo:
            for needed in _needs(todo.pop()):
                if id(needed) not in found:
                    found.add(id(needed))
                    todo.append(needed)
        return [state for state in self.states if id(state) in found]

    def _refuse_cycles(self) -> None:
        done: set[int] = set()
        for start in self.states:
            path = [(start, iter(_read_by(start)))]
            open_ids = {id(start)}
            while path and id(start) not in done:
                state, needed = path[-1]
                following = next(needed, None)
                if following is None:
                    done.add(id(state))
                    open_ids.discard(id(state))
                    path.pop()
                elif id(following) in open_ids:
                    raise _reader(state, following).error(
                        f"circular dependency detected on stage: {following.name}",
                        hint="a stage can read only stages before it",
                    )
                elif id(following) not in done:
                    open_ids.add(id(following))
                    path.append((following, iter(_read_by(following))))


def _needs(state: StageState) -> Iterable[StageState]:
    return [*([state.base] if state.base is not None else []), *state.sources]


def _read_by(state: StageState) -> list[StageState]:
    """Not what it begins with: that stage is earlier, so a circle through it has a COPY of a later one, refused so."""
    return state.sources


def _reader(state: StageState, source: StageState) -> Node:
    """The first instruction of the stage that reads the source."""
    return next((c.instruction.node for c in state.commands if source in c.sources), state.node)


def _ignores_cache(name: str, target: Target) -> bool:
    request = target.request
    return request.no_cache or bool(name and name in (other.lower() for other in request.no_cache_stages))


def _expanded(head: From, text: str, target: Target, place: int | None) -> str:
    word = head.node.arguments[place] if place is not None else head.node.flags[0]
    try:
        result = target.expander.expand(text, target.arguments)
    except ExpansionError as error:
        raise head.node.error(error.message, word, hint=error.hint) from None
    if result.value:
        return result.value
    what = "base name" if place is not None else "empty platform value from expression"
    cause = f"{what} ({text}) should not be blank" if place is not None else f"{what} {text}"
    raise head.node.error(cause, word, hint=_undeclared(result.unmatched, target))


def _undeclared(names: Iterable[str], target: Target) -> str:
    missing = sorted(names)
    if not missing:
        return ""
    near = did_you_mean(missing[0], target.arguments)
    if near.startswith("did"):
        return f"{missing[0]} is not declared: {near}"
    return f"declare it before the first FROM: ARG {missing[0]}=VALUE"


def _base_name(head: From, target: Target) -> str:
    return _expanded(head, head.base, target, 0)


def _platform(head: From, target: Target) -> Platform | None:
    if not head.platform:
        return None
    text = _expanded(head, head.platform, target, None)
    try:
        return Platform.parse(text)
    except UsageError as error:
        word = head.node.flags[0]
        raise head.node.error(
            f"failed to parse platform {head.platform}: {error.message}", word, hint=error.hint
        ) from None


_plain = Expander()


def _refuse_variables(name: str, node: Node) -> None:
    try:
        same = _plain.word(name, {}) == name
    except ExpansionError:
        same = False
    if not same:
        raise node.error(
            "variable expansion is not supported for --from, define a new stage with FROM using ARG from global scope "
            "as a workaround",
            node.flag("from"),
            hint="FROM $NAME AS alias before this stage, then --from=alias",
        )
