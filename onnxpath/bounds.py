"""How much the outputs of two networks can differ, for all inputs |x_i| <= r_i: the sharp difference pass, certified."""

from collections.abc import Mapping

import numpy as np

from onnxpath.engine.plan import Output, Reading
from onnxpath.engine.session import Device
from onnxpath.errors import UsageError
from onnxpath.matching import Pairing
from onnxpath.passes import absolute, settle, sharp
from onnxpath.passes.lanes import Calibration
from onnxpath.passes.tracer import Tracer


def output_difference(pairing: Pairing, radius: Mapping[str, np.ndarray], device: Device) -> dict[str, Reading | None]:
    """For every output, a certified bound on |R_A(x)_v - R_B(x)_v| over |x_i| <= radius_i; None where the two are equal.

    radius: non-negative float arrays [batch, ...], by input; every sample of the batch is a domain of its own. The bound of
    entry v is `reading.upper` of it. Any pair that matches: no sign condition (docs/theory.md, section 4).
    """
    network = pairing.a
    for name in network.inputs:
        if name not in radius or not np.isfinite(radius[name]).all() or (np.asarray(radius[name]) < 0).any():
            raise UsageError(f"input '{name}' needs finite radii >= 0")
    log2 = absolute.input_log2(network, radius)

    def build(calibration: Calibration) -> tuple[Tracer, dict[str, Output], None]:
        tracer, lanes = sharp.trace(network, pairing.twin, device, log2, calibration)
        return tracer, {name: absolute.read(tracer, d) for name in network.outputs if (d := lanes[name].d) is not None}, None

    found, _ = settle.evaluate(build, radius, device)
    return {name: found.get(name) for name in network.outputs}
