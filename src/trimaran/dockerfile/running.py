"""RUN: its arguments, mounts, heredocs, and the process they become."""

from __future__ import annotations

from collections.abc import Sequence

from trimaran.dockerfile import paths
from trimaran.dockerfile.drafts import Draft
from trimaran.dockerfile.heredocs import Heredoc, parse_mark
from trimaran.dockerfile.instructions import ArgItem, Run
from trimaran.dockerfile.mounts import RunMount, parse_mount
from trimaran.dockerfile.names import command_name, first_line, step_name
from trimaran.dockerfile.problems import DockerfileError
from trimaran.dockerfile.state import Command, StageState, Target, with_shell
from trimaran.dockerfile.words import Expander
from trimaran.errors import Unsupported
from trimaran.graph.ops import (
    SCRATCH_INPUT,
    SKIP_OUTPUT,
    CacheOptions,
    CacheSharing,
    ExecMeta,
    ExecOp,
    FileAction,
    FileOp,
    HostIP,
    MkDirAction,
    MkFileAction,
    Mount,
    MountType,
    NetMode,
    Owner,
    Ulimit,
)
from trimaran.patterns import clean

_SHARING = {"": CacheSharing.SHARED, "shared": CacheSharing.SHARED, "private": CacheSharing.PRIVATE}
_NETWORKS = {"": NetMode.UNSET, "default": NetMode.UNSET, "sandbox": NetMode.UNSET}
_NETWORKS |= {"host": NetMode.HOST, "none": NetMode.NONE}
SCRIPT_FOLDER = "/dev/pipes/"


class _Mounts:
    """Mounts of a process and the inputs they take; an input used twice is given once."""

    def __init__(self) -> None:
        self.inputs: list[Draft] = []
        self.mounts: list[tuple[Draft | None, Mount]] = []

    def add(self, draft: Draft | None, mount: Mount) -> None:
        self.mounts.append((draft, mount))

    def finish(self) -> tuple[Mount, ...]:
        """Ordered by destination, as BuildKit orders them; inputs are numbered in that order."""
        from msgspec.structs import replace

        done = []
        for draft, mount in sorted(self.mounts, key=lambda item: item[1].dest):
            index = SCRATCH_INPUT
            if draft is not None:
                if draft not in self.inputs:
                    self.inputs.append(draft)
                index = self.inputs.index(draft)
            done.append(replace(mount, input=index))
        return tuple(done)


def add_run(state: StageState, command: Command, item: Run, target: Target, proxy: tuple[tuple[str, str], ...]) -> None:
    """Append the process to the stage."""
    _refuse(item)
    state.paths.add("/")
    request = target.request
    mounts = _Mounts()
    mounts.add(state.draft, Mount(dest="/", output=0))
    arguments, suffix = _arguments(state, item, target, mounts)
    _add_mounts(state, command, item, target, mounts)
    if request.shm_size > 0:
        mounts.add(None, Mount(dest="/dev/shm", type=MountType.TMPFS, tmpfs_size=request.shm_size))  # noqa: S108
    ordered = mounts.finish()
    network = item.network if item.network != "default" else request.network
    op = ExecOp(meta=_meta(state, target, arguments, proxy), mounts=ordered, network=_NETWORKS[network])
    shown = Expander(target.expander.escape, keep_unset=True, keep_quotes=True)
    name = command_name(item.node.code + suffix, shown, state.env)
    state.draft = target.drafts.add(
        op,
        mounts.inputs,
        name=step_name(state, name, prefixed=target.prefixed, platform=state.platform, env=state.env),
        platform=state.platform,
        where=item.node.where,
        ignore_cache=state.ignore_cache,
        command=item.node.code,
    )
    text = " ".join([*_used_args(state.args, state.env), *arguments])
    state.image.add_history(f"RUN {text} # buildkit", layer=True, created=target.created)


def _meta(state: StageState, target: Target, arguments: list[str], proxy: tuple[tuple[str, str], ...]) -> ExecMeta:
    request = target.request
    return ExecMeta(
        args=tuple(arguments),
        env=tuple(f"{name}={value}" for name, value in state.env.items()),
        cwd=state.cwd,
        user=state.user,
        proxy_env=proxy,
        extra_hosts=tuple(HostIP(host, ip) for host, ip in request.extra_hosts),
        hostname=request.hostname,
        ulimits=tuple(Ulimit(name, soft, hard) for name, soft, hard in request.ulimits),
        cgroup_parent=request.cgroup_parent,
    )


def _add_mounts(state: StageState, command: Command, item: Run, target: Target, mounts: _Mounts) -> None:
    for word, source in zip(item.mounts, command.sources, strict=False):
        try:
            mount = parse_mount(word.text, lambda text: target.expander.word(text, state.env))
            _add_mount(state, mount, source, target, mounts)
        except DockerfileError as error:
            raise item.node.error(error.cause, word, hint=error.hint) from None
        except Unsupported as error:
            error.where = item.node.at(word)
            raise


def _refuse(item: Run) -> None:
    if item.security != "sandbox":
        raise Unsupported(
            "run with --security=insecure: not supported yet",
            hint="take the flag away",
            where=item.node.at(item.node.flag("security")),
        )
    if item.devices:
        raise Unsupported(
            "run with --device: CDI devices are not supported yet", where=item.node.at(item.node.flag("device"))
        )


def _used_args(args: Sequence[ArgItem], env: dict[str, str]) -> list[str]:
    """`|2 A=1 B=2`: the build arguments in use, for the history."""
    values: dict[str, str] = {}
    for arg in args:
        values[arg.name] = env.get(arg.name, arg.value or "")
    if not values:
        return []
    return [f"|{len(values)}", *(f"{name}={value}" for name, value in values.items())]


def _arguments(state: StageState, item: Run, target: Target, mounts: _Mounts) -> tuple[list[str], str]:
    """The process's arguments, and what its name says of a heredoc."""
    docs = item.node.heredocs
    arguments = list(item.arguments)
    suffix = ""
    if docs and item.in_shell and arguments:
        if parse_mark(arguments[0]) is not None:
            suffix = f" ({first_line(docs[0].content)})".encode("utf-8", "replace").decode()
            content = docs[0].chomped
            arguments = [_script(state, docs[0], content, target, mounts) if content.startswith("#!") else content]
        else:
            arguments = ["\n".join([arguments[0], *(doc.content + doc.name for doc in docs)])]
    if item.in_shell:
        arguments = with_shell(state, arguments)
    if docs and any("\udc80" <= character <= "\udcff" for text in arguments for character in text):
        raise DockerfileError("the heredoc is not valid UTF-8", hint="save it as UTF-8")
    return arguments, suffix


def _script(state: StageState, doc: Heredoc, content: str, target: Target, mounts: _Mounts) -> str:
    """A heredoc with its own interpreter is mounted as a file; its path is what runs."""
    path = paths.absolute("/", doc.name)
    work = MkFileAction(path=path, mode=0o755, data=content.encode("utf-8", "surrogateescape"))
    draft = target.drafts.add(
        FileOp((FileAction(output=0, work=work),)),
        name="[internal] preparing inline document",
        platform=state.platform,
    )
    mounts.add(draft, Mount(dest=SCRIPT_FOLDER, output=SKIP_OUTPUT, readonly=True))
    return SCRIPT_FOLDER.rstrip("/") + path


def _add_mount(state: StageState, mount: RunMount, source: StageState | None, target: Target, mounts: _Mounts) -> None:
    if mount.type in ("secret", "ssh"):
        raise Unsupported(f"mount a {mount.type}: RUN --mount=type={mount.type} is not supported yet")
    if source is not None and not source.dispatched:
        raise DockerfileError(
            f'cannot mount from stage "{mount.source_stage}" to "{mount.target}", '
            f'stage needs to be defined before current stage "{state.name}"'
        )
    dest = paths.absolute(state.cwd, mount.target)
    if dest == "/" or not mount.target:
        raise DockerfileError(f'invalid mount target "{mount.target}"', hint="write target=PATH, another than /")
    if mount.type == "tmpfs":
        size = Mount(dest=dest, type=MountType.TMPFS, tmpfs_size=mount.size, readonly=mount.reads_only)
        mounts.add(None, size)
        return
    draft, selector = _mounted(state, mount, source, target)
    made = Mount(dest=dest, selector=selector, readonly=mount.reads_only)
    if mount.type == "cache":
        sharing = _SHARING.get(mount.sharing, CacheSharing.LOCKED)
        identifier = _namespace(target) + "/" + (mount.id or clean(mount.target))
        made = Mount(
            dest=dest,
            selector=selector,
            readonly=mount.reads_only,
            type=MountType.CACHE,
            cache=CacheOptions(identifier, sharing),
        )
    mounts.add(draft, made)


def _namespace(target: Target) -> str:
    return target.build_args.get("BUILDKIT_CACHE_MOUNT_NS", "")


def _mounted(state: StageState, mount: RunMount, source: StageState | None, target: Target) -> tuple[Draft | None, str]:
    """What is mounted, and the path in it. An own folder for a cache that asks for an owner or a mode."""
    path = paths.from_context(mount.source)
    draft: Draft | None
    if source is not None:
        source.paths.add(path)
        draft = source.draft
    elif mount.type == "cache" or mount.source_stage == "scratch":
        draft = None
    else:
        target.context_paths.add(path)
        draft = target.context
    if path != "/":
        return draft, path
    if mount.type != "cache" or (mount.uid, mount.gid, mount.mode) == (None, None, None):
        return draft, ""
    work = MkDirAction(
        path="/cache",
        mode=0o755 if mount.mode is None else mount.mode,
        owner=Owner(user=mount.uid or 0, group=mount.gid or 0),
        timestamp=target.timestamp,
    )
    made = target.drafts.add(
        FileOp((FileAction(input=0 if draft else SCRATCH_INPUT, output=0, work=work),)),
        [draft] if draft else [],
        name="[internal] setting cache mount permissions",
        platform=state.platform,
    )
    return made, "/cache"
