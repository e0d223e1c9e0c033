"""Add: the sum of two or more tensors of one shape. Its adjoint hands the cotangent to every input."""

from functools import reduce

import numpy as np

from onnxpath.model.network import Site
from onnxpath.ops import edges, norms
from onnxpath.ops.graph import Graph
from onnxpath.ops.operator import Operator, always, once


def total(g: Graph, site: Site, inputs: list[str]) -> str:
    return g.op("Add", inputs) if len(inputs) == 2 else g.op("Sum", inputs)


def adjoint(g: Graph, site: Site, cotangent: str, index: int, weight: str | None = None) -> str:
    return cotangent


def image(site: Site, arrays: list[np.ndarray]) -> np.ndarray:
    return reduce(np.maximum, arrays)


def operands(site: Site) -> int:
    return len(site.input_shapes)


OPERATOR = Operator(
    name="Add", kind="sum", emit=total, adjoints={"input": adjoint}, terms=operands, gain=operands,
    fan_out=once, image=image,
    norm=norms.added, edges=edges.merged, mixes=lambda site: (), merges=True, regular=always,
    keeps_batch=always,
)  # fmt: skip
