"""Ops as BuildKit's own JSON of `pb.Op` writes them: what its cache digests are hashes of (solver/pb, json.go).

Pure. Go's rules: fields in the order of the .proto file, zero values left out, bytes as base64. A byte that is written
otherwise is another digest, and a cache that is never hit; tests/goldens/caches holds BuildKit's own.
"""

from __future__ import annotations

import binascii
from typing import Any

from trimaran.graph import ops


def exec_op(op: ops.ExecOp) -> dict[str, Any]:
    return _given(
        {
            "meta": _meta(op.meta),
            "mounts": [_mount(mount) for mount in op.mounts],
            "network": int(op.network),
            "security": int(op.security),
            "secretenv": [
                _given({"ID": secret.id, "name": secret.name, "optional": secret.optional}) for secret in op.secret_env
            ],
            "cdiDevices": [_given({"name": name, "optional": optional}) for name, optional in op.cdi_devices],
        }
    )


def _meta(meta: ops.ExecMeta) -> dict[str, Any]:
    proxies = {name.lower(): value for name, value in meta.proxy_env}
    return _given(
        {
            "args": list(meta.args),
            "env": list(meta.env),
            "cwd": meta.cwd,
            "user": meta.user,
            "proxy_env": proxies or None,
            "extraHosts": [_given({"Host": each.host, "IP": each.ip}) for each in meta.extra_hosts],
            "hostname": meta.hostname,
            "ulimit": [_given({"Name": limit.name, "Soft": limit.soft, "Hard": limit.hard}) for limit in meta.ulimits],
            "cgroupParent": meta.cgroup_parent,
            "removeMountStubsRecursive": meta.remove_mount_stubs_recursive,
            "validExitCodes": list(meta.valid_exit_codes),
        }
    )


def _mount(mount: ops.Mount) -> dict[str, Any]:
    cache, secret, ssh = mount.cache, mount.secret, mount.ssh
    return _given(
        {
            "input": mount.input,
            "selector": mount.selector,
            "dest": mount.dest,
            "output": mount.output,
            "readonly": mount.readonly,
            "mountType": int(mount.type),
            "TmpfsOpt": _given({"size": mount.tmpfs_size}) if mount.type is ops.MountType.TMPFS else None,
            "cacheOpt": None if cache is None else _given({"ID": cache.id, "sharing": int(cache.sharing)}),
            "secretOpt": None if secret is None else _credential(secret),
            "SSHOpt": None if ssh is None else _credential(ssh),
            "resultID": mount.result_id,
            "contentCache": mount.content_cache,
        }
    )


def _credential(options: ops.SecretOptions | ops.SshOptions) -> dict[str, Any]:
    return _given(
        {
            "ID": options.id,
            "uid": options.uid,
            "gid": options.gid,
            "mode": options.mode,
            "optional": options.optional,
        }
    )


def file_work(work: ops.FileWork) -> dict[str, Any]:
    """One action of a FileOp, without its indexes."""
    if isinstance(work, ops.CopyAction):
        return _copy(work)
    if isinstance(work, ops.RmAction):
        return _given({"path": work.path, "allowNotFound": work.allow_not_found, "allowWildcard": work.allow_wildcard})
    if isinstance(work, ops.MkDirAction):
        return _given(
            {
                "path": work.path,
                "mode": work.mode,
                "makeParents": work.make_parents,
                "owner": _owner(work.owner),
                "timestamp": work.timestamp,
            }
        )
    if isinstance(work, ops.MkFileAction):
        return _given(
            {
                "path": work.path,
                "mode": work.mode,
                "data": binascii.b2a_base64(work.data, newline=False).decode(),
                "owner": _owner(work.owner),
                "timestamp": work.timestamp,
            }
        )
    return _given(
        {
            "oldpath": work.old_path,
            "newpath": work.new_path,
            "owner": _owner(work.owner),
            "timestamp": work.timestamp,
        }
    )


def _copy(work: ops.CopyAction) -> dict[str, Any]:
    return _given(
        {
            "src": work.src,
            "dest": work.dest,
            "owner": _owner(work.owner),
            "mode": work.mode,
            "followSymlink": work.follow_symlink,
            "dirCopyContents": work.dir_copy_contents,
            "attemptUnpackDockerCompatibility": work.attempt_unpack,
            "createDestPath": work.create_dest_path,
            "allowWildcard": work.allow_wildcard,
            "allowEmptyWildcard": work.allow_empty_wildcard,
            "timestamp": work.timestamp,
            "include_patterns": list(work.include_patterns),
            "exclude_patterns": list(work.exclude_patterns),
            "alwaysReplaceExistingDestPaths": work.always_replace_existing,
            "modeStr": work.mode_text,
            "required_paths": list(work.required_paths),
        }
    )


def _owner(owner: ops.Owner | None) -> dict[str, Any] | None:
    if owner is None:
        return None
    return _given_messages({"user": _user(owner.user), "group": _user(owner.group)})


def _user(user: int | ops.NamedUser | None) -> dict[str, Any] | None:
    """A number's 0 is left out inside, but the message stays."""
    if user is None:
        return None
    if isinstance(user, ops.NamedUser):
        return {"User": {"byName": _given({"name": user.name, "input": user.input})}}
    return {"User": _given({"byId": user})}


def merge_op(op: ops.MergeOp) -> dict[str, Any]:
    return _given({"inputs": [_given({"input": number}) for number in op.inputs]})


def diff_op(op: ops.DiffOp) -> dict[str, Any]:
    """Both messages are always there, as BuildKit's clients write them."""
    return {"lower": _given({"input": op.lower}), "upper": _given({"input": op.upper})}


def _given(fields: dict[str, Any]) -> dict[str, Any]:
    """Without zero values; a message that is there stays, however empty."""
    return {name: value for name, value in fields.items() if value or isinstance(value, dict)}


def _given_messages(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}
