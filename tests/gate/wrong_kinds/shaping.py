"""Wrong pools, resizings, movements and activations: their modes, axes, orders, sizes and constants."""

import numpy as np
from onnx import ModelProto, NodeProto

from gate.editing import Kinds, after, becomes, constants, get, put, store

KINDS = Kinds()


# -- pools
# --------------------------------------------------------------------------------------------------


@KINDS.each("MaxPool", "pool: Average for Max")
def _average(model: ModelProto, node: NodeProto) -> None:
    node.op_type = "AveragePool"


@KINDS.each("AveragePool", "pool: Max for Average")
def _max(model: ModelProto, node: NodeProto) -> None:
    put(node, count_include_pad=None)
    node.op_type = "MaxPool"


@KINDS.each("GlobalAveragePool", "pool: GlobalMax for GlobalAverage")
def _global(model: ModelProto, node: NodeProto) -> None:
    node.op_type = "GlobalMaxPool"


@KINDS.each("AveragePool", "pool: count_include_pad")
def _count(model: ModelProto, node: NodeProto) -> None:
    put(node, count_include_pad=1 - get(node, "count_include_pad", 0))


@KINDS.each("MaxPool AveragePool", "pool: ceil_mode")
def _ceil(model: ModelProto, node: NodeProto) -> None:
    put(node, ceil_mode=1 - get(node, "ceil_mode", 0))


@KINDS.each("MaxPool AveragePool", "pool: strides")
def _strides(model: ModelProto, node: NodeProto) -> None:
    put(node, strides=[3 - n for n in get(node, "strides")])


@KINDS.each("MaxPool AveragePool", "pool: a smaller window")
def _window(model: ModelProto, node: NodeProto) -> None:
    kernel = get(node, "kernel_shape")
    put(node, kernel_shape=[kernel[0] - 1, kernel[1]], ceil_mode=None)
    if get(node, "pads"):
        put(node, pads=[1, 1, 0, 1])


@KINDS.each("MaxPool", "pool: dilated window")
def _dilated(model: ModelProto, node: NodeProto) -> None:
    put(node, dilations=[2, 2], pads=[1, 1, 0, 0], ceil_mode=1)


@KINDS.each("ReduceMean", "reduction: a sum for the mean")
def _sum(model: ModelProto, node: NodeProto) -> None:
    axes = get(node, "axes")
    becomes(node, "ReduceSum", keepdims=get(node, "keepdims", 1))
    node.input.append(store(model, "axes_of_sum", np.array(axes)))


@KINDS.each("ReduceMean", "reduction: the maximum for the mean")
def _reduce_max(model: ModelProto, node: NodeProto) -> None:
    node.op_type = "ReduceMax"


@KINDS.each("ReduceMax", "reduction: the mean for the maximum")
def _reduce_mean(model: ModelProto, node: NodeProto) -> None:
    node.op_type = "ReduceMean"


@KINDS.each("ReduceMax ReduceMean", "reduction: along another axis")
def _axis(model: ModelProto, node: NodeProto) -> None:
    put(node, axes=[3 - n for n in get(node, "axes")])


# -- Resize
# --------------------------------------------------------------------------------------------------


def _resize(name: str, **attributes: object) -> None:
    @KINDS.each("Resize", f"Resize: {name}")
    def _change(model: ModelProto, node: NodeProto) -> bool | None:
        if all(
            get(node, key) == (value.encode() if isinstance(value, str) else value)
            for key, value in attributes.items()
        ):
            return False
        put(node, **attributes)
        return None


for _mode in ("nearest", "linear", "cubic"):
    _resize(f"mode {_mode}", mode=_mode)
for _mode in ("half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel"):
    _resize(f"coordinates {_mode}", coordinate_transformation_mode=_mode)
for _mode in ("floor", "ceil", "round_prefer_floor", "round_prefer_ceil"):
    _resize(f"nearest {_mode}", mode="nearest", nearest_mode=_mode)


@KINDS.each("Resize", "Resize: another scale")
def _scale(model: ModelProto, node: NodeProto) -> None:
    store(model, node.input[2], constants(model)[node.input[2]] * np.array([1, 1, 1, 1.5], np.float32))


# -- movements
# ------------------------------------------------------------------------------------------------------------


@KINDS.each("Concat", "Concat: axis")
def _concat_axis(model: ModelProto, node: NodeProto) -> None:
    put(node, axis=3 - get(node, "axis"))


@KINDS.each("Concat", "Concat: operands swapped")
def _concat_order(model: ModelProto, node: NodeProto) -> None:
    node.input[:] = list(node.input)[::-1]


@KINDS.each("Split", "Split: outputs swapped")
def _split(model: ModelProto, node: NodeProto) -> None:
    node.output[:] = list(node.output)[::-1]


@KINDS.each("Gather", "Gather: axis")
def _gather_axis(model: ModelProto, node: NodeProto) -> None:
    put(node, axis=2)


@KINDS.each("Gather", "Gather: indices")
def _indices(model: ModelProto, node: NodeProto) -> None:
    store(model, node.input[1], np.roll(constants(model)[node.input[1]], 1))


@KINDS.each("Slice", "Slice: start and end moved")
def _slice(model: ModelProto, node: NodeProto) -> None:
    for name in node.input[1:3]:
        store(model, name, constants(model)[name] - 1)


@KINDS.each("Slice", "Slice: backwards")
def _backwards(model: ModelProto, node: NodeProto) -> None:
    store(model, node.input[1], np.array([5]))
    store(model, node.input[2], np.array([0]))
    node.input.append(store(model, "step", np.array([-1])))


@KINDS.each("Flatten", "Flatten: the other axis of a map first")
def _flatten(model: ModelProto, node: NodeProto) -> None:
    after(model, node.input[0], "Transpose", perm=[0, 1, 3, 2])


@KINDS.each("Flatten", "Flatten: axis, on a map of channels last")
def _flatten_last(model: ModelProto, node: NodeProto) -> None:
    after(model, node.input[0], "Transpose", perm=[0, 2, 3, 1])


@KINDS.each("Reshape", "Reshape: of the transposed tensor")
def _reshape(model: ModelProto, node: NodeProto) -> None:
    after(model, node.input[0], "Transpose", perm=[0, 2, 1])


@KINDS.each("Transpose", "Transpose: perm")
def _perm(model: ModelProto, node: NodeProto) -> None:
    put(node, perm=[0, 1, 2])


@KINDS.each("DepthToSpace", "DepthToSpace: mode CRD for DCR")
def _mode(model: ModelProto, node: NodeProto) -> None:
    put(node, mode="CRD")


@KINDS.each("Pad", "Pad: moved from the end to the start")
def _pad_moved(model: ModelProto, node: NodeProto) -> None:
    store(model, node.input[1], np.array([0, 0, 2, 2, 0, 0, 0, 0]))


@KINDS.each("Pad", "Pad: another constant")
def _pad_value(model: ModelProto, node: NodeProto) -> None:
    node.input.append(store(model, "pad_value", np.float32(0.5)))


def _pad(mode: str) -> None:
    @KINDS.each("Pad", f"Pad: mode {mode}")
    def _change(model: ModelProto, node: NodeProto) -> None:
        put(node, mode=mode)


_pad("edge")
_pad("reflect")


# -- activations
# ----------------------------------------------------------------------------------------------------------


@KINDS.each("LeakyRelu", "LeakyRelu: alpha")
def _alpha(model: ModelProto, node: NodeProto) -> None:
    put(node, alpha=0.3)


@KINDS.each("LeakyRelu", "LeakyRelu: the default alpha")
def _default(model: ModelProto, node: NodeProto) -> None:
    put(node, alpha=None)


@KINDS.each("Clip", "Clip: upper bound")
def _upper(model: ModelProto, node: NodeProto) -> None:
    store(model, node.input[2], np.float32(0.4))


@KINDS.each("Clip", "Clip: lower bound")
def _lower(model: ModelProto, node: NodeProto) -> None:
    store(model, node.input[1], np.float32(-0.5))


@KINDS.each("Clip", "Clip: one bound dropped")
def _no_upper(model: ModelProto, node: NodeProto) -> None:
    del node.input[2]


@KINDS.each("HardSigmoid", "HardSigmoid: the default slope")
def _slope(model: ModelProto, node: NodeProto) -> None:
    put(node, alpha=None, beta=None)


@KINDS.each("PRelu", "PRelu: slopes reversed")
def _slopes(model: ModelProto, node: NodeProto) -> None:
    store(model, node.input[1], constants(model)[node.input[1]][::-1])
