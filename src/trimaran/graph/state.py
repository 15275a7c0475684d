"""Builds written in Python: a `State` is a file system to be, with the environment that commands run in.

    base = image("alpine:3").dir("/src")
    built = base.copy(local("context"), ".", ".").run("make")
    result = scratch().copy(built, "/src/app", "/app")

Pure: nothing happens until the graph is solved. Each call makes one vertex over the ones before; equal calls make equal
vertices. Relative paths are taken from the state's own folder, as BuildKit's `llb` package does.
"""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence

import msgspec

from trimaran import platforms
from trimaran.errors import UsageError
from trimaran.graph import llb, ops
from trimaran.graph.vertex import Edge, Hints, Vertex
from trimaran.platforms import Platform
from trimaran.reference import Reference

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Mount(msgspec.Struct, frozen=True, kw_only=True):
    """What a command sees at `dest` besides its root: a state (read-only), a cache, a tmpfs, a secret or an agent."""

    dest: str
    type: ops.MountType = ops.MountType.BIND
    source: State | None = None
    selector: str = ""
    size: int = 0
    cache: ops.CacheOptions | None = None
    secret: ops.SecretOptions | None = None
    ssh: ops.SshOptions | None = None


def bind(source: State, dest: str, *, path: str = "") -> Mount:
    """`path` in `source`, read-only."""
    return Mount(dest=dest, source=source, selector=path)


def cache(
    dest: str, *, identity: str = "", sharing: ops.CacheSharing = ops.CacheSharing.SHARED, initial: State | None = None
) -> Mount:
    """A folder kept between builds under `identity` (default: its path), begun with `initial`."""
    options = ops.CacheOptions(identity or dest, sharing)
    return Mount(dest=dest, type=ops.MountType.CACHE, cache=options, source=initial)


def tmpfs(dest: str, *, size: int = 0) -> Mount:
    """Memory that is gone after the command; `size` in bytes, 0: no limit of its own."""
    return Mount(dest=dest, type=ops.MountType.TMPFS, size=size)


def secret(identity: str, *, dest: str = "", mode: int = 0o400, optional: bool = False) -> Mount:
    """A secret of the build as a file, at /run/secrets/`identity` unless said."""
    options = ops.SecretOptions(identity, mode=mode, optional=optional)
    return Mount(dest=dest or f"/run/secrets/{identity}", type=ops.MountType.SECRET, secret=options)


def ssh(identity: str = "default", *, dest: str = "/run/buildkit/ssh_agent.0", optional: bool = False) -> Mount:
    """The socket of an ssh agent of the build; SSH_AUTH_SOCK has to be set to `dest` by the caller."""
    return Mount(dest=dest, type=ops.MountType.SSH, ssh=ops.SshOptions(identity, optional=optional))


class State:
    """Immutable: each method returns another state. `edge` None is the empty file system."""

    __slots__ = ("cwd", "edge", "environment", "platform", "user_name")

    def __init__(
        self,
        edge: Edge | None,
        *,
        platform: Platform | None = None,
        environment: Mapping[str, str] | None = None,
        cwd: str = "/",
        user_name: str = "",
    ) -> None:
        self.edge = edge
        self.platform = platform or platforms.default()
        self.environment = dict(environment or {})
        self.cwd = cwd
        self.user_name = user_name

    # --- what commands run in; no vertex -----------------------------------------------------------------------------

    def env(self, name: str, value: str) -> State:
        return self._with(self.edge, environment={**self.environment, name: value})

    def dir(self, path: str) -> State:
        """The folder that commands and relative paths start from; it is not made."""
        return self._with(self.edge, cwd=self._absolute(path))

    def user(self, name: str) -> State:
        """`name`, `uid` or `name:group`, looked up in the image when a command runs."""
        return self._with(self.edge, user_name=name)

    # --- commands ----------------------------------------------------------------------------------------------------

    def run(
        self,
        command: str | Sequence[str],
        *,
        mounts: Sequence[Mount] = (),
        network: ops.NetMode = ops.NetMode.UNSET,
        security: ops.SecurityMode = ops.SecurityMode.SANDBOX,
        secret_env: Sequence[ops.SecretEnv] = (),
        name: str = "",
        ignore_cache: bool = False,
    ) -> State:
        """The file system after the command, given as words or as a line for /bin/sh; `name` is shown while it runs."""
        words = ("/bin/sh", "-c", command) if isinstance(command, str) else tuple(command)
        if not words:
            raise UsageError("run: there is no command")
        inputs: list[Edge] = []
        root = ops.Mount(input=_input(inputs, self.edge), dest="/", output=0)
        others = tuple(self._mount(mount, inputs) for mount in mounts)
        environment = {"PATH": DEFAULT_PATH, **self.environment}
        meta = ops.ExecMeta(
            args=words,
            env=tuple(f"{key}={value}" for key, value in environment.items()),
            cwd=self.cwd,
            user=self.user_name,
        )
        op = ops.ExecOp(
            meta=meta, mounts=(root, *others), network=network, security=security, secret_env=tuple(secret_env)
        )
        hints = Hints(name=name or " ".join(words), ignore_cache=ignore_cache)
        return self._with(Vertex(op, tuple(inputs), constraints=self._constraints, hints=hints).edge())

    def _mount(self, mount: Mount, inputs: list[Edge]) -> ops.Mount:
        return ops.Mount(
            input=_input(inputs, mount.source.edge if mount.source else None),
            selector=mount.selector,
            dest=self._absolute(mount.dest),
            readonly=mount.type is ops.MountType.BIND,
            type=mount.type,
            tmpfs_size=mount.size,
            cache=mount.cache,
            secret=mount.secret,
            ssh=mount.ssh,
        )

    # --- files -------------------------------------------------------------------------------------------------------

    def copy(
        self,
        source: State,
        src: str,
        dest: str,
        *,
        owner: ops.Owner | None = None,
        mode: int = -1,
        include: Sequence[str] = (),
        exclude: Sequence[str] = (),
        contents_only: bool = True,
        wildcard: bool = False,
        follow_symlink: bool = True,
        name: str = "",
    ) -> State:
        """`src` of another state as `dest`, parents made; a folder's contents unless `contents_only` is off."""
        work = ops.CopyAction(
            src=source._absolute(src),
            dest=self._absolute(dest) + ("/" if dest.endswith("/") and dest != "/" else ""),
            owner=owner,
            mode=mode,
            follow_symlink=follow_symlink,
            dir_copy_contents=contents_only,
            create_dest_path=True,
            allow_wildcard=wildcard,
            include_patterns=tuple(include),
            exclude_patterns=tuple(exclude),
        )
        return self._act(work, name or f"copy {src} {dest}", source)

    def mkdir(self, path: str, *, mode: int = 0o755, parents: bool = False, owner: ops.Owner | None = None) -> State:
        work = ops.MkDirAction(path=self._absolute(path), mode=mode, make_parents=parents, owner=owner)
        return self._act(work, f"mkdir {path}")

    def mkfile(self, path: str, data: bytes = b"", *, mode: int = 0o644, owner: ops.Owner | None = None) -> State:
        work = ops.MkFileAction(path=self._absolute(path), mode=mode, data=data, owner=owner)
        return self._act(work, f"mkfile {path}")

    def rm(self, path: str, *, missing_ok: bool = False, wildcard: bool = False) -> State:
        work = ops.RmAction(path=self._absolute(path), allow_not_found=missing_ok, allow_wildcard=wildcard)
        return self._act(work, f"rm {path}")

    def symlink(self, target: str, path: str, *, owner: ops.Owner | None = None) -> State:
        """A link at `path` to `target`, which is taken as it is."""
        return self._act(ops.SymlinkAction(old_path=target, new_path=self._absolute(path), owner=owner), f"ln {path}")

    def _act(self, work: ops.FileWork, name: str, source: State | None = None) -> State:
        inputs: list[Edge] = []
        action = ops.FileAction(
            input=_input(inputs, self.edge),
            secondary_input=_input(inputs, source.edge if source else None),
            output=0,
            work=work,
        )
        vertex = Vertex(ops.FileOp((action,)), tuple(inputs), constraints=self._constraints, hints=Hints(name=name))
        return self._with(vertex.edge())

    # --- the whole ---------------------------------------------------------------------------------------------------

    def definition(self) -> bytes:
        """The graph in LLB's wire form, as BuildKit takes it; UsageError for the empty state."""
        if self.edge is None:
            raise UsageError("encode graph: the state is empty", hint="make at least one file")
        return llb.encode_definition(self.edge)

    @property
    def _constraints(self) -> ops.Constraints:
        return ops.Constraints(self.platform)

    def _absolute(self, path: str) -> str:
        """In the container's terms, from the state's folder, never above the root."""
        return "/" + posixpath.normpath(posixpath.join("/", self.cwd, path)).lstrip("/")

    def _with(
        self,
        edge: Edge | None,
        *,
        environment: Mapping[str, str] | None = None,
        cwd: str = "",
        user_name: str | None = None,
    ) -> State:
        return State(
            edge,
            platform=self.platform,
            environment=self.environment if environment is None else environment,
            cwd=cwd or self.cwd,
            user_name=self.user_name if user_name is None else user_name,
        )


def _input(inputs: list[Edge], edge: Edge | None) -> int:
    """The index of `edge` among the inputs, added once."""
    if edge is None:
        return ops.SCRATCH_INPUT
    if edge not in inputs:
        inputs.append(edge)
    return inputs.index(edge)


def scratch(platform: Platform | None = None) -> State:
    """The empty file system."""
    return State(None, platform=platform)


def image(reference: str, *, platform: Platform | None = None, resolve_mode: str = "default") -> State:
    """An image's file system; its config is not read: say what commands need by `env` and `user`."""
    if resolve_mode not in {"default", "pull", "local"}:
        raise UsageError(f"image {reference}: unknown resolve mode {resolve_mode!r}", hint="default, pull or local")
    name = Reference.parse(reference)
    attrs = () if resolve_mode == "default" else (("image.resolvemode", resolve_mode),)
    platform = platform or platforms.default()
    vertex = Vertex(
        ops.SourceOp(f"docker-image://{name}", attrs),
        constraints=ops.Constraints(platform),
        hints=Hints(name=f"docker-image://{name}"),
    )
    return State(vertex.edge(), platform=platform)


def local(name: str, *, include: Sequence[str] = (), exclude: Sequence[str] = (), follow: Sequence[str] = ()) -> State:
    """A folder that the build is given under `name`; patterns are those of .dockerignore."""
    lists = (("local.excludepatterns", exclude), ("local.followpaths", follow), ("local.includepattern", include))
    attrs = tuple((key, msgspec.json.encode(list(values)).decode()) for key, values in lists if values)
    attrs += (("local.sharedkeyhint", name),)
    return State(Vertex(ops.SourceOp(f"local://{name}", attrs), hints=Hints(name=f"local://{name}")).edge())


def merge(*states: State) -> State:
    """The states' files over one another, the last uppermost; empty ones add nothing."""
    full = [state for state in states if state.edge is not None]
    if len(full) < 2:
        return full[0] if full else scratch(states[0].platform if states else None)
    edges = tuple(state.edge for state in full if state.edge is not None)
    op = ops.MergeOp(tuple(range(len(edges))))
    vertex = Vertex(op, edges, constraints=ops.Constraints(full[0].platform), hints=Hints(name="merge"))
    return State(vertex.edge(), platform=full[0].platform)


def diff(lower: State, upper: State) -> State:
    """What makes `upper` out of `lower`: to be merged onto something else."""
    inputs: list[Edge] = []
    op = ops.DiffOp(_input(inputs, lower.edge), _input(inputs, upper.edge))
    vertex = Vertex(op, tuple(inputs), constraints=ops.Constraints(upper.platform), hints=Hints(name="diff"))
    return State(vertex.edge(), platform=upper.platform)
