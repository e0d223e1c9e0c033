"""Gather with a constant list of indices along `axis`: y[..., j, ...] = x[..., indices[j], ...].

Nearest-neighbour resizing, Tile, edge and reflect padding are gathers. The adjoint adds up what each cell was
copied to, as a product with the 0/1 matrix of the gather.
"""

import numpy as np

from onnxpath.model.network import Site
from onnxpath.ops import edges, norms
from onnxpath.ops.graph import Graph
from onnxpath.ops.operator import Operator, always


def _emit(g: Graph, site: Site, inputs: list[str]) -> str:
    return g.op("Gather", [inputs[0], g.ints(site["indices"])], axis=site["axis"])


def _adjoint(g: Graph, site: Site, cotangent: str, index: int, weight: str | None = None) -> str:
    axis, rank = site["axis"], len(site.output_shape)
    indices = np.asarray(site["indices"])
    matrix = np.zeros((indices.size, site.input_shapes[0][axis]), g.dtype)
    matrix[np.arange(indices.size), indices] = 1
    last = [k for k in range(rank) if k != axis] + [axis]
    moved = cotangent if axis == rank - 1 else g.op("Transpose", [cotangent], perm=last)
    product = g.op("MatMul", [moved, g.constant(matrix)])
    return (
        product if axis == rank - 1 else g.op("Transpose", [product], perm=[int(k) for k in np.argsort(last)])
    )


def _image(site: Site, arrays: list[np.ndarray]) -> np.ndarray:
    array, axis = arrays[0], site["axis"]
    return array if array.shape[axis] == 1 else np.take(array, site["indices"], axis)


def _copies(site: Site) -> int:
    """How often the cell that is read most is read."""
    return max(1, int(np.bincount(np.asarray(site["indices"]).reshape(-1)).max(initial=0)))


OPERATOR = Operator(
    name="Gather", kind="movement", view=False,
    emit=_emit, adjoints={"input": _adjoint}, image=_image, fan_out=_copies,
    norm=norms.picked(_copies),
    edges=edges.moved(lambda site, arrays: np.take(arrays[0], site["indices"], site["axis"])), regular=always,
    keeps_batch=lambda site: site["axis"] != 0,
)  # fmt: skip
