"""Which outputs are in a cache for sure, before anybody knows their layers."""

from __future__ import annotations

from trimaran.caches.ahead import surely_exported
from trimaran.graph import ops
from trimaran.graph.vertex import Edge, Vertex

BASE = Vertex(ops.SourceOp("docker-image://alpine"))


def run(command: str, below: Edge, *mounted: Edge) -> Edge:
    mounts = [ops.Mount(input=0, dest="/", output=0)]
    mounts += [ops.Mount(input=1 + n, dest=f"/mnt/{n}", readonly=True) for n in range(len(mounted))]
    op = ops.ExecOp(meta=ops.ExecMeta(args=("sh", "-c", command), cwd="/"), mounts=tuple(mounts))
    return Vertex(op, (below, *mounted)).edge()


def copy(source: Edge, onto: Edge) -> Edge:
    """Two actions, the second on what the first gave."""
    made = ops.MkDirAction(path="/to", mode=0o755)
    copied = ops.CopyAction(src="/a", dest="/to/", mode=-1)
    actions = (
        ops.FileAction(input=0, output=ops.SKIP_OUTPUT, work=made),
        ops.FileAction(input=2, secondary_input=1, output=0, work=copied),
    )
    return Vertex(ops.FileOp(actions), (onto, source)).edge()


def merge(*inputs: Edge) -> Edge:
    return Vertex(ops.MergeOp(tuple(range(len(inputs)))), inputs).edge()


def outputs(*edges: Edge) -> set[tuple[str, int]]:
    return {(edge.vertex.digest, edge.index) for edge in edges}


def test_min_is_what_the_image_stands_on():
    thrown_away = run("thrown away", BASE.edge())
    mounted = run("mounted", BASE.edge())
    first = run("first", BASE.edge())
    copied = copy(thrown_away, first)
    last = run("last", copied, mounted)
    assert surely_exported([last], "min") == outputs(first, copied, last)
    assert surely_exported([last], "max") == outputs(thrown_away, mounted, first, copied, last)


def test_what_is_merged_is_all_in_the_image():
    left, right = run("left", BASE.edge()), run("right", BASE.edge())
    merged = merge(left, right)
    assert surely_exported([merged], "min") == outputs(left, right, merged)


def test_a_difference_stands_on_nothing():
    whole = run("whole", BASE.edge())
    differing = Vertex(ops.DiffOp(0, 1), (BASE.edge(), whole)).edge()
    assert surely_exported([differing], "min") == outputs(differing)


def test_a_deep_chain_is_no_trouble():
    last = BASE.edge()
    for number in range(3000):
        last = run(str(number), last)
    assert len(surely_exported([last], "min")) == 3000
