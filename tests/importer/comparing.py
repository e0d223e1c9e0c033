"""Networks to compare: builders of small models, their structure without names, and their values by two
evaluators."""

from collections.abc import Sequence

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from reference import evaluate, outputs

from onnxpath.model.network import Network

RNG = np.random.default_rng(7)
Weights = dict[str, np.ndarray]


def node(op: str, inputs: str, outputs: str, **attributes: object) -> onnx.NodeProto:
    return helper.make_node(
        op, [name.strip() for name in inputs.split(",")], outputs.split(","), **attributes
    )


def model(
    nodes: Sequence[onnx.NodeProto], weights: Weights, shape: Sequence[int | str], results: str = "y",
    opset: int = 17, kind: int = TensorProto.FLOAT
) -> onnx.ModelProto:  # fmt: skip
    graph = helper.make_graph(
        list(nodes), "g", [helper.make_tensor_value_info("x", kind, shape)],
        [helper.make_tensor_value_info(name, kind, None) for name in results.split(",")],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in weights.items()],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def normal(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def signature(network: Network) -> list[tuple]:
    """Everything but names: operators, attributes, wiring, shapes and parameter values."""
    number = {name: k for k, name in enumerate(network.inputs)}
    found = []
    for item in network.nodes:
        attributes = {key: np.asarray(value).tolist() for key, value in item.attributes.items()}
        parameters = tuple(
            None if p is None else np.asarray(p.array(), np.float64).tolist()
            for p in (item.weight, item.bias)
        )
        found.append(
            (
                item.op,
                attributes,
                tuple(number[name] for name in item.inputs),
                network.shapes[item.output],
                parameters,
            )
        )
        number[item.output] = len(number)
    return found


def ops(network: Network) -> list[str]:
    return [item.op for item in network.nodes]


def run(proto: onnx.ModelProto, network: Network) -> None:
    """ONNX Runtime on the file and the float64 oracle on the network agree."""
    x = normal(*network.shapes["x"])
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    for ours, theirs in zip(
        outputs(network, evaluate(network, {"x": x})), session.run(None, {"x": x}), strict=True
    ):
        np.testing.assert_allclose(
            ours.reshape(theirs.shape), theirs, rtol=1e-4, atol=1e-5 * np.abs(theirs).max()
        )
