"""What the mounts of one RUN become: mounts of its process, in BuildKit's order, and the inputs they take."""

from __future__ import annotations

from msgspec.structs import replace

from trimaran.dockerfile import paths
from trimaran.dockerfile.drafts import Draft
from trimaran.dockerfile.mounts import RunMount
from trimaran.dockerfile.problems import DockerfileError
from trimaran.dockerfile.state import StageState, Target
from trimaran.graph.ops import (
    SCRATCH_INPUT,
    CacheOptions,
    CacheSharing,
    FileAction,
    FileOp,
    MkDirAction,
    Mount,
    MountType,
    Owner,
    SecretEnv,
    SecretOptions,
    SshOptions,
)
from trimaran.patterns import clean

SECRETS = "/run/secrets/"
AGENT = "/run/buildkit/ssh_agent."
AGENT_VARIABLE = "SSH_AUTH_SOCK"
_SHARING = {"": CacheSharing.SHARED, "shared": CacheSharing.SHARED, "private": CacheSharing.PRIVATE}


class ProcessMounts:
    """Mounts of a process and the inputs they take; an input used twice is given once."""

    def __init__(self) -> None:
        self.inputs: list[Draft] = []
        self.mounts: list[tuple[Draft | None, Mount]] = []
        self.secrets: list[Mount] = []
        self.agents: list[Mount] = []
        self.variables: list[SecretEnv] = []

    def add(self, draft: Draft | None, mount: Mount) -> None:
        self.mounts.append((draft, mount))

    def finish(self) -> tuple[Mount, ...]:
        """Ordered by destination, as BuildKit orders them, secrets and agents behind as given; inputs in that order."""
        done = []
        for draft, mount in sorted(self.mounts, key=lambda item: item[1].dest):
            index = SCRATCH_INPUT
            if draft is not None:
                if draft not in self.inputs:
                    self.inputs.append(draft)
                index = self.inputs.index(draft)
            done.append(replace(mount, input=index))
        return (*done, *self.secrets, *self.agents)

    def environment(self, env: dict[str, str]) -> dict[str, str]:
        """With the address of the first agent, unless the image has one of its own."""
        if not self.agents or AGENT_VARIABLE in env:
            return env
        return {**env, AGENT_VARIABLE: self.agents[0].dest}


def add_mount(
    state: StageState, mount: RunMount, source: StageState | None, target: Target, mounts: ProcessMounts
) -> None:
    """DockerfileError (without a place) for a mount that cannot be."""
    if mount.type == "secret":
        _add_secret(state, mount, mounts)
        return
    if mount.type == "ssh":
        _add_agent(state, mount, mounts)
        return
    if source is not None and not source.dispatched:
        raise DockerfileError(
            f'cannot mount from stage "{mount.source_stage}" to "{mount.target}", '
            "stage needs to be defined before current command",
            hint="move that stage up",
        )
    dest = paths.absolute(state.cwd, mount.target)
    if dest == "/" or not mount.target:
        raise DockerfileError('invalid mount target "/"', hint="write target=PATH, another than /")
    if mount.type == "tmpfs":
        size = Mount(dest=dest, type=MountType.TMPFS, tmpfs_size=mount.size, readonly=mount.reads_only)
        mounts.add(None, size)
        return
    draft, selector = _mounted(state, mount, source, target)
    made = Mount(dest=dest, selector=selector, readonly=mount.reads_only)
    if mount.type == "cache":
        sharing = _SHARING.get(mount.sharing, CacheSharing.LOCKED)
        identifier = _namespace(target) + "/" + (mount.id or clean(mount.target))
        made = replace(made, type=MountType.CACHE, cache=CacheOptions(identifier, sharing))
    mounts.add(draft, made)


def _add_secret(state: StageState, mount: RunMount, mounts: ProcessMounts) -> None:
    """A file (by default /run/secrets/ID), a variable, or both."""
    identifier = mount.source or mount.id or _last(mount.target)
    optional = not mount.required
    if mount.env is not None:
        mounts.variables.append(SecretEnv(identifier, mount.env, optional))
        if not mount.target:
            return
    options = SecretOptions(
        id=identifier,
        uid=mount.uid or 0,
        gid=mount.gid or 0,
        mode=0o400 if mount.mode is None else mount.mode,
        optional=optional,
    )
    dest = paths.absolute(state.cwd, mount.target) if mount.target else SECRETS + _last(identifier)
    if dest == "/":
        raise DockerfileError(f'invalid mount target "{mount.target}"', hint="write target=PATH, another than /")
    # The output stays 0, which nobody reads: so BuildKit's clients write it.
    mounts.secrets.append(Mount(dest=dest, output=0, type=MountType.SECRET, secret=options))


def _add_agent(state: StageState, mount: RunMount, mounts: ProcessMounts) -> None:
    if mount.source:
        raise DockerfileError("ssh does not support source", hint="name the agent with id=NAME")
    options = SshOptions(
        id=mount.id,  # none is the agent called default
        uid=mount.uid or 0,
        gid=mount.gid or 0,
        mode=0o600 if mount.mode is None else mount.mode,
        optional=not mount.required,
    )
    dest = paths.absolute(state.cwd, mount.target) if mount.target else f"{AGENT}{len(mounts.agents)}"
    mounts.agents.append(Mount(dest=dest, output=0, type=MountType.SSH, ssh=options))


def _last(path: str) -> str:
    """As Go's path.Base."""
    return path.rstrip("/").rpartition("/")[2] or ("/" if path else ".")


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
