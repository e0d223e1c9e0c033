"""Small files for tests of how files are run, and a runtime that computes something else than they say."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

CASES = Path(__file__).resolve().parents[1] / "data" / "cases"


def model(nodes, inputs, outputs, weights=None, opset=17) -> onnx.ModelProto:
    """inputs, outputs: (name, type, shape); weights: arrays by name."""
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes, "g", [value(*port) for port in inputs], [value(*port) for port in outputs],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in (weights or {}).items()],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def classifier(
    tail: str = "", scale: float = 1.0, seed: int = 0, output: str = "y", batch="n"
) -> onnx.ModelProto:
    """x [n, 4] -> 3 scores through 8 ReLUs, and a function at the end."""
    rng = np.random.default_rng(seed)
    weights = {"w": rng.normal(size=(4, 8)), "b": rng.normal(size=8), "v": scale * rng.normal(size=(8, 3))}
    last = "z" if tail else output
    nodes = [
        helper.make_node("Gemm", ["x", "w", "b"], ["h"], name="first"),
        helper.make_node("Relu", ["h"], ["r"], name="relu"),
        helper.make_node("MatMul", ["r", "v"], [last], name="last"),
    ]
    if tail:
        nodes.append(helper.make_node(tail, ["z"], [output], name="tail"))
    arrays = {name: array.astype(np.float32) for name, array in weights.items()}
    return model(
        nodes, [("x", TensorProto.FLOAT, [batch, 4])], [(output, TensorProto.FLOAT, [batch, 3])], arrays
    )


class Tampered:
    """An ONNX Runtime session whose outputs are changed: kernels that do not compute what a file says, on any
    processor."""

    def __init__(self, session, change: Callable[[np.ndarray], np.ndarray]):
        self._session, self._change = session, change

    def __getattr__(self, name: str):
        return getattr(self._session, name)

    def run(self, names, feeds):
        return [self._change(np.asarray(value)) for value in self._session.run(names, feeds)]


def tamper(
    monkeypatch, change: Callable[[np.ndarray], np.ndarray], marked: Callable[[bytes | str], bool]
) -> None:
    """Sessions of the files that `marked` picks, by path or bytes, give changed outputs; passes of the
    package are left alone."""
    import onnxruntime

    from onnxpath.files import session as room

    class Runtime:
        def __getattr__(self, name: str):
            return getattr(onnxruntime, name)

        @staticmethod
        def InferenceSession(source, *args, **kwargs):  # noqa: N802 - the name that it stands for
            made = onnxruntime.InferenceSession(source, *args, **kwargs)
            return Tampered(made, change) if marked(source) else made

    monkeypatch.setattr(room, "runtime_module", Runtime)
