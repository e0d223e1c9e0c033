"""Small valid models of many operators, and edits of their protobuf messages that stay well-formed on the
wire: what a fuzzer starts from.

An edit picks any field of any message in the model and gives it a value that no exporter writes: an empty or
a very long name, a negative or an absurd number, a type that does not exist, data of another size, a message
twice or not at all.
"""

import random
from collections.abc import Callable

import numpy as np
import onnx
from google.protobuf.descriptor import FieldDescriptor
from onnx import TensorProto, helper, numpy_helper

NUMBERS = [0, 1, -1, 2, 3, 5, 7, 16, 65, 2**31 - 1, 2**31, -(2**31), 2**63 - 1, -(2**63), 10**12, 40_000]
TEXTS = ["", "x", "y", "w", "n" * 5000, "é\x00\n", "Relu", "Loop", "ai.onnx.ml", "com.microsoft", "batch"]
FLOATS = [0.0, -1.0, 1e-45, 1e38, float("nan"), float("inf"), -float("inf"), 0.5]


def _normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(len(shape)).normal(size=shape).astype(np.float32)


def _model(
    nodes: list,
    weights: dict[str, np.ndarray],
    shape: tuple[int, ...],
    opset: int = 17,
    functions: list | None = None,
) -> onnx.ModelProto:
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph(
        nodes, "g", [x], [y], [numpy_helper.from_array(a, name) for name, a in weights.items()]
    )
    imports = [helper.make_opsetid("", opset), helper.make_opsetid("f", 1)]
    return helper.make_model(graph, opset_imports=imports, ir_version=10, functions=functions or [])


def _node(op: str, inputs: str, outputs: str = "y", **attributes: object) -> onnx.NodeProto:
    return helper.make_node(
        op, inputs.split(",") if inputs else [], outputs.split(","), name=f"{op}_{outputs}", **attributes
    )


def _integers(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def models() -> list[onnx.ModelProto]:
    """One for every family of operators."""
    image, flat = (1, 2, 6, 6), (1, 4)
    relu = [_node("Relu", "h", "r")]
    twice = helper.make_function(
        "f", "Twice", ["a"], ["b"], [_node("Add", "a,a", "b")], [helper.make_opsetid("", 17)]
    )
    return [
        _model([_node("MatMul", "x,w", "h"), *relu, _node("Gemm", "r,v,b", "y", transB=1)],
        {"w": _normal(4, 3), "v": _normal(2, 3), "b": _normal(2)}, flat),
        _model([_node("Conv", "x,w,b", "h", pads=[1, 1, 1, 1]), *relu,
        _node("MaxPool", "r", "p", kernel_shape=[2, 2], strides=[2, 2]),
                _node("Flatten", "p", "f"), _node("MatMul", "f,v", "y")],
                {"w": _normal(3, 2, 3, 3), "b": _normal(3), "v": _normal(27, 2)}, image),
        _model([_node("BatchNormalization", "x,s,b,m,v", "h"), *relu, _node("GlobalAveragePool", "r", "y")],
               {"s": _normal(2), "b": _normal(2), "m": _normal(2), "v": np.ones(2, np.float32)}, image),
        _model([_node("Pad", "x,p,c", "h", mode="constant"), *relu,
        _node("AveragePool", "r", "y", kernel_shape=[3, 3])],
               {"p": _integers(0, 0, 1, 1, 0, 0, 1, 1), "c": np.float32(0.5).reshape(())}, image),
        _model([_node("Resize", "x,,s", "h", mode="linear"), *relu,
        _node("ReduceMean", "r", "y", axes=[2, 3])], {"s": np.array([1, 1, 2, 2], np.float32)}, image),
        _model([_node("Shape", "x", "s"), _node("Gather", "s,i", "n", axis=0),
        _node("Concat", "n,m", "t", axis=0), _node("Reshape", "x,t", "h"), *relu,
                _node("MatMul", "r,w", "y")], {"i": _integers(0), "m": _integers(-1), "w": _normal(72, 3)},
                image),
        _model([_node("ConstantOfShape", "s", "c",
        value=numpy_helper.from_array(np.array([2.0], np.float32))), _node("Expand", "c,e", "k"),
                _node("Mul", "x,k", "h"), *relu, _node("Tile", "r,t", "y")],
                {"s": _integers(1, 4), "e": _integers(1, 4), "t": _integers(1, 2)}, flat),
        _model([_node("Slice", "x,a,e,k,d", "h"), *relu, _node("Split", "r", "p,q", axis=3),
        _node("Concat", "p,q", "o", axis=1), _node("Transpose", "o", "y", perm=[0, 2, 3, 1])],
               {"a": _integers(0), "e": _integers(4), "k": _integers(3), "d": _integers(1)}, image),
        _model([_node("ConvTranspose", "x,w", "h", strides=[2, 2]), _node("LeakyRelu", "h", "r", alpha=0.1),
        _node("Clip", "r,lo,hi", "y")],
               {"w": _normal(2, 3, 3, 3), "lo": np.array(0, np.float32), "hi": np.array(6, np.float32)},
               image),
        _model([_node("QuantizeLinear", "x,s,z", "q"), _node("DequantizeLinear", "q,s,z", "d"),
        _node("DequantizeLinear", "w,t,u", "k"), _node("MatMul", "d,k", "h"),
                _node("Relu", "h", "y")],
                {"s": np.array(0.1, np.float32), "z": np.array(3, np.uint8),
                "w": np.arange(12, dtype=np.int8).reshape(4, 3),
                                           "t": np.array([0.1, 0.2, 0.3], np.float32),
                                           "u": np.zeros(3, np.int8)}, flat),
        _model([helper.make_node("Twice", ["x"], ["h"], domain="f"), *relu, _node("Sigmoid", "r", "y")], {},
        flat, functions=[twice]),
        _model([_node("Constant", "", "c", value_floats=[1.0, 2.0, 3.0, 4.0]), _node("Range", "a,e,d", "k"),
        _node("Cast", "k", "kf", to=1), _node("Add", "c,kf", "b"),
                _node("Sub", "x,b", "h"), *relu, _node("Softmax", "r", "y")],
                {"a": np.array(0, np.int64), "e": np.array(4, np.int64), "d": np.array(1, np.int64)}, flat),
    ]  # fmt: skip


def _messages(message: object, found: list) -> None:
    found.append(message)
    for field, value in message.ListFields():  # type: ignore[attr-defined]
        if field.type == FieldDescriptor.TYPE_MESSAGE:
            for part in value if field.is_repeated else [value]:
                _messages(part, found)


def _value(field: FieldDescriptor, rng: random.Random, old: object) -> object:
    if field.type == FieldDescriptor.TYPE_STRING:
        return rng.choice(TEXTS)
    if field.type == FieldDescriptor.TYPE_BYTES:
        data = old if isinstance(old, bytes) else b""
        return rng.choice(
            [b"", data[:-1], data + b"\0", data * 2, bytes(rng.choices(range(256), k=len(data)))]
        )
    if field.type in (FieldDescriptor.TYPE_FLOAT, FieldDescriptor.TYPE_DOUBLE):
        return rng.choice(FLOATS)
    if field.type == FieldDescriptor.TYPE_ENUM:
        return rng.choice([value.number for value in field.enum_type.values])
    numbers = NUMBERS
    if field.type in (FieldDescriptor.TYPE_INT32, FieldDescriptor.TYPE_SINT32):
        numbers = [n for n in NUMBERS if -(2**31) <= n < 2**31] + list(range(30))
    if field.type in (FieldDescriptor.TYPE_UINT32, FieldDescriptor.TYPE_UINT64):
        numbers = [n for n in NUMBERS if n >= 0]
    return rng.choice(numbers)


def _edit(message: object, rng: random.Random) -> None:
    fields = [field for field, _ in message.ListFields()]  # type: ignore[attr-defined]
    if rng.random() < 0.2:
        fields = list(message.DESCRIPTOR.fields)  # type: ignore[attr-defined]
    if not fields:
        return
    field = rng.choice(fields)
    old = getattr(message, field.name)
    if field.is_repeated:
        action = rng.randrange(4)
        if action == 0 and len(old):
            del old[rng.randrange(len(old))]
        elif action == 1 and len(old):
            copied = old[rng.randrange(len(old))]
            old.add().CopyFrom(copied) if field.type == FieldDescriptor.TYPE_MESSAGE else old.append(copied)
        elif field.type == FieldDescriptor.TYPE_MESSAGE:
            old.add()
        elif len(old) and action == 2:
            at = rng.randrange(len(old))
            old[at] = _value(field, rng, old[at])
        else:
            old.extend([_value(field, rng, b"")] * rng.choice([1, 1, 3, 70]))  # type: ignore[list-item]
    elif rng.random() < 0.3:
        message.ClearField(field.name)  # type: ignore[attr-defined]
    elif field.type == FieldDescriptor.TYPE_MESSAGE:
        old.SetInParent()
    else:
        setattr(message, field.name, _value(field, rng, old))


def edited(model: onnx.ModelProto, rng: random.Random) -> onnx.ModelProto:
    """The model with one to three fields changed."""
    made = onnx.ModelProto()
    made.CopyFrom(model)
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        found: list = []
        _messages(made, found)
        _edit(rng.choice(found), rng)
    return made


Attempt = Callable[[bytes], object]
