"""Certified bounds of the outputs over boxes: of every output's difference, of score differences, and of both networks' margins.

Rows of the backward pass at an output, e_v the unit vectors and i the class of the box:

    λ = ±e_v                bounds of (f_B - f_A)_v
    λ = ±(e_i - e_j)        bounds of the change of y_i - y_j
    γ = e_j - e_i           A's margin y_i - y_j is at least minus this
    λ = γ = e_j - e_i       B's margin likewise
"""

from dataclasses import dataclass
from math import prod

import numpy as np

from onnxpath.certification.local_bounds import LocalBounds, Seeds, State
from onnxpath.network import Node
from onnxpath.passes.relaxation import Known

# Outputs with more entries have interval bounds only.
_LARGE = 4096


@dataclass
class Bounded:
    """Bounds for n boxes. outputs: [n, entries] by output, of |f_A - f_B|. changes [n, classes]: of |change of y_i - y_j|. margin_a,
    margin_b [n, classes]: lower bounds of y_i - y_j; +inf at i."""

    outputs: dict[str, np.ndarray]
    changes: np.ndarray | None = None
    margin_a: np.ndarray | None = None
    margin_b: np.ndarray | None = None

    def all(self) -> np.ndarray:
        return np.concatenate(list(self.outputs.values()), axis=1)

    def agree(self) -> np.ndarray:
        """[n]: whether both networks predict class i on the whole box."""
        assert self.margin_a is not None and self.margin_b is not None
        return (self.margin_a > 0).all(axis=1) & (self.margin_b > 0).all(axis=1)

    def meet(self, index: np.ndarray, other: "Bounded") -> None:
        """Use the bounds of some of the boxes where they are better."""
        for name, array in other.outputs.items():
            self.outputs[name][index] = np.fmin(self.outputs[name][index], array)
        if self.changes is not None and other.changes is not None:
            self.changes[index] = np.fmin(self.changes[index], other.changes)
        for own, new in ((self.margin_a, other.margin_a), (self.margin_b, other.margin_b)):
            if own is not None and new is not None:
                own[index] = np.fmax(own[index], new)


def _up(x: np.ndarray) -> np.ndarray:
    return x + np.abs(x) * 2.0**-50


def _margins(own: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    own[np.arange(len(own)), predicted] = np.inf
    return own


class Outputs:
    """How the outputs of a pair are bounded."""

    def __init__(self, bounds: LocalBounds, classes: str | None):
        self._bounds, self._classes = bounds, classes
        shapes = bounds.network.shapes
        self._entries = {name: prod(shapes[name][1:]) for name in bounds.network.outputs}
        self.large = [name for name, size in self._entries.items() if size > _LARGE]

    def intervals(self, state: State, predicted: np.ndarray | None) -> Bounded:
        """From the intervals of the outputs."""
        outputs, n = {}, state.size
        for name, size in self._entries.items():
            known = state.known[name]
            found = np.maximum(np.maximum(-known.dl, known.du), 0.0).reshape(n, size)
            outputs[name] = np.where(state.valid[:, None], found, np.inf)
        if predicted is None or self._classes is None:
            return Bounded(outputs)
        known, rows = state.known[self._classes], np.arange(n)
        lost = np.where(state.valid, 0.0, np.inf)[:, None]

        def least(low: np.ndarray, high: np.ndarray) -> np.ndarray:
            found = low[rows, predicted][:, None] - high
            return _margins(found - np.abs(found) * 2.0**-50 - lost, predicted)

        change = np.maximum(known.du[rows, predicted][:, None] - known.dl, known.du - known.dl[rows, predicted][:, None])
        change = np.maximum(_up(change), 0.0) + lost
        change[rows, predicted] = 0.0
        return Bounded(outputs, change, least(known.al, known.au), least(known.bl, known.bu))

    def backward(self, state: State, predicted: np.ndarray | None, rivals: bool = False) -> Bounded:
        """From the backward pass. rivals: try other lines below unstable ReLUs, too."""
        outputs = {}
        for name, size in self._entries.items():
            if size > _LARGE:
                outputs[name] = np.full((state.size, size), np.inf)
            elif not self._bounds.differs(name):
                outputs[name] = np.zeros((state.size, size))
            else:
                outputs[name] = self._both(state, name, size)
        if predicted is None or self._classes is None:
            return Bounded(outputs)
        return self._scores(state, predicted, outputs, rivals)

    def _both(self, state: State, name: str, size: int) -> np.ndarray:
        shape = self._bounds.network.shapes[name][1:]

        def seeds(part: slice, rows: slice) -> Seeds:
            n = part.stop - part.start
            numbers = np.arange(rows.start, rows.stop)
            own = np.zeros((len(numbers), size))
            own[np.arange(len(numbers)), numbers % size] = np.where(numbers < size, 1.0, -1.0)
            own = np.broadcast_to(own, (n, *own.shape)).reshape(n, len(numbers), *shape)
            return {"a": np.zeros_like(own), "d": own}

        found = self._bounds.upper(state, name, 2 * size, seeds)
        return np.maximum(np.maximum(found[:, :size], found[:, size:]), 0.0)

    def _scores(self, state: State, predicted: np.ndarray, outputs: dict[str, np.ndarray], rivals: bool) -> Bounded:
        name = self._classes
        assert name is not None
        n, size = state.size, self._entries[name]
        eye = np.eye(size)
        toward = eye[None] - eye[predicted][:, None]  # e_j - e_i
        differs = self._bounds.differs(name)
        kinds = [(1, 0), (1, 1), (0, 1), (0, -1)] if differs else [(1, 0)]

        def seeds(part: slice, rows: slice) -> Seeds:
            own, made = toward[part], {}
            for key, column in (("a", 0), ("d", 1)):
                made[key] = np.concatenate([own * kind[column] for kind in kinds], axis=1)[:, rows]
            return made

        found = self._bounds.upper(state, name, len(kinds) * size, seeds)
        if rivals:
            for slope in (True, False):

                def below(node: Node, known: Known, slope: bool = slope) -> np.ndarray | None:
                    return np.full(known.al.shape, slope)

                found = np.fmin(found, self._bounds.upper(state, name, len(kinds) * size, seeds, below=below))
        parts = [found[:, k * size : (k + 1) * size] for k in range(len(kinds))]
        margin_a = _margins(-parts[0], predicted)
        if not differs:
            return Bounded(outputs, np.zeros((n, size)), margin_a, margin_a.copy())
        change = np.maximum(np.maximum(parts[2], parts[3]), 0.0)
        change[np.arange(n), predicted] = 0.0
        with np.errstate(invalid="ignore"):
            # B's margin is A's plus (d_i - d_j), and d_j - d_i is at most parts[2]
            by_change = margin_a - np.maximum(parts[2], -np.inf)
            by_change = by_change - np.abs(by_change) * 2.0**-50 - (np.abs(margin_a) + np.abs(parts[2])) * 2.0**-50
            margin_b = np.fmax(_margins(-parts[1], predicted), np.where(np.isnan(by_change), -np.inf, by_change))
        return Bounded(outputs, change, margin_a, _margins(margin_b, predicted))
