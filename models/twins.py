"""Compressed twins of an ONNX file, made by editing its initializers and nothing else.

pruned: the k = round(sparsity * n) weights of smallest magnitude among all n become zero; the others keep
their bits, so every weight of the twin is between 0 and the weight it came from (the pair is monotone, and
its path-metric is exact).

int8 grid: w' = s * clip(round(w / s), -127, 127) with s = max|w| / 127 for the tensor, or for each output
channel, as a symmetric 8-bit quantizer stores it. Kept as float32: what an int8 file computes with after
DequantizeLinear.

Weights are the second operand of Conv and Gemm; biases stay as they are. Output channels are axis 0 of both,
because the exporter writes every linear layer as Gemm with transB = 1.
"""

from collections.abc import Callable, Mapping

import numpy as np
import onnx
from onnx import numpy_helper

LEVELS = 127


def weights(proto: onnx.ModelProto) -> dict[str, np.ndarray]:
    """The weight of every Conv and Gemm by initializer name, in the order of the nodes."""
    stored = {tensor.name: tensor for tensor in proto.graph.initializer}
    names = [node.input[1] for node in proto.graph.node if node.op_type in ("Conv", "Gemm")]
    return {name: numpy_helper.to_array(stored[name]) for name in names}


def replaced(proto: onnx.ModelProto, values: Mapping[str, np.ndarray]) -> onnx.ModelProto:
    """A copy of `proto` in which the named initializers hold new values; every other byte is unchanged."""
    twin = onnx.ModelProto()
    twin.CopyFrom(proto)
    for tensor in twin.graph.initializer:
        if tensor.name in values:
            tensor.CopyFrom(numpy_helper.from_array(values[tensor.name], tensor.name))
    onnx.checker.check_model(twin, full_check=True)
    return twin


def pruned(proto: onnx.ModelProto, sparsity: float) -> onnx.ModelProto:
    """The twin with the smallest weights, in one ranking over all layers, set to zero; ties go to the earlier
    weight."""
    dense = weights(proto)
    flat = np.concatenate([value.ravel() for value in dense.values()])
    flat[np.argsort(np.abs(flat), kind="stable")[: round(sparsity * flat.size)]] = 0.0
    ends = np.cumsum([value.size for value in dense.values()])[:-1]
    parts = np.split(flat, ends)
    return replaced(
        proto, {name: part.reshape(dense[name].shape) for name, part in zip(dense, parts, strict=True)}
    )


def per_tensor(weight: np.ndarray) -> np.ndarray:
    """`weight` rounded to the symmetric 8-bit grid of the whole tensor."""
    return _round(weight, np.abs(weight).max())


def per_channel(weight: np.ndarray) -> np.ndarray:
    """`weight` rounded to the symmetric 8-bit grid of each output channel (axis 0)."""
    return _round(weight, np.abs(weight).max(axis=tuple(range(1, weight.ndim)), keepdims=True))


def on_grid(proto: onnx.ModelProto, rounding: Callable[[np.ndarray], np.ndarray]) -> onnx.ModelProto:
    """The twin whose every Conv and Gemm weight went through `rounding`."""
    return replaced(proto, {name: rounding(weight) for name, weight in weights(proto).items()})


def _round(weight: np.ndarray, largest: np.ndarray) -> np.ndarray:
    step = (np.where(largest > 0, largest, 1) / LEVELS).astype(np.float32)
    return np.clip(np.rint(weight / step), -LEVELS, LEVELS).astype(np.float32) * step
