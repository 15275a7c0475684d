"""From text to graph: what each instruction makes of vertices, config and history."""

from __future__ import annotations

import asyncio
import json

import pytest

from trimaran.dockerfile.convert import convert
from trimaran.dockerfile.problems import DockerfileError
from trimaran.errors import NotFound, TrimaranError, Unsupported, UsageError
from trimaran.graph.frontend import FrontendRequest
from trimaran.graph.ops import ExecOp, FileOp, MkDirAction, Mount, NamedUser, NetMode, Owner, SourceOp
from trimaran.platforms import Platform

from .bridge import AMD64, PATH, FakeBridge, build, config, histories, vertices

ARM64 = Platform("linux", "arm64")


def names(result):
    return [vertex.hints.name for vertex in vertices(result)]


def test_two_stages():
    result, bridge = build('FROM golang AS b\nRUN go build\nFROM scratch\nCOPY --from=b /app /\nCMD ["/app"]\n')
    assert bridge.loaded == ["[internal] load build definition from Dockerfile", "[internal] load .dockerignore"]
    assert bridge.resolved == ["[internal] load metadata for docker.io/library/golang:latest"]
    assert [name.partition("@")[0] for name in names(result)] == [
        "[b 1/2] FROM docker.io/library/golang:latest",
        "[b 2/2] RUN go build",
        "[stage-1 1/1] COPY --from=b /app /",
    ]
    assert config(result)["config"] == {"Env": [PATH], "Cmd": ["/app"], "WorkingDir": "/", "ArgsEscaped": True}
    assert histories(result) == ["COPY /app / # buildkit", 'CMD ["/app"]']


def test_single_stage_has_no_name():
    result, _ = build("FROM alpine AS only\nRUN a\n")
    assert names(result)[1] == "[2/2] RUN a"


def test_platforms_share_what_is_equal():
    text = "FROM --platform=$BUILDPLATFORM golang AS b\nRUN fetch\nARG TARGETARCH\nRUN build\nFROM scratch\nCOPY --from=b /x /\n"
    result, bridge = build(text, platforms=(AMD64, ARM64))
    assert names(result)[1:] == [
        "[linux/amd64 b 2/3] RUN fetch",
        "[linux/amd64 b 3/3] RUN build",
        "[linux/amd64 stage-1 1/1] COPY --from=b /x /",
        "[linux/amd64->arm64 b 3/3] RUN build",
        "[linux/arm64 stage-1 1/1] COPY --from=b /x /",
    ]
    assert bridge.resolved == ["[linux/amd64 internal] load metadata for docker.io/library/golang:latest"]
    assert [config(result, index)["architecture"] for index in (0, 1)] == ["amd64", "arm64"]
    assert [vertex.constraints.platform for vertex in vertices(result)][1] == AMD64


def test_context_is_what_all_stages_and_platforms_read():
    text = "FROM scratch AS a\nCOPY x/ /\nFROM scratch\nARG TARGETARCH\nCOPY --from=a / /\nADD bin/$TARGETARCH /bin\n"
    result, _ = build(text, platforms=(AMD64, ARM64), ignore="node_modules\n!keep\n")
    (context,) = [vertex for vertex in vertices(result) if isinstance(vertex.op, SourceOp)]
    assert context.hints.name == "[internal] load build context"
    assert dict(context.op.attrs) == {
        "local.excludepatterns": '["node_modules","!keep"]',
        "local.followpaths": '["bin/amd64","bin/arm64","x"]',
        "local.sharedkeyhint": "context",
    }


def test_whole_context():
    result, _ = build("FROM scratch\nCOPY . /\nCOPY a /\n")
    (context,) = [vertex for vertex in vertices(result) if isinstance(vertex.op, SourceOp)]
    assert "local.followpaths" not in dict(context.op.attrs)


def test_only_needed_stages():
    text = "FROM nowhere AS unused\nRUN x\nFROM alpine AS a\nRUN y\nFROM alpine AS b\nCOPY --from=a / /\n"
    _, bridge = build(text, target="a")
    assert bridge.resolved == ["[internal] load metadata for docker.io/library/alpine:latest"]
    with pytest.raises(NotFound) as caught:
        build(text, target="unusd")
    assert caught.value.hint == "did you mean unused?"


@pytest.mark.parametrize(
    ("text", "cause", "hint"),
    [
        ("FORM alpine\n", "unknown instruction: FORM", "did you mean FROM?"),
        ("FROM scratch\nCOPY --form=x a b\n", "unknown flag: --form", "did you mean --from?"),
        ("FROM scratch\nRUN --from=x a\n", "unknown flag: --from", "COPY has it, RUN has not"),
        ("FROM scratch\nCOPY --from=9 a b\n", "invalid stage index 9", "stages are numbered 0 to 0"),
        ("FROM scratch AS a\nCOPY --from=a x /\n", "circular dependency detected on stage: a", ""),
        (
            "FROM scratch AS a\nCOPY --from=b x /\nFROM scratch AS b\nFROM a\n",
            'cannot copy from stage "b"',
            "move that stage up",
        ),
        ("FROM scratch\nEXPOSE 80/tpc\n", 'invalid port: "80/tpc": invalid proto: tpc', "did you mean tcp?"),
        ("FROM scratch\nSTOPSIGNAL SIGTREM\n", "invalid signal: SIGTREM", "did you mean SIGTERM?"),
        ("FROM scratch\nCOPY --chmod=888 a /\n", "invalid chmod parameter: '888'", "octal"),
        ("FROM scratch\nENV A=${B:?no}\n", "B: no", ""),
        ("FROM scratch\nCOPY --from=$X a /\n", "variable expansion is not supported for --from", "FROM $NAME AS alias"),
        ("ARG VERSION=1\nFROM $VERSON\n", "base name ($VERSON) should not be blank", "did you mean VERSION?"),
        ("FROM --platform=$TARGETPLATFROM x\n", "empty platform value", "did you mean TARGETPLATFORM?"),
        ("FROM --platform=linux/amd46 x\n", None, ""),
        ("FROM scratch\nRUN --mount=type=tmpf,target=/x a\n", 'unsupported mount type "tmpf"', "did you mean tmpfs?"),
        ("FROM scratch\nRUN --mount=type=cache a\n", 'invalid mount target "/"', "write target="),
        ("FROM scratch\nUSER 2147483648\nWORKDIR /x\n", "user or group number 2147483648 is larger", ""),
        ("RUN a\n", "no build stage in current context", "begin with FROM"),
        ("FROM scratch\nONBUILD FROM x\n", "FROM isn't allowed as an ONBUILD trigger", ""),
        ("FROM a AS 1x\n", 'invalid name for build stage: "1x"', ""),
        ("FROM scratch\nVOLUME $nothing\n", "VOLUME specified can not be an empty string", ""),
        ("FROM scratch\nHEALTHCHECK --interval=30 CMD x\n", 'time: missing unit in duration "30"', "such as 30s"),
        ("FROM scratch\nRUN <<EOF\nx\n", "unterminated heredoc", "end it with a line EOF"),
    ],
)
def test_refused_with_place_and_hint(text, cause, hint):
    if cause is None:
        build(text)  # an unknown architecture is the registry's business
        return
    with pytest.raises(DockerfileError) as caught:
        build(text)
    assert caught.value.cause.startswith(cause)
    assert hint in caught.value.hint
    assert caught.value.where.filename == "Dockerfile"
    assert caught.value.message.startswith("dockerfile parse error on line")


def test_the_range_is_exact():
    with pytest.raises(DockerfileError) as caught:
        build("FROM scratch\nCOPY --chown=1 \\\n  --form=x a b\n")
    (place,) = caught.value.where.ranges
    assert (place.start.line, place.start.character, place.end.line, place.end.character) == (3, 2, 3, 10)


@pytest.mark.parametrize(
    "line",
    [
        "RUN --device=x a",
    ],
)
def test_what_is_not_done_yet_is_refused_by_name(line):
    with pytest.raises(Unsupported) as caught:
        build("FROM scratch\n" + line + "\n")
    assert caught.value.where.ranges[0].start.line == 2


def test_other_syntax_is_refused_and_own_accepted():
    for own in ("docker/dockerfile:1", "docker.io/docker/dockerfile:1.7-labs", "docker/dockerfile@sha256:" + "0" * 64):
        build(f"# syntax={own}\nFROM scratch\n")
    with pytest.raises(Unsupported, match="use syntax 'example/front:1'"):
        build("# syntax=example/front:1\nFROM scratch\n")


def test_errors_of_syntax_come_before_anything_is_looked_up():
    bridge = FakeBridge({"dockerfile": {"Dockerfile": "FROM alpine\nFROM debian\nCOPY x\n"}}, {"*": {}})
    with pytest.raises(DockerfileError):
        asyncio.run(convert(FrontendRequest(build_platform=AMD64), bridge))
    assert bridge.resolved == []


def test_run():
    text = 'FROM alpine\nARG A=1\nENV B=2\nUSER u\nWORKDIR /w\nSHELL ["/bin/bash", "-c"]\nRUN echo $A\n'
    result, _ = build(text, build_args=(("HTTP_PROXY", "http://p"), ("A", "9")), hostname="h")
    op = vertices(result)[-1].op
    assert isinstance(op, ExecOp)
    assert op.meta.args == ("/bin/bash", "-c", "echo $A")
    assert op.meta.env == (PATH, "A=9", "B=2")
    assert (op.meta.cwd, op.meta.user, op.meta.hostname) == ("/w", "u", "h")
    assert op.meta.proxy_env == (("HTTP_PROXY", "http://p"),)
    assert op.mounts == (Mount(input=0, dest="/", output=0),)
    assert histories(result)[-1] == "RUN |1 A=9 /bin/bash -c echo $A # buildkit"


def test_run_options():
    result, _ = build(
        "FROM alpine\nRUN --network=none a\nRUN b\n",
        network="host",
        shm_size=64,
        ulimits=(("nofile", 1, 2),),
        extra_hosts=(("h", "1.2.3.4"),),
    )
    first, second = (vertex.op for vertex in vertices(result)[1:])
    assert (first.network, second.network) == (NetMode.NONE, NetMode.HOST)
    assert [mount.dest for mount in first.mounts] == ["/", "/dev/shm"]
    assert first.meta.extra_hosts[0].host == "h"
    assert first.meta.ulimits[0].hard == 2


def test_mounts():
    text = (
        "FROM golang AS tools\nRUN x\nFROM alpine\nWORKDIR /w\n"
        "RUN --mount=from=tools,source=/bin,target=/tools,rw --mount=target=src,source=lib"
        " --mount=type=cache,target=/c,sharing=locked,uid=5 --mount=type=tmpfs,target=/t,size=1m make\n"
    )
    result, _ = build(text)
    run = vertices(result)[-1]
    by_dest = {mount.dest: mount for mount in run.op.mounts}
    assert list(by_dest) == ["/", "/c", "/t", "/tools", "/w/src"]
    assert by_dest["/tools"].selector == "/bin"
    assert not by_dest["/tools"].readonly
    assert by_dest["/tools"].output == -1
    assert by_dest["/w/src"].readonly
    assert by_dest["/w/src"].selector == "/lib"
    assert by_dest["/c"].selector == "/cache"
    assert by_dest["/c"].cache.id == "//c"
    assert by_dest["/t"].tmpfs_size == 1 << 20
    assert by_dest["/t"].input == -1
    assert len(run.inputs) == 4


def test_workdir_is_made_by_the_user():
    result, _ = build("FROM alpine\nUSER me:12\nWORKDIR a/../b\nWORKDIR /\n")
    op = vertices(result)[-1].op
    assert isinstance(op, FileOp)
    assert op.actions[0].work == MkDirAction(path="/b", make_parents=True, owner=Owner(NamedUser("me", 0), 12))
    assert histories(result) == ["USER me:12", "WORKDIR /b", "WORKDIR /"]
    assert config(result)["history"][-1]["empty_layer"] is True


@pytest.mark.parametrize(
    ("cwd", "path", "expected"),
    [
        ("/w", ".", "/w/"),
        ("/w", "x", "/w/x"),
        ("/w", "x/", "/w/x/"),
        ("/", "..", "/"),
        ("/w", "/a/.", "/a/"),
        ("/w", "../b", "/b"),
    ],
)
def test_copy_destinations(cwd, path, expected):
    result, _ = build(f"FROM alpine\nWORKDIR {cwd}\nCOPY f {path}\n")
    assert vertices(result)[-1].op.actions[0].work.dest == expected


def test_copy_modes_and_owners():
    result, _ = build("FROM alpine\nARG U=me\nCOPY --chown=$U:7 --chmod=0640 a /\nADD --chmod=u=rwX,go=rX b /\n")
    first, second = (vertex.op.actions[0].work for vertex in vertices(result) if isinstance(vertex.op, FileOp))
    assert (first.owner, first.mode) == (Owner(NamedUser("me", 0), 7), 0o640)
    assert (second.mode, second.mode_text, second.attempt_unpack) == (0, "u=rwX,go=rX", True)
    assert not first.attempt_unpack


def test_copy_of_heredocs_expands_unless_quoted():
    result, _ = build("FROM alpine\nENV N=x\nCOPY <<A <<'B' /d/\n'$N'\nA\n$N\nB\n")
    data = [
        v.op.actions[0].work.data for v in vertices(result) if v.hints.name == "[internal] preparing inline document"
    ]
    assert data == [b"'x'\n", b"$N\n"]
    assert histories(result)[-1] == "COPY <<A <<B /d/ # buildkit"


def test_run_heredocs():
    text = (
        "FROM alpine\nRUN <<EOF\n#!/usr/bin/env python\nprint()\nEOF\nRUN cat <<E | sh\necho\nE\nRUN <<-T\n\ta\n\tT\n"
    )
    result, _ = build(text)
    runs = [vertex for vertex in vertices(result) if isinstance(vertex.op, ExecOp)]
    assert runs[0].op.meta.args == ("/bin/sh", "-c", "/dev/pipes/EOF")
    assert runs[0].hints.name == "[2/4] RUN <<EOF (#!/usr/bin/env python...)"
    assert runs[0].op.mounts[1].dest == "/dev/pipes/"
    assert runs[1].op.meta.args[2] == "cat <<E | sh\necho\nE"
    assert runs[2].op.meta.args[2] == "a\n"


def test_arguments():
    text = "ARG G=1\nARG V=${G}0\nFROM alpine:$V\nARG V\nARG G=stage\nARG NONE\nRUN x\nFROM alpine\nRUN y\n"
    result, bridge = build(text, target="")
    assert bridge.resolved == ["[internal] load metadata for docker.io/library/alpine:latest"]
    result, bridge = build(text.rpartition("FROM")[0], build_args=(("G", "5"),))
    assert bridge.resolved == ["[internal] load metadata for docker.io/library/alpine:50"]
    assert histories(result) == ["ARG V=50", "ARG G=5", "ARG NONE", "RUN |3 V=50 G=5 NONE= /bin/sh -c x # buildkit"]


def test_env_line_sees_the_environment_at_its_start():
    result, _ = build("FROM alpine\nENV abc=hello\nENV abc=bye def=$abc\nENV ghi=$abc\n")
    assert config(result)["config"]["Env"][1:] == ["abc=bye", "def=hello", "ghi=bye"]


def test_base_config_is_inherited_and_entrypoint_clears_its_cmd():
    images = {
        "base:latest": {"Entrypoint": ["/e"], "Cmd": ["c"], "User": "u", "WorkingDir": "/w", "Labels": {"a": "1"}}
    }
    result, _ = build("FROM base\nLABEL b=2\n", images=images, labels=(("c", "3"),))
    own = config(result)["config"]
    assert (own["Cmd"], own["User"], own["Labels"]) == (["c"], "u", {"a": "1", "b": "2", "c": "3"})
    result, _ = build("FROM base\nENTRYPOINT x\n", images=images)
    assert config(result)["config"].get("Cmd") is None
    assert config(result)["config"]["Entrypoint"] == ["/bin/sh", "-c", "x"]
    result, _ = build("FROM base\nCMD y\nENTRYPOINT x\n", images=images)
    assert config(result)["config"]["Cmd"] == ["/bin/sh", "-c", "y"]


def test_onbuild_of_images_and_stages():
    images = {"base:latest": {"OnBuild": ["RUN one", "COPY --from=busybox /b /"]}}
    result, bridge = build("FROM base\nRUN two\n", images=images)
    assert [name.partition("@")[0] for name in names(result)] == [
        "[1/2] FROM docker.io/library/base:latest",  # its triggers are not known then
        "[2/4] ONBUILD RUN one",
        "FROM docker.io/library/busybox:latest",
        "[3/4] ONBUILD COPY --from=busybox /b /",
        "[4/4] RUN two",
    ]
    assert "OnBuild" not in config(result)["config"]
    result, _ = build("FROM alpine AS a\nONBUILD RUN one\nFROM a\nRUN two\n")
    assert names(result)[1:] == ["[stage-1 1/2] ONBUILD RUN one", "[stage-1 2/2] RUN two"]
    result, _ = build("FROM alpine\nONBUILD RUN <<E\nx\nE\n")
    assert config(result)["config"]["OnBuild"] == ["RUN <<E\nx\nE"]


def test_named_contexts():
    text = "FROM alpine AS a\nRUN x\nFROM scratch\nCOPY --from=files /f /\nCOPY --from=a /a /\nRUN --mount=from=files,target=/m y\n"
    result, bridge = build(
        text,
        named=[("files", "local:files0"), ("alpine", "docker-image://debian:12")],
        contexts={"files0": {".dockerignore": "skip\n"}},
    )
    assert bridge.resolved == ["[context alpine] load metadata for docker.io/library/debian:12"]
    local = next(v for v in vertices(result) if v.hints.name == "[context files] load from client")
    assert local.op.identifier == "local://files0"
    assert json.loads(dict(local.op.attrs)["local.excludepatterns"]) == ["skip"]
    with pytest.raises(UsageError, match="unsupported context source target for x"):
        build("FROM x\n", named=[("x", "target:y")])


def test_named_context_for_one_platform_and_for_a_stage():
    result, bridge = build(
        "FROM alpine AS a\nRUN x\nFROM a\nRUN y\n",
        platforms=(AMD64, ARM64),
        named=[("a::linux/arm64", "docker-image://debian")],
    )
    assert sum(name.endswith("RUN x") for name in names(result)) == 1
    assert "[context a::linux/arm64] load metadata for docker.io/library/debian:latest" in bridge.resolved


def test_no_cache():
    text = "FROM alpine AS a\nRUN x\nFROM a AS b\nRUN y\n"
    flags = lambda **request: [v.hints.ignore_cache for v in vertices(build(text, **request)[0])][1:]  # noqa: E731
    assert flags() == [False, False]
    assert flags(no_cache=True) == [True, True]
    assert flags(no_cache_stages=("B",)) == [False, True]


def test_dockerfile_of_another_name_and_its_own_ignore_file():
    result, bridge = build(
        "",
        filename="sub/App.dockerfile",
        files={"sub/App.dockerfile": "FROM scratch\nCOPY . /\n", "sub/App.dockerfile.dockerignore": "x\n"},
    )
    assert bridge.loaded == ["[internal] load build definition from App.dockerfile"]
    assert dict(vertices(result)[0].op.attrs)["local.excludepatterns"] == '["x"]'
    with pytest.raises(NotFound, match="read nope: no such file"):
        build("", filename="nope")


def test_lower_case_dockerfile():
    bridge = FakeBridge({"dockerfile": {"dockerfile": "FROM scratch\n"}})
    assert asyncio.run(convert(FrontendRequest(build_platform=AMD64), bridge)).built[0].edge is None


def test_missing_image_names_the_stage_that_was_meant():
    with pytest.raises(NotFound) as caught:
        build("FROM scratch AS builder\nFROM scratch\nCOPY --from=bulider /x /\n", images={"*": None})
    assert caught.value.hint == "did you mean builder?"
    assert caught.value.where.ranges[0].start.line == 3


def test_epoch():
    result, _ = build("FROM scratch\nCOPY a /\n", build_args=(("SOURCE_DATE_EPOCH", "1700000000"),))
    assert config(result)["history"][0]["created"] == "2023-11-14T22:13:20Z"
    assert vertices(result)[-1].op.actions[0].work.timestamp == -1, "BuildKit keeps the source's"
    assert result.epoch == 1700000000


def test_reproducible():
    text = "FROM scratch\nCOPY a /\nWORKDIR /w\n"
    for arguments, seconds in (((), 0), ((("SOURCE_DATE_EPOCH", "1700000000"),), 1700000000)):
        result, _ = build(text, build_args=arguments, reproducible=True)
        times = [v.op.actions[0].work.timestamp for v in vertices(result) if isinstance(v.op, FileOp)]
        assert (times, result.epoch) == ([seconds * 10**9] * 2, seconds)


def test_empty_result_is_scratch():
    result, _ = build("FROM scratch\nLABEL a=b\n")
    assert result.built[0].edge is None


def test_check_directive():
    _, bridge = build("FROM scratch AS A\n")
    assert bridge.warnings == ["StageNameCasing: Stage name 'A' should be lowercase (line 1)"]
    _, bridge = build("# check=skip=all\nFROM scratch AS A\n")
    assert bridge.warnings == []
    build("# check=error=true\nFROM scratch\n")
    with pytest.raises(UsageError, match="lint violation found for rules: StageNameCasing, MaintainerDeprecated"):
        build("# check=error=true\nFROM scratch AS A\nMAINTAINER me\n")
    with pytest.raises(UsageError, match='invalid check option "x"') as caught:
        build("# a comment\nFROM scratch", build_args=(("BUILDKIT_DOCKERFILE_CHECK", "x=1"),))
    assert caught.value.where is None


def test_triggers_are_placed_at_their_from():
    images = {"base:latest": {"OnBuild": ["WORKDIR /x", "ENV A=${B:?no}"]}}
    with pytest.raises(DockerfileError) as caught:
        build("ARG X\nFROM base\n", images=images)
    assert caught.value.where.ranges[0].start.line == 2
    images["base:latest"]["OnBuild"].pop()
    result, _ = build("ARG X\nFROM base\n", images=images)
    assert names(result)[-1] == "[2/2] ONBUILD WORKDIR /x"
    assert vertices(result)[-1].hints.where.ranges[0].start.line == 2


@pytest.mark.parametrize(
    "line",
    [
        "NOPE",
        "COPY --chown a /",
        "RUN --mount=type=x,target=/y z",
        "LABEL a=${b",
        "ENV a='b",
        "EXPOSE ${p:=1}",
        "CMD [1]",
    ],
)
def test_what_the_file_alone_shows_is_told_before_any_image_is_looked_up(line):
    bridge = FakeBridge({"dockerfile": {"Dockerfile": f"FROM alpine\n{line}\n"}, "context": {}}, {})
    with pytest.raises(TrimaranError) as caught:
        asyncio.run(convert(FrontendRequest(build_platform=AMD64), bridge))
    assert bridge.resolved == []
    assert caught.value.where.ranges[0].start.line == 2


def test_stages_that_are_not_needed_may_have_words_that_do_not_expand():
    build("FROM alpine\nLABEL a=${b\nFROM scratch\nCOPY a /\n")


def test_the_word_that_does_not_expand_is_marked():
    with pytest.raises(TrimaranError) as caught:
        build("FROM scratch\nENV a=1\nLABEL x=$a y=${z:?needed} w=$a\n")
    (place,) = caught.value.where.ranges
    assert (place.start.line, place.start.character, place.end.character) == (3, 13, 25)


@pytest.mark.parametrize(("value", "index"), [("1", True), ("true", True), ("0", False), ("", False)])
def test_an_index_of_one_platform_is_made_when_asked_for(value, index):
    request = FrontendRequest(build_platform=AMD64, build_args=(("BUILDKIT_MULTI_PLATFORM", value),))
    assert request.as_index == index
    assert FrontendRequest(build_platform=AMD64, platforms=(AMD64, ARM64)).as_index
