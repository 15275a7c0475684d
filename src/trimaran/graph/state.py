"""The Python API to write build graphs in, like BuildKit's `llb` package.

    base = image("alpine:3").dir("/src")
    built = base.copy(local("."), ".", ".").run("make")
    result = scratch().copy(built, "/src/app", "/app").entrypoint("/app")

Pure: nothing happens until the graph is built. Each call makes one vertex over the ones before; equal calls make equal
vertices. Relative paths are taken from the state's own folder, as BuildKit's `llb` package does.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec

from trimaran import platforms
from trimaran.errors import UsageError
from trimaran.graph import llb, ops
from trimaran.graph.caller import caller
from trimaran.graph.frontend import ContainerDefaults, GraphInput
from trimaran.graph.mounts import Mount
from trimaran.graph.vertex import Edge, Hints, Vertex
from trimaran.platforms import Platform
from trimaran.reference import Reference

INHERITS = "trimaran.inherits"
"""Key of a process's description: what of the image below it takes where the state is silent (`env cwd user`)."""
Words = str | Sequence[str]
"""A line for /bin/sh, or the words of a command."""
Form = Literal["text", "dot", "json"]
Network = Literal["default", "none", "host"]
_NETWORKS: dict[str, ops.NetMode] = {"default": ops.NetMode.UNSET, "none": ops.NetMode.NONE, "host": ops.NetMode.HOST}


class State:
    """Immutable: each method returns another state. `edge` None is the empty file system."""

    __slots__ = ("base_config", "cwd", "defaults", "edge", "environment", "folders", "platform", "user_name")

    def __init__(
        self,
        edge: Edge | None,
        *,
        platform: Platform | None = None,
        environment: Mapping[str, str] | None = None,
        cwd: str = "",
        user_name: str = "",
        defaults: ContainerDefaults | None = None,
        folders: Mapping[str, str] | None = None,
        base_config: bytes = b"",
    ) -> None:
        """`folders` are the client's, by the names that the graph has for them."""
        self.edge = edge
        self.platform = platform or platforms.default()
        self.environment = dict(environment or {})
        self.cwd = cwd
        self.user_name = user_name
        self.defaults = defaults or ContainerDefaults()
        self.folders = dict(folders or {})
        self.base_config = base_config

    # --- what commands run in, and containers of the image start with; no vertex --------------------------------------

    def env(self, name: str, value: str) -> State:
        return self._with(environment={**self.environment, name: value})

    def dir(self, path: str) -> State:
        """The folder that commands and relative paths start from; it is not made."""
        return self._with(cwd=self._absolute(path))

    def user(self, name: str) -> State:
        """`name`, `uid` or `name:group`, looked up in the image when a command runs."""
        return self._with(user_name=name)

    def entrypoint(self, *words: str) -> State:
        return self._defaults(entrypoint=words, cmd=self.defaults.cmd if self.defaults.cmd is not None else ())

    def cmd(self, *words: str) -> State:
        return self._defaults(cmd=words)

    def label(self, name: str, value: str) -> State:
        return self._defaults(labels=(*self.defaults.labels, (name, value)))

    def expose(self, port: int | str) -> State:
        """A port, `80` or `53/udp`."""
        text = str(port)
        return self._defaults(exposed_ports=(*self.defaults.exposed_ports, text if "/" in text else f"{text}/tcp"))

    def volume(self, path: str) -> State:
        return self._defaults(volumes=(*self.defaults.volumes, self._absolute(path)))

    def stop_signal(self, name: str) -> State:
        return self._defaults(stop_signal=name)

    def _defaults(self, **changes: Any) -> State:
        return self._with(defaults=msgspec.structs.replace(self.defaults, **changes))

    # --- commands ----------------------------------------------------------------------------------------------------

    def run(
        self,
        command: Words,
        *,
        mounts: Sequence[Mount] = (),
        env: Mapping[str, str] | None = None,
        network: Network = "default",
        insecure: bool = False,
        secret_env: Mapping[str, str] | None = None,
        name: str = "",
        ignore_cache: bool = False,
    ) -> State:
        """The file system after the command. `env` is for it alone, `secret_env` maps variables to secrets' ids.

        `network="host"` and `insecure` have to be allowed when the graph is built; `name` is shown while it runs.
        """
        words = ("/bin/sh", "-c", command) if isinstance(command, str) else tuple(command)
        if not words:
            raise UsageError("run: there is no command")
        if network not in _NETWORKS:
            raise UsageError(f"run: unknown network mode {network!r}", hint="default, none or host")
        inputs: list[Edge] = []
        root = ops.Mount(input=_input(inputs, self.edge), dest="/", output=0)
        others = tuple(self._mount(mount, inputs) for mount in mounts)
        environment = {**self.environment, **(env or {})}
        op = ops.ExecOp(
            meta=ops.ExecMeta(
                args=words,
                env=tuple(f"{key}={value}" for key, value in environment.items()),
                cwd=self.cwd or "/",
                user=self.user_name,
                remove_mount_stubs_recursive=True,
            ),
            mounts=(root, *others),
            network=_NETWORKS[network],
            security=ops.SecurityMode.INSECURE if insecure else ops.SecurityMode.SANDBOX,
            secret_env=tuple(ops.SecretEnv(secret, variable) for variable, secret in (secret_env or {}).items()),
        )
        shown = name or (command if isinstance(command, str) else " ".join(words))
        silent = " ".join(["env", *["cwd"] * (not self.cwd), *["user"] * (not self.user_name)])
        hints = Hints(name=shown, ignore_cache=ignore_cache, where=caller(), description=((INHERITS, silent),))
        sources = [mount.source for mount in mounts if mount.source is not None]
        return self.with_vertex(op, inputs, hints, *sources)

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
        owner: str | ops.Owner | None = None,
        mode: int = -1,
        include: Sequence[str] = (),
        exclude: Sequence[str] = (),
        contents_only: bool = True,
        wildcard: bool = False,
        follow_symlink: bool = True,
        name: str = "",
    ) -> State:
        """`src` of another state as `dest`, parents made; a folder's contents unless `contents_only` is off.

        `owner` is `user[:group]`, numbers or names of this state's own image; what is copied keeps its own without.
        """
        work = ops.CopyAction(
            src=source._absolute(src),
            dest=self._absolute(dest) + ("/" if dest.endswith("/") and dest != "/" else ""),
            owner=self._owner(owner),
            mode=mode,
            follow_symlink=follow_symlink,
            dir_copy_contents=contents_only,
            create_dest_path=True,
            allow_wildcard=wildcard,
            include_patterns=tuple(include),
            exclude_patterns=tuple(exclude),
        )
        return self._act(work, name or f"copy {src} {dest}", source)

    def mkdir(
        self, path: str, *, mode: int = 0o755, parents: bool = False, owner: str | ops.Owner | None = None
    ) -> State:
        owned = self._owner(owner)
        work = ops.MkDirAction(path=self._absolute(path), mode=mode, make_parents=parents, owner=owned)
        return self._act(work, f"mkdir {path}")

    def mkfile(
        self, path: str, data: bytes | str = b"", *, mode: int = 0o644, owner: str | ops.Owner | None = None
    ) -> State:
        content = data.encode() if isinstance(data, str) else data
        work = ops.MkFileAction(path=self._absolute(path), mode=mode, data=content, owner=self._owner(owner))
        return self._act(work, f"mkfile {path}")

    def rm(self, path: str, *, missing_ok: bool = False, wildcard: bool = False) -> State:
        work = ops.RmAction(path=self._absolute(path), allow_not_found=missing_ok, allow_wildcard=wildcard)
        return self._act(work, f"rm {path}")

    def symlink(self, target: str, path: str, *, owner: str | ops.Owner | None = None) -> State:
        """A link at `path` to `target`, which is taken as it is."""
        work = ops.SymlinkAction(old_path=target, new_path=self._absolute(path), owner=self._owner(owner))
        return self._act(work, f"ln {path}")

    def _owner(self, owner: str | ops.Owner | None) -> ops.Owner | None:
        if not isinstance(owner, str):
            return owner
        user, _, group = owner.partition(":")
        return ops.Owner(self._account(user), self._account(group or user if user.isdecimal() else group))

    def _account(self, name: str) -> int | ops.NamedUser | None:
        if not name or name.isdecimal():
            return int(name) if name else None
        if self.edge is None:
            raise UsageError(f"look up {name!r}: the file system is empty", hint="give the number of the user or group")
        return ops.NamedUser(name, 0)

    def _act(self, work: ops.FileWork, name: str, source: State | None = None) -> State:
        inputs: list[Edge] = []
        action = ops.FileAction(
            input=_input(inputs, self.edge),
            secondary_input=_input(inputs, source.edge if source else None),
            output=0,
            work=work,
        )
        hints = Hints(name=name, where=caller())
        return self.with_vertex(ops.FileOp((action,)), inputs, hints, *([source] if source else []))

    # --- the whole ---------------------------------------------------------------------------------------------------

    def definition(self) -> bytes:
        """The graph in LLB's wire form, as BuildKit takes it; UsageError for the empty state."""
        if self.edge is None:
            raise UsageError("encode graph: the state is empty", hint="make at least one file")
        return llb.encode_definition(self.edge)

    def graph_input(self) -> GraphInput:
        """What an engine needs to build it."""
        own = {"env": tuple(self.environment.items()), "working_dir": self.cwd, "user": self.user_name}
        return GraphInput(
            platform=self.platform,
            definition=self.definition(),
            defaults=msgspec.structs.replace(self.defaults, **own),
            base_config=self.base_config,
        )

    def show(self, form: Form = "text") -> str:
        """The graph for people, for Graphviz, or for programs."""
        from trimaran.graph.show import show

        return show([] if self.edge is None else [(str(self.platform), self.edge)], form)

    def __str__(self) -> str:
        return self.show()

    def with_vertex(self, op: ops.Op, inputs: Sequence[Edge], hints: Hints, *sources: State) -> State:
        """The state after a vertex that also reads `sources`."""
        vertex = Vertex(op, tuple(inputs), constraints=ops.Constraints(self.platform), hints=hints)
        return self._with(edge=vertex.edge(), folders=_joined(self, *sources))

    def _absolute(self, path: str) -> str:
        """In the container's terms, from the state's folder, never above the root."""
        return "/" + posixpath.normpath(posixpath.join("/", self.cwd, path)).lstrip("/")

    def _with(self, **changes: Any) -> State:
        fields: dict[str, Any] = {name: getattr(self, name) for name in self.__slots__}
        return State(**{**fields, **changes})


def _joined(*states: State) -> dict[str, str]:
    """The folders of all; UsageError where one name means two."""
    found: dict[str, str] = {}
    for state in states:
        for name, path in state.folders.items():
            if found.setdefault(name, path) != path:
                raise UsageError(
                    f"read folder {name}: it is {found[name]} and {path}", hint="give each a name: local(PATH, name=…)"
                )
    return found


def _input(inputs: list[Edge], edge: Edge | None) -> int:
    """The index of `edge` among the inputs, added once."""
    if edge is None:
        return ops.SCRATCH_INPUT
    if edge not in inputs:
        inputs.append(edge)
    return inputs.index(edge)


def _platform(value: Platform | str | None) -> Platform:
    return Platform.parse(value).normalize() if isinstance(value, str) else value or platforms.default()


def scratch(platform: Platform | str | None = None) -> State:
    """The empty file system."""
    return State(None, platform=_platform(platform))


def image(
    reference: str,
    *,
    platform: Platform | str | None = None,
    resolve_mode: Literal["default", "pull", "local"] = "default",
) -> State:
    """An image's file system. Where the state is silent, commands and the result have its environment, folder and user.

    File paths do not: they begin at / until `dir` says otherwise.
    """
    if resolve_mode not in {"default", "pull", "local"}:
        raise UsageError(f"image {reference}: unknown resolve mode {resolve_mode!r}", hint="default, pull or local")
    name = Reference.parse(reference)
    attrs = () if resolve_mode == "default" else (("image.resolvemode", resolve_mode),)
    chosen = _platform(platform)
    vertex = Vertex(
        ops.SourceOp(f"docker-image://{name}", attrs),
        constraints=ops.Constraints(chosen),
        hints=Hints(name=f"docker-image://{name}", where=caller()),
    )
    return State(vertex.edge(), platform=chosen)


def local(
    path: str | os.PathLike[str],
    *,
    name: str = "",
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    follow: Sequence[str] = (),
) -> State:
    """A folder of this machine, read when the graph is built; patterns are those of .dockerignore."""
    lists = (("local.excludepatterns", exclude), ("local.followpaths", follow), ("local.includepattern", include))
    attrs = tuple((key, msgspec.json.encode(list(values)).decode()) for key, values in lists if values)
    name = name or os.fspath(path)
    attrs += (("local.sharedkeyhint", name),)
    vertex = Vertex(ops.SourceOp(f"local://{name}", attrs), hints=Hints(name=f"local://{name}", where=caller()))
    return State(vertex.edge(), folders={name: os.path.abspath(path)})


def merge(*states: State) -> State:
    """The states' files over one another, the last uppermost; empty ones add nothing.

    All else (environment, folder, user, what a container starts with) is the first one's.
    """
    full = [state for state in states if state.edge is not None]
    if len(full) < 2:
        return full[0] if full else scratch(states[0].platform if states else None)
    edges = tuple(state.edge for state in full if state.edge is not None)
    hints = Hints(name="merge", where=caller())
    return full[0].with_vertex(ops.MergeOp(tuple(range(len(edges)))), edges, hints, *full[1:])


def diff(lower: State, upper: State) -> State:
    """What makes `upper` out of `lower`: to be merged onto something else. Deletions are part of it."""
    # Two inputs even where they are one: BuildKit counts on it.
    inputs = [state.edge for state in (lower, upper) if state.edge is not None]
    op = ops.DiffOp(0 if lower.edge else ops.SCRATCH_INPUT, len(inputs) - 1 if upper.edge else ops.SCRATCH_INPUT)
    return scratch(upper.platform).with_vertex(op, inputs, Hints(name="diff", where=caller()), lower, upper)
