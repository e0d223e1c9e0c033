"""Arrays that a user gives for a file of which nothing but its declared inputs is known."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from onnxpath.errors import ModelError, UsageError
from onnxpath.files.side import Side
from onnxpath.model.interface import Port


def given(side: Side, inputs: Any) -> tuple[dict[str, np.ndarray], bool]:
    """The samples [n, ...] by the file's inputs: arrays by name, or one array for a file with one input; one
    sample may come without its leading axis. And whether every [k] is all that an input takes (`rows`): where
    an input has no axis for samples, or arrays have one more than it.

    Raises ModelError where the file does not run, UsageError for a missing input, a shape that does not fit,
    or different numbers of samples.
    """
    if side.session is None:
        raise ModelError(side.reason)
    ports, label = side.session.inputs, side.session.label
    arrays: Mapping[str, Any] = (
        inputs if isinstance(inputs, Mapping) else {ports[0].name: inputs} if ports else {}
    )
    if len(arrays) == len(ports) == 1:
        arrays = {ports[0].name: next(iter(arrays.values()))}
    missing = [port.name for port in ports if port.name not in arrays]
    if missing:
        raise UsageError(
            f"no samples for input '{missing[0]}' of {label} (given: {', '.join(arrays) or 'none'})"
        )
    if not ports:
        return {}, True
    shaped = {port.name: _numbers(label, port, np.asarray(arrays[port.name])) for port in ports}
    stacked = any(port.shape is not None and _stacked(port.shape, shaped[port.name]) for port in ports)
    found = {port.name: (_whole if stacked else _fitted)(label, port, shaped[port.name]) for port in ports}
    lengths = {name: len(array) for name, array in found.items()}
    if len(set(lengths.values())) > 1:
        raise UsageError(f"the inputs have different numbers of samples: {lengths}")
    if not next(iter(lengths.values()), 1):
        raise UsageError("there are no samples in the inputs")
    return found, stacked


def _numbers(label: str, port: Port, array: np.ndarray) -> np.ndarray:
    if port.type == "string":
        return array
    if array.dtype.kind not in "fiub":
        raise UsageError(f"the samples for input '{port.name}' of {label} are {array.dtype}, not numbers")
    largest = np.finfo(np.float64 if port.type == "float64" else np.float32).max
    if array.dtype.kind == "f" and not (np.abs(array) <= largest).all():
        raise UsageError(
            f"the samples for input '{port.name}' of {label} hold NaN, infinite or too large numbers"
        )
    return array


def _stacked(shape: tuple, array: np.ndarray) -> bool:
    alone = len(shape) <= 1 and all(isinstance(n, int) for n in shape)
    return alone or array.ndim == len(shape) + 1


def _whole(label: str, port: Port, array: np.ndarray) -> np.ndarray:
    """[n, *shape]."""
    shape = port.shape
    if shape is None:
        return array
    array = array[None] if array.ndim == len(shape) else array
    if array.ndim != len(shape) + 1 or any(
        isinstance(n, int) and n != m for n, m in zip(shape, array.shape[1:], strict=True)
    ):
        sizes = ["n", *("?" if not isinstance(n, int) else str(n) for n in shape)]
        raise UsageError(
            f"the samples for input '{port.name}' of {label} have shape {list(array.shape)}, expected"
            f" [{', '.join(sizes)}]"
        )
    return array


def _fitted(label: str, port: Port, array: np.ndarray) -> np.ndarray:
    if port.shape is None:
        return array
    if array.ndim == len(port.shape) - 1:
        array = array[None]
    fits = array.ndim == len(port.shape) and all(
        not isinstance(n, int) or n == m for n, m in zip(port.shape[1:], array.shape[1:], strict=True)
    )
    if not fits or not array.ndim:
        sizes = ["n", *("?" if not isinstance(n, int) else str(n) for n in port.shape[1:])]
        raise UsageError(
            f"the samples for input '{port.name}' of {label} have shape {list(array.shape)}, expected"
            f" [{', '.join(sizes)}]"
        )
    return array
