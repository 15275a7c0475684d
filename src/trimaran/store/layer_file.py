"""One file of a layer as an origin of others."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trimaran.store.layer_rows import LayerId
    from trimaran.store.layers import Layers


class LayerFile:
    """An Origin: one file of a layer, opened where its bytes are then (`Layers.readable` sees to it that they are)."""

    __slots__ = ("_layers", "layer", "path")

    def __init__(self, layers: Layers, layer: LayerId, path: str) -> None:
        self._layers = layers
        self.layer = layer
        self.path = path

    def open(self) -> int:
        return self._layers.open_file(self.layer, self.path)

    def __repr__(self) -> str:
        return f"LayerFile({self.layer!r}, {self.path!r})"
