"""Small models, and what a refusal looks like: shared by the importer's tests."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnxpath.errors import ModelError
from onnxpath.importer import load

W = np.arange(24, dtype=np.float32).reshape(8, 3) - 10


def info(name: str, shape: object, kind: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def gemm(
    shape: object = (1, 8), weight: TensorProto | None = None, kind: int = TensorProto.FLOAT
) -> onnx.ModelProto:
    graph = helper.make_graph(
        [helper.make_node("Gemm", ["x", "w"], ["y"], name="fc")], "g", [info("x", shape, kind)],
        [info("y", None)],
        [weight or numpy_helper.from_array(W, "w")],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def chain(
    *nodes: onnx.NodeProto, outputs: str = "y", shape: object = (1, 8), weights: dict | None = None
) -> onnx.ModelProto:
    graph = helper.make_graph(
        list(nodes), "g", [info("x", shape)], [info(name, None) for name in outputs.split(",")],
        [numpy_helper.from_array(value, name) for name, value in (weights or {}).items()],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def node(op: str, inputs: str, outputs: str, **attributes: object) -> onnx.NodeProto:
    return helper.make_node(
        op, inputs.split(",") if inputs else [], outputs.split(","), name=f"the_{op}", **attributes
    )


def refused(source: object, *words: str, kind: type[Exception] = ModelError, **options: object) -> str:
    with pytest.raises(kind) as caught:
        load(source, **options)
    message = str(caught.value)
    assert "\n" not in message
    assert all(word in message for word in words), message
    return message
