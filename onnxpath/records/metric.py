"""The record of `onnxpath.path_metric`, document `onnxpath.metric/1`."""

from dataclasses import dataclass

from onnxpath.engine.scaled import Scaled
from onnxpath.model.interface import Change
from onnxpath.records.base import Tool
from onnxpath.records.document import Record


@dataclass(frozen=True)
class Side(Record):
    """One of the two networks of a comparison."""

    LAYOUT = """
    path  as given
    sha256  of the file's bytes
    path_norm  ‖Φ‖₁
    """

    path: str
    sha256: str
    path_norm: Scaled


@dataclass(frozen=True)
class Interval(Record):
    """The path-metric: a certified interval, or the value itself when `exact` (then lower == upper).

    method: how it was found. relative_error: certified error of an exact value relative to itself (the ends
    of an interval are already rounded outwards).
    """

    LAYOUT = """
    lower  the ℓ1 path-metric lies between the ends, which are equal when `exact`
    upper
    exact  whether it is the metric itself, up to `relative_error`
    method  how it was found and, if exact, why it is
    relative_error  of an exact value; 0 for an interval, whose ends are rounded outwards
    """

    lower: Scaled
    upper: Scaled
    exact: bool
    method: str
    relative_error: float = 0.0


@dataclass(frozen=True)
class MetricOutput(Record):
    """Path-metric and path-norms restricted to the paths that end at one output of the networks."""

    LAYOUT = """
    name  an output of A
    name_b  its counterpart in B
    shape
    path_metric{lower upper}  restricted to the paths that end in this output
    path_norm_a  likewise
    path_norm_b  likewise
    """

    name: str
    name_b: str
    shape: tuple[int, ...]
    lower: Scaled
    upper: Scaled
    path_norm_a: Scaled
    path_norm_b: Scaled


@dataclass(frozen=True)
class Layer(Record):
    """A layer's part of the metric: injected difference times the adjoint. Shares of all layers sum to 1."""

    LAYOUT = """
    name  a layer of A with learned parameters
    share  the part that this layer injects; shares sum to 1, or all are 0 when nothing differs
    metric  `share` times the whole
    """

    name: str
    share: float
    metric: Scaled


@dataclass(frozen=True)
class Euclidean(Record):
    """The ℓ2 path-metric: its value, a certified error relative to it (infinite where rounding may be all of
    it), and certified ends."""

    LAYOUT = """
    *value  ‖Φ_A − Φ_B‖₂ over all paths, any pair
    relative_error  certified; null when rounding may be all of it (what is left of a rescaled copy, say)
    lower  certified
    upper  certified
    """

    value: Scaled
    relative_error: float
    lower: Scaled
    upper: Scaled


@dataclass(frozen=True)
class Estimate(Record):
    """An unbiased estimate of the ℓ1 path-metric from sampled paths; the metric lies in [lower, upper] with
    probability `confidence` over the draws of `seed`. Never certified."""

    LAYOUT = """
    *value  an unbiased estimate of the ℓ1 path-metric from sampled paths
    lower  the ends hold with probability `confidence`, for any number of samples, met with the certified
        ones; `value` is not moved into them
    upper
    confidence  0.99
    samples  of `--estimate`
    seed  of `--seed`: the same ones give the same bytes
    """

    value: Scaled
    lower: Scaled
    upper: Scaled
    confidence: float
    samples: int
    seed: int


@dataclass(frozen=True)
class PathMetric(Record):
    """Result of `onnxpath.path_metric`.

    bound: of Σ_v |R_A(x)_v - R_B(x)_v| for ‖x‖_∞ <= input_bound = B. from_inputs, from_biases: certified
    upper ends of the metric over the paths that start at an input, and at a bias; None for B = 1, where the
    bound is that of all paths. interface: what a program sees change (docs/running.md).
    """

    SCHEMA = "onnxpath.metric/1"
    LAYOUT = """
    tool
    a  the network A
    b  the network B
    path_metric{*path_metric inputs=from_inputs biases=from_biases}  the ℓ1 path-metric; `inputs` and
        `biases` are certified upper ends over the paths that start at an input, and at a bias, null for B
        = 1, where they are not needed
    relative  `upper` / max of the two path-norms; 0 when both are 0
    l2?  with `--l2`
    estimate?  with `--estimate`
    bound{input_bound *bound}  certified bound of Σ_v |R_A(x)_v − R_B(x)_v| for all ‖x‖_∞ ≤ B =
        `input_bound`: B times the upper end over paths from inputs, plus that over paths from biases
        (docs/theory.md, (2.3))
    outputs
    layers  in topological order
    interface
    notes  of A, of B, then of the comparison
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
