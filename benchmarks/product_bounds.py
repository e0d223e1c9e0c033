"""Bounds of |f_A - f_B| over boxes: of the difference itself, and from each network alone (the
product-network approach).

With certified limits L <= f <= U of each network by itself over a box, from linear relaxations walked back to
the inputs,

    |f_A - f_B|_v <= max(U_A - L_B, U_B - L_A)_v.

Both ways use the same passes at the same effort: `LocalBounds` of the pair, and `LocalBounds` of each network
paired with itself, where nothing differs and only the rows of h_A are left. effort: 0 intervals, 1 the
backward pass from the outputs, 2 the same after the arguments of unstable activations have been bounded by it
(docs/certify.md, sections 1 to 3).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from time import process_time

import numpy as np

from onnxpath.boxes.certified import Outputs
from onnxpath.boxes.local_bounds import LocalBounds
from onnxpath.boxes.refinement import Refinement
from onnxpath.boxes.state import State
from onnxpath.engine.session import Device
from onnxpath.model.domain import Region
from onnxpath.model.matching import Pairing, match
from onnxpath.model.network import Network

Boxes = tuple[Mapping[str, np.ndarray], Mapping[str, np.ndarray]]


@dataclass(frozen=True, eq=False)
class Timed:
    """A bound [boxes] of the largest |f_A - f_B| over all outputs, +inf where there is none, and the
    processor's seconds for it."""

    bound: np.ndarray
    seconds: float


def _state(bounds: LocalBounds, boxes: Boxes, effort: int) -> State:
    state = bounds.start(dict(boxes[0]), dict(boxes[1]))
    if effort > 1:
        Refinement(bounds).run(state, maxima=False)
    return state


class Alone:
    """The outputs of one network, bounded by itself."""

    def __init__(self, network: Network, device: Device):
        self._bounds = LocalBounds(match(network, network, quantizers=True), device)
        (self._output,) = self._bounds.network.outputs
        self._size = self._bounds.network.shapes[self._output][1]

    def limits(self, boxes: Boxes, effort: int) -> tuple[np.ndarray, np.ndarray]:
        """Certified lower and upper limits [boxes, classes] of the scores."""
        state = _state(self._bounds, boxes, effort)
        known, size = state.known[self._output], self._size
        lost = ~state.valid[:, None]
        low, high = (
            np.where(lost, sign * np.inf, x.reshape(state.size, size))
            for sign, x in ((-1, known.al), (1, known.au))
        )
        if effort > 0:

            def seeds(part: slice, rows: slice) -> np.ndarray:
                own = np.concatenate([np.eye(size), -np.eye(size)])[rows]
                return np.broadcast_to(own, (part.stop - part.start, *own.shape))

            found = self._bounds.upper(state, self._output, "a", 2 * size, seeds)
            high, low = np.minimum(high, found[:, :size]), np.maximum(low, -found[:, size:])
        return low, high

    def agree(self, boxes: Boxes, effort: int, predicted: np.ndarray) -> np.ndarray:
        """[boxes]: whether the network provably predicts this class on the whole box."""
        state = _state(self._bounds, boxes, effort)
        outputs = Outputs(self._bounds, self._output)
        found = outputs.intervals(state, predicted)
        if effort > 0:
            found.meet(np.arange(state.size), outputs.backward(state, predicted))
        return found.agree() & state.valid


class Pair:
    """Both ways for one pair with one output of class scores."""

    def __init__(self, pairing: Pairing, device: Device, efforts: tuple[int, ...]):
        self._bounds = LocalBounds(pairing, device)
        self._outputs = Outputs(self._bounds, None)
        self._names = pairing.inputs()
        self._alone = Alone(pairing.a, device), Alone(pairing.b, device)
        point = {name: np.zeros((1, *pairing.a.shapes[name][1:])) for name, _ in self._names}
        for effort in efforts:  # builds the sessions, on a box that is a point
            self.difference((point, point), effort)
            self.product((point, point), effort)

    def difference(self, boxes: Boxes, effort: int) -> Timed:
        """From the difference, as `onnxpath certify` bounds it."""
        start = process_time()
        state = _state(self._bounds, boxes, effort)
        found = self._outputs.intervals(state, None)
        if effort > 0:
            found.meet(np.arange(state.size), self._outputs.backward(state, None))
        return Timed(found.all().max(axis=1), process_time() - start)

    def _each(self, boxes: Boxes) -> list[tuple[Alone, Boxes]]:
        """Each network with the boxes of its own inputs."""
        low, high = ({b: side[a] for a, b in self._names} for side in boxes)
        return [(self._alone[0], boxes), (self._alone[1], (low, high))]

    def agree_alone(self, boxes: Boxes, effort: int, predicted: np.ndarray) -> np.ndarray:
        """[boxes]: whether each network by itself provably predicts this class on the whole box."""
        first, second = (side.agree(given, effort, predicted) for side, given in self._each(boxes))
        return first & second

    def product(self, boxes: Boxes, effort: int) -> Timed:
        """From the limits of each network alone."""
        start = process_time()
        (low_a, high_a), (low_b, high_b) = (side.limits(given, effort) for side, given in self._each(boxes))
        found = np.maximum(high_a - low_b, high_b - low_a)
        # a difference of two float64 numbers, rounded up
        found = np.nextafter(found, np.inf)
        return Timed(np.where(np.isfinite(found), found, np.inf).max(axis=1), process_time() - start)


def boxes(region: Region, index: slice) -> Boxes:
    """Some of the boxes of a region, as the passes take them."""
    low, high = ({name: array[index] for name, array in side.items()} for side in (region.low, region.high))
    return low, high
