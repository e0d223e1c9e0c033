"""Slice with constant, positive steps along `axes`. Its adjoint puts the cotangent back between zeros."""

import numpy as np

from onnxpath.model.network import Site
from onnxpath.ops import edges, norms
from onnxpath.ops.graph import Graph
from onnxpath.ops.operator import Operator, always, once


def _emit(g: Graph, site: Site, inputs: list[str]) -> str:
    return g.op(
        "Slice",
        [
            inputs[0],
            g.ints(site["starts"]),
            g.ints(site["stops"]),
            g.ints(site["axes"]),
            g.ints(site["steps"]),
        ],
    )


def _adjoint(g: Graph, site: Site, cotangent: str, index: int, weight: str | None = None) -> str:
    rank = len(site.output_shape)
    begin, end = [0] * rank, [0] * rank
    shape = list(site.output_shape)
    for axis, start, step in zip(site["axes"], site["starts"], site["steps"], strict=True):
        n, full = shape[axis], site.input_shapes[0][axis]
        if step > 1:
            # zeros between the cells: (..., n, ...) -> (..., n, step, ...) -> (..., n * step, ...)
            spaced = [0 if k == 0 and axis > 0 else s for k, s in enumerate(shape)]
            ends = [0] * (rank + 1)
            ends[axis + 1] = step - 1
            cotangent = g.op("Reshape", [cotangent, g.ints([*spaced[: axis + 1], 1, *shape[axis + 1 :]])])
            cotangent = g.op("Pad", [cotangent, g.ints([0] * (rank + 1) + ends)])
            cotangent = g.op("Reshape", [cotangent, g.ints([*spaced[:axis], n * step, *shape[axis + 1 :]])])
            n *= step
            shape[axis] = n
        begin[axis], end[axis] = start, full - start - n
    crop = [axis for axis in range(rank) if end[axis] < 0]
    if crop:
        cotangent = g.op(
            "Slice", [cotangent, g.ints([0] * len(crop)), g.ints([end[a] for a in crop]), g.ints(crop)]
        )
    end = [max(0, e) for e in end]
    return g.op("Pad", [cotangent, g.ints(begin + end)]) if any(begin) or any(end) else cotangent


def _image(site: Site, arrays: list[np.ndarray]) -> np.ndarray:
    array = arrays[0]
    index = [slice(None)] * array.ndim
    for axis, start, stop, step in zip(
        site["axes"], site["starts"], site["stops"], site["steps"], strict=True
    ):
        if array.shape[axis] > 1:
            index[axis] = slice(start, stop, step)
    return array[tuple(index)]


OPERATOR = Operator(
    name="Slice", kind="movement", view=False,
    emit=_emit, adjoints={"input": _adjoint}, image=_image, fan_out=once,
    norm=norms.moved,
    edges=edges.moved(_image), regular=always, keeps_batch=lambda site: 0 not in site["axes"],
)  # fmt: skip
