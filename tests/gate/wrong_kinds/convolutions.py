"""Wrong attributes of layers: strides, pads, dilations, groups, transposed weights, factors, epsilons."""

import numpy as np
from onnx import ModelProto, NodeProto

from gate.editing import Kinds, constants, get, layer, put, store

KINDS = Kinds()
CONVOLUTIONS = "Conv ConvTranspose"


@KINDS.each(CONVOLUTIONS, "strides: changed")
def _strides(model: ModelProto, node: NodeProto) -> None:
    strides = list(get(node, "strides", [1, 1]))
    put(node, strides=[3 - stride if stride < 3 else 1 for stride in strides])


@KINDS.each(CONVOLUTIONS, "strides: of one axis only")
def _one_stride(model: ModelProto, node: NodeProto) -> None:
    put(node, strides=[1, 2] if list(get(node, "strides", [1, 1])) != [1, 2] else [2, 1])


@KINDS.each("Conv ConvTranspose MaxPool AveragePool", "pads: moved from the end to the start")
def _pads_moved(model: ModelProto, node: NodeProto) -> bool | None:
    pads = get(node, "pads")
    if not pads or not any(pads):
        return False
    put(node, pads=[pads[0] + pads[2], pads[1] + pads[3], 0, 0])
    return None


@KINDS.each("Conv ConvTranspose MaxPool AveragePool", "pads: moved from the start to the end")
def _pads_to_end(model: ModelProto, node: NodeProto) -> bool | None:
    pads = get(node, "pads")
    if not pads or not any(pads):
        return False
    put(node, pads=[0, 0, pads[0] + pads[2], pads[1] + pads[3]])
    return None


@KINDS.each(CONVOLUTIONS, "pads: one row moved to the other axis")
def _pads_axis(model: ModelProto, node: NodeProto) -> bool | None:
    pads = get(node, "pads")
    if not pads or not any(pads):
        return False
    put(node, pads=[pads[0] - 1, pads[1] + 1, pads[2] - 1, pads[3] + 1])
    return None


@KINDS.each(CONVOLUTIONS, "pads: dropped")
def _pads_dropped(model: ModelProto, node: NodeProto) -> bool | None:
    if not get(node, "pads"):
        return False
    put(node, pads=None)
    return None


@KINDS.each(CONVOLUTIONS, "pads: added")
def _pads_added(model: ModelProto, node: NodeProto) -> bool | None:
    if get(node, "auto_pad"):
        return False
    put(node, pads=[n + 1 for n in get(node, "pads", [0, 0, 0, 0])])
    return None


@KINDS.each("Conv", "auto_pad: SAME_LOWER for SAME_UPPER")
def _auto_pad(model: ModelProto, node: NodeProto) -> bool | None:
    if get(node, "auto_pad") != b"SAME_UPPER":
        return False
    put(node, auto_pad="SAME_LOWER")
    return None


@KINDS.each("Conv", "auto_pad: VALID for SAME_UPPER")
def _valid(model: ModelProto, node: NodeProto) -> bool | None:
    if get(node, "auto_pad") != b"SAME_UPPER":
        return False
    put(node, auto_pad="VALID")
    return None


@KINDS.each("Conv", "dilations: changed, pads with them")
def _dilations(model: ModelProto, node: NodeProto) -> bool | None:
    pads, name = get(node, "pads"), layer(model, node)
    if name is None or not pads or constants(model)[name].shape[-1] != 3:
        return False
    more = 1 if list(get(node, "dilations", [1, 1])) == [1, 1] else -1
    put(node, dilations=[1 + (more > 0)] * 2, pads=[n + more for n in pads])
    return None


@KINDS.each("Conv", "dilations: of one axis only, pads with them")
def _one_dilation(model: ModelProto, node: NodeProto) -> bool | None:
    pads, name = get(node, "pads"), layer(model, node)
    if name is None or not pads or constants(model)[name].shape[-1] != 3 or get(node, "dilations"):
        return False
    put(node, dilations=[1, 2], pads=[pads[0], pads[1] + 1, pads[2], pads[3] + 1])
    return None


@KINDS.each("ConvTranspose", "output_padding: at the other end by pads")
def _output_padding(model: ModelProto, node: NodeProto) -> bool | None:
    pads, more = get(node, "pads"), get(node, "output_padding")
    if not pads or not more:
        return False
    put(node, pads=[pads[0] - 1, pads[1] - 1, pads[2], pads[3]], output_padding=None)
    return None


@KINDS.each("ConvTranspose", "output_padding: dropped")
def _no_output_padding(model: ModelProto, node: NodeProto) -> bool | None:
    if not get(node, "output_padding"):
        return False
    put(node, output_padding=None)
    return None


@KINDS.each("Conv", "group: inputs of the groups permuted")
def _groups(model: ModelProto, node: NodeProto) -> bool | None:
    groups, name = get(node, "group", 1), layer(model, node)
    if groups < 2 or name is None:
        return False
    weight = constants(model)[name]
    store(model, name, np.roll(weight, len(weight) // groups, axis=0))
    return None


@KINDS.each("Conv", "group: depthwise multipliers interleaved otherwise")
def _interleaved(model: ModelProto, node: NodeProto) -> bool | None:
    groups, name = get(node, "group", 1), layer(model, node)
    if groups < 2 or name is None or (size := len(constants(model)[name])) == groups:
        return False
    store(
        model,
        name,
        constants(model)[name]
        .reshape(groups, size // groups, -1)
        .swapaxes(0, 1)
        .reshape(constants(model)[name].shape),
    )
    return None


@KINDS.each("Conv", "group: one, with the weights of one group")
def _ungrouped(model: ModelProto, node: NodeProto) -> bool | None:
    groups, name = get(node, "group", 1), layer(model, node)
    if groups < 2 or name is None:
        return False
    weight = constants(model)[name]
    put(node, group=1)
    store(model, name, np.tile(weight, (1, groups, 1, 1)) / groups)
    return None


@KINDS.each("Gemm", "transB: of a square matrix")
def _trans_b(model: ModelProto, node: NodeProto) -> bool | None:
    name = layer(model, node)
    if name is None or len(set(constants(model)[name].shape)) > 1:
        return False
    put(node, transB=1 - get(node, "transB", 0))
    return None


def _factor(attribute: str, value: float) -> None:
    @KINDS.each("Gemm", f"{attribute} of Gemm: {value:g}")
    def _change(model: ModelProto, node: NodeProto) -> None:
        put(node, **{attribute: value})


_factor("alpha", 1.25)
_factor("beta", 0.0)
_factor("beta", -1.0)


def _epsilon(value: float) -> None:
    @KINDS.each("BatchNormalization", f"epsilon of BatchNormalization: {value:g}")
    def _change(model: ModelProto, node: NodeProto) -> None:
        put(node, epsilon=value)


_epsilon(0.01)
_epsilon(1.0)


@KINDS.each("Conv", "kernel: a row fewer at the end, pads with it")
def _smaller(model: ModelProto, node: NodeProto) -> bool | None:
    name, pads = layer(model, node), get(node, "pads")
    if name is None or not pads or pads[2] < 1 or get(node, "dilations"):
        return False
    store(model, name, constants(model)[name][:, :, :-1])
    put(node, pads=[pads[0], pads[1], pads[2] - 1, pads[3]])
    return None
