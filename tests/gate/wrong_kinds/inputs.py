"""Wrong inputs: their names, order, number, types and shapes. Whoever feeds them as before is refused or gets
something else."""

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper

from gate.editing import Kinds, after, readers, renamed, store

KINDS = Kinds()


def _name(model: ModelProto) -> str:
    return model.graph.input[0].name


def _dims(model: ModelProto) -> list[int | str]:
    return [item.dim_value or item.dim_param for item in model.graph.input[0].type.tensor_type.shape.dim]


def _declare(model: ModelProto, dims: list[int | str], kind: int = TensorProto.FLOAT) -> None:
    model.graph.input[0].CopyFrom(helper.make_tensor_value_info(_name(model), kind, dims))


def _several(model: ModelProto) -> bool:
    return len(model.graph.input) > 1


@KINDS.whole("inputs: renamed")
def _renamed(model: ModelProto) -> None:
    for node in readers(model, _name(model)):
        renamed(node.input, _name(model), "renamed")
    model.graph.input[0].name = "renamed"


@KINDS.whole("inputs: order swapped")
def _order(model: ModelProto) -> bool | None:
    if not _several(model):
        return False
    one, other = list(model.graph.input)
    del model.graph.input[:]
    model.graph.input.extend([other, one])
    return None


@KINDS.whole("inputs: names swapped")
def _names(model: ModelProto) -> bool | None:
    if not _several(model):
        return False
    one, other = (value.name for value in model.graph.input)
    for node in model.graph.node:
        node.input[:] = [{one: other, other: one}.get(name, name) for name in node.input]
    return None


@KINDS.whole("inputs: one added that nothing reads")
def _added(model: ModelProto) -> None:
    model.graph.input.append(helper.make_tensor_value_info("unused", TensorProto.FLOAT, [1, 2]))


@KINDS.whole("inputs: one became a constant")
def _dropped(model: ModelProto) -> bool | None:
    if not _several(model):
        return False
    value = model.graph.input.pop()
    dims = [item.dim_value for item in value.type.tensor_type.shape.dim]
    model.graph.initializer.append(numpy_helper.from_array(np.full(dims, 0.25, np.float32), value.name))
    return None


def _type(name: str, kind: int) -> None:
    @KINDS.whole(f"inputs: of type {name}")
    def _change(model: ModelProto) -> None:
        after(model, _name(model), "Cast", to=TensorProto.FLOAT)
        _declare(model, _dims(model), kind)


for _title, _kind in (
    ("float16", TensorProto.FLOAT16),
    ("float64", TensorProto.DOUBLE),
    ("uint8", TensorProto.UINT8),
    ("int32", TensorProto.INT32),
):
    _type(_title, _kind)


@KINDS.whole("inputs: flattened")
def _flattened(model: ModelProto) -> bool | None:
    dims = _dims(model)
    if len(dims) < 3 or isinstance(dims[0], str):
        return False
    after(model, _name(model), "Reshape", store(model, "input_shape", np.array(dims)))
    _declare(model, [1, int(np.prod(dims))])
    return None


@KINDS.whole("inputs: channels last")
def _channels_last(model: ModelProto) -> bool | None:
    dims = _dims(model)
    if len(dims) != 4:
        return False
    after(model, _name(model), "Transpose", perm=[0, 3, 1, 2])
    _declare(model, [dims[0], dims[2], dims[3], dims[1]])
    return None


@KINDS.whole("inputs: height and width swapped")
def _transposed(model: ModelProto) -> bool | None:
    if len(_dims(model)) != 4:
        return False
    after(model, _name(model), "Transpose", perm=[0, 1, 3, 2])
    return None


@KINDS.whole("inputs: an axis added")
def _unsqueezed(model: ModelProto) -> None:
    dims = _dims(model)
    after(model, _name(model), "Squeeze", store(model, "input_axis", np.array([1])))
    _declare(model, [dims[0], 1, *dims[1:]])


@KINDS.whole("inputs: a larger image")
def _larger(model: ModelProto) -> bool | None:
    dims = _dims(model)
    if len(dims) != 4:
        return False
    _declare(model, [dims[0], dims[1], *(2 * int(n) for n in dims[2:])])
    return None


@KINDS.whole("inputs: a feature more, which is cut off")
def _wider(model: ModelProto) -> bool | None:
    dims = _dims(model)
    if len(dims) != 2:
        return False
    after(model, _name(model), "Gather", store(model, "kept", np.arange(int(dims[1]))), axis=1)
    _declare(model, [dims[0], int(dims[1]) + 1])
    return None


@KINDS.whole("inputs: channel order reversed by a Gather")
def _reversed(model: ModelProto) -> bool | None:
    dims = _dims(model)
    if len(dims) != 4:
        return False
    after(model, _name(model), "Gather", store(model, "backwards", np.arange(int(dims[1]))[::-1]), axis=1)
    return None


@KINDS.whole("inputs: scaled by 255")
def _scaled(model: ModelProto) -> None:
    after(model, _name(model), "Mul", store(model, "scale", np.float32(1 / 255)))


@KINDS.whole("inputs: clamped to [0, 1]")
def _clamped(model: ModelProto) -> None:
    after(
        model, _name(model), "Clip", store(model, "low", np.float32(0)), store(model, "high", np.float32(1))
    )


@KINDS.whole("inputs: rounded to eighths by a quantizer", paths=False)
def _rounded(model: ModelProto) -> None:
    grid = store(model, "input_step", np.float32(1 / 8)), store(model, "input_zero", np.int8(0))
    for op in ("DequantizeLinear", "QuantizeLinear"):
        after(model, _name(model), op, *grid)
