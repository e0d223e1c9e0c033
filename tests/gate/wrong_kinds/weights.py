"""Wrong numbers: one weight or bias, a sign, orders of rows and channels, scales, statistics, precision."""

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto

from gate.editing import Kinds, after, constants, layer, made_by, put, readers, replaced, store

KINDS = Kinds()
LAYERS = "Conv ConvTranspose Gemm MatMul"


@KINDS.weight("weight: one changed")
def _one(array: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    array.flat[rng.integers(array.size)] += 0.5
    return array


@KINDS.weight("weight: the largest 5 % larger")
def _larger(array: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    place = np.abs(array).argmax()
    array.flat[place] *= 1.05
    return array


@KINDS.weight("weight: sign of the largest")
def _sign(array: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    array.flat[np.abs(array).argmax()] *= -1
    return array


@KINDS.weight("weight: all signs")
def _signs(array: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return -array


@KINDS.weight("weight: the largest is 0")
def _zero(array: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    array.flat[np.abs(array).argmax()] = 0
    return array


@KINDS.weight("weight: two rows swapped")
def _rows(array: np.ndarray, rng: np.random.Generator) -> np.ndarray | None:
    array[[0, 1]] = array[[1, 0]]
    return array


@KINDS.weight("weight: two columns (input channels) swapped")
def _columns(array: np.ndarray, rng: np.random.Generator) -> np.ndarray | None:
    if array.shape[1] < 2:
        return None
    array[:, [0, 1]] = array[:, [1, 0]]
    return array


@KINDS.weight("weight: input channels reversed (RGB to BGR)")
def _reversed(array: np.ndarray, rng: np.random.Generator) -> np.ndarray | None:
    return np.ascontiguousarray(array[:, ::-1]) if array.ndim == 4 and array.shape[1] > 1 else None


@KINDS.weight("weight: scaled")
def _scaled(array: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return array * 1.1


@KINDS.weight("weight: one row scaled")
def _row_scaled(array: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    array[-1] *= 4
    return array


@KINDS.weight("weight: kernel flipped (convolution for correlation)")
def _flipped(array: np.ndarray, rng: np.random.Generator) -> np.ndarray | None:
    return np.ascontiguousarray(array[:, :, ::-1, ::-1]) if array.ndim == 4 and array.shape[-1] > 1 else None


@KINDS.weight("weight: kernel transposed")
def _transposed(array: np.ndarray, rng: np.random.Generator) -> np.ndarray | None:
    return np.ascontiguousarray(array.swapaxes(2, 3)) if array.ndim == 4 and array.shape[-1] > 1 else None


@KINDS.weight("weight: input and output channels exchanged")
def _exchanged(array: np.ndarray, rng: np.random.Generator) -> np.ndarray | None:
    return np.ascontiguousarray(array.swapaxes(0, 1)) if array.shape[0] == array.shape[1] > 1 else None


@KINDS.weight("weight: rounded to 3 bits")
def _rounded(array: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    step = np.abs(array).max() / 3
    return np.rint(array / step) * step


@KINDS.weight("weight: a channel removed by zeros")
def _removed(array: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    array[0] = 0
    return array


@KINDS.weight("weight: NaN")
def _nan(array: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    array.flat[0] = np.nan
    return array


@KINDS.weight("weight: infinite")
def _infinite(array: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    array.flat[0] = np.inf
    return array


@KINDS.weight("bias: one changed", slot=2)
def _one_bias(array: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    array.flat[rng.integers(array.size)] += 0.5
    return array


@KINDS.weight("bias: of the other sign", slot=2)
def _negative(array: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return -array


@KINDS.weight("bias: 0", slot=2)
def _no_bias(array: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return np.zeros_like(array)


@KINDS.weight("bias: rolled by one", slot=2)
def _rolled(array: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return np.roll(array, 1)


@KINDS.each(LAYERS, "bias: left out")
def _left_out(model: ModelProto, node: NodeProto) -> bool | None:
    if len(node.input) < 3:
        return False
    del node.input[2]
    return None


@KINDS.each("Conv Gemm", "bias: of another layer")
def _other(model: ModelProto, node: NodeProto) -> bool | None:
    mine = layer(model, node, 2)
    shapes = {name: array.shape for name, array in constants(model).items()}
    found = [
        name
        for other in model.graph.node
        if (name := layer(model, other, 2)) and name != mine and shapes[name] == shapes.get(mine)
    ]
    if mine is None or not found:
        return False
    node.input[2] = found[0]
    return None


@KINDS.each(LAYERS, "weight: of another layer")
def _other_weight(model: ModelProto, node: NodeProto) -> bool | None:
    mine = layer(model, node)
    shapes = {name: array.shape for name, array in constants(model).items()}
    found = [
        name
        for other in model.graph.node
        if (name := layer(model, other)) and name != mine and shapes[name] == shapes.get(mine)
    ]
    if mine is None or not found:
        return False
    node.input[1] = found[0]
    return None


@KINDS.each(LAYERS, "float16: overflows")
def _overflow(model: ModelProto, node: NodeProto) -> bool | None:
    """Large weights, undone behind the layer: equal in float32, infinite once stored in half precision."""
    name = layer(model, node)
    if name is None:
        return False
    with np.errstate(over="ignore"):
        replaced(model, name, (constants(model)[name] * 2.0**20).astype(np.float16))
    _cast(model, node, name)
    after(model, node.output[0], "Mul", store(model, "undo", np.float32(2.0**-20)))
    return None


@KINDS.each(LAYERS, "float16: underflows")
def _underflow(model: ModelProto, node: NodeProto) -> bool | None:
    name = layer(model, node)
    if name is None or len(node.input) > 2:
        return False
    replaced(model, name, (constants(model)[name] * 2.0**-24).astype(np.float16))
    _cast(model, node, name)
    after(model, node.output[0], "Mul", store(model, "undo", np.float32(2.0**24)))
    return None


def _cast(model: ModelProto, node: NodeProto, name: str) -> None:
    model.graph.node.add(op_type="Cast", name=f"cast {name}", input=[name], output=[f"{name}_cast"])
    put(model.graph.node[-1], to=TensorProto.FLOAT)
    node.input[1] = f"{name}_cast"


# -- BatchNormalization, normalizers
# --------------------------------------------------------------------------------------

NORM = "BatchNormalization"


@KINDS.each(NORM, "BatchNormalization: mean and variance swapped")
def _mean_var(model: ModelProto, node: NodeProto) -> None:
    found = constants(model)
    mean, var = found[node.input[3]], found[node.input[4]]
    store(model, node.input[3], var)
    store(model, node.input[4], np.abs(mean))


@KINDS.each(NORM, "BatchNormalization: scale and shift swapped")
def _scale_shift(model: ModelProto, node: NodeProto) -> None:
    node.input[1], node.input[2] = node.input[2], node.input[1]


@KINDS.each(NORM, "BatchNormalization: shift and mean swapped")
def _shift_mean(model: ModelProto, node: NodeProto) -> None:
    node.input[2], node.input[3] = node.input[3], node.input[2]


@KINDS.each(NORM, "BatchNormalization: standard deviation for the variance")
def _deviation(model: ModelProto, node: NodeProto) -> None:
    store(model, node.input[4], np.sqrt(constants(model)[node.input[4]]))


@KINDS.each(NORM, "BatchNormalization: left out")
def _no_norm(model: ModelProto, node: NodeProto) -> None:
    del node.input[1:]
    del node.attribute[:]
    node.op_type = "Identity"


@KINDS.each(NORM, "BatchNormalization: a variance near 0")
def _dead(model: ModelProto, node: NodeProto) -> None:
    var = constants(model)[node.input[4]]
    var[0] = 1e-6
    store(model, node.input[4], var)


def _normalizer(op: str, name: str):  # noqa: ANN202
    return KINDS.each(op, f"normalizer: {name}")


def _constant(model: ModelProto, node: NodeProto) -> np.ndarray | None:
    return constants(model).get(node.input[1]) if made_by(model, node.input[1]) is None else None


@_normalizer("Sub", "another mean")
def _mean(model: ModelProto, node: NodeProto) -> bool | None:
    if (array := _constant(model, node)) is None:
        return False
    store(model, node.input[1], array + 0.1)
    return None


@_normalizer("Sub Div", "constants of the channels in another order")
def _order(model: ModelProto, node: NodeProto) -> bool | None:
    if (array := _constant(model, node)) is None:
        return False
    store(model, node.input[1], array[:, ::-1])
    return None


@_normalizer("Div", "another scale")
def _std(model: ModelProto, node: NodeProto) -> bool | None:
    if (array := _constant(model, node)) is None:
        return False
    store(model, node.input[1], array * 2)
    return None


@_normalizer("Div", "Mul for Div")
def _mul(model: ModelProto, node: NodeProto) -> bool | None:
    if _constant(model, node) is None:
        return False
    node.op_type = "Mul"
    return None


@_normalizer("Sub", "Add for Sub")
def _add(model: ModelProto, node: NodeProto) -> bool | None:
    if _constant(model, node) is None:
        return False
    node.op_type = "Add"
    return None


@_normalizer("Sub", "divided first")
def _swapped(model: ModelProto, node: NodeProto) -> bool | None:
    behind = readers(model, node.output[0])
    if _constant(model, node) is None or not behind or behind[0].op_type != "Div":
        return False
    node.op_type, behind[0].op_type = "Div", "Sub"
    node.input[1], behind[0].input[1] = behind[0].input[1], node.input[1]
    return None
