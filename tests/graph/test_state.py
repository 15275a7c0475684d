"""The Python API: what each call puts into the graph, and that BuildKit's own client could read it."""

import os

import pytest

from trimaran.errors import UsageError
from trimaran.graph import mounts, ops, state
from trimaran.graph.frontend import ContainerDefaults
from trimaran.graph.llb import decode_definition, in_order
from trimaran.graph.state import State, image, local, scratch
from trimaran.platforms import Platform

ARM64 = Platform("linux", "arm64")


def op_of(made: State):
    return made.edge.vertex.op


def test_the_example_of_the_module():
    base = image("alpine:3", platform=ARM64).dir("/src")
    built = base.copy(local("context"), ".", ".").run("make")
    result = scratch(ARM64).copy(built, "app", "/app")
    edge = decode_definition(result.definition())
    assert edge == result.edge
    kinds = [type(vertex.op).__name__ for vertex in in_order(edge)]
    assert kinds == ["SourceOp", "SourceOp", "FileOp", "ExecOp", "FileOp"]
    (action,) = op_of(result).actions
    assert (action.input, action.secondary_input, action.work.src, action.work.dest) == (-1, 0, "/src/app", "/app")
    assert {vertex.constraints.platform for vertex in in_order(edge) if vertex.op != op_of(local("context"))} == {ARM64}


def test_run():
    made = image("alpine").env("A", "1").env("A", "2").dir("/a").dir("b/../c").user("me:wheel").run(["make", "-j"])
    op = op_of(made)
    assert op.meta.args == ("make", "-j")
    assert op.meta.env == ("A=2",)
    assert (op.meta.cwd, op.meta.user) == ("/a/c", "me:wheel")
    assert op.mounts == (ops.Mount(input=0, dest="/", output=0),)
    assert op_of(image("alpine").run("a && b")).meta.args == ("/bin/sh", "-c", "a && b")
    with pytest.raises(UsageError):
        image("alpine").run([])


def test_mounts():
    base = image("alpine")
    shown = (
        mounts.bind(local("context"), "/src", path="sub"),
        mounts.bind(base, "/base"),
        mounts.cache("/root/.cache", sharing="locked"),
        mounts.tmpfs("/tmp", size=7),
        mounts.secret("token"),
        mounts.ssh(),
    )
    made = base.run("true", mounts=shown, network="none")
    assert op_of(made).network is ops.NetMode.NONE
    assert made.folders == {"context": os.path.abspath("context")}
    assert len(made.edge.vertex.inputs) == 2
    root, source, again, cached, memory, token, agent = op_of(made).mounts
    assert (source.input, source.selector, source.readonly, source.output) == (1, "sub", True, -1)
    assert (again.input, again.readonly) == (0, True)
    assert (cached.input, cached.cache) == (-1, ops.CacheOptions("/root/.cache", ops.CacheSharing.LOCKED))
    assert (memory.type, memory.tmpfs_size) == (ops.MountType.TMPFS, 7)
    assert (token.dest, token.secret.mode) == ("/run/secrets/token", 0o400)
    assert agent.type is ops.MountType.SSH
    assert decode_definition(made.definition()) == made.edge


def test_files():
    made = scratch().dir("/d").mkdir("a", parents=True).mkfile("a/f", b"x", mode=0o600).symlink("f", "a/l").rm("../e/*")
    works = [vertex.op.actions[0].work for vertex in in_order(made.edge)]
    assert works == [
        ops.MkDirAction(path="/d/a", make_parents=True),
        ops.MkFileAction(path="/d/a/f", data=b"x", mode=0o600),
        ops.SymlinkAction(old_path="f", new_path="/d/a/l"),
        ops.RmAction(path="/e/*"),
    ]


def test_paths_stay_below_the_root():
    assert op_of(scratch().dir("/a").mkfile("../../../etc/passwd")).actions[0].work.path == "/etc/passwd"
    assert op_of(scratch().mkfile("//x")).actions[0].work.path == "/x"
    assert op_of(scratch().copy(image("a"), "//..//x", "y/")).actions[0].work.dest == "/y/"


def test_merge_and_diff():
    one, two = scratch().mkfile("/1"), scratch().mkfile("/2")
    merged = state.merge(one, scratch(), two)
    assert op_of(merged) == ops.MergeOp((0, 1))
    assert state.merge(one, scratch()).edge == one.edge
    assert state.merge().edge is None
    base = image("alpine")
    changed = base.run("true")
    assert op_of(state.diff(base, changed)) == ops.DiffOp(0, 1)
    assert op_of(state.diff(scratch(), changed)) == ops.DiffOp(-1, 0)


def test_sources():
    made = local("context", include=["a b", "c"], exclude=["*.o"])
    assert dict(op_of(made).attrs)["local.includepattern"] == '["a b","c"]'
    assert op_of(image("alpine")).identifier == "docker-image://docker.io/library/alpine:latest"
    assert op_of(image("alpine", resolve_mode="pull")).attrs == (("image.resolvemode", "pull"),)
    with pytest.raises(UsageError):
        image("alpine", resolve_mode="never")
    with pytest.raises(UsageError):
        image("Alpine")


def test_equal_calls_are_equal_vertices_and_states_do_not_change():
    base = image("alpine")
    assert base.run("a").edge == image("docker.io/library/alpine:latest").run("a", name="shown").edge
    assert base.run("a").edge != base.env("A", "1").run("a").edge
    assert base.environment == {}
    with pytest.raises(UsageError, match="empty"):
        scratch().definition()


def test_what_commands_take_of_the_image_is_said_beside_the_op():
    silent = image("alpine").run("a")
    said = image("alpine").env("A", "1").dir("/x").user("me").run("a")
    assert [dict(made.edge.vertex.hints.description)[state.INHERITS] for made in (silent, said)] == [
        "env cwd user",
        "env",
    ]
    assert silent.edge == image("alpine").dir("/").run("a").edge
    assert decode_definition(silent.definition()).vertex.hints.description == silent.edge.vertex.hints.description


def test_defaults_of_containers():
    made = scratch(ARM64).mkfile("/app", "x", mode=0o755).env("A", "1").dir("/w").user("7")
    made = (
        made.entrypoint("/app").cmd("-v").label("a", "b").expose(80).expose("53/udp").volume("data").stop_signal("INT")
    )
    found = made.graph_input()
    assert found.platform == ARM64
    assert found.definition == made.definition()
    assert found.defaults == ContainerDefaults(
        env=(("A", "1"),),
        working_dir="/w",
        user="7",
        entrypoint=("/app",),
        cmd=("-v",),
        labels=(("a", "b"),),
        exposed_ports=("80/tcp", "53/udp"),
        volumes=("/w/data",),
        stop_signal="INT",
    )
    assert image("alpine").cmd("a").entrypoint("b").defaults.cmd == ("a",)
    assert image("alpine").entrypoint("b").defaults.cmd == (), "as in a Dockerfile, the base's CMD goes"


def test_owners():
    base = image("alpine")
    works = [op_of(base.mkdir("/a", owner=owner)).actions[0].work.owner for owner in ("1:2", "3", "me", "me:wheel")]
    me, wheel = ops.NamedUser("me", 0), ops.NamedUser("wheel", 0)
    assert works == [ops.Owner(1, 2), ops.Owner(3, 3), ops.Owner(me), ops.Owner(me, wheel)]
    with pytest.raises(UsageError, match="empty"):
        scratch().mkdir("/a", owner="me")


def test_folders_are_remembered_by_name():
    one, two = local("a"), local("a", name="b")
    both = scratch().copy(one, "x", "/").copy(two, "y", "/")
    assert both.folders == {"a": os.path.abspath("a"), "b": os.path.abspath("a")}
    assert state.merge(one, two).folders == state.diff(one, two).folders == both.folders
    with pytest.raises(UsageError, match="read folder a: it is"):
        one.copy(local("/elsewhere", name="a"), "x", "/")


def test_errors_point_to_the_line_that_made_the_vertex():
    made = image("alpine").run("false")  # this one
    where = decode_definition(made.definition()).vertex.hints.where
    assert where.filename == __file__
    assert where.language == "Python"
    assert where.source.splitlines()[where.ranges[0].start.line - 1].endswith(b"# this one")
    namespace = {}
    exec("from trimaran.graph.state import image\nmade = image('a')", namespace)  # source that nobody can read
    assert namespace["made"].edge.vertex.hints.where is None
