"""pb.Op and pb.Definition for the protobuf library, declared by hand from reference §8.8: the peer we are checked by."""

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

F = descriptor_pb2.FieldDescriptorProto
SCALARS = {
    "string": F.TYPE_STRING,
    "bytes": F.TYPE_BYTES,
    "bool": F.TYPE_BOOL,
    "int32": F.TYPE_INT32,
    "int64": F.TYPE_INT64,
    "uint32": F.TYPE_UINT32,
}
ENUMS = {
    "NetMode": "UNSET HOST NONE",
    "SecurityMode": "SANDBOX INSECURE",
    "MountType": "BIND SECRET SSH CACHE TMPFS",
    "CacheSharing": "SHARED PRIVATE LOCKED",
    "ContentCache": "DEFAULT ON OFF",
}
# name type number; * repeated, ? member of the oneof, <k,v> map
MESSAGES = {
    "Platform": "arch string 1, os string 2, variant string 3, os_version string 4, os_features string* 5",
    "Input": "digest string 1, index int64 2",
    "Ulimit": "name string 1, soft int64 2, hard int64 3",
    "HostIP": "host string 1, ip string 2",
    "ProxyEnv": "http string 1, https string 2, ftp string 3, no string 4, all string 5",
    "Meta": "args string* 1, env string* 2, cwd string 3, user string 4, proxy_env ProxyEnv 5, extra_hosts HostIP* 6,"
    "hostname string 7, ulimit Ulimit* 9, cgroup_parent string 10, remove_stubs bool 11, valid_exit_codes int32* 12",
    "TmpfsOpt": "size int64 1",
    "CacheOpt": "id string 1, sharing CacheSharing 2",
    "SecretOpt": "id string 1, uid uint32 2, gid uint32 3, mode uint32 4, optional bool 5",
    "SSHOpt": "id string 1, uid uint32 2, gid uint32 3, mode uint32 4, optional bool 5",
    "Mount": "input int64 1, selector string 2, dest string 3, output int64 4, readonly bool 5, type MountType 6,"
    "tmpfs TmpfsOpt 19, cache CacheOpt 20, secret SecretOpt 21, ssh SSHOpt 22, result_id string 23,"
    "content_cache ContentCache 24",
    "SecretEnv": "id string 1, name string 2, optional bool 3",
    "CDIDevice": "name string 1, optional bool 2",
    "ExecOp": "meta Meta 1, mounts Mount* 2, network NetMode 3, security SecurityMode 4, secretenv SecretEnv* 5,"
    "cdi CDIDevice* 6",
    "SourceOp": "identifier string 1, attrs string<string> 2",
    "NamedUserOpt": "name string 1, input int64 2",
    "UserOpt": "by_name NamedUserOpt? 1, by_id uint32? 2",
    "ChownOpt": "user UserOpt 1, group UserOpt 2",
    "Copy": "src string 1, dest string 2, owner ChownOpt 3, mode int32 4, follow bool 5, contents bool 6, unpack bool 7,"
    "create bool 8, wildcard bool 9, empty_wildcard bool 10, timestamp int64 11, include string* 12,"
    "exclude string* 13, replace bool 14, mode_str string 15, required string* 16",
    "MkFile": "path string 1, mode int32 2, data bytes 3, owner ChownOpt 4, timestamp int64 5",
    "MkDir": "path string 1, mode int32 2, parents bool 3, owner ChownOpt 4, timestamp int64 5",
    "Rm": "path string 1, allow_not_found bool 2, wildcard bool 3",
    "Symlink": "oldpath string 1, newpath string 2, owner ChownOpt 3, timestamp int64 4",
    "FileAction": "input int64 1, secondary int64 2, output int64 3, copy Copy? 4, mkfile MkFile? 5, mkdir MkDir? 6,"
    "rm Rm? 7, symlink Symlink? 8",
    "FileOp": "actions FileAction* 2",
    "MergeInput": "input int64 1",
    "MergeOp": "inputs MergeInput* 1",
    "DiffOp": "lower MergeInput 1, upper MergeInput 2",
    "BuildOp": "builder int64 1",
    "Constraints": "filter string* 1",
    "Op": "inputs Input* 1, exec ExecOp? 2, source SourceOp? 3, file FileOp? 4, build BuildOp? 5, merge MergeOp? 6,"
    "diff DiffOp? 7, passthrough BuildOp? 8, platform Platform 10, constraints Constraints 11",
    "ProgressGroup": "id string 1, name string 2, weak bool 3",
    "ExportCache": "value bool 1",
    "Resources": "memory int64 1",
    "OpMetadata": "ignore_cache bool 1, description string<string> 2, export_cache ExportCache 4, caps bool<string> 5,"
    "progress_group ProgressGroup 6, linux_resources Resources 7",
    "Position": "line int32 1, character int32 2",
    "Range": "start Position 1, end Position 2",
    "Location": "source_index int32 1, ranges Range* 2",
    "Locations": "locations Location* 1",
    "SourceInfo": "filename string 1, data bytes 2, definition Definition 3, language string 4",
    "Source": "locations Locations<string> 1, infos SourceInfo* 2",
    "Definition": "ops bytes* 1, metadata OpMetadata<string> 2, source Source 3",
}


def _type(field, name, package, enums):
    if name in SCALARS:
        field.type = SCALARS[name]
    else:
        field.type = F.TYPE_ENUM if name in enums else F.TYPE_MESSAGE
        field.type_name = f".{package}.{name}"


def _field(message, text, package, enums):
    name, kind, number = text.split()
    field = message.field.add(name=name, number=int(number), label=F.LABEL_OPTIONAL)
    if kind.endswith("*"):
        field.label = F.LABEL_REPEATED
    if kind.endswith("?"):
        if not message.oneof_decl:
            message.oneof_decl.add(name="choice")
        field.oneof_index = 0
    if "<" in kind:
        value, key = kind.rstrip(">").split("<")
        entry = message.nested_type.add(name="".join(part.title() for part in name.split("_")) + "Entry")
        entry.options.map_entry = True
        _type(entry.field.add(name="key", number=1, label=F.LABEL_OPTIONAL), key, package, enums)
        _type(entry.field.add(name="value", number=2, label=F.LABEL_OPTIONAL), value, package, enums)
        field.label = F.LABEL_REPEATED
        field.type = F.TYPE_MESSAGE
        field.type_name = f".{package}.{message.name}.{entry.name}"
    else:
        _type(field, kind.rstrip("*?"), package, enums)


def declared(messages, enums, package="pb"):
    """Message classes of the protobuf library, by name, for a table like MESSAGES."""
    file = descriptor_pb2.FileDescriptorProto(name=f"{package}.proto", package=package, syntax="proto3")
    for name, values in enums.items():
        enum = file.enum_type.add(name=name)
        for number, value in enumerate(values.split()):
            enum.value.add(name=f"{name}_{value}", number=number)
    for name, fields in messages.items():
        message = file.message_type.add(name=name)
        for text in filter(None, fields.split(",")):
            _field(message, text, package, enums)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{package}.{name}")) for name in messages}


CLASSES = declared(MESSAGES, ENUMS)


def agrees(name, data):
    """The protobuf library knows every field of `data` and would write the same bytes.

    Its order of map entries is not ours where one key begins with another, nor is its place of a oneof (ours is that of
    Go's library), so the bytes are compared as a heap.
    """
    message = CLASSES[name]()
    message.ParseFromString(data)
    known = CLASSES[name]()
    known.CopyFrom(message)
    known.DiscardUnknownFields()
    written = known.SerializeToString(deterministic=True)
    return sorted(written) == sorted(data) and CLASSES[name].FromString(written) == message
