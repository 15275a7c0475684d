"""Graphs with merges and diffs, whose files real BuildKit gave are in `files.json` (see `record.py`).

Read by `record.py`, and by a script that the end-to-end test runs where only the wheel is installed.
"""

from __future__ import annotations

from collections.abc import Iterator

from trimaran import graph

_LEFT = (
    "mkdir -p /d/sub /e && echo 1 > /d/one && echo 2 > /d/two && echo s > /d/sub/s && ln -s one /d/link && "
    "ln /d/one /d/hard && chmod 1777 /e && echo k > /e/k"
)
_RIGHT = "mkdir -p /d/sub && echo 9 > /d/nine && echo changed > /d/two && chmod 700 /d/sub && chown 5:6 /d/nine"
_CHANGE = (
    "rm /d/one && rm -rf /d/sub && mkdir /d/sub && echo n > /d/sub/new && chmod 750 /d && echo 3 >> /d/two && "
    "rm -rf /e && echo f > /e"
)


def cases(image: str) -> Iterator[tuple[str, graph.State]]:
    """Name and state; `image` has a shell."""
    base = graph.image(image, platform="linux/amd64")
    left, right = base.run(_LEFT), base.run(_RIGHT)
    change = left.run(_CHANGE)
    files = graph.scratch("linux/amd64").mkdir("/x").mkfile("/x/a", "1").mkfile("/x/b", "2")
    other = graph.scratch("linux/amd64").mkdir("/x", mode=0o700).mkfile("/x/a", "1").mkfile("/x/c", "2")
    other = other.symlink("a", "/x/b")
    yield "merge", graph.merge(left, right)
    yield "merge, the other way round", graph.merge(right, left)
    yield "diff along one stage", graph.diff(left, change)
    yield "diff along one stage, onto another", graph.merge(right, graph.diff(left, change))
    yield "diff of two stages", graph.diff(left, right)
    yield "diff of two stages, onto the lower one", graph.merge(left, graph.diff(left, right))
    yield "diff backwards", graph.diff(change, left)
    yield "diff backwards, onto the lower one", graph.merge(change, graph.diff(change, left))
    yield "diff from nothing", graph.diff(graph.scratch("linux/amd64"), files)
    yield "diff to nothing", graph.merge(files, graph.diff(left, graph.scratch("linux/amd64")))
    yield "diff of equal states", graph.merge(files, graph.diff(left, left))
    yield "diff of files", graph.merge(files, graph.diff(files, other))
    yield (
        "deletion where nothing is",
        graph.merge(graph.scratch("linux/amd64").mkfile("/y", "1"), graph.diff(files, files.rm("/x/b"))),
    )
    yield "deletion in a folder that has another mode", graph.merge(other, graph.diff(files, files.rm("/x/b")))
    yield "run on a merge", graph.merge(left, graph.diff(left, change), right).run("ls -R /d > /list; rm /d/two")
