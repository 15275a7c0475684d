"""RUN: its arguments, mounts, heredocs, and the process they become."""

from __future__ import annotations

from collections.abc import Sequence

from trimaran.dockerfile import paths
from trimaran.dockerfile.heredocs import Heredoc, parse_mark
from trimaran.dockerfile.instructions import ArgItem, Run
from trimaran.dockerfile.mounts import parse_mount
from trimaran.dockerfile.names import command_name, first_line, step_name
from trimaran.dockerfile.problems import DockerfileError
from trimaran.dockerfile.run_mounts import ProcessMounts, add_mount
from trimaran.dockerfile.state import Command, StageState, Target, with_shell
from trimaran.dockerfile.words import Expander
from trimaran.errors import Unsupported
from trimaran.graph.ops import (
    SKIP_OUTPUT,
    ExecMeta,
    ExecOp,
    FileAction,
    FileOp,
    HostIP,
    MkFileAction,
    Mount,
    MountType,
    NetMode,
    SecurityMode,
    Ulimit,
)

_NETWORKS = {"": NetMode.UNSET, "default": NetMode.UNSET, "sandbox": NetMode.UNSET}
_NETWORKS |= {"host": NetMode.HOST, "none": NetMode.NONE}
_SECURITY = {"sandbox": SecurityMode.SANDBOX, "insecure": SecurityMode.INSECURE}
SCRIPT_FOLDER = "/dev/pipes/"


def add_run(state: StageState, command: Command, item: Run, target: Target, proxy: tuple[tuple[str, str], ...]) -> None:
    """Append the process to the stage."""
    if not target.request.subrequest:
        _refuse(item)
    state.paths.add("/")
    request = target.request
    mounts = ProcessMounts()
    mounts.add(state.draft, Mount(dest="/", output=0))
    arguments, suffix = _arguments(state, item, target, mounts)
    _add_mounts(state, command, item, target, mounts)
    if request.shm_size > 0:
        mounts.add(None, Mount(dest="/dev/shm", type=MountType.TMPFS, tmpfs_size=request.shm_size))  # noqa: S108
    ordered = mounts.finish()
    network = item.network if item.network != "default" else request.network
    op = ExecOp(
        meta=_meta(state, target, arguments, proxy, mounts.environment(state.env)),
        mounts=ordered,
        network=_NETWORKS[network],
        security=_SECURITY[item.security],
        secret_env=tuple(mounts.variables),
    )
    shown = Expander(target.expander.escape, keep_unset=True, keep_quotes=True)
    hidden = {variable.name: "****" for variable in mounts.variables}
    name = command_name(item.node.code + suffix, shown, {**state.env, **hidden})
    state.draft = target.drafts.add(
        op,
        mounts.inputs,
        name=step_name(state, name, prefixed=target.prefixed, platform=state.platform, env=state.env),
        platform=state.platform,
        where=item.node.where,
        ignore_cache=state.ignore_cache,
        command=item.node.code,
        place=state.place,
        arguments=tuple(dict.fromkeys(arg.name for arg in state.args)),
    )
    text = " ".join([*_used_args(state.args, state.env), *arguments])
    state.image.add_history(f"RUN {text} # buildkit", layer=True, created=target.created)


def _meta(
    state: StageState, target: Target, arguments: list[str], proxy: tuple[tuple[str, str], ...], env: dict[str, str]
) -> ExecMeta:
    request = target.request
    return ExecMeta(
        args=tuple(arguments),
        env=tuple(f"{name}={value}" for name, value in env.items()),
        cwd=state.cwd,
        user=state.user,
        proxy_env=proxy,
        extra_hosts=tuple(HostIP(host, ip) for host, ip in request.extra_hosts),
        hostname=request.hostname or target.build_args.get("BUILDKIT_SANDBOX_HOSTNAME", ""),
        ulimits=tuple(Ulimit(name, soft, hard) for name, soft, hard in request.ulimits),
        cgroup_parent=request.cgroup_parent,
        remove_mount_stubs_recursive=True,
    )


def _add_mounts(state: StageState, command: Command, item: Run, target: Target, mounts: ProcessMounts) -> None:
    for word, source in zip(item.mounts, command.sources, strict=False):
        try:
            mount = parse_mount(word.text, lambda text: target.expander.word(text, state.env))
            add_mount(state, mount, source, target, mounts)
        except DockerfileError as error:
            raise item.node.error(error.cause, word, hint=error.hint) from None


def _refuse(item: Run) -> None:
    if item.devices:
        raise Unsupported(
            "run with --device: CDI devices are not supported yet",
            hint="steps get no devices of this machine: take the flag away, or build with BuildKit",
            where=item.node.at(item.node.flag("device")),
        )


def _used_args(args: Sequence[ArgItem], env: dict[str, str]) -> list[str]:
    """`|2 A=1 B=2`: the build arguments in use, for the history."""
    values: dict[str, str] = {}
    for arg in args:
        values[arg.name] = env.get(arg.name, arg.value or "")
    if not values:
        return []
    return [f"|{len(values)}", *(f"{name}={value}" for name, value in values.items())]


def _arguments(state: StageState, item: Run, target: Target, mounts: ProcessMounts) -> tuple[list[str], str]:
    """The process's arguments, and what its name says of a heredoc."""
    docs = item.node.heredocs
    arguments = list(item.arguments)
    suffix = ""
    if docs and item.in_shell and arguments:
        if parse_mark(arguments[0]) is not None:
            suffix = f" ({first_line(docs[0].content)})".encode("utf-8", "replace").decode()
            content = docs[0].chomped
            is_script = docs[0].content.startswith("#!")  # with a tab before it, it is none, to BuildKit
            arguments = [_script(state, docs[0], content, target, mounts) if is_script else content]
        else:
            arguments = ["\n".join([arguments[0], *(doc.content + doc.name for doc in docs)])]
    if item.in_shell:
        arguments = with_shell(state, arguments)
    if not arguments:
        raise DockerfileError("arguments are required", hint='such as RUN ["make", "all"]')
    if docs and any("\udc80" <= character <= "\udcff" for text in arguments for character in text):
        raise DockerfileError("the heredoc is not valid UTF-8", hint="save it as UTF-8")
    return arguments, suffix


def _script(state: StageState, doc: Heredoc, content: str, target: Target, mounts: ProcessMounts) -> str:
    """A heredoc with its own interpreter is mounted as a file; its path is what runs."""
    path = paths.absolute("/", doc.name)
    work = MkFileAction(path=path, mode=0o755, data=content.encode("utf-8", "surrogateescape"))
    draft = target.drafts.add(
        FileOp((FileAction(output=0, work=work),)),
        name="[internal] preparing inline document",
        platform=state.platform,
    )
    mounts.add(draft, Mount(dest=SCRIPT_FOLDER, selector="/", output=SKIP_OUTPUT, readonly=True))
    return SCRIPT_FOLDER.rstrip("/") + path
