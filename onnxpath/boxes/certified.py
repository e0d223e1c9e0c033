"""Certified bounds of the outputs over boxes: of every output's difference, of score differences, and of both
networks' margins.

With e_v the unit vectors and i the class of the box, upper bounds over the box of w · f_A, of w · f_B and of
w · (f_B - f_A) from the backward pass, for the rows w

    ±e_v                of f_B - f_A: the change of every output
    e_j - e_i           of f_A, f_B: minus this is a lower bound of the margin y_i - y_j; ± of f_B - f_A: the
                        change of y_i - y_j

and where the networks are far apart (the difference moves as much as A does by itself) the difference of the
bounds of both.
"""

from dataclasses import dataclass, replace
from math import prod

import numpy as np

from onnxpath.boxes.local_bounds import LocalBounds, Of
from onnxpath.boxes.pair_intervals import PairIntervals
from onnxpath.boxes.state import State
from onnxpath.model.network import Node

# Outputs with more entries have interval bounds only.
_LARGE = 4096


@dataclass
class Bounded:
    """Bounds for n boxes. outputs: [n, entries] by output, of |f_A - f_B|. changes [n, classes]: of |change
    of y_i - y_j|. margin_a, margin_b [n, classes]: lower bounds of y_i - y_j; +inf at i."""

    outputs: dict[str, np.ndarray]
    changes: np.ndarray | None = None
    margin_a: np.ndarray | None = None
    margin_b: np.ndarray | None = None

    def all(self) -> np.ndarray:
        return np.concatenate(list(self.outputs.values()), axis=1)

    def agree(self) -> np.ndarray:
        """[n]: whether both networks predict class i on the whole box."""
        assert self.margin_a is not None and self.margin_b is not None
        return np.all(self.margin_a > 0, axis=1) & np.all(self.margin_b > 0, axis=1)

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


@dataclass(frozen=True, eq=False)
class Scores:
    """What intervals of the scores [n, classes] say of their differences: see `Bounded`."""

    changes: np.ndarray
    margin_a: np.ndarray
    margin_b: np.ndarray


def score_intervals(known: PairIntervals, predicted: np.ndarray) -> Scores:
    """predicted [n]: the class i of every box."""
    rows = np.arange(len(predicted))

    def least(low: np.ndarray, high: np.ndarray) -> np.ndarray:
        found = low[rows, predicted][:, None] - high
        return _margins(found - np.abs(found) * 2.0**-50, predicted)

    change = np.maximum(
        known.du[rows, predicted][:, None] - known.dl, known.du - known.dl[rows, predicted][:, None]
    )
    change = np.maximum(_up(change), 0.0)
    change[rows, predicted] = 0.0
    return Scores(change, least(known.al, known.au), least(known.bl, known.bu))


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
            outputs[name] = state.known[name].only(state.valid).reach().reshape(n, size)
        if predicted is None or self._classes is None:
            return Bounded(outputs)
        scores = score_intervals(state.known[self._classes].only(state.valid), predicted)
        return Bounded(outputs, scores.changes, scores.margin_a, scores.margin_b)

    def backward(self, state: State, predicted: np.ndarray | None, rivals: bool = False) -> Bounded:
        """From the backward pass. rivals: try other lines below unstable ReLUs, too."""
        outputs, scored = {}, Bounded({})
        for name, size in self._entries.items():
            if size > _LARGE:
                outputs[name] = np.full((state.size, size), np.inf)
            elif predicted is not None and name == self._classes:
                scored = self._output(state, name, predicted, rivals)
                outputs |= scored.outputs
            elif not self._bounds.differs(name):
                outputs[name] = np.zeros((state.size, size))
            else:
                outputs |= self._output(state, name, None, rivals).outputs
        return replace(scored, outputs=outputs)

    def _weights(self, name: str, predicted: np.ndarray | None, numbers: np.ndarray) -> np.ndarray:
        """The rows w with these numbers, [n or 1, k, size]: e_v for all v and, with classes [n], e_j - e_i
        for all j; then the negatives of both."""
        size = self._entries[name]
        half = size if predicted is None else 2 * size
        made = np.zeros(
            (1 if predicted is None else len(predicted), len(numbers), size), self._bounds.device.dtype
        )
        places, signs = numbers % size, np.where(numbers < half, 1.0, -1.0)
        made[:, np.arange(len(numbers)), places] = signs
        if predicted is not None:
            scores = np.flatnonzero(numbers % half >= size)
            made[np.arange(len(predicted))[:, None], scores, predicted[:, None]] -= signs[scores]
        return made

    @staticmethod
    def _ends(low: np.ndarray, high: np.ndarray, half: int) -> np.ndarray:
        """[n, 2 half]: upper bounds of e_v · f and of -e_v · f from intervals, +inf for other rows."""
        n, size = len(low), low[0].size
        made = np.full((n, 2 * half), np.inf)
        made[:, :size], made[:, half : half + size] = high.reshape(n, size), -low.reshape(n, size)
        return made

    def _output(self, state: State, name: str, predicted: np.ndarray | None, rivals: bool) -> Bounded:
        """One output. With U of a row w and of its negative, w · f_B - w · f_A is at most U_B(w) + U_A(-w),
        too."""
        size, shape = self._entries[name], self._bounds.network.shapes[name][1:]
        half = size if predicted is None else 2 * size

        def upper(of: Of, boxes: np.ndarray, rows: slice = slice(0, 2 * half)) -> np.ndarray:
            numbers = np.arange(2 * half)[rows]

            def seeds(part: slice, chosen: slice) -> np.ndarray:
                own = boxes[part]
                made = self._weights(name, None if predicted is None else predicted[own], numbers[chosen])
                return np.broadcast_to(made, (len(own), *made.shape[1:])).reshape(len(own), -1, *shape)

            found = self._bounds.upper(state, name, of, len(numbers), seeds, boxes)
            for slope in (True, False) if rivals else ():

                def below(node: Node, known: PairIntervals, slope: bool = slope) -> np.ndarray:
                    return np.full(known.al.shape, slope)

                found = np.fmin(
                    found, self._bounds.upper(state, name, of, len(numbers), seeds, boxes, below=below)
                )
            return found

        everything, scores = np.arange(state.size), slice(size, half)
        if not self._bounds.differs(name):
            assert predicted is not None
            margin = _margins(-upper("a", everything, scores), predicted)
            none = np.zeros((state.size, size))
            return Bounded({name: none}, none.copy(), margin, margin.copy())
        moved = upper("d", everything)
        a, b = (np.full((state.size, 2 * half), np.inf) for _ in range(2))
        if predicted is not None:
            a[:, scores], b[:, scores] = upper("a", everything, scores), upper("b", everything, scores)
        far = np.flatnonzero(self._bounds.far(state, name) & state.valid)
        if len(far):
            known = state.known[name].take(far)
            a[far] = np.fmin(upper("a", far), self._ends(known.al, known.au, half))
            # a bound from both networks by themselves is at least half of A's width
            far = far[(moved[far] > (a[far] + np.roll(a[far], half, axis=1)) / 2).any(axis=1)]
        if len(far):
            known = state.known[name].take(far)
            b[far] = np.fmin(upper("b", far), self._ends(known.bl, known.bu, half))
            moved[far] = np.fmin(moved[far], np.nextafter(b[far] + np.roll(a[far], half, axis=1), np.inf))
        change = np.maximum(np.maximum(moved[:, :half], moved[:, half:]), 0.0)
        outputs = {name: change[:, :size]}
        if predicted is None:
            return Bounded(outputs)
        margin_a, own, change = _margins(-a[:, scores], predicted), -b[:, scores], change[:, size:].copy()
        change[np.arange(state.size), predicted] = 0.0
        with np.errstate(invalid="ignore"):
            # B's margin is A's plus (d_i - d_j), and d_j - d_i is at most `moved`
            gone = moved[:, scores]
            by_change = margin_a - gone
            by_change = by_change - (np.abs(by_change) + np.abs(margin_a) + np.abs(gone)) * 2.0**-50
            margin_b = np.fmax(own, np.where(np.isnan(by_change), -np.inf, by_change))
        return Bounded(outputs, change, margin_a, _margins(margin_b, predicted))
