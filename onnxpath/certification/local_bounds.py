"""Certified bounds on two networks and their difference over boxes of inputs (docs/certify.md).

`LocalBounds` joins the interval pass (passes/interval.py), the lines at activations (relaxation.py) and the backward pass
(passes/backward.py). A `State` holds what is known of every neuron for some boxes; `refine` makes it tighter: in topological
order, the arguments of activations that are not linear over the box are bounded by the backward pass, with the lines that what
was refined before allows.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from time import monotonic

import numpy as np

from onnxpath.engine.session import Device
from onnxpath.errors import UnsupportedError
from onnxpath.matching import Pairing
from onnxpath.network import Node
from onnxpath.passes.backward import Backward
from onnxpath.passes.grid_lines import grid_lines, outside
from onnxpath.passes.interval import Intervals, differing, pairs
from onnxpath.passes.maxima import without_maxima
from onnxpath.passes.relaxation import LANES, Known, lines, nonlinear

# As many rows run at once as keep the largest tensor of a pass below this many numbers.
_NUMBERS = 1 << 22

# Which combinations of an output's entries to bound: γ rows for A, λ rows for B - A.
Seeds = Mapping[str, np.ndarray]


@dataclass
class State:
    """What is known of n boxes. low, high: float64 [n, ...] by input. known: by tensor, for arguments of activations and outputs.
    sizes: arrays of the interval pass. valid [n]: whether its numbers are finite. lines: feeds of the backward pass."""

    low: dict[str, np.ndarray]
    high: dict[str, np.ndarray]
    known: dict[str, Known]
    sizes: dict[tuple[str, str], np.ndarray]
    valid: np.ndarray
    largest: np.ndarray
    lines: dict[str, np.ndarray] = field(default_factory=dict)
    tight: dict[tuple[str, str], np.ndarray] = field(default_factory=dict)

    @property
    def size(self) -> int:
        return len(self.valid)

    def take(self, index: np.ndarray) -> "State":
        """Some of the boxes."""

        def cut(arrays: dict) -> dict:
            return {key: array[index] for key, array in arrays.items()}

        return State(
            cut(self.low), cut(self.high), {key: known.take(index) for key, known in self.known.items()}, cut(self.sizes),
            self.valid[index], self.largest[index], {}, cut(self.tight),
        )  # fmt: skip


class OutOfTimeError(Exception):
    """The deadline passed while bounds were being refined."""


class LocalBounds:
    """The bounds of one pair of networks of one structure, for any boxes."""

    def __init__(self, pairing: Pairing, device: Device, magnitudes: bool = True):
        """magnitudes: allow `upper` and `refine`, not only intervals. Raises UnsupportedError for a network without a batch axis."""
        if not pairing.a.batched:
            raise UnsupportedError(
                f"{pairing.a.path}: its operations mix the entries of axis 0, so that several inputs cannot be certified side by side; "
                "local certificates need a network with a batch axis"
            )
        self.network, self.twin = without_maxima(pairing.a, dict(pairing.twin))
        self.device = device
        self.intervals = Intervals(self.network, self.twin, device, magnitudes)
        self._differs = differing(self.network, pairs(self.network, self.twin))
        self._backward: dict[str, Backward] = {}
        self.bends = [node for node in self.network.nodes if nonlinear(node)]
        self.rows = max(1, _NUMBERS // max(self.network.size_of(name) for name in self.network.shapes))

    def _pass(self, tensor: str) -> Backward:
        if tensor not in self._backward:
            self._backward[tensor] = Backward(self.network, self.twin, tensor, self.device)
        return self._backward[tensor]

    def differs(self, tensor: str) -> bool:
        """Whether the networks may differ there."""
        return tensor in self._differs

    def start(self, low: Mapping[str, np.ndarray], high: Mapping[str, np.ndarray]) -> State:
        """Intervals of every neuron over the boxes, float64 [n, ...] by input."""
        n = len(next(iter(low.values())))
        state = State(dict(low), dict(high), {}, {}, np.ones(n, bool), np.zeros(n))
        self._forward(state)
        return state

    def _forward(self, state: State) -> None:
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
            key: self._clean(array, valid) for key, array in arrays.items() if key[0] in ("size a", "size d", "slack a", "slack d")
        }
        tensors = dict.fromkeys(tensor for tensor, lane in arrays if lane in LANES)
        for tensor in tensors:
            lanes = {
                lane: self._clean(arrays[tensor, lane], valid).astype(np.float64) for lane in LANES if (tensor, lane) in arrays
            }  # fmt: skip
            if len(lanes) == 2:
                zero = np.zeros_like(lanes["al"])
                lanes |= {"bl": lanes["al"], "bu": lanes["au"], "dl": zero, "du": zero}
            own = Known(**lanes, differs=tensor in self._differs)
            before = state.known.get(tensor)
            state.known[tensor] = own if before is None else own.meet({lane: getattr(before, lane) for lane in LANES})
        state.lines = {}

    @staticmethod
    def _clean(array: np.ndarray, valid: np.ndarray) -> np.ndarray:
        """Rows of boxes that are not valid become 0: their results are never used."""
        return array if valid.all() else np.where(valid.reshape(-1, *(1,) * (array.ndim - 1)), array, 0)

    def _lines(self, state: State, node: Node, choice: np.ndarray | None = None) -> dict[str, np.ndarray]:
        if node.op == "Quantizer":
            made = grid_lines(node, state.known[node.inputs[0]], self.device.dtype)
            return {f"{name} {node.output}": array for name, array in made.feeds().items()}
        twin = self.twin[node.output][0] if node.op == "PRelu" and node.output in self.twin else node.weight
        made = lines(node, twin, state.known[node.inputs[0]], self.device.dtype, choice)
        return {f"{name} {node.output}": array for name, array in made.feeds().items()}

    def upper(
        self, state: State, tensor: str, count: int, seeds: Callable[[slice, slice], Seeds], boxes: np.ndarray | None = None,
        below: Callable[[Node, Known], np.ndarray | None] | None = None,
    ) -> np.ndarray:  # fmt: skip
        """Upper bounds [boxes, count] of λ · (h_B - h_A) + γ · h_A at a tensor.

        seeds(boxes, rows): "a" (γ) and "d" (λ) of these rows for these boxes (slices into `boxes`), [n, k, ...]. below: which
        of the two lines below unstable ReLUs to take.
        """
        index = np.arange(state.size) if boxes is None else boxes
        backward = self._pass(tensor)
        for name in backward.lines:
            if f"e_up {name}" not in state.lines:
                state.lines |= self._lines(state, self.network.producer[name])
        feeds = state.lines
        if below is not None:
            feeds = {}
            for name in backward.lines:
                node = self.network.producer[name]
                feeds |= self._lines(state, node, below(node, state.known[node.inputs[0]]))
        total = np.full((len(index), count), np.inf)
        wide = max(1, self.rows // count)
        for first in range(0, len(index), wide):
            part = slice(first, min(len(index), first + wide))
            own = index[part]
            whole = np.array_equal(own, np.arange(state.size))
            cut = (lambda array: array) if whole else (lambda array, own=own: array[own])
            given = {key: cut(array) for key, array in feeds.items()}
            sizes = {key: cut(state.sizes[key]) for key in backward.sizes}
            low, high = ({name: cut(array) for name, array in side.items()} for side in (state.low, state.high))
            for row in range(0, count, self.rows):
                rows = slice(row, min(count, row + self.rows))
                total[part, rows] = backward.run(seeds(part, rows), given, sizes, low, high, state.largest[own])
        return np.where(state.valid[index][:, None], total, np.inf)

    def _queries(self, state: State, node: Node) -> list[np.ndarray]:
        """For every box the arguments of a node that are worth a tighter interval."""
        known = state.known[node.inputs[0]]
        low, high = np.minimum(known.al, known.bl), np.maximum(known.au, known.bu)
        if node.op in ("Relu", "PRelu"):
            some = (low < 0) & (high > 0)
        elif node.op == "Quantizer":
            some = outside(node, known)
        else:
            some = high > low
        some = some.reshape(state.size, -1) & state.valid[:, None]
        return [np.flatnonzero(row) for row in some]

    def _worthwhile(self, tensor: str) -> bool:
        """Whether the backward pass can be tighter than intervals: not right behind one linear node."""
        backward = self._pass(tensor)
        if backward.lines:
            return True
        seen, waiting, mixing = set(), [tensor], 0
        while waiting:
            name = waiting.pop()
            node = self.network.producer.get(name)
            if node is None or name in seen:
                continue
            seen.add(name)
            waiting += node.inputs
            mixing += node.op in ("Conv", "ConvTranspose", "MatMul", "Add", "SumPool", "ReduceSum")
        return mixing > 1

    def refine(self, state: State, deadline: float = np.inf, boxes: np.ndarray | None = None, maxima: bool = True) -> None:
        """Tighter intervals of what activations are applied to; see the module. Raises OutOfTimeError (the state stays valid).

        boxes: only these. maxima: also the differences of the candidates of maxima.
        """
        chosen = np.ones(state.size, bool) if boxes is None else np.isin(np.arange(state.size), boxes)
        changed = False
        done: set[str] = set()
        for node in self.bends:
            tensor = node.inputs[0]
            if tensor in done or (node.attributes.get("maximum") and not maxima) or not self._worthwhile(tensor):
                continue
            done.add(tensor)
            if changed:
                self._forward(state)
                changed = False
            queries = [row if ok else row[:0] for row, ok in zip(self._queries(state, node), chosen, strict=True)]
            for group, found in self._bounded(state, tensor, queries, deadline):
                changed = True
                self._learn(state, tensor, group, found)
        if changed:
            self._forward(state)

    def _bounded(
        self, state: State, tensor: str, queries: list[np.ndarray], deadline: float
    ) -> Iterator[tuple[list[tuple[int, np.ndarray]], np.ndarray]]:
        """Bounds of these entries of a tensor: groups of (box, entries) with [boxes, kinds, entries] upper bounds."""
        shape, differs = self.network.shapes[tensor][1:], tensor in self._differs
        known = state.known[tensor]
        far = differs and float(np.median(known.du - known.dl)) > 0.1 * float(np.median(known.au - known.al))
        kinds = [(1, 0), (-1, 0)] + ([(0, 1), (0, -1)] if differs else []) + ([(1, 1), (-1, -1)] if far else [])
        most = max(1, self.rows // len(kinds))
        jobs = [(box, row[k : k + most]) for box, row in enumerate(queries) for k in range(0, len(row), most)]
        jobs.sort(key=lambda job: len(job[1]))
        while jobs:
            if monotonic() > deadline:
                raise OutOfTimeError
            group = [jobs.pop()]
            width = len(group[0][1])
            while jobs and (len(group) + 1) * width <= most and jobs[-1][0] not in [box for box, _ in group]:
                group.append(jobs.pop())
            entries = np.zeros((len(group), width), int)
            used = np.zeros((len(group), width))
            for k, (_, row) in enumerate(group):
                entries[k, : len(row)], used[k, : len(row)] = row, 1

            def seeds(part: slice, rows: slice, entries=entries, used=used) -> Seeds:
                chosen, weight = entries[part], used[part]
                base = np.zeros((len(chosen), chosen.shape[1], int(np.prod(shape))), self.device.dtype)
                np.put_along_axis(base, chosen[:, :, None], weight[:, :, None].astype(base.dtype), axis=2)
                made = {}
                for key, column in (("a", 0), ("d", 1)):
                    stacked = np.concatenate([base * base.dtype.type(kind[column]) for kind in kinds], axis=1)
                    made[key] = stacked[:, rows].reshape(len(chosen), -1, *shape)
                return made

            boxes = np.array([box for box, _ in group])
            upper = self.upper(state, tensor, width * len(kinds), seeds, boxes)
            yield group, upper.reshape(len(group), len(kinds), width)

    def _learn(self, state: State, tensor: str, group: list[tuple[int, np.ndarray]], found: np.ndarray) -> None:
        """Meet what is known of a tensor with upper bounds [boxes, kinds, entries]."""
        names = ("au", "al", "du", "dl", "bu", "bl")
        known = state.known[tensor]
        arrays = {lane: getattr(known, lane).copy() for lane in LANES}
        for k, (box, row) in enumerate(group):
            for kind, name in enumerate(names[: found.shape[1]]):
                flat = arrays[name][box].reshape(-1)
                bound = found[k, kind, : len(row)]
                flat[row] = np.minimum(flat[row], bound) if name[1] == "u" else np.maximum(flat[row], -bound)
        state.known[tensor] = known.meet(arrays)
        for lane in LANES:
            state.tight[tensor, lane] = getattr(state.known[tensor], lane)
        state.lines = {key: array for key, array in state.lines.items() if self.network.producer[key.split(" ", 1)[1]].inputs[0] != tensor}
