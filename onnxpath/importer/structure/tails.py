"""What the functions at the end of a file (`onnxpath.model.interface.Step`) do: to the outputs of a network,
where the tensors before them cannot be read, and to differences of scores."""

from collections.abc import Iterable

import numpy as np

from onnxpath.engine.scaled import frexp, ldexp
from onnxpath.model.interface import Step

# Behind these functions differences of outputs are differences of scores, or less.
_NUMERIC = ("Softmax", "LogSoftmax", "Sigmoid")


def numeric(step: Step) -> bool:
    """Whether differences behind this function are differences of scores, or less."""
    return step.function in _NUMERIC or (
        step.function == "Cast" and "float" in str(dict(step.attributes)["to"])
    )


def _softmax(x: np.ndarray, axes: tuple[int, ...], log: bool) -> np.ndarray:
    shifted = x - x.max(axis=axes, keepdims=True)
    total = np.exp(shifted).sum(axis=axes, keepdims=True)
    return shifted - np.log(total) if log else np.exp(shifted) / total


def _cast(x: np.ndarray, kind: str) -> np.ndarray:
    if kind == "float16":
        return x.astype(np.float16).astype(np.float64)
    if kind.startswith(("float", "bfloat")):  # eight bits, or fewer
        mantissa, exponent = frexp(x)
        return ldexp(np.rint(mantissa * 256) / 256, exponent)
    return np.trunc(x) if kind != "bool" else (x != 0).astype(np.float64)


def apply(steps: Iterable[Step], x: np.ndarray) -> np.ndarray:
    """The steps one after the other, in float64; x: with its batch axis."""
    x = x.astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        for step in steps:
            if step.function in ("Softmax", "LogSoftmax"):
                x = _softmax(x, step.axes or (x.ndim - 1,), step.function == "LogSoftmax")
            elif step.function == "Sigmoid":
                x = 1 / (1 + np.exp(-x))
            elif step.function == "ArgMax":
                more, [axis] = dict(step.attributes), step.axes or (0,)
                last = more.get("select_last_index", 0)
                index = x.shape[axis] - 1 - np.flip(x, axis).argmax(axis) if last else x.argmax(axis)
                x = (np.expand_dims(index, axis) if more.get("keepdims", 1) else index).astype(np.float64)
            elif step.function == "Cast":
                x = _cast(x, str(dict(step.attributes)["to"]))
            else:
                raise ValueError(f"no rule for the step {step}")
    return x
