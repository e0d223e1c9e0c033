"""Reshape to a constant shape, elements in row-major order. Its adjoint reshapes back."""

import numpy as np

from onnxpath.model.network import Shape, Site
from onnxpath.ops import edges, norms
from onnxpath.ops.graph import Graph
from onnxpath.ops.operator import Operator, always, compress, once, uniform


def _reshape(g: Graph, x: str, site: Site, shape: Shape) -> str:
    # 0 copies the batch axis, so that the same graph runs any number of samples
    return g.op("Reshape", [x, g.ints([0, *shape[1:]] if site.batched else shape)])


def _emit(g: Graph, site: Site, inputs: list[str]) -> str:
    return _reshape(g, inputs[0], site, site.output_shape)


def _adjoint(g: Graph, site: Site, cotangent: str, index: int, weight: str | None = None) -> str:
    return _reshape(g, cotangent, site, site.input_shapes[0])


def _image(site: Site, arrays: list[np.ndarray]) -> np.ndarray:
    array = arrays[0]
    if uniform(array):
        return array.reshape((1,) * len(site.output_shape))
    return compress(np.broadcast_to(array, site.input_shapes[0]).reshape(site.output_shape))


OPERATOR = Operator(
    name="Reshape", kind="movement", view=True,
    emit=_emit, adjoints={"input": _adjoint}, image=_image, fan_out=once,
    norm=norms.moved,
    edges=edges.moved(lambda site, arrays: arrays[0]), regular=always,
    keeps_batch=lambda site: site.input_shapes[0][:1] == site.output_shape[:1],
)  # fmt: skip
