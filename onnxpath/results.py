"""Result records: frozen, with a JSON form (`to_dict`) that holds no NaN, no Infinity and no timestamp."""

from dataclasses import dataclass, field
from typing import Any

from onnxpath.engine.scaled import Scaled


def number(value: Scaled) -> dict[str, float | None]:
    """A magnitude: `value` is null beyond float64, `log10` is null for 0."""
    return {"value": value.value, "log10": value.log10}


@dataclass(frozen=True)
class Tool:
    """What produced a result."""

    version: str
    onnx: str
    onnxruntime: str
    provider: str
    precision: str

    def to_dict(self) -> dict[str, Any]:
        return {
            "name": "onnxpath", "version": self.version, "onnx": self.onnx, "onnxruntime": self.onnxruntime,
            "provider": self.provider, "precision": self.precision,
        }  # fmt: skip


def finite(value: float) -> float | None:
    """A float for JSON: null when it is not finite."""
    return value if abs(value) < float("inf") else None


@dataclass(frozen=True)
class NormOutput:
    """Norms ‖Φ^{→v}‖_q of every neuron v of one output, in the order of `PathNorms.qs`; values are flattened row-major."""

    name: str
    shape: tuple[int, ...]
    values: tuple[tuple[Scaled, ...], ...]


@dataclass(frozen=True)
class Norm:
    """‖Φ‖_q over all output neurons; the certified relative error of `value`."""

    q: float
    value: Scaled
    relative_error: float


@dataclass(frozen=True)
class PathNorms:
    """Result of `onnxpath.path_norm`."""

    path: str
    sha256: str
    norms: tuple[Norm, ...]
    tool: Tool
    outputs: tuple[NormOutput, ...] = ()
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The `onnxpath.norm/1` document."""
        document: dict[str, Any] = {
            "schema": "onnxpath.norm/1",
            "tool": self.tool.to_dict(),
            "model": {"path": self.path, "sha256": self.sha256},
            "norms": [{"q": n.q, **number(n.value), "relative_error": finite(n.relative_error)} for n in self.norms],
        }
        if self.outputs:
            document["outputs"] = [
                {
                    "name": output.name,
                    "shape": list(output.shape),
                    "norms": [
                        {"q": norm.q, "values": [number(v) for v in values]} for norm, values in zip(self.norms, output.values, strict=True)
                    ],
                }
                for output in self.outputs
            ]
        document["notes"] = list(self.notes)
        return document


@dataclass(frozen=True)
class Side:
    """One of the two networks of a comparison."""

    path: str
    sha256: str
    path_norm: Scaled

    def to_dict(self) -> dict[str, Any]:
        return {"path": self.path, "sha256": self.sha256, "path_norm": number(self.path_norm)}


@dataclass(frozen=True)
class Interval:
    """The path-metric: a certified interval, or the value itself when `exact` (then lower == upper).

    method: how it was found. relative_error: certified error of an exact value relative to itself (the ends of an
    interval are already rounded outwards).
    """

    lower: Scaled
    upper: Scaled
    exact: bool
    method: str
    relative_error: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        return {
            "lower": number(self.lower), "upper": number(self.upper), "exact": self.exact, "method": self.method,
            "relative_error": finite(self.relative_error),
        }  # fmt: skip


@dataclass(frozen=True)
class MetricOutput:
    """Path-metric and path-norms restricted to the paths that end at one output of the networks."""

    name: str
    name_b: str
    shape: tuple[int, ...]
    lower: Scaled
    upper: Scaled
    path_norm_a: Scaled
    path_norm_b: Scaled

    def to_dict(self) -> dict[str, Any]:
        return {
            "name": self.name, "name_b": self.name_b, "shape": list(self.shape),
            "path_metric": {"lower": number(self.lower), "upper": number(self.upper)},
            "path_norm_a": number(self.path_norm_a), "path_norm_b": number(self.path_norm_b),
        }  # fmt: skip


@dataclass(frozen=True)
class Layer:
    """A layer's part of the metric: injected difference times the adjoint. Shares of all layers sum to 1."""

    name: str
    share: float
    metric: Scaled

    def to_dict(self) -> dict[str, Any]:
        return {"name": self.name, "share": self.share, "metric": number(self.metric)}


@dataclass(frozen=True)
class PathMetric:
    """Result of `onnxpath.path_metric`."""

    a: Side
    b: Side
    path_metric: Interval
    relative: float
    input_bound: float
    bound: Scaled
    outputs: tuple[MetricOutput, ...]
    layers: tuple[Layer, ...]
    tool: Tool
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The `onnxpath.metric/1` document."""
        return {
            "schema": "onnxpath.metric/1",
            "tool": self.tool.to_dict(),
            "a": self.a.to_dict(),
            "b": self.b.to_dict(),
            "path_metric": self.path_metric.to_dict(),
            "relative": self.relative,
            "bound": {"input_bound": self.input_bound, **number(self.bound)},
            "outputs": [output.to_dict() for output in self.outputs],
            "layers": [layer.to_dict() for layer in self.layers],
            "notes": list(self.notes),
        }


@dataclass(frozen=True)
class Tensor:
    """An input or output of a network."""

    name: str
    shape: tuple[int, ...]

    def to_dict(self) -> dict[str, Any]:
        return {"name": self.name, "shape": list(self.shape)}


@dataclass(frozen=True)
class Inspection:
    """Result of `onnxpath.inspect`: what the network is in the paper's model."""

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
    folded: tuple[str, ...] = ()
    cut: tuple[str, ...] = ()
    notes: tuple[str, ...] = field(default=())

    def to_dict(self) -> dict[str, Any]:
        """The `onnxpath.inspect/1` document."""
        return {
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
            "operators": self.operators,
            "rescaling_groups": self.rescaling_groups,
            "folded": list(self.folded),
            "cut": list(self.cut),
            "notes": list(self.notes),
        }
