"""`rewrite-timestamp`: layers of which nothing is later than a time, as images that shall be the same on any day.

Law: a layer without a later time is its own rewriting. The other bytes of a layer are never touched. Whoever asks
leaves out what stays as it is whatever its times: the layers of a base.
"""

from __future__ import annotations

from trimaran.store.entries import FILE, NANOSECONDS
from trimaran.store.layers import LayerId, Layers


async def not_later(layers: Layers, layer: LayerId, epoch: int) -> LayerId:
    """The layer with every mtime after `epoch` (seconds) set to it. ResultGone."""
    entries = await layers.entries(layer)
    rewritten = entries.not_later(epoch * NANOSECONDS)
    if rewritten is entries:
        return layer
    # What a process made has no digests in its list yet: they are found when it is written.
    made = LayerId(rewritten.digest) if layers.is_rendered(layer) else LayerId(f"{layer}-{epoch}")
    if not layers.present(made):
        await layers.readable(layer)
    files = (entry.path for entry in rewritten if entry.kind == FILE)
    return await layers.add(rewritten, {path: layers.origin(layer, path) for path in files}, made)
