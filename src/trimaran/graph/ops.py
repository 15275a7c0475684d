"""The operations of a build graph: data only, mirroring BuildKit's `pb.Op` field by field (reference §8.8).

Law: whatever is in an op is in its vertex's digest. Hints (names, cache switches, where it stands in the Dockerfile)
live in `Hints`, beside the op. Defaults here are protobuf's: a field at its default is not written to the wire.
"""

from __future__ import annotations

from enum import IntEnum

import msgspec

from trimaran.platforms import Platform

SCRATCH_INPUT = -1
"""`Mount.input` / action input: an empty root."""
SKIP_OUTPUT = -1
"""`Mount.output` / action output: not an output of the op."""


class NetMode(IntEnum):
    UNSET = 0
    HOST = 1
    NONE = 2


class SecurityMode(IntEnum):
    SANDBOX = 0
    INSECURE = 1


class MountType(IntEnum):
    BIND = 0
    SECRET = 1
    SSH = 2
    CACHE = 3
    TMPFS = 4


class CacheSharing(IntEnum):
    SHARED = 0
    PRIVATE = 1
    LOCKED = 2


class SourceOp(msgspec.Struct, frozen=True):
    """`identifier` is a URL whose scheme names the source: docker-image, local, git, http(s), oci-layout."""

    identifier: str
    attrs: tuple[tuple[str, str], ...] = ()

    @property
    def scheme(self) -> str:
        return self.identifier.partition("://")[0]


class HostIP(msgspec.Struct, frozen=True):
    host: str
    ip: str


class Ulimit(msgspec.Struct, frozen=True):
    name: str
    soft: int
    hard: int


class ExecMeta(msgspec.Struct, frozen=True, kw_only=True):
    args: tuple[str, ...]
    env: tuple[str, ...] = ()
    cwd: str = "/"
    user: str = ""
    proxy_env: tuple[tuple[str, str], ...] = ()
    """name → value of HTTP_PROXY, HTTPS_PROXY, FTP_PROXY, NO_PROXY, ALL_PROXY; never part of a cache key."""
    extra_hosts: tuple[HostIP, ...] = ()
    hostname: str = ""
    ulimits: tuple[Ulimit, ...] = ()
    cgroup_parent: str = ""
    remove_mount_stubs_recursive: bool = False
    valid_exit_codes: tuple[int, ...] = ()


class CacheOptions(msgspec.Struct, frozen=True):
    id: str
    sharing: CacheSharing = CacheSharing.SHARED


class SecretOptions(msgspec.Struct, frozen=True):
    id: str
    uid: int = 0
    gid: int = 0
    mode: int = 0o400
    optional: bool = False


class SshOptions(msgspec.Struct, frozen=True):
    id: str = "default"
    uid: int = 0
    gid: int = 0
    mode: int = 0o600
    optional: bool = False


class SecretEnv(msgspec.Struct, frozen=True):
    id: str
    name: str
    optional: bool = False


class Mount(msgspec.Struct, frozen=True, kw_only=True):
    """`input` indexes the vertex's inputs (or SCRATCH_INPUT); `output` numbers the op's outputs (or SKIP_OUTPUT)."""

    input: int = SCRATCH_INPUT
    selector: str = ""
    dest: str
    output: int = SKIP_OUTPUT
    readonly: bool = False
    type: MountType = MountType.BIND
    tmpfs_size: int = 0
    cache: CacheOptions | None = None
    secret: SecretOptions | None = None
    ssh: SshOptions | None = None
    result_id: str = ""
    content_cache: int = 0


class ExecOp(msgspec.Struct, frozen=True, kw_only=True):
    meta: ExecMeta
    mounts: tuple[Mount, ...]
    network: NetMode = NetMode.UNSET
    security: SecurityMode = SecurityMode.SANDBOX
    secret_env: tuple[SecretEnv, ...] = ()
    cdi_devices: tuple[tuple[str, bool], ...] = ()


class NamedUser(msgspec.Struct, frozen=True):
    """A user or group by name, looked up in /etc/passwd or /etc/group of input `input`."""

    name: str
    input: int


class Owner(msgspec.Struct, frozen=True):
    """Who shall own made or copied files; a number is used as it is, None keeps (copy) or means 0 (mkdir, mkfile)."""

    user: int | NamedUser | None = None
    group: int | NamedUser | None = None


KEEP_TIME = -1
"""`timestamp`: keep the source's mtime (copy) or use the time of the build (mkdir, mkfile)."""


class CopyAction(msgspec.Struct, frozen=True, kw_only=True, tag="copy"):
    src: str
    dest: str
    owner: Owner | None = None
    mode: int = -1
    mode_text: str = ""
    follow_symlink: bool = False
    dir_copy_contents: bool = False
    attempt_unpack: bool = False
    create_dest_path: bool = False
    allow_wildcard: bool = False
    allow_empty_wildcard: bool = False
    timestamp: int = KEEP_TIME
    include_patterns: tuple[str, ...] = ()
    exclude_patterns: tuple[str, ...] = ()
    always_replace_existing: bool = False
    required_paths: tuple[str, ...] = ()


class MkFileAction(msgspec.Struct, frozen=True, kw_only=True, tag="mkfile"):
    path: str
    mode: int = 0o644
    data: bytes = b""
    owner: Owner | None = None
    timestamp: int = KEEP_TIME


class MkDirAction(msgspec.Struct, frozen=True, kw_only=True, tag="mkdir"):
    path: str
    mode: int = 0o755
    make_parents: bool = False
    owner: Owner | None = None
    timestamp: int = KEEP_TIME


class RmAction(msgspec.Struct, frozen=True, kw_only=True, tag="rm"):
    path: str
    allow_not_found: bool = False
    allow_wildcard: bool = False


class SymlinkAction(msgspec.Struct, frozen=True, kw_only=True, tag="symlink"):
    old_path: str
    new_path: str
    owner: Owner | None = None
    timestamp: int = KEEP_TIME


FileWork = CopyAction | MkFileAction | MkDirAction | RmAction | SymlinkAction


class FileAction(msgspec.Struct, frozen=True, kw_only=True):
    """`work` done on input `input`; indexes at or above the vertex's input count name earlier actions of the same op.

    `secondary_input` is what a copy reads from; `output` numbers the op's output or is SKIP_OUTPUT.
    """

    input: int = SCRATCH_INPUT
    secondary_input: int = SCRATCH_INPUT
    output: int = SKIP_OUTPUT
    work: FileWork


class FileOp(msgspec.Struct, frozen=True):
    actions: tuple[FileAction, ...]


class MergeOp(msgspec.Struct, frozen=True):
    """Input indexes, lowest layer first; SCRATCH_INPUT contributes nothing."""

    inputs: tuple[int, ...]


class DiffOp(msgspec.Struct, frozen=True):
    lower: int = SCRATCH_INPUT
    upper: int = SCRATCH_INPUT


Op = SourceOp | ExecOp | FileOp | MergeOp | DiffOp


class Constraints(msgspec.Struct, frozen=True):
    """What the op asks of the machine: pb.Op.platform and pb.Op.constraints.filter."""

    platform: Platform | None = None
    filter: tuple[str, ...] = ()
