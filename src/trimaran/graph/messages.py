"""The protobuf messages of LLB as tables over our ops (reference §8.8), and the few values that only the wire has."""

from __future__ import annotations

from enum import IntEnum
from typing import Any

import msgspec

from trimaran.errors import Corrupt, Position, Range, Unsupported
from trimaran.events import ProgressGroup
from trimaran.graph import ops
from trimaran.graph.protobuf import (
    BOOL,
    BYTES,
    INT32,
    INT64,
    STRING,
    UINT32,
    Kind,
    Message,
    adapted,
    enum,
    field,
    mapping,
    oneof,
    repeated,
    single,
)
from trimaran.platforms import Platform


class WireInput(msgspec.Struct, frozen=True):
    digest: str
    index: int


class WireOp(msgspec.Struct, frozen=True, kw_only=True):
    inputs: tuple[WireInput, ...]
    op: Any = None
    platform: Platform | None = None
    constraints: tuple[str, ...] | None = None


class _Refused:
    """Stands for an op that BuildKit has and we have not; there are no values of it."""


def _refused(name: str) -> Kind:
    def load(_raw: Any, _skip: bool) -> Any:
        raise Unsupported(f"decode Op: the {name} op is not supported")

    return Kind(BYTES.wire, None, bytes, load)


_OPAQUE = adapted(BYTES, bytes, bytes)
"""A message that is taken in and not read."""


class WireMetadata(msgspec.Struct, frozen=True, kw_only=True):
    ignore_cache: bool
    description: tuple[tuple[str, str], ...]
    progress_group: ProgressGroup | None
    export_cache: bytes | None = None
    caps: tuple[tuple[str, bool], ...] = ()
    linux_resources: bytes | None = None


class WireLocation(msgspec.Struct, frozen=True):
    source_index: int
    ranges: tuple[Range, ...]


class WireSourceInfo(msgspec.Struct, frozen=True):
    filename: str
    data: bytes
    language: str
    definition: bytes | None = None


class WireSource(msgspec.Struct, frozen=True):
    locations: tuple[tuple[str, tuple[WireLocation, ...]], ...]
    infos: tuple[WireSourceInfo, ...]


class WireDefinition(msgspec.Struct, frozen=True):
    ops: tuple[bytes, ...]
    metadata: tuple[tuple[str, WireMetadata], ...]
    source: WireSource | None


_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY")


class _Proxies(msgspec.Struct, frozen=True):
    http_proxy: str
    https_proxy: str
    ftp_proxy: str
    no_proxy: str
    all_proxy: str


def _proxies_to_wire(pairs: tuple[tuple[str, str], ...]) -> _Proxies:
    values = dict(pairs)
    unknown = values.keys() - set(_PROXIES)
    if unknown:
        raise Corrupt(f"encode proxy variables: {min(unknown)!r} is none of {', '.join(_PROXIES)}")
    return _Proxies(*(values.get(name, "") for name in _PROXIES))


def _proxies_from_wire(proxies: _Proxies) -> tuple[tuple[str, str], ...]:
    return tuple((name, value) for name in _PROXIES if (value := getattr(proxies, name.lower())))


# --- tables ---------------------------------------------------------------------------------------------------

PLATFORM = Message(
    "Platform",
    Platform,
    field(1, "architecture", STRING),
    field(2, "os", STRING),
    field(3, "variant", STRING),
    field(4, "os_version", STRING),
    repeated(5, "os_features", STRING),
)
_PROXY_ENV = Message(
    "ProxyEnv", _Proxies, *(field(number, name.lower(), STRING) for number, name in enumerate(_PROXIES, 1))
)
_META = Message(
    "Meta",
    ops.ExecMeta,
    repeated(1, "args", STRING),
    repeated(2, "env", STRING),
    field(3, "cwd", STRING),
    field(4, "user", STRING),
    field(
        5,
        "proxy_env",
        adapted(_PROXY_ENV, _proxies_to_wire, _proxies_from_wire),
        zero=(),
        get=lambda meta: meta.proxy_env or None,
    ),
    repeated(6, "extra_hosts", Message("HostIP", ops.HostIP, field(1, "host", STRING), field(2, "ip", STRING))),
    field(7, "hostname", STRING),
    repeated(
        9,
        "ulimits",
        Message("Ulimit", ops.Ulimit, field(1, "name", STRING), field(2, "soft", INT64), field(3, "hard", INT64)),
    ),
    field(10, "cgroup_parent", STRING),
    field(11, "remove_mount_stubs_recursive", BOOL),
    repeated(12, "valid_exit_codes", INT32),
)


def _file_options(name: str, build: type) -> Message[Any]:
    """SecretOpt and SSHOpt have the same fields."""
    return Message(
        name,
        build,
        field(1, "id", STRING),
        field(2, "uid", UINT32),
        field(3, "gid", UINT32),
        field(4, "mode", UINT32),
        field(5, "optional", BOOL),
    )


class _ContentCache(IntEnum):
    DEFAULT = 0
    ON = 1
    OFF = 2


def _tmpfs_size(mount: ops.Mount) -> int | None:
    """BuildKit's clients write the option for each tmpfs, also without a size."""
    return mount.tmpfs_size if mount.type is ops.MountType.TMPFS or mount.tmpfs_size else None


_MOUNT = Message(
    "Mount",
    ops.Mount,
    field(1, "input", INT64),
    field(2, "selector", STRING),
    field(3, "dest", STRING),
    field(4, "output", INT64),
    field(5, "readonly", BOOL),
    field(6, "type", enum(ops.MountType)),
    field(19, "tmpfs_size", single("TmpfsOpt", field(1, "size", INT64)), zero=0, get=_tmpfs_size),
    field(
        20,
        "cache",
        Message("CacheOpt", ops.CacheOptions, field(1, "id", STRING), field(2, "sharing", enum(ops.CacheSharing))),
    ),
    field(21, "secret", _file_options("SecretOpt", ops.SecretOptions)),
    field(22, "ssh", _file_options("SSHOpt", ops.SshOptions)),
    field(23, "result_id", STRING),
    field(24, "content_cache", enum(_ContentCache)),
)
_EXEC = Message(
    "ExecOp",
    ops.ExecOp,
    field(1, "meta", _META, required=True),
    repeated(2, "mounts", _MOUNT),
    field(3, "network", enum(ops.NetMode)),
    field(4, "security", enum(ops.SecurityMode)),
    repeated(
        5,
        "secret_env",
        Message(
            "SecretEnv", ops.SecretEnv, field(1, "id", STRING), field(2, "name", STRING), field(3, "optional", BOOL)
        ),
    ),
    repeated(
        6,
        "cdi_devices",
        Message(
            "CDIDevice",
            lambda name, optional: (name, optional),
            field(1, "name", STRING, get=lambda device: device[0]),
            field(2, "optional", BOOL, get=lambda device: device[1]),
        ),
    ),
)
_SOURCE = Message("SourceOp", ops.SourceOp, field(1, "identifier", STRING), mapping(2, "attrs", STRING, STRING))

_USER = single(
    "UserOpt",
    oneof(
        "user",
        (
            (
                1,
                ops.NamedUser,
                Message("NamedUserOpt", ops.NamedUser, field(1, "name", STRING), field(2, "input", INT64)),
            ),
            (2, int, UINT32),
        ),
    ),
)
_OWNER = Message("ChownOpt", ops.Owner, field(1, "user", _USER), field(2, "group", _USER))
_COPY = Message(
    "FileActionCopy",
    ops.CopyAction,
    field(1, "src", STRING),
    field(2, "dest", STRING),
    field(3, "owner", _OWNER),
    field(4, "mode", INT32),
    field(5, "follow_symlink", BOOL),
    field(6, "dir_copy_contents", BOOL),
    field(7, "attempt_unpack", BOOL),
    field(8, "create_dest_path", BOOL),
    field(9, "allow_wildcard", BOOL),
    field(10, "allow_empty_wildcard", BOOL),
    field(11, "timestamp", INT64),
    repeated(12, "include_patterns", STRING),
    repeated(13, "exclude_patterns", STRING),
    field(14, "always_replace_existing", BOOL),
    field(15, "mode_text", STRING),
    repeated(16, "required_paths", STRING),
)
_MKFILE = Message(
    "FileActionMkFile",
    ops.MkFileAction,
    field(1, "path", STRING),
    field(2, "mode", INT32),
    field(3, "data", BYTES),
    field(4, "owner", _OWNER),
    field(5, "timestamp", INT64),
)
_MKDIR = Message(
    "FileActionMkDir",
    ops.MkDirAction,
    field(1, "path", STRING),
    field(2, "mode", INT32),
    field(3, "make_parents", BOOL),
    field(4, "owner", _OWNER),
    field(5, "timestamp", INT64),
)
_RM = Message(
    "FileActionRm",
    ops.RmAction,
    field(1, "path", STRING),
    field(2, "allow_not_found", BOOL),
    field(3, "allow_wildcard", BOOL),
)
_SYMLINK = Message(
    "FileActionSymlink",
    ops.SymlinkAction,
    field(1, "old_path", STRING),
    field(2, "new_path", STRING),
    field(3, "owner", _OWNER),
    field(4, "timestamp", INT64),
)
_ACTION = Message(
    "FileAction",
    ops.FileAction,
    field(1, "input", INT64),
    field(2, "secondary_input", INT64),
    field(3, "output", INT64),
    oneof(
        "work",
        (
            (4, ops.CopyAction, _COPY),
            (5, ops.MkFileAction, _MKFILE),
            (6, ops.MkDirAction, _MKDIR),
            (7, ops.RmAction, _RM),
            (8, ops.SymlinkAction, _SYMLINK),
        ),
        required=True,
    ),
)
_FILE = Message("FileOp", ops.FileOp, repeated(2, "actions", _ACTION))
_INDEX = single("input", field(1, "input", INT64))
_MERGE = Message("MergeOp", ops.MergeOp, repeated(1, "inputs", _INDEX))
_DIFF = Message(
    "DiffOp", ops.DiffOp, field(1, "lower", _INDEX, required=True), field(2, "upper", _INDEX, required=True)
)
OP = Message(
    "Op",
    WireOp,
    repeated(1, "inputs", Message("Input", WireInput, field(1, "digest", STRING), field(2, "index", INT64))),
    oneof(
        "op",
        (
            (2, ops.ExecOp, _EXEC),
            (3, ops.SourceOp, _SOURCE),
            (4, ops.FileOp, _FILE),
            (5, _Refused, _refused("build")),
            (6, ops.MergeOp, _MERGE),
            (7, ops.DiffOp, _DIFF),
            (8, _Refused, _refused("passthrough")),
        ),
    ),
    field(10, "platform", PLATFORM),
    field(11, "constraints", single("WorkerConstraints", repeated(1, "filter", STRING))),
)

_POSITION = Message("Position", Position, field(1, "line", INT32), field(2, "character", INT32))
_RANGE = Message("Range", Range, field(1, "start", _POSITION, required=True), field(2, "end", _POSITION, required=True))
_LOCATIONS = single(
    "Locations",
    repeated(
        1,
        "locations",
        Message("Location", WireLocation, field(1, "source_index", INT32), repeated(2, "ranges", _RANGE)),
    ),
)
_SOURCE_INFO = Message(
    "SourceInfo",
    WireSourceInfo,
    field(1, "filename", STRING),
    field(2, "data", BYTES),
    field(3, "definition", _OPAQUE),
    field(4, "language", STRING),
)
_METADATA = Message(
    "OpMetadata",
    WireMetadata,
    field(1, "ignore_cache", BOOL),
    mapping(2, "description", STRING, STRING),
    field(4, "export_cache", _OPAQUE),
    mapping(5, "caps", STRING, BOOL),
    field(
        6,
        "progress_group",
        Message(
            "ProgressGroup", ProgressGroup, field(1, "id", STRING), field(2, "name", STRING), field(3, "weak", BOOL)
        ),
    ),
    field(7, "linux_resources", _OPAQUE),
)
DEFINITION = Message(
    "Definition",
    WireDefinition,
    repeated(1, "ops", BYTES),
    mapping(2, "metadata", STRING, _METADATA),
    field(
        3,
        "source",
        Message("Source", WireSource, mapping(1, "locations", STRING, _LOCATIONS), repeated(2, "infos", _SOURCE_INFO)),
    ),
)
