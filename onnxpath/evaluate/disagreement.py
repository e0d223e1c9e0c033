"""Looking for inputs of boxes where two networks differ much, or predict different classes (docs/certify.md,
section 6).

Differences: sign-gradient steps on ±(y_v)_B - (y_v)_A and on differences of scores, from the given input and
    from random points.

Classes: sign-gradient steps towards every other class, for A and for B, until one of them leaves the class i
of the given input. Both predict i at one end of the segment to that input and not both at the other:
bisection closes in on the place where the first of them changes its class. Unless both change it at the same
float32 input, they disagree in between.
"""

from dataclasses import dataclass

import numpy as np

from onnxpath.engine.session import Device
from onnxpath.evaluate.ascent import Ascent
from onnxpath.evaluate.displacement import Displacement
from onnxpath.evaluate.layout import Boxes
from onnxpath.evaluate.pair_runner import Objective, PairRunner, fitting
from onnxpath.model.domain import Region
from onnxpath.model.matching import Pairing

# Differences of so many outputs and scores are aimed at.
_AIMS = 8
_HALVINGS = 26
# Estimates of what forward passes in float64 and in float32 round, relative to their results.
_NOISE, _SINGLE = 1e-13, 2e-6


@dataclass(frozen=True, eq=False)
class LowerBounds:
    """What was found in n boxes. differences [n, outputs]: largest |f_A - f_B|, float64, by output entry;
    changes [n, classes]: of y_i - y_j; noise [n]: an estimate of what float64 rounds. points: where they
    disagree, rows of the layout, by box. margin_a, margin_b [n, classes]: the smallest y_i - y_j; +inf at i.
    tried [rows, entries]: the points beyond the given inputs that were evaluated, of the boxes owners
    [rows]."""

    differences: np.ndarray
    changes: np.ndarray | None
    noise: np.ndarray
    points: dict[int, np.ndarray]
    margin_a: np.ndarray | None = None
    margin_b: np.ndarray | None = None
    tried: np.ndarray | None = None
    owners: np.ndarray | None = None


def one_hot(places: np.ndarray, size: int) -> np.ndarray:
    """float32 [..., size]: 1 at these places."""
    made = np.zeros((*places.shape, size), np.float32)
    np.put_along_axis(made, places[..., None], 1, axis=-1)
    return made


@dataclass(frozen=True, eq=False)
class CenterValues:
    """f_A and f_B - f_A at given inputs, [n, outputs]; noise: what their rounding may be, relative to f."""

    a: np.ndarray
    d: np.ndarray
    noise: float


class BoxSearch:
    """The search of one pair, for any boxes."""

    def __init__(self, pairing: Pairing, device: Device, classes: bool):
        self._runner = PairRunner(pairing, device, fitting(pairing.a))
        self.inputs, self.outputs = self._runner.inputs, self._runner.outputs
        self._objectives: tuple[Objective, ...] = ("a", "b") if classes else ()

    def centers(self, region: Region) -> "CenterValues":
        """At the given inputs, in float64."""
        assert region.centers is not None
        a, b = self._runner.values(self.inputs.matrix(dict(region.centers)), exact=True)
        return CenterValues(a, b - a, _NOISE)

    def moved(self, region: Region, displacement: Displacement) -> "CenterValues":
        """At the given inputs, by a pass of its own (evaluate/displacement.py)."""
        assert region.centers is not None
        values, shifts = displacement.run(dict(region.centers))
        return CenterValues(
            self.outputs.matrix(values),
            self.outputs.matrix(shifts),
            _NOISE if self._runner.device.precision == "float64" else _SINGLE,
        )

    def differences(
        self, region: Region, limits: np.ndarray, predicted: np.ndarray | None, steps: int,
        rng: np.random.Generator, given: "CenterValues",
    ) -> LowerBounds:  # fmt: skip
        """The largest differences; limits [n, outputs]: certified ones, the largest are aimed at first.
        given: what is known at the given inputs."""
        boxes = Boxes(self.inputs, region, slice(0, region.size))
        n, size = limits.shape
        start = boxes.centers
        assert start is not None
        everything, belongs = [start], [np.arange(n)]
        a, d = given.a, given.d
        if steps and not boxes.single:
            owners, weight = self._aims(limits, predicted)
            weight = weight * np.where((weight * d[owners]).sum(axis=1) < 0, 1, -1)[:, None].astype(
                np.float32
            )
            points = self._ascended(boxes, "difference", owners, weight, steps, rng)
            first, second = self._runner.values(points, exact=True)
            everything, belongs = [start, points], [np.arange(n), owners]
            a, d = np.concatenate([a, first]), np.concatenate([d, second - first])
        everything, belongs = np.concatenate(everything), np.concatenate(belongs)
        b = a + d
        with np.errstate(invalid="ignore"):
            size_of = np.nan_to_num(np.abs(d), nan=0.0, posinf=0.0)
            noise = given.noise * np.nan_to_num(np.maximum(np.abs(a), np.abs(b)).max(axis=1), posinf=0.0)
        found, rough = np.zeros((n, size)), np.zeros(n)
        np.maximum.at(found, belongs, size_of)
        np.maximum.at(rough, belongs, noise)
        changes, margins = None, [None, None]
        if predicted is not None:
            rows = np.arange(len(d)), predicted[belongs]
            margins = [np.full((n, size), np.inf) for _ in range(2)]
            for least, values in zip(margins, (a, b), strict=True):
                with np.errstate(invalid="ignore"):
                    np.minimum.at(least, belongs, np.nan_to_num(values[rows][:, None] - values, nan=np.inf))
                least[np.arange(n), predicted] = np.inf
            moved = np.nan_to_num(np.abs(d[rows][:, None] - d), nan=0.0, posinf=0.0)
            changes = np.zeros((n, size))
            np.maximum.at(changes, belongs, moved)
        points = {}
        if predicted is not None:
            for row in np.flatnonzero(a.argmax(axis=1) != b.argmax(axis=1)):
                points.setdefault(int(belongs[row]), everything[row])
        return LowerBounds(
            found, changes, rough, points, margins[0], margins[1], tried=everything[n:], owners=belongs[n:]
        )

    @staticmethod
    def _aims(limits: np.ndarray, predicted: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        """Combinations of outputs to look for differences of, [rows, outputs], and the boxes of the rows:
        those with the largest limits, and score differences with the predicted class."""
        n, size = limits.shape
        order = np.argsort(-np.nan_to_num(limits, posinf=1e300), axis=1, kind="stable")[:, :_AIMS]
        weights = [one_hot(order, size)]
        if predicted is not None:
            others = [row[row != predicted[k]][: _AIMS - 1] for k, row in enumerate(order)]
            width = min(len(row) for row in others)
            weights.append(
                one_hot(predicted, size)[:, None] - one_hot(np.stack([row[:width] for row in others]), size)
            )
        weight = np.concatenate(weights, axis=1)
        return np.repeat(np.arange(n), weight.shape[1]), weight.reshape(-1, size)

    def _ascended(
        self,
        boxes: Boxes,
        objective: Objective,
        owners: np.ndarray,
        weight: np.ndarray,
        steps: int,
        rng: np.random.Generator,
    ) -> np.ndarray:
        """The best point of every ascent of weight · outputs from the centre of its box, by steps along the
        signs of the gradient. Some start again half-way, from a random corner."""
        assert boxes.centers is not None
        points = boxes.centers[owners]
        ascent = Ascent(boxes, owners, points)
        for step in range(steps + 1):
            value, toward = self._runner.gradient(points, weight, objective)
            ascent.take(points, np.nan_to_num((weight * value).sum(axis=1), nan=-np.inf), toward)
            if step < steps:
                points = ascent.step()
                if step == steps // 2:
                    for row in np.flatnonzero(rng.random(len(points)) < 0.3):
                        points[row] = boxes.corner(owners[row], rng)
        return ascent.best

    def classes_of(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        a, b = self._runner.values(points)
        return a.argmax(axis=1), b.argmax(axis=1)

    def disagreements(
        self, region: Region, predicted: np.ndarray, margins: np.ndarray, steps: int, rng: np.random.Generator
    ) -> dict[int, list]:
        """Points where A and B predict different classes, by box, as far as float32 tells. margins [n,
        classes]: the classes with the smallest ones are tried first."""
        boxes = Boxes(self.inputs, region, slice(0, region.size))
        n, size = margins.shape
        start = boxes.centers
        assert start is not None
        found: dict[int, list] = {}

        def look(owners: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            a, b = self.classes_of(points)
            for row in np.flatnonzero(a != b):
                waiting = found.setdefault(int(owners[row]), [])
                if len(waiting) < 4:
                    waiting.append(points[row].copy())
            return a, b

        look(np.arange(n), start)
        if boxes.single:
            return found
        order = np.argsort(margins, axis=1, kind="stable")
        rivals = np.stack([row[row != predicted[k]][: min(5, size - 1)] for k, row in enumerate(order)])
        aims = rivals.shape[1]
        owners, rivals = np.repeat(np.arange(n), aims), rivals.reshape(-1)
        weight = one_hot(rivals, size) - one_hot(predicted[owners], size)
        for objective in self._objectives:
            best = self._ascended(boxes, objective, owners, weight, steps, rng)
            a, b = look(owners, best)
            left = np.flatnonzero((a != predicted[owners]) | (b != predicted[owners]))
            if len(left):
                self._bisect(boxes, owners[left], start[owners[left]], best[left], predicted, look)
        return found

    def _bisect(
        self,
        boxes: Boxes,
        owners: np.ndarray,
        inner: np.ndarray,
        outer: np.ndarray,
        predicted: np.ndarray,
        look,
    ) -> None:
        """Both predict the class of the box at `inner`, not both at `outer`."""
        inner, outer = inner.copy(), outer.copy()
        for _ in range(_HALVINGS):
            middle = np.clip(
                ((inner.astype(np.float64) + outer) / 2).astype(np.float32),
                boxes.low[owners],
                boxes.high[owners],
            )
            a, b = look(owners, middle)
            stays = (a == predicted[owners]) & (b == predicted[owners])
            inner[stays], outer[~stays] = middle[stays], middle[~stays]
