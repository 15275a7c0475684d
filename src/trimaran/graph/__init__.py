"""The build graph: ops as frozen data, vertices and edges, their wire form (LLB), and the API to write them in.

For programs: `from trimaran import graph`, then `graph.image("alpine").run("…")`; see docs/python.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trimaran.graph.mounts import Mount, bind, cache, secret, ssh, tmpfs
    from trimaran.graph.state import State, diff, image, local, merge, scratch

_STATES = ("State", "diff", "image", "local", "merge", "scratch")
_MOUNTS = ("Mount", "bind", "cache", "secret", "ssh", "tmpfs")

__all__ = ["Mount", "State", "bind", "cache", "diff", "image", "local", "merge", "scratch", "secret", "ssh", "tmpfs"]


def __getattr__(name: str) -> Any:
    """A public name, loaded when it is first used: rooms import the modules they need."""
    if name in _STATES:
        from trimaran.graph import state

        return getattr(state, name)
    if name in _MOUNTS:
        from trimaran.graph import mounts

        return getattr(mounts, name)
    raise AttributeError(f"module 'trimaran.graph' has no attribute {name!r}")
