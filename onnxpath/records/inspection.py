"""The record of `onnxpath.inspect`, document `onnxpath.inspect/1`."""

from dataclasses import dataclass, field
from typing import Any

from onnxpath.engine.scaled import Scaled
from onnxpath.records.base import Tool, number


@dataclass(frozen=True)
class Tensor:
    """An input or output of a network."""

    name: str
    shape: tuple[int, ...]

    def to_dict(self) -> dict[str, Any]:
        return {"name": self.name, "shape": list(self.shape)}


@dataclass(frozen=True)
class Path:
    """One path: its neurons in order, whether it starts at an input, and its coordinate of Φ."""

    neurons: tuple[str, ...]
    from_input: bool
    value: float

    def to_dict(self) -> dict[str, Any]:
        return {
            "neurons": list(self.neurons),
            "start": "input" if self.from_input else "bias",
            "value": self.value,
        }


@dataclass(frozen=True)
class Inspection:
    """Result of `onnxpath.inspect`: what the network is in the paper's model. lifting: every path, if they
    were asked for."""

    path: str
    sha256: str
    opset: int
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    neurons: dict[str, int]
    parameters: int
    zeros: int
    parameter_tensors: int
    depth: int
    paths: Scaled
    max_pool_kernels: tuple[int, ...]
    operators: dict[str, int]
    rescaling_groups: int
    tool: Tool
    input_dimension: int = 0
    output_dimension: int = 0
    lifting: tuple[Path, ...] | None = None
    folded: tuple[str, ...] = ()
    cut: tuple[str, ...] = ()
    notes: tuple[str, ...] = field(default=())

    def to_dict(self) -> dict[str, Any]:
        """The `onnxpath.inspect/1` document."""
        document: dict[str, Any] = {
            "schema": "onnxpath.inspect/1",
            "tool": self.tool.to_dict(),
            "model": {"path": self.path, "sha256": self.sha256, "opset": self.opset},
            "inputs": [t.to_dict() for t in self.inputs],
            "outputs": [t.to_dict() for t in self.outputs],
            "neurons": self.neurons,
            "parameters": {"count": self.parameters, "zeros": self.zeros, "tensors": self.parameter_tensors},
            "depth": self.depth,
            "paths": number(self.paths),
            "max_pool_kernels": list(self.max_pool_kernels),
            "dimensions": {
                "depth": self.depth, "kernel": max(self.max_pool_kernels, default=1),
                "pools": int(bool(self.max_pool_kernels)),
                "input": self.input_dimension, "output": self.output_dimension,
            },
            "operators": self.operators,
            "rescaling_groups": self.rescaling_groups,
            "folded": list(self.folded),
            "cut": list(self.cut),
            "notes": list(self.notes),
        }  # fmt: skip
        if self.lifting is not None:
            document["lifting"] = [path.to_dict() for path in self.lifting]
        return document
