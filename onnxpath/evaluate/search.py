"""The largest difference *found*: both networks of a pair are run on points of a domain, and the best points
are improved.

For every box {low <= x <= high} of a region and the point x̂ that was found in it,

    max_x ‖R_A(x) - R_B(x)‖  >=  ‖R_A(x̂) - R_B(x̂)‖ :

a lower bound, which says how much of a certified upper bound can be real. Tried are the given input, the
corners low and high, random corners and uniform samples; the best of them are improved by sign-gradient
ascent (ascent.py) on the norm (∞-norm: on one output). Rows that no step improves start again, from a random
corner or near the best point of the box.

Points are float32 numbers inside the box, so that exactly they can be given to the files; the reported value
is evaluated again in float64.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from onnxpath.engine.norms import norms
from onnxpath.engine.session import Device
from onnxpath.errors import UsageError
from onnxpath.evaluate.ascent import Ascent
from onnxpath.evaluate.layout import Boxes
from onnxpath.evaluate.pair_runner import PairRunner
from onnxpath.model.domain import Region
from onnxpath.model.matching import Pairing

KINDS = ("given input", "corner", "sample", "ascent")

# Ascents of one box that run side by side where there are several boxes.
_STARTS = 4
# Ascents start again when their step is below this part of the box.
_SMALLEST = 1 / 128
# Ascents in the ∞-norm aim at the outputs of this rank and above.
_AIMS = 16
# float32 values this close may be in the wrong order: all of them are evaluated in float64.
_CLOSE = 0.99


@dataclass(frozen=True, eq=False)
class Found:
    """The largest difference found in one box.

    value: ‖R_A(x) - R_B(x)‖ over all outputs, in float64; None where it is not finite. error: an estimate of
        its rounding.
    point: x by input, [1, ...], float32 (float64 where the box is so thin that it holds no float32 number).
    difference: R_A(x) - R_B(x) by output, float64. how: one of KINDS. before: the largest value before the
    ascent, in the precision of the device; None where no value is finite.
    """

    value: float | None
    error: float
    point: Mapping[str, np.ndarray]
    difference: Mapping[str, np.ndarray]
    how: str
    before: float | None


@dataclass(frozen=True, eq=False)
class Searched:
    """What was found in every box of a region. runs: on how many points both networks were run."""

    boxes: tuple[Found, ...]
    norm: str
    runs: int

    def largest(self) -> int:
        """The index of the box with the largest difference."""
        return max(
            range(len(self.boxes)), key=lambda k: -1.0 if (value := self.boxes[k].value) is None else value
        )


class _Record:
    """The best point of every box, by how it was found."""

    def __init__(self, boxes: Boxes):
        self.values = np.full((boxes.size, len(KINDS)), -np.inf)
        self.points = np.repeat(boxes.low[:, None], len(KINDS), axis=1)

    def update(self, kinds: np.ndarray, boxes: np.ndarray, values: np.ndarray, points: np.ndarray) -> None:
        """kinds, boxes, values: one entry per row of `points`."""
        for kind, box, value, point in zip(kinds, boxes, values, points, strict=True):
            if value > self.values[box, kind]:
                self.values[box, kind], self.points[box, kind] = value, point

    def best(self, box: int) -> np.ndarray:
        return self.points[box, int(self.values[box].argmax())]


def search(
    pairing: Pairing, region: Region, device: Device, *, steps: int, norm: str = "inf", seed: int = 0,
    samples: int | None = None, rows: int | None = None, aim: Mapping[str, np.ndarray] | None = None,
) -> Searched:  # fmt: skip
    """The largest difference found in every box of a region.

    steps: gradient steps of every ascent; a step costs forward and backward of both networks. norm: "1", "2"
    or "inf", over all outputs. samples: how many random corners and uniform points are tried before (default:
    as many as suit the size of the network). rows: how many points are run at once (default: by the size of
    the network). aim: per output [boxes, ...] (or [1, ...]), which outputs to aim at first in the ∞-norm,
    such as their certified bounds; without it those that differ most so far. The result depends on nothing
    but the arguments. Raises UsageError for arguments that make no sense.
    """
    if norm not in ("1", "2", "inf"):
        raise UsageError(f"the norm is 1, 2 or inf, not {norm}")
    if steps < 0 or (samples is not None and samples < 0) or (rows is not None and rows < 1):
        raise UsageError(
            f"steps and samples must be >= 0 and rows >= 1, but are {steps}, {samples} and {rows}"
        )
    runner = PairRunner(pairing, device, rows)
    count = region.size if pairing.a.batched else 1
    starts = runner.rows if count == 1 else min(_STARTS, runner.rows)
    tries = max(8, 4 * starts) if samples is None else samples
    aims = (
        None
        if aim is None
        else runner.outputs.matrix({name: np.asarray(aim[name]) for name in pairing.a.outputs})
    )
    found: list[Found] = []
    together = max(1, runner.rows // starts)
    for first in range(0, count, together):
        index = slice(first, min(count, first + together))
        rngs = [np.random.default_rng([seed, k]) for k in range(index.start, index.stop)]
        wanted = aims if aims is None or len(aims) == 1 else aims[index]
        found += _search(
            runner, Boxes(runner.inputs, region, index), norm, steps, starts, tries, wanted, rngs
        )
    return Searched(tuple(found), norm, runner.runs)


def _search(
    runner: PairRunner,
    boxes: Boxes,
    norm: str,
    steps: int,
    starts: int,
    tries: int,
    aim: np.ndarray | None,
    rngs: list[np.random.Generator],
) -> list[Found]:
    """All boxes of a chunk side by side."""
    record = _Record(boxes)
    if boxes.single:
        tries, steps = 0, 0
    candidates = [list(_candidates(boxes, k, tries, rng)) for k, rng in enumerate(rngs)]
    each = len(candidates[0])
    points = np.stack([point for some in candidates for _, point in some])
    kinds = np.array([KINDS.index(kind) for some in candidates for kind, _ in some])
    difference = runner.differences(points)
    values = norms(difference, norm)
    owners = np.repeat(np.arange(boxes.size), each)
    record.update(kinds, owners, values, points)
    before = record.values.max(1)
    if steps:
        order = np.argsort(-values.reshape(boxes.size, each), axis=1, kind="stable")[:, :starts]
        chosen = (np.arange(boxes.size)[:, None] * each + order).reshape(-1)
        with np.errstate(invalid="ignore"):
            size = np.nan_to_num(np.abs(difference), nan=0.0)
        aims = (
            size.reshape(boxes.size, each, -1).max(1)
            if aim is None
            else np.broadcast_to(aim, (boxes.size, runner.outputs.size))
        )
        aims = np.argsort(-aims, axis=1, kind="stable")[:, :_AIMS]
        _Climb(runner, boxes, norm, record, rngs, aims).run(points[chosen], size[chosen].argmax(1), steps)
    return _evaluated(runner, boxes, norm, record, before)


def _candidates(
    boxes: Boxes, k: int, tries: int, rng: np.random.Generator
) -> Iterator[tuple[str, np.ndarray]]:
    """Points of box k to try first."""
    if boxes.centers is not None:
        yield "given input", boxes.centers[k]
    yield "corner", boxes.low[k]
    if boxes.single:
        return
    yield "corner", boxes.high[k]
    yield "sample", boxes.between(k, np.full(boxes.low.shape[1], 0.5))
    for number in range(tries):
        if number % 2:
            yield "sample", boxes.between(k, rng.random(boxes.low.shape[1]))
        else:
            yield "corner", boxes.corner(k, rng)


class _Climb:
    """Ascents of a norm, one per row; rows are the boxes' starts, box by box."""

    def __init__(
        self,
        runner: PairRunner,
        boxes: Boxes,
        norm: str,
        record: _Record,
        rngs: list[np.random.Generator],
        aims: np.ndarray,
    ):
        """aims: [boxes, some], indices of outputs to aim at, the most promising first."""
        self._runner, self._boxes, self._norm = runner, boxes, norm
        self._record, self._rngs, self._aims = record, rngs, aims
        self._restarts = np.zeros(boxes.size, int)

    def run(self, points: np.ndarray, targets: np.ndarray, steps: int) -> None:
        """points [rows, entries]; targets: the output that differs most at each of them."""
        rows, boxes = len(points), self._boxes
        owners = np.repeat(np.arange(boxes.size), rows // boxes.size)
        targets = targets.copy()
        for row in range(rows):  # every other start aims at an output of its own
            place = row % (rows // boxes.size)
            if place % 2:
                targets[row] = self._aims[owners[row], place // 2 % self._aims.shape[1]]
        ascent = Ascent(boxes, owners, points)
        weights = self._weights(np.ones((rows, self._runner.outputs.size), np.float32), targets)
        kinds = np.full(rows, KINDS.index("ascent"))
        for number in range(steps):
            difference, gradient = self._runner.gradient(points, weights, "absolute")
            values = norms(difference, self._norm)
            if number:  # the starts themselves were found otherwise
                self._record.update(kinds, owners, values, points)
            better = ascent.take(points, self._reached(difference, values, targets), gradient)
            if self._norm == "2":
                weights[better] = np.abs(np.nan_to_num(difference[better], posinf=0.0, neginf=0.0))
            points = ascent.step()
            for row in map(int, np.flatnonzero((ascent.pace < _SMALLEST) | (points == ascent.best).all(1))):
                points[row], targets[row], pace = self._again(owners[row], targets[row])
                ascent.restart(row, pace)
                weights[row] = self._weights(
                    np.ones((1, weights.shape[1]), np.float32), targets[row : row + 1]
                )[0]

    def _weights(self, ones: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """∞-norm: one output per row; otherwise all of them (the 2-norm's follow the differences)."""
        if self._norm == "inf":
            ones[:] = 0
            ones[np.arange(len(ones)), targets] = 1
        return ones

    def _reached(self, difference: np.ndarray, values: np.ndarray, targets: np.ndarray) -> np.ndarray:
        if self._norm != "inf":
            return values
        aimed = np.abs(difference[np.arange(len(difference)), targets].astype(np.float64))
        return np.where(np.isfinite(aimed), aimed, -np.inf)

    def _again(self, box: int, target: int) -> tuple[np.ndarray, int, float]:
        """Where a row starts again: a random corner, or the best point with a quarter of its entries moved to
        a corner."""
        number, rng = int(self._restarts[box]), self._rngs[box]
        self._restarts[box] += 1
        aims = self._aims[box]
        corner = self._boxes.corner(box, rng)
        if number % 3 == 2:
            return corner, int(aims[number % len(aims)]), 1.0
        stay = rng.random(len(corner)) < 0.75
        return (
            np.where(stay, self._record.best(box), corner),
            target if number % 3 else int(aims[number % len(aims)]),
            0.5,
        )


def _evaluated(
    runner: PairRunner, boxes: Boxes, norm: str, record: _Record, before: np.ndarray
) -> list[Found]:
    """The best points of every box again, in float64."""
    found = []
    for box in range(boxes.size):
        values = record.values[box]
        top = values.max()
        kinds = np.flatnonzero(values >= _CLOSE * top) if np.isfinite(top) else np.arange(1)
        points = record.points[box, kinds] if np.isfinite(top) else boxes.low[box : box + 1]
        points = boxes.placed(box, points)
        a, b = runner.values(points, exact=True)
        with np.errstate(invalid="ignore", over="ignore"):
            difference, sizes = a - b, norms(np.abs(a) + np.abs(b), norm)
        reached = norms(difference, norm)
        k = int(reached.argmax())
        value = float(reached[k])
        # what float32 rounded, scaled to float64's unit and enlarged; and a few hundred units of the outputs
        noise = (
            abs(float(values[kinds[k]]) - value) * 2.0**-23
            if np.isfinite(top) and np.isfinite(value)
            else 0.0
        )
        point, end = boxes.stored(box, points[k : k + 1]), runner.outputs.arrays(difference[k : k + 1])
        error = max(1e-12 * float(sizes[k]), noise) if np.isfinite(value) else 0.0
        how = KINDS[kinds[k]] if np.isfinite(top) else "corner"
        start = float(before[box]) if np.isfinite(before[box]) else None
        found.append(
            Found(value if np.isfinite(value) else None, error, runner.inputs.arrays(point), end, how, start)
        )
    return found
