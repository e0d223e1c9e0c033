"""Wrong tails: what comes last, and is left off by whoever compares logits, is another function."""

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto

from gate.editing import Kinds, after, becomes, get, made_by, put, shape, store

KINDS = Kinds()
TAILS = ("Softmax", "LogSoftmax", "Sigmoid")


def _last(model: ModelProto) -> NodeProto:
    """The node behind the first output."""
    node = made_by(model, model.graph.output[0].name)
    assert node is not None
    return node


def _tail(model: ModelProto, op: str, **attributes: object) -> NodeProto:
    return after(model, model.graph.output[0].name, op, **attributes)


def _bare(model: ModelProto) -> bool:
    return _last(model).op_type not in TAILS


@KINDS.each("Softmax LogSoftmax", "tail: along axis 0")
def _axis_zero(model: ModelProto, node: NodeProto) -> None:
    put(node, axis=0)


@KINDS.each("Softmax LogSoftmax", "tail: along the last axis but one of a map")
def _axis_of_map(model: ModelProto, node: NodeProto) -> bool | None:
    if len(shape(model, node.input[0]) or ()) < 4:
        return False
    put(node, axis=-2)
    return None


@KINDS.each("Softmax LogSoftmax", "tail: along the default axis of a map")
def _axis_default(model: ModelProto, node: NodeProto) -> bool | None:
    if len(shape(model, node.input[0]) or ()) < 4:
        return False
    put(node, axis=None)
    return None


@KINDS.each("Softmax Sigmoid", "tail: twice")
def _twice(model: ModelProto, node: NodeProto) -> None:
    attributes = {} if node.op_type == "Sigmoid" else {"axis": get(node, "axis", -1)}
    after(model, node.output[0], node.op_type, **attributes)


@KINDS.each("Softmax", "tail: LogSoftmax for Softmax")
def _log(model: ModelProto, node: NodeProto) -> None:
    node.op_type = "LogSoftmax"


@KINDS.each("Softmax", "tail: Sigmoid for Softmax")
def _sigmoid_for_softmax(model: ModelProto, node: NodeProto) -> None:
    becomes(node, "Sigmoid")


@KINDS.each("Sigmoid", "tail: Softmax for Sigmoid")
def _softmax_for_sigmoid(model: ModelProto, node: NodeProto) -> None:
    becomes(node, "Softmax", axis=1)


@KINDS.each("Sigmoid", "tail: HardSigmoid for Sigmoid")
def _hard(model: ModelProto, node: NodeProto) -> None:
    becomes(node, "HardSigmoid")


@KINDS.each("Sigmoid", "tail: Tanh for Sigmoid")
def _tanh(model: ModelProto, node: NodeProto) -> None:
    becomes(node, "Tanh")


@KINDS.each("Softmax Sigmoid LogSoftmax", "tail: dropped")
def _dropped(model: ModelProto, node: NodeProto) -> None:
    becomes(node, "Identity")


@KINDS.whole("tail: Softmax added")
def _softmax(model: ModelProto) -> bool | None:
    if not _bare(model):
        return False
    _tail(model, "Softmax", axis=1)
    return None


@KINDS.whole("tail: LogSoftmax added")
def _log_softmax(model: ModelProto) -> bool | None:
    if not _bare(model):
        return False
    _tail(model, "LogSoftmax", axis=1)
    return None


@KINDS.whole("tail: Sigmoid added")
def _sigmoid(model: ModelProto) -> bool | None:
    if not _bare(model):
        return False
    _tail(model, "Sigmoid")
    return None


@KINDS.whole("tail: ArgMax added")
def _argmax(model: ModelProto) -> None:
    _tail(model, "ArgMax", axis=1)


@KINDS.whole("tail: ArgMax without the axis it had")
def _argmax_flat(model: ModelProto) -> None:
    _tail(model, "ArgMax", axis=1, keepdims=0)


@KINDS.whole("tail: ArgMax and a Cast back to float")
def _argmax_float(model: ModelProto) -> None:
    _tail(model, "ArgMax", axis=1)
    _tail(model, "Cast", to=TensorProto.FLOAT)


@KINDS.whole("tail: Cast to int32")
def _int32(model: ModelProto) -> None:
    _tail(model, "Cast", to=TensorProto.INT32)


@KINDS.whole("tail: Cast to int64")
def _int64(model: ModelProto) -> None:
    _tail(model, "Cast", to=TensorProto.INT64)


@KINDS.whole("tail: Cast to bool")
def _bool(model: ModelProto) -> None:
    _tail(model, "Cast", to=TensorProto.BOOL)


@KINDS.whole("tail: Cast to int32 and back")
def _there_and_back(model: ModelProto) -> None:
    _tail(model, "Cast", to=TensorProto.INT32)
    _tail(model, "Cast", to=TensorProto.FLOAT)


@KINDS.whole("tail: Clip to [0, 0.2]")
def _clip(model: ModelProto) -> None:
    after(
        model,
        model.graph.output[0].name,
        "Clip",
        store(model, "least", np.float32(0)),
        store(model, "largest", np.float32(0.2)),
    )


@KINDS.whole("tail: Relu added")
def _relu(model: ModelProto) -> None:
    _tail(model, "Relu")


@KINDS.whole("tail: Round added")
def _round(model: ModelProto) -> None:
    _tail(model, "Round")


@KINDS.whole("tail: temperature of the Softmax")
def _temperature(model: ModelProto) -> bool | None:
    node = _last(model)
    if node.op_type != "Softmax":
        return False
    after(model, node.input[0], "Div", store(model, "temperature", np.float32(2)))
    return None


@KINDS.whole("tail: quantizer of the scores, coarse", paths=False)
def _quantizer(model: ModelProto) -> bool | None:
    if _bare(model):
        return False
    grid = store(model, "tail_step", np.float32(1 / 8)), store(model, "tail_zero", np.uint8(0))
    for op in ("QuantizeLinear", "DequantizeLinear"):
        after(model, model.graph.output[0].name, op, *grid)
    return None
