"""Quantized constants: DequantizeLinear and QuantizeLinear evaluated at import, as ONNX defines them.

    DequantizeLinear   y = (x - z) · s                                   x - z in 64-bit integers, then one
                                                                         product
    QuantizeLinear     y = saturate(round(x / s) + z)                    ties to even

s is one number (per tensor), one per index of `axis` (per channel), or one per block of `block_size` indices
of it. The product is one of float32 numbers; where s is a half so is the result, rounded once more. int32
values become float32 numbers first, which is what ONNX Runtime does: they are biases, whose zero point is 0.
"""

import numpy as np
from onnx import TensorProto, helper

from onnxpath.importer.decode.tensors import HALVES, native, type_name
from onnxpath.importer.lower.context import Context, FileNode
from onnxpath.importer.lower.rules.operands import axis, integer
from onnxpath.model.network import Shape

_PACKED = ("int4", "uint4")


def integer_range(dtype: np.dtype) -> tuple[int, int]:
    """The smallest and the largest number of an integer type, those of 4 bits included."""
    if dtype.name in _PACKED:
        return (-8, 7) if dtype.name == "int4" else (0, 15)
    limits = np.iinfo(dtype)
    return int(limits.min), int(limits.max)


def is_integer_type(dtype: np.dtype) -> bool:
    return dtype.kind in "iu" or dtype.name in _PACKED


def scales(context: Context, node: FileNode, name: str, array: np.ndarray) -> np.ndarray:
    """The steps of a quantizer, checked: positive and finite."""
    if array.dtype.kind != "f":
        context.invalid(node, f"its scale '{name}' holds {array.dtype.name}, expected floating-point numbers")
    bad = ~(np.isfinite(array) & (array > 0))
    if bad.any():
        at = "" if array.size == 1 else f" at index {[int(k) for k in np.argwhere(bad)[0]]}"
        context.invalid(
            node, f"its scale '{name}' is {array[bad].reshape(-1)[0]:g}{at}; a positive number is expected"
        )
    return array


def zero_points(
    context: Context, node: FileNode, name: str, array: np.ndarray, scale: np.ndarray
) -> np.ndarray:
    """The zero points that belong to a scale."""
    if not is_integer_type(array.dtype):
        context.invalid(node, f"its zero point '{name}' holds {array.dtype.name}, expected integers")
    if array.shape != scale.shape and not array.size == scale.size == 1:
        context.invalid(
            node,
            f"its zero point '{name}' has shape {list(array.shape)}, its scale '{node.inputs[1]}'"
            f" {list(scale.shape)}",
        )
    return array


def spread(context: Context, node: FileNode, array: np.ndarray, shape: Shape) -> np.ndarray:
    """A scale or zero point, to broadcast to the tensor of that shape."""
    if array.size == 1 and array.ndim <= 1:
        return array.reshape(())
    block = integer(context, node, "block_size", 0, low=0)
    position = axis(context, node, integer(context, node, "axis", 1), len(shape))
    if array.ndim == 1 and not block:
        if array.size != shape[position]:
            context.invalid(
                node,
                f"its scale '{node.inputs[1]}' has {array.size} entries; axis {position} of {list(shape)} has"
                f" {shape[position]}",
            )
        return array.reshape((-1,) + (1,) * (len(shape) - position - 1))
    if not block:
        context.invalid(
            node,
            f"its scale '{node.inputs[1]}' has shape {list(array.shape)}; without block_size one number or a"
            " list is expected",
        )
    expected = (*shape[:position], -(-shape[position] // block), *shape[position + 1 :])
    if array.shape != expected:
        context.invalid(
            node,
            f"its scale '{node.inputs[1]}' has shape {list(array.shape)}; blocks of {block} along axis"
            f" {position} need {list(expected)}",
        )
    return np.repeat(array, block, axis=position)[(slice(None),) * position + (slice(shape[position]),)]


def evaluate(context: Context, node: FileNode, values: list[np.ndarray]) -> np.ndarray:
    """The value of a DequantizeLinear or QuantizeLinear node whose operands are these constants."""
    names = [name for name in node.inputs if name]
    scale = scales(context, node, names[1], values[1])
    zero = zero_points(context, node, names[2], values[2], scale) if len(values) > 2 else None
    return np.asarray(
        (_dequantized if node.op_type == "DequantizeLinear" else _quantized)(
            context, node, values[0], scale, zero
        )
    )


def _dequantized(
    context: Context, node: FileNode, x: np.ndarray, scale: np.ndarray, zero: np.ndarray | None
) -> np.ndarray:
    if not is_integer_type(x.dtype):
        context.refuse(
            node,
            f"its operand '{node.inputs[0]}' holds {x.dtype.name}; integers of 4 to 32 bits are supported",
        )
    if zero is not None and zero.dtype != x.dtype:
        context.invalid(
            node,
            f"its zero point '{node.inputs[2]}' holds {zero.dtype.name}, its operand '{node.inputs[0]}'"
            f" {x.dtype.name}",
        )
    if zero is not None and x.dtype == np.int32 and zero.any():
        context.invalid(node, f"its zero point '{node.inputs[2]}' is not 0, which it has to be for int32")
    steps = x.astype(np.int64)
    if zero is not None:
        steps = steps - spread(context, node, zero.astype(np.int64), x.shape)
    product = steps.astype(np.float32) * spread(context, node, scale.astype(np.float32), x.shape)
    kind = integer(context, node, "output_dtype", 0) or context.halves.get(node.inputs[1], TensorProto.FLOAT)
    if kind not in (TensorProto.FLOAT, *HALVES):
        context.refuse(
            node, f"its output_dtype is {type_name(kind)}; float32, float16 and bfloat16 are supported"
        )
    if kind in HALVES:
        context.halves[node.outputs[0]] = kind
        half = product.astype(helper.tensor_dtype_to_np_dtype(kind))
        return native(half.view(np.uint16) if kind == TensorProto.BFLOAT16 else half, kind)
    return product


def _quantized(
    context: Context, node: FileNode, x: np.ndarray, scale: np.ndarray, zero: np.ndarray | None
) -> np.ndarray:
    if x.dtype.kind != "f":
        context.refuse(
            node, f"its operand '{node.inputs[0]}' holds {x.dtype.name}, expected floating-point numbers"
        )
    declared = integer(context, node, "output_dtype", 0)
    dtype = (
        zero.dtype
        if zero is not None
        else np.dtype(helper.tensor_dtype_to_np_dtype(declared))
        if declared
        else np.dtype(np.uint8)
    )
    if not is_integer_type(dtype):
        context.refuse(node, f"it quantizes to {dtype.name}; integers are supported")
    steps = np.rint(x.astype(np.float32) / spread(context, node, scale.astype(np.float32), x.shape)).astype(
        np.float64
    )
    if zero is not None:
        steps = steps + spread(context, node, zero.astype(np.int64), x.shape)
    if np.isnan(steps).any():
        context.invalid(node, f"its operand '{node.inputs[0]}' holds NaN")
    return np.clip(steps, *integer_range(dtype)).astype(np.int64).astype(dtype)
