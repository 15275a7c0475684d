"""Digests of real BuildKit: its provenance shows each op as JSON beside the digest of the op's bytes."""

import json
from pathlib import Path

import pytest

from trimaran.digest import Digest
from trimaran.graph import messages, ops
from trimaran.graph.llb import decode_definition, encode_definition
from trimaran.graph.vertex import Vertex
from trimaran.platforms import Platform

GOLDEN = json.loads((Path(__file__).parents[1] / "goldens/llb/dockerfile.json").read_text())


def user(value):
    choice = value["User"]
    return choice["byId"] if "byId" in choice else ops.NamedUser(choice["byName"]["name"], choice["byName"]["input"])


def owner(value):
    return ops.Owner(*(user(value[name]) if name in value else None for name in ("user", "group"))) if value else None


def copy(value):
    return ops.CopyAction(
        src=value["src"],
        dest=value["dest"],
        owner=owner(value.get("owner")),
        mode=value.get("mode", 0),
        follow_symlink=value.get("followSymlink", False),
        dir_copy_contents=value.get("dirCopyContents", False),
        create_dest_path=value.get("createDestPath", False),
        allow_wildcard=value.get("allowWildcard", False),
        allow_empty_wildcard=value.get("allowEmptyWildcard", False),
        timestamp=value.get("timestamp", 0),
        exclude_patterns=tuple(value.get("exclude_patterns", ())),
    )


def mkdir(value):
    return ops.MkDirAction(
        path=value["path"], mode=value["mode"], make_parents=value["makeParents"], timestamp=value["timestamp"]
    )


def file_op(value):
    def action(each):
        ((kind, work),) = each["Action"].items()
        return ops.FileAction(
            input=each["input"],
            secondary_input=each["secondaryInput"],
            output=each["output"],
            work={"copy": copy, "mkdir": mkdir}[kind](work),
        )

    return ops.FileOp(tuple(map(action, value["actions"])))


def mount(value):
    def options(name, cls):
        found = value.get(name)
        fields = ("uid", "gid", "mode")
        return found and cls(found.get("ID", ""), *(found.get(key, 0) for key in fields), found.get("optional", False))

    cache = value.get("cacheOpt")
    return ops.Mount(
        input=value.get("input", 0),
        selector=value.get("selector", ""),
        dest=value["dest"],
        output=value.get("output", 0),
        readonly=value.get("readonly", False),
        type=ops.MountType(value.get("mountType", 0)),
        tmpfs_size=value.get("TmpfsOpt", {}).get("size", 0),
        cache=cache and ops.CacheOptions(cache["ID"], ops.CacheSharing(cache["sharing"])),
        secret=options("secretOpt", ops.SecretOptions),
        ssh=options("SSHOpt", ops.SshOptions),
    )


def exec_op(value):
    meta = value["meta"]
    return ops.ExecOp(
        meta=ops.ExecMeta(
            args=tuple(meta["args"]),
            env=tuple(meta["env"]),
            cwd=meta["cwd"],
            user=meta.get("user", ""),
            proxy_env=tuple((name.upper(), text) for name, text in meta.get("proxy_env", {}).items()),
            extra_hosts=tuple(ops.HostIP(each["Host"], each["IP"]) for each in meta.get("extraHosts", ())),
            ulimits=tuple(ops.Ulimit(each["Name"], each["Soft"], each["Hard"]) for each in meta.get("ulimit", ())),
            remove_mount_stubs_recursive=meta.get("removeMountStubsRecursive", False),
        ),
        mounts=tuple(map(mount, value["mounts"])),
        network=ops.NetMode(value.get("network", 0)),
    )


def source_op(value):
    return ops.SourceOp(value["identifier"], tuple(value.get("attrs", {}).items()))


MAKE = {"exec": exec_op, "file": file_op, "source": source_op}


STEPS = {step["id"]: step for step in GOLDEN["steps"]}


def wire_op(step):
    """The op over inputs that are named by the digests BuildKit gave them."""
    inputs = (text.split(":") for text in step.get("inputs", ()))
    operation = step["op"]["Op"]
    platform = step["op"].get("platform")
    return messages.WireOp(
        inputs=tuple(messages.WireInput(STEPS[name]["digest"], int(index)) for name, index in inputs),
        op=next((MAKE[kind](value) for kind, value in operation.items()), None),
        platform=platform and Platform(platform["OS"], platform["Architecture"]),
        constraints=() if "constraints" in step["op"] else None,
    )


@pytest.mark.parametrize("step", STEPS.values(), ids=lambda step: step["id"])
def test_digest(step):
    if step["op"]["Op"].get("source", {}).get("identifier", "").startswith("local://"):
        return  # provenance leaves the session out of what it shows
    raw = messages.OP.encode(wire_op(step))
    assert Digest.of(raw) == step["digest"]
    assert messages.OP.encode(messages.OP.decode(raw)) == raw


def test_the_whole_decodes():
    """Our own encoding of the same graph, with what BuildKit's client leaves at zero, passes our checks."""
    made = {}
    for step in list(STEPS.values())[:-1]:
        wire = wire_op(step)
        inputs = tuple(
            made[name].edge(int(index)) for name, index in (text.split(":") for text in step.get("inputs", ()))
        )
        made[step["id"]] = Vertex(wire.op, inputs, constraints=ops.Constraints(wire.platform))
    edge = made[GOLDEN["steps"][-1]["inputs"][0].partition(":")[0]].edge()
    assert decode_definition(encode_definition(edge)) == edge
