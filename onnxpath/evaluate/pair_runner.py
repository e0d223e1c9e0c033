"""Both networks of a pair on rows of points, a few at a time: their outputs, and gradients of objectives of
them."""

from collections.abc import Iterator
from typing import Literal

import numpy as np

from onnxpath.engine.session import Device
from onnxpath.evaluate.forward import Forward, counterpart
from onnxpath.evaluate.gradient import Gradient
from onnxpath.evaluate.layout import Layout
from onnxpath.model.matching import Pairing
from onnxpath.model.network import Network

# As many points are run at once as keep the values of both networks below this many numbers; and in searches
# of the largest difference no more than _ROWS.
_NUMBERS = 1 << 22
_ROWS = 64

# Of what a gradient is: Σ_v w_v y_v for network A, for B or for A - B, or Σ_v w_v |y_v| of A - B.
Objective = Literal["a", "b", "difference", "absolute"]


class PairRunner:
    """Both networks of a pair on rows of points; what is asked for is built once."""

    def __init__(self, pairing: Pairing, device: Device, rows: int | None = None):
        self.networks = (pairing.a, counterpart(pairing))
        self.inputs, self.outputs = (
            Layout(pairing.a, names) for names in (pairing.a.inputs, pairing.a.outputs)
        )
        self.rows = min(_ROWS, fitting(pairing.a)) if rows is None or not pairing.a.batched else rows
        largest = max(pairing.a.size_of(name) for name in pairing.a.shapes)
        self.device = device.for_size(min(self.rows, _ROWS) * largest)
        self.runs = 0
        self._forward: dict[str, Forward] = {}
        self._gradients: dict[Objective, Gradient] = {}

    def _parts(self, points: np.ndarray) -> Iterator[slice]:
        return (slice(start, start + self.rows) for start in range(0, len(points), self.rows))

    def values(self, points: np.ndarray, exact: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """R_A and R_B on points [rows, entries], as matrices; exact: in float64."""
        device = self.device.double if exact else self.device
        if device.precision not in self._forward:
            self._forward[device.precision] = Forward(self.networks, device)
        forward = self._forward[device.precision]
        runs = [forward.run(self.inputs.arrays(points[part])) for part in self._parts(points)]
        self.runs += len(points)
        a, b = (np.concatenate([self.outputs.matrix(run[k]) for run in runs]) for k in range(2))
        return a, b

    def differences(self, points: np.ndarray) -> np.ndarray:
        a, b = self.values(points)
        with np.errstate(invalid="ignore", over="ignore"):
            return a - b

    def gradient(
        self, points: np.ndarray, weights: np.ndarray, of: Objective
    ) -> tuple[np.ndarray, np.ndarray]:
        """y [rows, outputs], and the gradient [rows, entries] of the objective with these weights [rows,
        outputs]."""
        if of not in self._gradients:
            networks = {"a": self.networks[:1], "b": self.networks[1:]}.get(of, self.networks)
            self._gradients[of] = Gradient(networks, self.device, absolute=of == "absolute")
        values, slopes = [], []
        for part in self._parts(points):
            found = self._gradients[of].run(
                self.inputs.arrays(points[part]), self.outputs.arrays(weights[part])
            )
            values.append(self.outputs.matrix(found.values))
            slopes.append(self.inputs.matrix(found.gradient))
        self.runs += len(points)
        return np.concatenate(values), np.concatenate(slopes)


def fitting(network: Network) -> int:
    """How many points may be run at once."""
    numbers = 2 * sum(network.size_of(name) for name in network.shapes)
    return max(1, _NUMBERS // numbers) if network.batched else 1
