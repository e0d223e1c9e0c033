"""One linear layer in every way that files spell its weight: shared by the exporter's tests."""

from collections.abc import Callable

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

RNG = np.random.default_rng(3)


def normal(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def node(op: str, inputs: str, outputs: str, **attributes: object) -> onnx.NodeProto:
    return helper.make_node(
        op,
        [name.strip() for name in inputs.split(",") if name],
        outputs.split(","),
        name=f"{op} to {outputs}",
        **attributes,
    )


def model(
    nodes: list[onnx.NodeProto], weights: dict[str, np.ndarray | TensorProto], shape: tuple = (1, 4),
    results: str = "y",
    opset: int = 17, kind: int = TensorProto.FLOAT,
) -> onnx.ModelProto:  # fmt: skip
    tensors = []
    for name, value in weights.items():
        tensor = value if isinstance(value, TensorProto) else numpy_helper.from_array(np.asarray(value), name)
        tensor.name = name
        tensors.append(tensor)
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", kind, shape)],
        [helper.make_tensor_value_info(name, kind, None) for name in results.split(",")], tensors,
        doc_string="about the graph",
    )  # fmt: skip
    if all(item.domain == "" for item in nodes):
        graph = onnx.shape_inference.infer_shapes(
            helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
        ).graph
        del graph.value_info[:]
    made = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", opset)],
        ir_version=8,
        producer_name="someone",
        doc_string="about",
    )
    made.metadata_props.add(key="author", value="somebody")
    return made


def _typed(array: np.ndarray, kind: int) -> TensorProto:
    """A tensor in the typed field instead of raw_data."""
    return helper.make_tensor("w", kind, array.shape, array.reshape(-1))


W, V, B, K = normal(4, 3), normal(3, 2), normal(3), normal(6, 2, 3, 3)
HALF = W.astype(np.float16)
BITS = ((W.view(np.uint32) + 0x8000) >> 16).astype(np.uint16)


def _bfloat16() -> onnx.ModelProto:
    raw = TensorProto(name="w", dims=W.shape, data_type=TensorProto.BFLOAT16, raw_data=BITS.tobytes())
    return model([node("Cast", "w", "f", to=1), node("MatMul", "x,f", "y")], {"w": raw})


def _constant(**value: object) -> onnx.ModelProto:
    return model([node("Constant", "", "w", **value), node("MatMul", "x,w", "y")], {})


SPELLINGS: dict[str, tuple[Callable[[], onnx.ModelProto], str]] = {
    "MatMul": (lambda: model([node("MatMul", "x,w", "y")], {"w": W}), "w"),
    "MatMul from the left": (lambda: model([node("MatMul", "w,x", "y")], {"w": W.T}, (4, 2)), "w"),
    "Gemm": (lambda: model([node("Gemm", "x,w,b", "y")], {"w": W, "b": B}), "w"),
    "Gemm transB, alpha": (lambda: model([node("Gemm", "x,w,b", "y", transB=1, alpha=0.5, beta=2.0)],
    {"w": W.T, "b": B}), "w"),
    "Reshape of the weight": (
        lambda: model([node("Reshape", "w,s", "r"), node("MatMul", "x,r", "y")],
        {"w": W.reshape(2, 2, 3), "s": np.array([4, 3])}), "w"),
    "Transpose of the weight": (lambda: model([node("Transpose", "w", "t", perm=[1, 0]),
    node("MatMul", "x,t", "y")], {"w": W.T}), "w"),
    "Squeeze, Transpose, Reshape, Identity": (
        lambda: model(
            [node("Squeeze", "w,a", "q"), node("Transpose", "q", "t"), node("Identity", "t", "i"),
            node("MatMul", "x,i", "y")],
            {"w": np.array(W.T)[:, None], "a": np.array([1])}), "w"),
    "Constant, value": (lambda: _constant(value=numpy_helper.from_array(W)), "w"),
    "Constant, typed value": (lambda: _constant(value=_typed(W, TensorProto.FLOAT)), "w"),
    "Constant, value_floats": (
        lambda: model([node("Constant", "", "w", value_floats=B.tolist()), node("Add", "x,w", "h"),
        node("Relu", "h", "y")], {}, (1, 3)), "w"),
    "Constant, value_float": (
        lambda: model([node("Constant", "", "w", value_float=0.75), node("Mul", "x,w", "h"),
        node("Relu", "h", "y")], {}, (1, 3)), "w"),
    "ConstantOfShape": (
        lambda: model([node("ConstantOfShape", "s", "w",
        value=numpy_helper.from_array(np.array([0.5], np.float32))), node("MatMul", "x,w", "y")],
                      {"s": np.array([4, 3])}), "w"),
    "float_data": (lambda: model([node("MatMul", "x,w", "y")], {"w": _typed(W, TensorProto.FLOAT)}), "w"),
    "float16": (lambda: model([node("Cast", "w", "f", to=1), node("MatMul", "x,f", "y")], {"w": HALF}), "w"),
    "float16 in int32_data": (
        lambda: model([node("Cast", "w", "f", to=1), node("MatMul", "x,f", "y")],
        {"w": _typed(HALF, TensorProto.FLOAT16)}), "w"),
    "bfloat16": (_bfloat16, "w"),
    "float64": (lambda: model([node("MatMul", "x,w", "y")], {"w": W.astype(np.float64)},
    kind=TensorProto.DOUBLE), "w"),
    "used twice": (
        lambda: model([node("MatMul", "x,w", "h"), node("Relu", "h", "r"), node("MatMul", "r,w", "y")],
        {"w": normal(4, 4)}), "w"),
    "Conv in groups": (lambda: model([node("Conv", "x,w", "y", group=2)], {"w": K}, (1, 4, 5, 5)), "w"),
    "ConvTranspose": (lambda: model([node("ConvTranspose", "x,w", "y")], {"w": K}, (1, 6, 5, 5)), "w"),
    "Conv with a bias by Add": (
        lambda: model([node("Conv", "x,k", "h"), node("Add", "h,w", "y")], {"k": K, "w": normal(6, 1, 1)},
        (1, 2, 5, 5)), "w"),
    "MatMul with a bias by Add": (lambda: model([node("MatMul", "x,k", "h"), node("Add", "w,h", "y")],
    {"k": W, "w": B}), "w"),
    "weight of a folded BatchNormalization": (
        lambda: model([node("Conv", "x,w", "h"), node("BatchNormalization", "h,g,b,m,v", "y")],
                      {"w": K, "g": normal(6), "b": normal(6), "m": normal(6), "v": normal(6) ** 2},
                      (1, 2, 5, 5)), "w"),
}  # fmt: skip
