"""One instruction after the other onto a stage: state, config, history; RUN, COPY and ADD have files of their own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from trimaran.dockerfile import gotext, paths
from trimaran.dockerfile.arguments import NOT_ENVIRONMENT, proxies
from trimaran.dockerfile.config import DEFAULT_PATH, Health
from trimaran.dockerfile.expansion import word_with, wrong_word
from trimaran.dockerfile.instructions import (
    Arg,
    ArgItem,
    Cmd,
    Copy,
    Entrypoint,
    Env,
    Expose,
    Healthcheck,
    Instruction,
    Label,
    Maintainer,
    Onbuild,
    Run,
    Shell,
    StopSignal,
    User,
    Volume,
    Workdir,
)
from trimaran.dockerfile.lint.run import check_instruction
from trimaran.dockerfile.names import command_name, step_name
from trimaran.dockerfile.problems import DockerfileError
from trimaran.dockerfile.stage_graph import StageGraph
from trimaran.dockerfile.state import Command, StageState, Target, with_shell
from trimaran.dockerfile.words import ExpansionError
from trimaran.errors import TrimaranError
from trimaran.graph.ops import FileAction, FileOp, MkDirAction
from trimaran.patterns import clean
from trimaran.spelling import did_you_mean


def dispatch_stages(graph: StageGraph) -> None:
    """Convert all reachable stages, in the order of the file."""
    target = graph.target
    proxy = proxies(target.build_args)
    for state in graph.reachable():
        if state.dispatched:
            continue
        state.dispatched = True
        _begin(state, target)
        for command in state.commands:
            dispatch(state, command, target, proxy)
    graph.goal.paths.add("/")


def _begin(state: StageState, target: Target) -> None:
    if state.base is not None:
        state.inherit(state.base)
    if state.platform is None:
        state.platform = target.platform
    if "PATH" not in state.image.env() and state.platform.os != "windows":
        state.image.set_env("PATH", DEFAULT_PATH)
    for name, value in state.image.env().items():
        state.set_env(name, value)
    config = state.image.run
    if config.working_dir:
        _set_workdir(state, config.working_dir)
    if config.user:
        state.user = config.user


def dispatch(state: StageState, command: Command, target: Target, proxy: tuple[tuple[str, str], ...]) -> None:
    """Errors are placed at the instruction, unless they know better."""
    item = command.instruction
    state.in_trigger = command.triggered
    check_instruction(item, state, target)
    state.latest[type(item)] = item
    try:
        if isinstance(item, Run):
            from trimaran.dockerfile.running import add_run

            add_run(state, command, item, target, proxy)
        elif isinstance(item, Copy):
            from trimaran.dockerfile.copying import add_copy

            add_copy(state, command, item, target)
        else:
            _HANDLERS[type(item)](state, item, target)
    except (ExpansionError, DockerfileError) as error:
        if error.where is not None:
            raise
        if isinstance(error, DockerfileError):
            raise item.node.error(error.cause, hint=error.hint) from None
        word = wrong_word(item.node, target.expander, state.env)
        raise item.node.error(error.message, word, hint=error.hint) from None
    except TrimaranError as error:
        error.where = error.where or item.node.at()
        raise


def _word(state: StageState, target: Target, text: str) -> str:
    return target.expander.word(text, state.env)


def _record(state: StageState, target: Target, text: str, *, layer: bool = False) -> None:
    state.image.add_history(text, layer=layer, created=target.created)


def _env(state: StageState, item: Env, target: Target) -> None:
    # the whole line sees the environment as it is at its beginning
    pairs = [(_word(state, target, pair.name), _word(state, target, pair.value)) for pair in item.pairs]
    for name, value in pairs:
        state.set_env(name, value)
        state.image.set_env(name, value)
    _record(state, target, "ENV" + "".join(f" {name}={value}" for name, value in pairs))


def _label(state: StageState, item: Label, target: Target) -> None:
    pairs = [(_word(state, target, pair.name), _word(state, target, pair.value)) for pair in item.pairs]
    labels = state.image.run.labels = state.image.run.labels or {}
    labels.update(pairs)
    _record(state, target, "LABEL" + "".join(f" {name}={value}" for name, value in pairs))


def _maintainer(state: StageState, item: Maintainer, target: Target) -> None:
    state.image.author = item.text
    _record(state, target, f"MAINTAINER {item.text}")


def _onbuild(state: StageState, item: Onbuild, _target: Target) -> None:
    config = state.image.run
    config.on_build = [*(config.on_build or []), item.expression]


def _set_workdir(state: StageState, path: str) -> None:
    if path:
        state.image.run.working_dir = state.cwd = paths.workdir(state.image.run.working_dir, path)


def _workdir(state: StageState, item: Workdir, target: Target) -> None:
    path = _word(state, target, item.path)
    _set_workdir(state, path)
    state.has_workdir = True
    made = state.cwd != "/"
    if made:
        from trimaran.dockerfile.owners import owner

        base = [state.draft] if state.draft is not None else []
        work = MkDirAction(
            path=clean(state.cwd),
            mode=0o755,
            make_parents=True,
            owner=owner(state.image.run.user, input=0 if base else -1),
            timestamp=target.timestamp,
        )
        name = command_name(item.node.code, target.expander, state.env)
        state.draft = target.drafts.add(
            FileOp((FileAction(input=0 if base else -1, output=0, work=work),)),
            base,
            name=step_name(state, name, prefixed=target.prefixed, platform=state.platform, env=state.env),
            platform=state.platform,
            where=item.node.where,
            place=state.place,
        )
    _record(state, target, f"WORKDIR {state.cwd}", layer=made)


def _user(state: StageState, item: User, target: Target) -> None:
    state.user = state.image.run.user = _word(state, target, item.user)
    _record(state, target, f"USER {state.user}")


def _cmd(state: StageState, item: Cmd, target: Target) -> None:
    arguments = with_shell(state, item.arguments) if item.in_shell else list(item.arguments)
    state.image.run.cmd = arguments
    state.image.run.args_escaped = True
    state.sets_cmd = True
    _record(state, target, f"CMD {gotext.quoted_list(arguments)}")


def _entrypoint(state: StageState, item: Entrypoint, target: Target) -> None:
    arguments = with_shell(state, item.arguments) if item.in_shell else list(item.arguments)
    state.image.run.entrypoint = arguments
    if not state.sets_cmd:
        state.image.run.cmd = None
    _record(state, target, f"ENTRYPOINT {gotext.quoted_list(arguments)}")


def _healthcheck(state: StageState, item: Healthcheck, target: Target) -> None:
    state.image.run.healthcheck = Health(
        test=list(item.test),
        interval=item.interval,
        timeout=item.timeout,
        start_period=item.start_period,
        start_interval=item.start_interval,
        retries=item.retries,
    )
    durations = (item.interval, item.timeout, item.start_period, item.start_interval)
    shown = " ".join(gotext.quote(gotext.duration(value)) for value in durations)
    # the history has the Go struct as `%q` prints it, the number of retries as a character
    text = f"&{{{gotext.quoted_list(item.test)} {shown} {gotext.quote_rune(item.retries)}}}"
    _record(state, target, f"HEALTHCHECK {text}")


def _expose(state: StageState, item: Expose, target: Target) -> None:
    from trimaran.dockerfile.ports import expand_ports

    ports: list[str] = []
    for text in item.ports:
        try:
            ports += expand_ports(target.expander.words(text, state.env))
        except DockerfileError as error:
            raise item.node.error(error.cause, word_with(item.node, text), hint=error.hint) from None
    exposed = state.image.run.exposed_ports = state.image.run.exposed_ports or {}
    exposed.update((port, {}) for port in ports)
    _record(state, target, f"EXPOSE {gotext.plain_list(ports)}")


def _volume(state: StageState, item: Volume, target: Target) -> None:
    volumes = [_word(state, target, path) for path in item.paths]
    if not all(volumes):
        raise DockerfileError("VOLUME specified can not be an empty string")
    known = state.image.run.volumes = state.image.run.volumes or {}
    known.update((path, {}) for path in volumes)
    _record(state, target, f"VOLUME {gotext.plain_list(volumes)}")


def _stop_signal(state: StageState, item: StopSignal, target: Target) -> None:
    from trimaran.dockerfile.signals import NAMES, is_signal

    signal = _word(state, target, item.signal)
    if not is_signal(signal):
        hint = did_you_mean(signal, ["SIG" + name for name in NAMES])
        raise item.node.error(f"invalid signal: {signal}", item.node.arguments[0], hint=hint)
    state.image.run.stop_signal = signal
    _record(state, target, f"STOPSIGNAL {signal}")


def _shell(state: StageState, item: Shell, target: Target) -> None:
    state.image.run.shell = list(item.arguments)
    _record(state, target, f"SHELL {gotext.plain_list(item.arguments)}")


def _arg(state: StageState, item: Arg, target: Target) -> None:
    shown: list[str] = []
    for arg in item.items:
        value = target.build_args.get(arg.name)
        if value is None and arg.value is not None:
            value = _word(state, target, arg.value)
        elif value is None:
            value = target.arguments.get(arg.name)
        if value is not None and arg.name not in NOT_ENVIRONMENT:
            state.set_env(arg.name, value)
        state.args.append(ArgItem(arg.name, value))
        shown.append(arg.name if value is None else f"{arg.name}={value}")
    _record(state, target, "ARG " + " ".join(shown))


_HANDLERS: dict[type[Instruction], Callable[[StageState, Any, Target], None]] = {
    Arg: _arg,
    Cmd: _cmd,
    Entrypoint: _entrypoint,
    Env: _env,
    Expose: _expose,
    Healthcheck: _healthcheck,
    Label: _label,
    Maintainer: _maintainer,
    Onbuild: _onbuild,
    Shell: _shell,
    StopSignal: _stop_signal,
    User: _user,
    Volume: _volume,
    Workdir: _workdir,
}
