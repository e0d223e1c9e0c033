"""The ℓ2 path-metric ‖Φ(θ) - Φ(θ')‖₂, for any pair (docs/theory.md, section 3.6): C of lanes.euclidean,
summed over the outputs, and its square root, with a certified interval. Computed in float64 whatever the
precision of the other passes.
"""

from collections.abc import Mapping

import numpy as np

from onnxpath.engine.plan import Output, Reading
from onnxpath.engine.scaled import Scaled
from onnxpath.engine.session import Device
from onnxpath.lanes import absolute, euclidean, settle
from onnxpath.lanes.lanes import Calibration
from onnxpath.lanes.tracer import Tracer
from onnxpath.model.matching import Parameters
from onnxpath.model.network import Network
from onnxpath.records import Euclidean

ZERO = Scaled(0.0)
# What the host adds up in float64: far more terms than any network has outputs.
_HOST = 1e-12


def _signed_total(moduli: Reading, sums: Reading) -> tuple[Scaled, Scaled, Scaled]:
    """(positive part, negative part, error) of the sum of the entries of `sums`, whose error the moduli
    certify."""
    size = moduli.values.mantissa.size
    total = moduli.total()
    positive, negative = (
        type(sums.values)(np.maximum(sign * sums.values.mantissa, 0.0), sums.values.exponent).sum()
        for sign in (1.0, -1.0)
    )
    return positive, negative, total.times(moduli.rho + _HOST) + moduli.lost.times(size)


def l2_metric(
    network: Network, twin: Mapping[str, Parameters], device: Device, slack: float = 0.0
) -> Euclidean:
    """‖Φ(network) - Φ(twin)‖₂ over all outputs. slack: by which part of its modulus every path of the twin
    may differ from what is meant."""
    device = device.double

    def build(calibration: Calibration) -> tuple[Tracer, dict[tuple, Output], None]:
        tracer, lanes = euclidean.trace(
            network, twin, device, dict.fromkeys(network.inputs, 0.0), calibration
        )
        outputs: dict[tuple, Output] = {}
        for name in network.outputs:
            outputs["a", name] = absolute.read(tracer, lanes[name].a)
            lane = lanes[name].c
            if lane is not None:
                outputs["c", name] = absolute.read(tracer, lane)
                outputs["signed", "c", name] = absolute.read(tracer, lane.with_signs())
        return tracer, outputs, None

    found, _ = settle.evaluate(build, absolute.ones(network), device, lambda label: len(label) == 2)
    plus = minus = error = size = ZERO
    for name in network.outputs:
        reading = found["a", name]
        size = size + reading.upper(reading.total(), reading.values.mantissa.size)
        if ("c", name) in found:
            more, less, wrong = _signed_total(found["c", name], found["signed", "c", name])
            plus, minus, error = plus + more, minus + less, error + wrong
    value = plus.minus(minus)
    spare = size.root(2).times(slack * (1 + 1e-9))
    lower, upper = (
        value.minus(error).root(2).minus(spare).times(1 - _HOST),
        (value + error).root(2).times(1 + _HOST) + spare,
    )
    middle = value.root(2)
    if upper.mantissa == 0:
        return Euclidean(middle, 0.0, lower, upper)
    relative = max(upper.over(middle) - 1, 1 - lower.over(middle)) if middle.mantissa else float("inf")
    return Euclidean(middle, relative if lower.mantissa else float("inf"), lower, upper)
