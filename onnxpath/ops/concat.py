"""Concat along `axis`. Its adjoint slices the cotangent."""

import numpy as np

from onnxpath.model.network import Site
from onnxpath.ops import edges, norms
from onnxpath.ops.graph import Graph
from onnxpath.ops.operator import Operator, always, compress, once, uniform


def _emit(g: Graph, site: Site, inputs: list[str]) -> str:
    return g.op("Concat", inputs, axis=site["axis"])


def _adjoint(g: Graph, site: Site, cotangent: str, index: int, weight: str | None = None) -> str:
    axis = site["axis"]
    start = sum(shape[axis] for shape in site.input_shapes[:index])
    stop = start + site.input_shapes[index][axis]
    return g.op("Slice", [cotangent, g.ints([start]), g.ints([stop]), g.ints([axis])])


def _image(site: Site, arrays: list[np.ndarray]) -> np.ndarray:
    if all(uniform(a) for a in arrays) and len({a.item() for a in arrays}) == 1:
        return arrays[0]
    axis = site["axis"]
    outer = [max(a.shape[k] for a in arrays) for k in range(len(site.output_shape))]
    parts = []
    for array, shape in zip(arrays, site.input_shapes, strict=True):
        target = [*outer[:axis], shape[axis], *outer[axis + 1 :]]
        parts.append(np.broadcast_to(array, target))
    return compress(np.concatenate(parts, axis))


OPERATOR = Operator(
    name="Concat", kind="movement", view=False,
    emit=_emit, adjoints={"input": _adjoint}, image=_image, fan_out=once,
    norm=norms.joined,
    edges=edges.moved(lambda site, arrays: np.concatenate(arrays, site["axis"])), regular=always,
    keeps_batch=lambda site: site["axis"] != 0,
)  # fmt: skip
