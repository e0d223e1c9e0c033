"""Certified bounds on two networks and their difference over boxes of inputs (docs/certify.md).

`LocalBounds` joins the interval pass (boxes/interval.py), the lines at activations (relaxation.py,
difference_lines.py) and the backward pass (boxes/backward.py), which follows one network (A or B, of what it
rounds and of its lines alone) or their difference. A `State` holds what is known of every neuron for some
boxes.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from time import monotonic

import numpy as np

from onnxpath.boxes.backward import Backward, BoxFeeds, Of
from onnxpath.boxes.difference_lines import PairLines, pair_lines
from onnxpath.boxes.grid_lines import grid_lines
from onnxpath.boxes.interval import Intervals
from onnxpath.boxes.interval_steps import Follow
from onnxpath.boxes.pair_intervals import LANES, PairIntervals
from onnxpath.boxes.state import OutOfTimeError, State
from onnxpath.engine.session import Device
from onnxpath.errors import UnsupportedError
from onnxpath.evaluate.weights import differing, pairs
from onnxpath.model.matching import Pairing
from onnxpath.model.network import Network, Node
from onnxpath.ops import OPERATORS, nonlinear
from onnxpath.rewrites.maxima import without_maxima

# As many rows run at once as keep the largest tensor of a pass below this many numbers: what fits into a
# processor's cache. With eight times as many, passes take three to five times as long.
_NUMBERS = 1 << 19

# Boxes that are worked on together: so many numbers in all their tensors, and no more than this.
_TOGETHER = 1 << 24
_BOXES = 64
# Where no tensor of a pass over so many boxes holds more numbers, waking other threads for every step takes
# longer than the steps.
_SMALL = 1 << 18

# Where intervals alone are asked for, B is followed as A + (h_B - h_A) if no layer's weights differ by more
# than this share of A's.
_NEAR = 0.02

# Boxes are far ones for a pair where at more than this share of the neurons of some node either network's own
# lines are closer.
_FAR = 0.02

# Rows of coefficients for the entries of a tensor: γ of one network's, or λ of the difference's.
Seeds = Callable[[slice, slice], np.ndarray]


def narrowed(network: Network, device: Device) -> Device:
    """The device for passes of intervals alone, over boxes of this network's inputs."""
    largest = max(network.size_of(name) for name in network.shapes)
    return replace(device, threads=1) if not device.threads and largest * _BOXES <= _SMALL else device


class LocalBounds:
    """The bounds of one pair of networks of one structure, for any boxes."""

    def __init__(self, pairing: Pairing, device: Device, backward: bool = True, follow: Follow | None = None):
        """backward: allow `upper` and refinement, not only intervals of the outputs; follow: how these follow
        B (None: the quickest way that serves). Raises UnsupportedError for a network without a batch axis."""
        if not pairing.a.batched:
            raise UnsupportedError(
                f"{pairing.a.path}: its operations mix the entries of axis 0, so that several inputs cannot"
                " be certified side by side; local certificates need a network with a batch axis"
            )
        self.network, self.twin = without_maxima(pairing.a, dict(pairing.twin))
        self.device = device
        self.coefficients = pairs(self.network, self.twin)
        self.distance = max((c.distance for c in self.coefficients.values()), default=0.0)
        self._differs = differing(self.network, self.coefficients)
        if follow is None:
            follow = "both" if backward else "difference" if self.distance <= _NEAR else "each"
        self.intervals = Intervals(
            self.network, self.twin, device, magnitudes=backward, arguments=backward, follow=follow,
            coefficients=self.coefficients
        )  # fmt: skip
        self.backward = Backward(self.network, self.coefficients, device) if backward else None
        self.nonlinear_nodes = [node for node in self.network.nodes if nonlinear(node)]
        sizes = [self.network.size_of(name) for name in self.network.shapes]
        self.rows = max(1, _NUMBERS // max(sizes))
        self.together = int(np.clip(_TOGETHER // sum(sizes), 1, _BOXES))

    def differs(self, tensor: str) -> bool:
        """Whether the networks may differ there."""
        return tensor in self._differs

    def start(self, low: Mapping[str, np.ndarray], high: Mapping[str, np.ndarray]) -> State:
        """Intervals of every neuron over the boxes, float64 [n, ...] by input."""
        n = len(next(iter(low.values())))
        state = State(dict(low), dict(high), {}, {}, np.ones(n, bool), np.zeros(n))
        self.forward(state)
        return state

    def forward(self, state: State) -> None:
        """The interval pass, with all that is known."""
        found = self.intervals.run(state.low, state.high, state.tight)
        arrays, n = found.arrays, state.size
        valid = found.finite.copy()
        for array in arrays.values():
            valid &= np.isfinite(array.reshape(n, -1)).all(axis=1)
        state.valid &= valid
        largest = np.zeros(n)
        for array in (*arrays.values(), *state.low.values(), *state.high.values()):
            with np.errstate(invalid="ignore"):
                largest = np.fmax(largest, np.abs(array.reshape(n, -1)).max(axis=1))
        state.largest = 4 * np.nan_to_num(largest, posinf=0.0) + 16
        state.sizes = {
            key: self._clean(array, valid)
            for key, array in arrays.items()
            if key[0] in ("size a", "size d", "slack a", "slack d")
        }
        tensors = dict.fromkeys(tensor for tensor, lane in arrays if lane in LANES)
        for tensor in tensors:
            lanes = {
                lane: self._clean(arrays[tensor, lane],
                valid).astype(np.float64) for lane in LANES if (tensor, lane) in arrays
            }  # fmt: skip
            if len(lanes) == 2:
                zero = np.zeros_like(lanes["al"])
                lanes |= {"bl": lanes["al"], "bu": lanes["au"], "dl": zero, "du": zero}
            own = PairIntervals(**lanes, differs=tensor in self._differs)
            before = state.known.get(tensor)
            state.known[tensor] = (
                own if before is None else own.meet({lane: getattr(before, lane) for lane in LANES})
            )
        state.lines = {}

    @staticmethod
    def _clean(array: np.ndarray, valid: np.ndarray) -> np.ndarray:
        """Rows of boxes that are not valid become 0: their results are never used."""
        return array if valid.all() else np.where(valid.reshape(-1, *(1,) * (array.ndim - 1)), array, 0)

    def _lines(self, state: State, node: Node, choice: np.ndarray | None = None) -> PairLines:
        known = state.known[node.inputs[0]]
        if OPERATORS[node.op].kind == "quantizer":
            return grid_lines(node, known, self.device.dtype)
        twin = self.twin[node.output][0] if node.output in self.twin else node.weight
        return pair_lines(node, twin, known, self.device.dtype, choice)

    def far(self, state: State, tensor: str) -> np.ndarray:
        """[n]: where the lines of both networks by themselves are often the closer ones on the way back from
        a tensor, after `upper`."""
        found = np.zeros(state.size, bool)
        assert self.backward is not None
        for node in self.backward.activations(tensor):
            separate = state.lines[node.output].separate
            if separate is not None:
                found |= separate > _FAR
        return found

    def upper(
        self, state: State, tensor: str, of: Of, count: int, seeds: Seeds, boxes: np.ndarray | None = None,
        below: Callable[[Node, PairIntervals], np.ndarray | None] | None = None,
    ) -> np.ndarray:  # fmt: skip
        """Upper bounds [boxes, count] of combinations of the entries of a tensor in A, in B or of h_B - h_A.

        seeds(boxes, rows): the coefficients of these rows for these boxes (slices into `boxes`), [n, k, ...].
        below: which of the two lines below unstable ReLUs to take. Raises OutOfTimeError.
        """
        if of == "d" and not self.differs(tensor):
            raise ValueError(f"the networks do not differ at '{tensor}'")
        assert self.backward is not None
        index = np.arange(state.size) if boxes is None else boxes
        nodes = self.backward.activations(tensor)
        lines = self._all_lines(state, nodes, below)
        coupled = of == "d" and any(lines[node.output].coupled for node in nodes)
        feeds = {}
        for node in nodes:
            own = lines[node.output]
            made = (own.b if of == "b" else own.a).feeds()
            if of == "d" and own.difference is not None:
                made |= own.difference.feeds(coupled and OPERATORS[node.op].kind != "quantizer")
            feeds |= {f"{name} {node.output}": array for name, array in made.items()}
        total = np.full((len(index), count), np.inf)
        wide = max(1, self.rows // count)
        for first in range(0, len(index), wide):
            part = slice(first, min(len(index), first + wide))
            read = BoxFeeds(feeds, state.sizes, state.low, state.high, state.largest, index[part], of)
            for row in range(0, count, self.rows):
                if monotonic() > state.deadline:
                    raise OutOfTimeError
                rows = slice(row, min(count, row + self.rows))
                total[part, rows] = self.backward.run(tensor, seeds(part, rows), read, coupled)
        return np.where(state.valid[index][:, None], total, np.inf)

    def _all_lines(
        self,
        state: State,
        nodes: list[Node],
        below: Callable[[Node, PairIntervals], np.ndarray | None] | None,
    ) -> Mapping[str, PairLines]:
        """The lines at these nodes; those without a choice of their own are kept."""
        if below is not None:
            return {
                node.output: self._lines(state, node, below(node, state.known[node.inputs[0]]))
                for node in nodes
            }
        for node in nodes:
            if node.output not in state.lines:
                state.lines[node.output] = self._lines(state, node)
        return state.lines
