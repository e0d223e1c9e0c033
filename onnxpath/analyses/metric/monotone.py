"""The path-metric of a network and the same network with coordinates set to zero: exact, in one difference
pass.

The second network is smaller in every coordinate, so that ‖Φ(θ) - Φ(θ')‖₁ = Σ_v F_θ(1)_v - F_θ'(1)_v, carried
without a subtraction (lanes.removal). `analyses.metric` finds the same of any two files; here it is known how
they differ, and the shares of layers, which cost an adjoint pass, are not needed.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from onnxpath.engine.plan import Output, Reading
from onnxpath.engine.scaled import Scaled
from onnxpath.engine.session import Device
from onnxpath.lanes import absolute, removal, settle
from onnxpath.lanes.lanes import Calibration
from onnxpath.lanes.tracer import Tracer
from onnxpath.model.network import Network
from onnxpath.ops import OPERATORS
from onnxpath.records import Interval
from onnxpath.rewrites.collapse import collapse


@dataclass(frozen=True)
class Shrunk:
    """‖Φ(θ)‖₁, ‖Φ(θ')‖₁, their path-metric, and a certified upper bound of the metric."""

    norm: Scaled
    remaining: Scaled
    metric: Interval
    upper: Scaled


def path_metric(network: Network, shrunk: Network, device: Device) -> Shrunk:
    """shrunk: `network` with coordinates set to zero."""
    small = collapse(network)
    twin = {
        node.output: (node.weight, node.bias)
        for node in shrunk.nodes
        if OPERATORS[node.op].kind == "weighted"
    }

    def build(calibration: Calibration) -> tuple[Tracer, dict[tuple[str, str], Output], None]:
        tracer, lanes = removal.trace(small, twin, device, calibration)
        ends = {
            (side, name): lane
            for name in small.outputs
            for side, lane in zip("ad", lanes[name], strict=True)
            if lane is not None
        }
        return tracer, {key: absolute.read(tracer, lane) for key, lane in ends.items()}, None

    found, _ = settle.evaluate(build, absolute.ones(small), device)
    remaining = _sum(reading.total() for key, reading in found.items() if key[0] == "a")
    apart = [reading for key, reading in found.items() if key[0] == "d"]
    value = _sum(reading.total() for reading in apart)
    upper = _sum(_upper(reading) for reading in apart)
    error = max(0.0, upper.over(value) - 1) if value.mantissa else 0.0
    why = "monotone pair" if apart else "equal parameters"
    if upper.mantissa and not value.mantissa:  # what underflow may have lost is all there is
        return Shrunk(remaining, remaining, Interval(value, upper, False, f"difference pass: {why}"), upper)
    return Shrunk(
        remaining + value,
        remaining,
        Interval(value, value, True, f"difference pass, exact: {why}", error),
        upper,
    )


def _upper(reading: Reading) -> Scaled:
    return reading.upper(reading.total(), reading.values.mantissa.size)


def _sum(values: Iterable[Scaled]) -> Scaled:
    total = Scaled(0.0)
    for value in values:
        total = total + value
    return total
