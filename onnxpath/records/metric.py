"""The record of `onnxpath.path_metric`, document `onnxpath.metric/1`."""

from dataclasses import dataclass
from typing import Any

from onnxpath.engine.scaled import Scaled
from onnxpath.model.interface import Change
from onnxpath.records.base import Tool, finite, number


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

    method: how it was found. relative_error: certified error of an exact value relative to itself (the ends
    of an interval are already rounded outwards).
    """

    lower: Scaled
    upper: Scaled
    exact: bool
    method: str
    relative_error: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        return {
            "lower": number(self.lower), "upper": number(self.upper), "exact": self.exact,
            "method": self.method,
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
class Euclidean:
    """The ℓ2 path-metric: its value, a certified error relative to it (infinite where rounding may be all of
    it), and certified ends."""

    value: Scaled
    relative_error: float
    lower: Scaled
    upper: Scaled

    def to_dict(self) -> dict[str, Any]:
        return {
            **number(self.value), "relative_error": finite(self.relative_error), "lower": number(self.lower),
            "upper": number(self.upper),
        }  # fmt: skip


@dataclass(frozen=True)
class Estimate:
    """An unbiased estimate of the ℓ1 path-metric from sampled paths; the metric lies in [lower, upper] with
    probability `confidence` over the draws of `seed`. Never certified."""

    value: Scaled
    lower: Scaled
    upper: Scaled
    confidence: float
    samples: int
    seed: int

    def to_dict(self) -> dict[str, Any]:
        return {
            **number(self.value), "lower": number(self.lower), "upper": number(self.upper),
            "confidence": self.confidence,
            "samples": self.samples, "seed": self.seed,
        }  # fmt: skip


@dataclass(frozen=True)
class PathMetric:
    """Result of `onnxpath.path_metric`.

    bound: of Σ_v |R_A(x)_v - R_B(x)_v| for ‖x‖_∞ <= input_bound = B. from_inputs, from_biases: certified
    upper ends of the metric over the paths that start at an input, and at a bias; None for B = 1, where the
    bound is that of all paths. interface: what a program sees change (docs/running.md).
    """

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
    l2: Euclidean | None = None
    estimate: Estimate | None = None
    from_inputs: Scaled | None = None
    from_biases: Scaled | None = None
    interface: tuple[Change, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The `onnxpath.metric/1` document."""
        extra = {
            key: part.to_dict()
            for key, part in (("l2", self.l2), ("estimate", self.estimate))
            if part is not None
        }
        starts = (("inputs", self.from_inputs), ("biases", self.from_biases))
        parts = {key: None if part is None else number(part) for key, part in starts}
        return {
            "schema": "onnxpath.metric/1",
            "tool": self.tool.to_dict(),
            "a": self.a.to_dict(),
            "b": self.b.to_dict(),
            "path_metric": {**self.path_metric.to_dict(), **parts},
            "relative": self.relative,
            **extra,
            "bound": {"input_bound": self.input_bound, **number(self.bound)},
            "outputs": [output.to_dict() for output in self.outputs],
            "layers": [layer.to_dict() for layer in self.layers],
            "interface": [change.to_dict() for change in self.interface],
            "notes": list(self.notes),
        }
