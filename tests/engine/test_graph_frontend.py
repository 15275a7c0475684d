"""What graphs get of the images they stand on, and the image config they come to."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence

import pytest

from trimaran.digest import Digest
from trimaran.engine.graph_frontend import build_graphs, image_below
from trimaran.errors import Location, UsageError
from trimaran.graph import ops
from trimaran.graph.frontend import Built, FrontendRequest, Ref, ResolvedImage
from trimaran.graph.mounts import bind
from trimaran.graph.state import State, diff, image, merge, scratch
from trimaran.graph.vertex import Edge
from trimaran.platforms import Platform

AMD64, ARM64 = Platform("linux", "amd64"), Platform("linux", "arm64")
CONFIG = {
    "architecture": "amd64",
    "os": "linux",
    "created": "2020-01-01T00:00:00Z",
    "config": {"Env": ["PATH=/bin", "A=base"], "WorkingDir": "/w", "User": "me", "Cmd": ["sh"], "Labels": {"l": "1"}},
    "rootfs": {"type": "layers", "diff_ids": [str(Digest.of(b""))]},
    "history": [{"created": "2020-01-01T00:00:00Z", "created_by": "base"}],
    "unknown": True,
}


class Images:
    """A bridge that knows every image, and what was asked of it."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, str]] = []

    async def resolve_image(
        self, reference: str, platform: Platform, *, name: str, resolve_mode: str = "default"
    ) -> ResolvedImage:
        self.asked.append((reference.rpartition("/")[2], str(platform), resolve_mode))
        return ResolvedImage(reference=reference, digest=Digest.of(b""), config=json.dumps(CONFIG).encode())

    async def solve(self, edge: Edge) -> Ref:
        raise AssertionError(edge)

    def warn(
        self, short: str, *, detail: Sequence[str] = (), url: str = "", where: Location | None = None, level: int = 1
    ) -> None:
        raise AssertionError(short)


def built(*states: State, images: Images | None = None, **fields: object) -> list[Built]:
    graphs = tuple(state.graph_input() for state in states)
    request = FrontendRequest(build_platform=AMD64, graphs=graphs, multi_platform=len(graphs) > 1, **fields)  # type: ignore[arg-type]
    return list(asyncio.run(build_graphs(request, images or Images())).built)


def test_commands_take_what_their_state_does_not_say() -> None:
    base = image("a", platform=AMD64)
    (silent,) = built(base.run("x"))
    (said,) = built(base.env("A", "own").dir("/d").user("7").run("x"))
    (empty,) = built(scratch(AMD64).mkfile("/x").run(["/x"]))
    metas = [one.edge.vertex.op.meta for one in (silent, said, empty)]  # type: ignore[union-attr]
    assert [(meta.env, meta.cwd, meta.user) for meta in metas] == [
        (("PATH=/bin", "A=base"), "/w", "me"),
        (("PATH=/bin", "A=own"), "/d", "7"),
        ((), "/", ""),
    ]


def test_each_image_is_asked_for_once_and_only_where_it_matters() -> None:
    images = Images()
    base, other = image("a", platform=AMD64), image("b", platform=AMD64)
    built(base.run("x", mounts=[bind(other, "/b")]).run("y"), images=images)
    assert images.asked == [("a:latest", "linux/amd64", "default")]
    images = Images()
    built(scratch(AMD64).copy(other.run("x"), "/x", "/"), images=images, resolve_mode="pull")
    assert images.asked == [("b:latest", "linux/amd64", "pull")]


def test_config_of_the_result() -> None:
    state = image("a", platform=AMD64).run("x", name="shown").mkfile("/f").env("B", "2").label("m", "2").cmd("y")
    (one,) = built(state, labels=(("n", "3"),))
    config = json.loads(one.config)
    assert config["config"] == {
        "Env": ["PATH=/bin", "A=base", "B=2"],
        "WorkingDir": "/w",
        "User": "me",
        "Cmd": ["y"],
        "Labels": {"l": "1", "m": "2", "n": "3"},
    }
    assert [line["created_by"] for line in config["history"]] == ["base", "shown", "mkfile /f"]
    assert not {"created", "unknown"} & set(config)
    (bare,) = built(scratch(ARM64).mkfile("/f"))
    assert json.loads(bare.config)["config"]["WorkingDir"] == "/"
    assert json.loads(bare.config)["architecture"] == "arm64"


def test_merges_and_diffs_stand_on_their_first_or_on_nothing() -> None:
    base = image("a", platform=AMD64)
    changed = base.run("x")
    assert image_below(merge(changed, scratch(AMD64).mkfile("/f")).edge) == base.edge.vertex  # type: ignore[arg-type, union-attr]
    assert image_below(diff(base, changed).edge) is None  # type: ignore[arg-type]
    assert image_below(scratch().mkfile("/x").edge) is None  # type: ignore[arg-type]
    several = ops.FileOp(
        (
            ops.FileAction(input=0, work=ops.MkDirAction(path="/a")),
            ops.FileAction(input=1, output=0, work=ops.MkDirAction(path="/b")),
        )
    )
    assert base.edge is not None
    made = changed.with_vertex(several, [base.edge], changed.edge.vertex.hints)  # type: ignore[union-attr]
    assert made.edge is not None
    found = image_below(made.edge)
    assert found is not None
    assert found.digest == base.edge.vertex.digest
    (one,) = built(merge(changed, scratch(AMD64).mkfile("/f")))
    assert [line["created_by"] for line in json.loads(one.config)["history"]] == ["base"]


def test_several_platforms_and_no_cache() -> None:
    one, two = built(*[image("a", platform=platform).run("x") for platform in (AMD64, ARM64)], no_cache=True)
    assert [each.edge.vertex.hints.name for each in (one, two)] == ["[linux/amd64] x", "[linux/arm64] x"]  # type: ignore[union-attr]
    assert one.edge.vertex.hints.ignore_cache  # type: ignore[union-attr]
    with pytest.raises(UsageError, match="not among the platforms"):
        built(image("a", platform=AMD64).run("x"), platforms=(ARM64,))
