"""Support of the command line's tests: what a run left, and small files to read."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

# What a command needs besides its files, and how many files it takes.
PAIRS = ("metric", "bound", "certify", "check", "compare")


@dataclass(frozen=True)
class Outcome:
    """What a run of the program left: exit code, stdout, stderr."""

    code: int
    out: str
    err: str

    def document(self, code: int = 0) -> dict[str, Any]:
        """stdout as one JSON document without NaN and Infinity; the run exited with `code` and said nothing
        else."""
        assert (self.code, self.err) == (code, ""), self
        return parse(self.out)


def parse(text: str) -> dict[str, Any]:
    """A JSON document, refusing NaN and Infinity."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} in a JSON document")

    return json.loads(text, parse_constant=refuse)


def save(
    path: Path, nodes: list, weights: dict[str, np.ndarray], inputs: dict[str, list], outputs: dict[str, list]
) -> Path:
    """Write a float32 model of opset 17."""
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()],
        [numpy_helper.from_array(np.asarray(array, np.float32), name) for name, array in weights.items()],
    )
    onnx.save(helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)]), path)
    return path


def chain(path: Path, weights: list[np.ndarray], names: list[str] | None = None) -> Path:
    """Write a bias-free MLP of Gemm and Relu: y = W_n relu(... relu(W_1 x))."""
    names = names or [f"layer{k}" for k in range(len(weights))]
    nodes, stored, tensor = [], {}, "x"
    for k, (weight, name) in enumerate(zip(weights, names, strict=True)):
        last = k + 1 == len(weights)
        stored[f"w{k}"] = weight
        nodes.append(helper.make_node("Gemm", [tensor, f"w{k}"], ["y" if last else f"h{k}"], name, transB=1))
        if not last:
            nodes.append(helper.make_node("Relu", [f"h{k}"], [f"r{k}"], f"relu{k}"))
            tensor = f"r{k}"
    return save(path, nodes, stored, {"x": [1, weights[0].shape[1]]}, {"y": [1, weights[-1].shape[0]]})


def needed(command: str, folder: Path) -> list[object]:
    """Options that a command cannot do without."""
    if command in ("certify", "compare"):
        np.savez(folder / "inputs.npz", x=np.zeros((2, 1, 8, 8), np.float32))
    options: dict[str, list[object]] = {
        "certify": ["--inputs", folder / "inputs.npz", "--epsilon", 0.01, "--search", 0],
        "compare": ["--inputs", folder / "inputs.npz"],
        "bound": ["--radius", "1", "--search", "0"],
        "check": ["--max-relative", "1"],
        "generalization": ["--samples", "1000", "-q"],
        "prune": ["--sparsity", 0.5],
        "rescale": ["-o", folder / "out.onnx"],
    }
    return options.get(command, [])
