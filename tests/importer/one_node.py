"""Models of one node, and the canonical network's value held against ONNX Runtime's."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnxpath.importer import load
from onnxpath.model.network import Network
from tests.reference import evaluate, outputs, path_norm

RNG = np.random.default_rng(0)


def const(*shape: int) -> np.ndarray:
    """A constant operand of random values."""
    return RNG.standard_normal(shape).astype(np.float32)


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def floats(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def build(
    op_type: str, operands: list, opset: int = 13, results: int = 1, used: tuple[int, ...] | None = None,
    **attributes: object
) -> onnx.ModelProto:  # fmt: skip
    """A model of one node: tuples are shapes of activations, arrays are initializers, None is an absent
    input."""
    names, inputs, initializers = [], [], []
    for k, value in enumerate(operands):
        if value is None:
            names.append("")
        elif isinstance(value, tuple):
            names.append(f"x{k}")
            inputs.append(helper.make_tensor_value_info(f"x{k}", TensorProto.FLOAT, value))
        elif isinstance(value, str):
            names.append(value)
        else:
            names.append(f"c{k}")
            initializers.append(numpy_helper.from_array(np.asarray(value), f"c{k}"))
    node = helper.make_node(op_type, names, [f"y{k}" for k in range(results)], name="node", **attributes)
    seen = range(results) if used is None else used
    results_info = [helper.make_tensor_value_info(f"y{k}", TensorProto.FLOAT, None) for k in seen]
    graph = helper.make_graph([node], "g", inputs, results_info, initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


def run(model: onnx.ModelProto, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return session.run(None, inputs)


def agree(model: onnx.ModelProto) -> Network:
    network = load(model)
    inputs = {i.name: const(*(d.dim_value for d in i.type.tensor_type.shape.dim)) for i in model.graph.input}
    found = outputs(network, evaluate(network, {name: inputs[name] for name in network.inputs}))
    expected = run(model, inputs)
    assert len(found) == len(expected)
    for mine, theirs in zip(found, expected, strict=True):
        assert mine.shape == theirs.shape
        np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-5)
    assert np.isfinite(path_norm(network))
    return network


def case(*args: object, **kwargs: object) -> object:
    """A parameter whose id tells what it is."""
    shown = [str(list(a.shape)) if isinstance(a, np.ndarray) else str(a) for a in args[1]]
    extra = [f"{k}={v}" for k, v in kwargs.items()]
    return pytest.param(args, kwargs, id=" ".join([str(args[0]), *shown, *extra])[:150])


def statistics(*shape: int) -> list[np.ndarray]:
    return [const(*shape), const(*shape), const(*shape), np.abs(const(*shape))]
