"""Re-encodings of operators: a layer, an activation, a pool or a tail in the words of another exporter."""

from collections.abc import Iterator

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, helper

from gate.editing import (
    Kinds,
    Variant,
    after,
    becomes,
    constants,
    copied,
    get,
    layer,
    made_by,
    put,
    readers,
    settled,
    shape,
    store,
)

SPELLINGS = Kinds()


# -- layers
# --------------------------------------------------------------------------------------------------


@SPELLINGS.whole("BatchNormalization folded")
def _folded(model: ModelProto) -> bool | None:
    found, done = constants(model), False
    for node in list(model.graph.node):
        if node.op_type != "BatchNormalization":
            continue
        before = made_by(model, node.input[0])
        name = before and layer(model, before)
        scale, shift, mean, var = (found[name].astype(np.float64) for name in node.input[1:])
        factor = scale / np.sqrt(var + get(node, "epsilon", 1e-5))
        store(model, name, found[name] * factor.reshape(-1, 1, 1, 1))
        before.input.append(store(model, f"{name} folded", (shift - mean * factor).astype(np.float32)))
        becomes(node, "Identity", 1)
        done = True
    return None if done else False


@SPELLINGS.whole("Gemm as MatMul and Add")
def _matmul(model: ModelProto) -> bool | None:
    nodes = [node for node in model.graph.node if node.op_type == "Gemm" and layer(model, node)]
    for node in nodes:
        weight, bias = constants(model)[node.input[1]], node.input[2]
        if get(node, "transB", 0):
            store(model, node.input[1], weight.T)
        becomes(node, "MatMul", 2)
        after(model, node.output[0], "Add", bias)
    return None if nodes else False


@SPELLINGS.whole("MatMul and Add as Gemm")
def _gemm(model: ModelProto) -> bool | None:
    done = False
    for node in list(model.graph.node):
        behind = readers(model, node.output[0])
        if node.op_type == "MatMul" and len(shape(model, node.input[0]) or ()) == 2:
            becomes(node, "Gemm")
            node.input.append(behind[0].input[1])
            becomes(behind[0], "Identity", 1)
            done = True
    return None if done else False


@SPELLINGS.each("Gemm", "weight transposed, transB changed")
def _trans(model: ModelProto, node: NodeProto) -> bool | None:
    name = layer(model, node)
    if name is None:
        return False
    store(model, name, constants(model)[name].T)
    put(node, transB=1 - get(node, "transB", 0))
    return None


@SPELLINGS.each("Gemm MatMul", "weight behind a Transpose")
def _behind(model: ModelProto, node: NodeProto) -> bool | None:
    name = layer(model, node)
    if name is None:
        return False
    store(model, name, constants(model)[name].T)
    model.graph.node.add(op_type="Transpose", name="transposed", input=[name], output=[f"{name}_t"])
    node.input[1] = f"{name}_t"
    return None


@SPELLINGS.each("Conv", "bias of a convolution as Add")
def _bias(model: ModelProto, node: NodeProto) -> bool | None:
    if len(node.input) < 3 or made_by(model, node.input[2]) is not None:
        return False
    bias = node.input.pop()
    after(
        model, node.output[0], "Add", store(model, f"{bias} wide", constants(model)[bias].reshape(-1, 1, 1))
    )
    return None


@SPELLINGS.each("Conv", "pads in a Pad node")
def _pads(model: ModelProto, node: NodeProto) -> bool | None:
    pads = get(node, "pads")
    if not pads or layer(model, node) is None:
        return False
    name, tensor = (
        store(model, "pads apart", np.array([0, 0, *pads[:2], 0, 0, *pads[2:]])),
        f"{node.output[0]}_padded",
    )
    model.graph.node.add(op_type="Pad", name="padded", input=[node.input[0], name], output=[tensor])
    node.input[0] = tensor
    put(node, pads=None)
    return None


@SPELLINGS.each("Conv", "auto_pad in numbers")
def _auto_pad(model: ModelProto, node: NodeProto) -> bool | None:
    if get(node, "auto_pad") != b"SAME_UPPER":
        return False
    put(node, auto_pad=None, pads=[0, 0, 1, 1])  # a kernel of 2, strides of 1
    return None


@SPELLINGS.kind("layers rescaled by powers of two")
def _rescaled(source: ModelProto) -> Iterator[Variant]:
    """Rows of one layer times 2 or 1/4, columns of the next divided by it; Relu and MaxPool between change
    nothing."""
    found = constants(source)
    for node in source.graph.node:
        name, behind = layer(source, node), node
        while (
            (next_ones := readers(source, behind.output[0]))
            and len(next_ones) == 1
            and next_ones[0].op_type in ("Relu", "MaxPool")
        ):
            behind = next_ones[0]
        after_it = layer(source, next_ones[0]) if behind is not node and len(next_ones) == 1 else None
        if name is None or after_it is None or len(node.input) < 3:
            continue
        following = next_ones[0]
        rows = (
            1
            if node.op_type == "ConvTranspose" or (node.op_type == "Gemm" and not get(node, "transB", 0))
            else 0
        )
        columns = 1 if following.op_type == "Conv" or get(following, "transB", 0) else 0
        weight, other = found[name], found[after_it]
        if weight.shape[rows] != other.shape[columns]:
            continue
        factor = 2.0 ** (np.arange(weight.shape[rows]) % 4 - 2)
        model = copied(source)
        store(model, name, weight * _along(factor, rows, weight.ndim))
        store(model, node.input[2], found[node.input[2]] * factor)
        store(model, after_it, other / _along(factor, columns, other.ndim))
        yield Variant(node.name, model)


def _along(factor: np.ndarray, axis: int, rank: int) -> np.ndarray:
    return factor.reshape([-1 if k == axis else 1 for k in range(rank)])


# -- activations, pools, movements
# ----------------------------------------------------------------------------------------


def _for(operators: str, name: str, op: str, *values: float, **attributes: object) -> None:
    @SPELLINGS.each(operators, name)
    def _change(model: ModelProto, node: NodeProto) -> None:
        becomes(node, op, **attributes)
        node.input.extend(store(model, f"{node.name} {value:g}", np.float32(value)) for value in values)


_for("Relu", "Relu as Clip(0)", "Clip", 0.0)
_for("Relu", "Relu as Clip(0, infinity)", "Clip", 0.0, np.inf)
_for("Relu", "Relu as Max(0)", "Max", 0.0)
_for("Relu", "Relu as LeakyRelu of slope 0", "LeakyRelu", alpha=0.0)
_for("GlobalAveragePool", "GlobalAveragePool as ReduceMean", "ReduceMean", axes=[2, 3], keepdims=1)
_for("Add", "Add as Sum", "Sum")
_for("Flatten", "Flatten as Flatten of another axis name", "Flatten", axis=-3)


@SPELLINGS.each("Add", "operands of Add swapped")
def _swapped(model: ModelProto, node: NodeProto) -> None:
    node.input[:] = list(node.input)[::-1]


@SPELLINGS.each("ReduceMean", "ReduceMean as GlobalAveragePool and Flatten")
def _global(model: ModelProto, node: NodeProto) -> None:
    becomes(node, "GlobalAveragePool")
    after(model, node.output[0], "Flatten")


@SPELLINGS.each("Flatten", "Flatten as Reshape")
def _reshape(model: ModelProto, node: NodeProto) -> None:
    becomes(node, "Reshape")
    node.input.append(store(model, f"{node.name} shape", np.array([0, -1])))


@SPELLINGS.each("Reshape", "Reshape as Flatten")
def _flatten(model: ModelProto, node: NodeProto) -> None:
    becomes(node, "Flatten", 1)


@SPELLINGS.each("Concat", "Concat in two steps")
def _steps(model: ModelProto, node: NodeProto) -> bool | None:
    if len(node.input) < 3:
        return False
    inner = f"{node.output[0]}_first"
    model.graph.node.append(
        helper.make_node("Concat", list(node.input[:2]), [inner], "first two", axis=get(node, "axis"))
    )
    node.input[:] = [inner, *node.input[2:]]
    return None


@SPELLINGS.each("Split", "Split as Slices")
def _slices(model: ModelProto, node: NodeProto) -> None:
    tensor, names = node.input[0], list(node.output)
    axis = store(model, "slice axis", np.array([1]))
    becomes(node, "Identity")
    node.output[:] = [f"{tensor}_all"]
    for k, name in enumerate(names):
        ends = [
            store(model, f"slice {k} {what}", np.array([value]))
            for what, value in (("from", 4 * k), ("to", 4 * k + 4))
        ]
        model.graph.node.append(
            helper.make_node("Slice", [f"{tensor}_all", *ends, axis], [name], f"slice {k}")
        )


@SPELLINGS.each("DepthToSpace", "DepthToSpace as Reshape, Transpose, Reshape")
def _depth(model: ModelProto, node: NodeProto) -> None:
    batch, channels, height, width = (int(n) for n in shape(model, node.input[0]) or ())
    wide, tensor = store(model, "wide", np.array([batch, 2, 2, channels // 4, height, width])), node.output[0]
    becomes(node, "Reshape")
    node.input.append(wide)
    after(model, tensor, "Transpose", perm=[0, 3, 4, 1, 5, 2])
    after(
        model,
        tensor,
        "Reshape",
        store(model, "flat again", np.array([batch, channels // 4, 2 * height, 2 * width])),
    )


@SPELLINGS.each("Resize", "Resize by sizes")
def _sizes(model: ModelProto, node: NodeProto) -> None:
    sizes = np.array(shape(model, node.output[0]))
    node.input[2] = ""
    node.input.append(store(model, f"{node.name} sizes", sizes))


@SPELLINGS.each("Slice", "Slice to the end")
def _end(model: ModelProto, node: NodeProto) -> None:
    store(model, node.input[2], np.array([np.iinfo(np.int64).max]))


@SPELLINGS.each("Sub", "Sub of a constant as Add")
def _add(model: ModelProto, node: NodeProto) -> bool | None:
    if (array := constants(model).get(node.input[1])) is None:
        return False
    store(model, node.input[1], -array)
    node.op_type = "Add"
    return None


@SPELLINGS.each("Div", "Div by a constant as Mul")
def _mul(model: ModelProto, node: NodeProto) -> None:
    store(model, node.input[1], 1 / constants(model)[node.input[1]].astype(np.float64))
    node.op_type = "Mul"


@SPELLINGS.each("Clip", "Clip as Max and Min")
def _max_min(model: ModelProto, node: NodeProto) -> None:
    least, most = node.input[1:]
    becomes(node, "Max", 1)
    node.input.append(least)
    after(model, node.output[0], "Min", most)


@SPELLINGS.each("LeakyRelu", "LeakyRelu as PRelu")
def _prelu(model: ModelProto, node: NodeProto) -> None:
    slope = store(model, "slope", np.float32(get(node, "alpha")).reshape(1, 1, 1))
    becomes(node, "PRelu")
    node.input.append(slope)


# -- tails, quantizers
# ----------------------------------------------------------------------------------------------------


@SPELLINGS.each("Softmax", "Softmax along the axis counted from the back")
def _back(model: ModelProto, node: NodeProto) -> None:
    put(node, axis=get(node, "axis") - len(shape(model, node.input[0]) or ()))


@SPELLINGS.kind("Softmax of a map, of opset 12, converted")
def _converted(source: ModelProto) -> Iterator[Variant]:
    """Over all axes behind the first but one, as Softmax was before opset 13: of a map the converter writes
    Flatten, Softmax, Reshape."""
    if any(
        node.op_type == "Softmax" and len(shape(source, node.input[0]) or ()) > 2
        for node in source.graph.node
    ):
        old = copied(source)
        old.opset_import[0].version = 12
        yield Variant("model", onnx.version_converter.convert_version(old, 13), old)


@SPELLINGS.kind("LogSoftmax as Log of Softmax")
def _log(source: ModelProto) -> Iterator[Variant]:
    for k, node in enumerate(source.graph.node):
        if node.op_type == "Softmax":
            a, b = copied(source), copied(source)
            a.graph.node[k].op_type = "LogSoftmax"
            after(b, node.output[0], "Log")
            yield Variant(node.name, settled(b), settled(a))


@SPELLINGS.each("DequantizeLinear", "zero point 0 left out")
def _zero(model: ModelProto, node: NodeProto) -> bool | None:
    if (
        len(node.input) < 3
        or made_by(model, node.input[0]) is not None
        or constants(model)[node.input[2]].any()
    ):
        return False
    del node.input[2]
    return None


@SPELLINGS.each("DequantizeLinear", "axis of a quantized weight from the back")
def _axis(model: ModelProto, node: NodeProto) -> bool | None:
    array = constants(model).get(node.input[0])
    if array is None or not constants(model)[node.input[1]].ndim:
        return False
    put(node, axis=get(node, "axis", 1) - array.ndim)
    return None
