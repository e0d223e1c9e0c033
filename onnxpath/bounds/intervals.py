"""Bounds on the outputs' difference from intervals of both networks and of their difference, box by box (passes/interval.py).

|h_A - h_B| is at most what the interval of h_B - h_A reaches, which knows where a ReLU is off in both networks, which signs weights have, and what range a quantizer
leaves: where the sharp pass multiplies sizes layer by layer, the difference behind a quantizer never exceeds the range of the grid and of the other network's neuron.
"""

import numpy as np

from onnxpath.domain import Region
from onnxpath.engine.scaled import ScaledArray
from onnxpath.engine.session import Device
from onnxpath.matching import Pairing
from onnxpath.passes.interval import Intervals
from onnxpath.passes.maxima import without_maxima

# As many boxes run at once as keep the largest tensor of a pass below this many numbers.
_NUMBERS = 1 << 22


def output_intervals(pairing: Pairing, region: Region, device: Device) -> dict[str, ScaledArray]:
    """[boxes, neurons] upper bounds by output; unbounded where a number of the pass overflowed. Needs a batched network."""
    network, twin = without_maxima(pairing.a, dict(pairing.twin))
    intervals = Intervals(network, twin, device, magnitudes=False, arguments=False)
    rows = max(1, _NUMBERS // max(network.size_of(name) for name in network.shapes))
    parts: dict[str, list[np.ndarray]] = {name: [] for name in pairing.a.outputs}
    for start in range(0, region.size, rows):
        index = slice(start, start + rows)
        found = intervals.run({n: x[index] for n, x in region.low.items()}, {n: x[index] for n, x in region.high.items()}, {})
        for name in pairing.a.outputs:
            if (name, "dl") not in found.arrays:
                parts[name].append(np.zeros((len(found.finite), network.size_of(name))))
                continue
            low, high = (found.arrays[name, lane].astype(np.float64).reshape(len(found.finite), -1) for lane in ("dl", "du"))
            reach = np.maximum(np.abs(low), np.abs(high))
            parts[name].append(np.where(found.finite[:, None] & np.isfinite(low) & np.isfinite(high), reach, np.inf))
    return {name: ScaledArray.of(np.concatenate(arrays)) for name, arrays in parts.items()}
