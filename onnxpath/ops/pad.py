"""Pad with zeros: `pads` holds the begins of all axes, then the ends. Its adjoint crops."""

import numpy as np

from onnxpath.model.network import Site
from onnxpath.ops import edges, norms
from onnxpath.ops.graph import Graph
from onnxpath.ops.operator import Operator, never, once


def _emit(g: Graph, site: Site, inputs: list[str]) -> str:
    return g.op("Pad", [inputs[0], g.ints(site["pads"])])


def _adjoint(g: Graph, site: Site, cotangent: str, index: int, weight: str | None = None) -> str:
    rank = len(site.output_shape)
    begin = site["pads"][:rank]
    axes = [k for k in range(rank) if begin[k] or site["pads"][rank + k]]
    starts = [begin[k] for k in axes]
    stops = [begin[k] + site.input_shapes[0][k] for k in axes]
    return g.op("Slice", [cotangent, g.ints(starts), g.ints(stops), g.ints(axes)]) if axes else cotangent


def _image(site: Site, arrays: list[np.ndarray]) -> np.ndarray:
    """Padded cells hold zeros, which any exponent or magnitude describes: they take those of the nearest
    cell."""
    array, rank = arrays[0], len(site.output_shape)
    widths = [
        (site["pads"][k], site["pads"][rank + k]) if array.shape[k] > 1 else (0, 0) for k in range(rank)
    ]
    return np.pad(array, widths, mode="edge")


def _numbered(site: Site, arrays: list[np.ndarray]) -> np.ndarray:
    """Padded cells have no antecedent."""
    rank = arrays[0].ndim
    return np.pad(
        arrays[0], list(zip(site["pads"][:rank], site["pads"][rank:], strict=True)), constant_values=-1
    )


OPERATOR = Operator(
    name="Pad", kind="movement", view=False,
    emit=_emit, adjoints={"input": _adjoint}, image=_image, fan_out=once,
    norm=norms.moved,
    edges=edges.moved(_numbered), regular=never,
    keeps_batch=lambda site: site["pads"][0] == site["pads"][len(site.output_shape)] == 0,
)  # fmt: skip
