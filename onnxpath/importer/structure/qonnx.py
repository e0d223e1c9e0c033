"""QONNX quantizers (domains qonnx.custom_op.general, finn.custom_op.general, onnx.brevitas): the node Quant.

    Quant(x, s, z, b) = (round(clip(x / s + z, l, h)) - z) · s,        [l, h] = [-2^(b-1), 2^(b-1) - 1] signed
                                                                       (l one more where narrow), [0, 2^b - 1]
                                                                       unsigned (h one less)

A constant is evaluated as it stands there; an activation is behind a quantizer (ops/quantizer.py), for the
rounding mode ROUND (to nearest, ties to even), since others move a value by up to a step. BipolarQuant and
Trunc are refused.
"""

import numpy as np

from onnxpath.importer.lower.context import Context, FileNode
from onnxpath.importer.lower.rules.dequantizing import scales
from onnxpath.importer.lower.rules.operands import integer

DOMAINS = ("qonnx.custom_op.general", "finn.custom_op.general", "onnx.brevitas")
QUANT = "Quant"
_NEAREST = ("ROUND", "HALF_EVEN", "ROUND_HALF_EVEN")
_MODES = {
    **dict.fromkeys(_NEAREST, np.rint),
    "CEIL": np.ceil,
    "FLOOR": np.floor,
    "ROUND_TO_ZERO": np.trunc,
    "DOWN": np.trunc,
}


def mode(context: Context, node: FileNode) -> str:
    value = node.attribute("rounding_mode", "ROUND")
    text = (value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)).upper()
    if text not in _MODES:
        context.refuse(node, f"its rounding_mode is {text}; {', '.join(_MODES)} are supported")
    return text


def nearest(context: Context, node: FileNode) -> None:
    """Refuse an activation that is not rounded to nearest."""
    found = mode(context, node)
    if found not in _NEAREST:
        context.refuse(
            node,
            f"it rounds an activation by the mode {found}; ROUND (to nearest, ties to even) is supported",
        )


def parameters(
    context: Context, node: FileNode, values: list[np.ndarray]
) -> tuple[np.ndarray, np.ndarray, tuple[int, int]]:
    """Steps, zero points (whole numbers, of the steps' shape) and [l, h]."""
    scale, zero, bits = values
    scale = scales(context, node, node.inputs[1], scale)
    if bits.size != 1 or not 1 <= float(bits.reshape(-1)[0]) <= 32 or float(bits.reshape(-1)[0]) % 1:
        context.refuse(
            node,
            f"its bit width '{node.inputs[3]}' is {bits.reshape(-1)[:4].tolist()}; one whole number from 1 to"
            " 32 is supported",
        )
    if not np.isfinite(zero.astype(np.float64)).all() or (zero.astype(np.float64) % 1).any():
        context.refuse(node, f"its zero point '{node.inputs[2]}' is no whole number")
    try:
        zero = (
            np.broadcast_to(zero.astype(np.int64), scale.shape)
            if zero.size > 1
            else np.full(scale.shape, int(zero.reshape(-1)[0]))
        )
    except ValueError:
        context.invalid(
            node,
            f"its zero point '{node.inputs[2]}' has shape {list(zero.shape)}, its scale '{node.inputs[1]}'"
            f" {list(scale.shape)}",
        )
    width, signed, narrow = (
        int(bits.reshape(-1)[0]),
        integer(context, node, "signed", 1),
        integer(context, node, "narrow", 0),
    )
    if signed and width == 1:
        context.refuse(node, "it has one bit with a sign, which is no grid around 0")
    limits = (
        (-(2 ** (width - 1)) + bool(narrow), 2 ** (width - 1) - 1)
        if signed
        else (0, 2**width - 1 - bool(narrow))
    )
    if (zero < limits[0]).any() or (zero > limits[1]).any():
        context.invalid(
            node,
            f"its zero point '{node.inputs[2]}' is {zero.reshape(-1)[0]}, out of range for {width} bits"
            f" ({limits[0]} to {limits[1]})",
        )
    return scale, zero, limits


def evaluate(context: Context, node: FileNode, values: list[np.ndarray]) -> np.ndarray:
    """The value of a Quant node whose operands are these constants."""
    x = values[0]
    if x.dtype.kind != "f" or np.isnan(x).any():
        context.invalid(
            node,
            f"its operand '{node.inputs[0]}' holds {'NaN' if x.dtype.kind == 'f' else x.dtype.name}, expected"
            " floating-point numbers",
        )
    scale, zero, (low, high) = parameters(context, node, values[1:])
    wide = scale.astype(np.float32)
    try:
        steps = np.clip((x.astype(np.float32) / wide).astype(np.float64) + zero, low, high)
    except ValueError:
        context.invalid(
            node,
            f"its scale '{node.inputs[1]}' of shape {list(scale.shape)} does not fit its operand of shape"
            f" {list(x.shape)}",
        )
    return np.asarray(((_MODES[mode(context, node)](steps) - zero) * wide).astype(np.float32))
