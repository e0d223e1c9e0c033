"""Every weight and bias is finite: NaN and infinity have no path-norm.

One pass over each array of the file, in blocks: a float32 sum is finite unless a summand is not, or it
overflows; only then are the elements looked at.
"""

from collections.abc import Iterable

import numpy as np

from onnxpath.errors import ModelError
from onnxpath.model.network import Node, Parameter


def _distinct(array: np.ndarray) -> np.ndarray:
    """Without the repeats of a broadcast view, in the order of memory."""
    array = array[tuple(slice(0, 1) if step == 0 else slice(None) for step in array.strides)]
    return array.transpose(np.argsort(array.strides)[::-1])


def is_finite(array: np.ndarray) -> bool:
    if array.size == 0:
        return True
    cells = _distinct(array)
    return bool(np.isfinite(cells.sum())) or bool(np.isfinite(cells).all())


def check_finite(path: str, nodes: Iterable[Node]) -> None:
    """Raises ModelError for the first parameter that holds NaN or infinity."""
    seen: set[tuple] = set()

    def check(node: Node, parameter: Parameter, array: np.ndarray | None) -> None:
        if array is None:
            return
        key = (array.__array_interface__["data"][0], array.shape, array.strides, array.dtype)
        if key in seen:
            return
        seen.add(key)
        if not is_finite(array):
            source = parameter.sources[0] if parameter.sources else parameter.name
            raise ModelError(
                f"{path}: node '{node.name}': its parameter '{source}' holds NaN or infinite values"
            )

    for node in nodes:
        for parameter in node.parameters():
            check(node, parameter, parameter.base)
            check(node, parameter, parameter.scale)
