"""Both networks of a pair on rows of points, a few at a time: their outputs, and the gradient of a norm of
the difference."""

import numpy as np

from onnxpath.engine.session import Device
from onnxpath.evaluate.forward import Forward, counterpart
from onnxpath.evaluate.gradient import Gradient
from onnxpath.evaluate.layout import Layout
from onnxpath.model.matching import Pairing
from onnxpath.model.network import Network

# As many points are run at once as keep the values of both networks below this many numbers; and no more than
# _ROWS.
_NUMBERS = 1 << 22
_ROWS = 64


class PairRunner:
    """Both networks of a pair on rows of points."""

    def __init__(self, pairing: Pairing, device: Device, rows: int | None):
        networks = (pairing.a, counterpart(pairing))
        self.networks = networks
        self.inputs, self.outputs = (
            Layout(pairing.a, names) for names in (pairing.a.inputs, pairing.a.outputs)
        )
        self.rows = rows_of(pairing.a) if rows is None or not pairing.a.batched else rows
        self.device = device.for_size(self.rows * max(pairing.a.size_of(name) for name in pairing.a.shapes))
        self.runs = 0
        self._forward: dict[str, Forward] = {}
        self._gradient: Gradient | None = None

    def values(self, points: np.ndarray, device: Device) -> tuple[np.ndarray, np.ndarray]:
        """R_A and R_B on points [rows, entries], as matrices."""
        if device.precision not in self._forward:
            self._forward[device.precision] = Forward(self.networks, device)
        parts = []
        for start in range(0, len(points), self.rows):
            part = points[start : start + self.rows]
            parts.append(
                [
                    self.outputs.matrix(y)
                    for y in self._forward[device.precision].run(self.inputs.arrays(part))
                ]
            )
        self.runs += len(points)
        a, b = (np.concatenate([part[k] for part in parts]) for k in range(2))
        return a, b

    def differences(self, points: np.ndarray) -> np.ndarray:
        a, b = self.values(points, self.device)
        with np.errstate(invalid="ignore", over="ignore"):
            return a - b

    def gradient(self, points: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """R_A - R_B, and the gradient of Σ_v w_v |R_A - R_B|_v; at most `rows` points."""
        if self._gradient is None:
            self._gradient = Gradient(self.networks, self.device, absolute=True)
        found = self._gradient.run(self.inputs.arrays(points), self.outputs.arrays(weights))
        self.runs += len(points)
        return self.outputs.matrix(found.values), self.inputs.matrix(found.gradient)


def rows_of(network: Network) -> int:
    numbers = 2 * sum(network.size_of(name) for name in network.shapes)
    return int(np.clip(_NUMBERS // numbers, 1, _ROWS)) if network.batched else 1
