"""Wrong quantizers: scales, zero points, types, axes and integers. The path-metric leaves grids of
activations out, not weights."""

from collections.abc import Iterator

import numpy as np
from onnx import ModelProto, NodeProto

from gate.editing import (
    Kinds,
    Variant,
    becomes,
    constants,
    copied,
    get,
    made_by,
    put,
    readers,
    replaced,
    store,
)

KINDS = Kinds()


def _pair(model: ModelProto, node: NodeProto) -> NodeProto:
    """The DequantizeLinear behind a QuantizeLinear."""
    return next(reader for reader in readers(model, node.output[0]) if reader.op_type == "DequantizeLinear")


def _of_weight(model: ModelProto, node: NodeProto, kind: type = np.int8) -> np.ndarray | None:
    """The integers of a weight (or, int32, of a bias) that this DequantizeLinear reads."""
    found = constants(model).get(node.input[0]) if made_by(model, node.input[0]) is None else None
    return found if found is not None and found.dtype == kind else None


def _grid(name: str, scale: float = 1.0, zero: int = 0, least: int = -(2**31)) -> None:
    """Another grid of an activation, the same one in both of its nodes."""

    @KINDS.each("QuantizeLinear", f"quantizer: {name}", paths=False)
    def _change(model: ModelProto, node: NodeProto) -> bool | None:
        found = constants(model)
        old = found[node.input[2]].astype(int)
        info = np.iinfo(found[node.input[2]].dtype)
        if old < least:
            return False
        store(model, node.input[1], found[node.input[1]] * scale)
        store(model, node.input[2], np.clip(old + zero, info.min, info.max))
        return None


_grid("scale a quarter, which saturates", 0.25)
_grid("scale eight times as large", 8.0)
_grid("zero point 40 higher", zero=40)
_grid("zero point 40 lower", zero=-40, least=3)


@KINDS.each("QuantizeLinear", "quantizer: signed for unsigned, and the other way round", paths=False)
def _signed(model: ModelProto, node: NodeProto) -> None:
    """The type changes, the number of the zero point does not as far as it fits."""
    zero = constants(model)[node.input[2]]
    other = np.int8 if zero.dtype == np.uint8 else np.uint8
    replaced(model, node.input[2], np.clip(zero.astype(int), *(0, 127)).astype(other))


@KINDS.each("DequantizeLinear", "quantizer: scale of DequantizeLinear only", paths=False)
def _scale_of_one(model: ModelProto, node: NodeProto) -> bool | None:
    if made_by(model, node.input[0]) is None:
        return False
    node.input[1] = store(model, f"{node.input[1]}_other", constants(model)[node.input[1]] * np.float32(1.5))
    return None


@KINDS.each("DequantizeLinear", "quantizer: zero point of DequantizeLinear only", paths=False)
def _zero_of_one(model: ModelProto, node: NodeProto) -> bool | None:
    if made_by(model, node.input[0]) is None:
        return False
    zero = constants(model)[node.input[2]]
    node.input[2] = store(
        model, f"{node.input[2]}_other", (zero.astype(int) + (20 if zero < 100 else -20)).astype(zero.dtype)
    )
    return None


@KINDS.each("QuantizeLinear", "quantizer: without its zero point", paths=False)
def _no_zero(model: ModelProto, node: NodeProto) -> bool | None:
    if constants(model)[node.input[2]].dtype != np.uint8 or not constants(model)[node.input[2]]:
        return False
    del _pair(model, node).input[2]
    del node.input[2]
    return None


@KINDS.each(
    "QuantizeLinear",
    "quantizer: the Relu it absorbed is gone, the zero point is not at the bottom",
    paths=False,
)
def _absorbed(model: ModelProto, node: NodeProto) -> bool | None:
    relu = made_by(model, node.input[0])
    if relu is None or relu.op_type != "Relu":
        return False
    becomes(relu, "Identity")
    store(model, node.input[2], 100)
    return None


@KINDS.each("QuantizeLinear", "quantizer: 4 bits of the range", paths=False)
def _coarse(model: ModelProto, node: NodeProto) -> None:
    found = constants(model)
    store(model, node.input[1], found[node.input[1]] * 17)
    store(model, node.input[2], np.rint(found[node.input[2]].astype(float) / 17))


# -- weights
# --------------------------------------------------------------------------------------------------


@KINDS.each("DequantizeLinear", "quantized weight: zero point")
def _weight_zero(model: ModelProto, node: NodeProto) -> bool | None:
    if _of_weight(model, node) is None:
        return False
    store(model, node.input[2], constants(model)[node.input[2]] + 10)
    return None


@KINDS.each("DequantizeLinear", "quantized weight: zero point of one channel")
def _channel_zero(model: ModelProto, node: NodeProto) -> bool | None:
    if _of_weight(model, node) is None or not (zero := constants(model)[node.input[2]]).ndim:
        return False
    zero = zero.copy()
    zero[1] = -30
    store(model, node.input[2], zero)
    return None


@KINDS.each("DequantizeLinear", "quantized weight: scale")
def _weight_scale(model: ModelProto, node: NodeProto) -> bool | None:
    if _of_weight(model, node) is None:
        return False
    store(model, node.input[1], constants(model)[node.input[1]] * 1.2)
    return None


@KINDS.each("DequantizeLinear", "quantized weight: scales in another order")
def _scale_order(model: ModelProto, node: NodeProto) -> bool | None:
    if _of_weight(model, node) is None or not constants(model)[node.input[1]].ndim:
        return False
    store(model, node.input[1], np.roll(constants(model)[node.input[1]], 1))
    return None


@KINDS.kind("quantized weight: another axis")
def _axis(source: ModelProto) -> Iterator[Variant]:
    """Activations stay floats: ONNX Runtime's integer kernels scale along the axis of the outputs, whatever
    the file says."""
    floats = copied(source)
    for node in floats.graph.node:
        if node.op_type == "QuantizeLinear" or (
            node.op_type == "DequantizeLinear" and made_by(source, node.input[0]) is not None
        ):
            becomes(node, "Identity", 1)
    for k, node in enumerate(source.graph.node):
        array = _of_weight(source, node) if node.op_type == "DequantizeLinear" else None
        if array is not None and constants(source)[node.input[1]].ndim and array.shape[0] == array.shape[1]:
            model = copied(floats)
            put(model.graph.node[k], axis=1 - get(node, "axis", 1))
            yield Variant(node.name, model, floats)


@KINDS.each("DequantizeLinear", "quantized weight: one scale for all channels")
def _one_scale(model: ModelProto, node: NodeProto) -> bool | None:
    scale = constants(model)[node.input[1]]
    if _of_weight(model, node) is None or not scale.ndim:
        return False
    store(model, node.input[1], np.full_like(scale, scale.max()))
    return None


@KINDS.each("DequantizeLinear", "quantized weight: one integer")
def _integer(model: ModelProto, node: NodeProto) -> bool | None:
    if (array := _of_weight(model, node)) is None:
        return False
    array = array.copy()
    array.flat[np.abs(array.astype(int)).argmax()] *= -1
    store(model, node.input[0], array)
    return None


@KINDS.each("DequantizeLinear", "quantized weight: read as unsigned")
def _unsigned(model: ModelProto, node: NodeProto) -> bool | None:
    if (array := _of_weight(model, node)) is None:
        return False
    for name, kept in ((node.input[0], array), (node.input[2], constants(model)[node.input[2]])):
        replaced(model, name, kept.view(np.uint8))
    return None


@KINDS.each("DequantizeLinear", "quantized bias: scale of the weight only")
def _bias_scale(model: ModelProto, node: NodeProto) -> bool | None:
    if _of_weight(model, node, np.int32) is None:
        return False
    store(model, node.input[1], constants(model)[node.input[1]] * 3)
    return None


@KINDS.each("DequantizeLinear", "quantized bias: one integer")
def _bias(model: ModelProto, node: NodeProto) -> bool | None:
    array = _of_weight(model, node, np.int32)
    if array is None:
        return False
    array = array.copy()
    array.flat[0] += round(0.5 / float(constants(model)[node.input[1]].flat[0]))
    store(model, node.input[0], array)
    return None


@KINDS.each("DequantizeLinear", "quantized weight: of 4 bits")
def _four(model: ModelProto, node: NodeProto) -> bool | None:
    if (array := _of_weight(model, node)) is None:
        return False
    store(model, node.input[0], np.rint(array / 16.0) * 16)
    return None
