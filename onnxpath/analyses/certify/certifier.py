"""One pair and what is built for it once: the stages of `certify` for some boxes (docs/certify.md).

Effort 0 takes the intervals of all boxes, effort 1 their backward pass, and a search where they are not known
to agree. What is still open then is refined, a few boxes at a time.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from time import monotonic
from typing import Any

import numpy as np

from onnxpath.analyses.bound.classes import class_output
from onnxpath.analyses.certify.on_files import FilesOnBoxes
from onnxpath.boxes.certified import Bounded, Outputs
from onnxpath.boxes.local_bounds import LocalBounds, narrowed
from onnxpath.boxes.refinement import Refinement
from onnxpath.boxes.state import OutOfTimeError, State
from onnxpath.engine.session import Device
from onnxpath.errors import UsageError, ViolationError
from onnxpath.evaluate.disagreement import BoxSearch, LowerBounds
from onnxpath.evaluate.displacement import Displacement
from onnxpath.files.pair import FilePair
from onnxpath.model.domain import Region
from onnxpath.model.matching import Pairing
from onnxpath.records import Change, FilesSeen, InputCertificate

# Boxes that are refined together: one for so many rows of a pass.
_ROWS = 128
# Networks whose layers' weights differ by no more than this share can be compared at a point in float32
# (evaluate/displacement.py).
_LIKE = 0.5


@dataclass(frozen=True)
class Options:
    """effort: 0 to 3, the last stage. search: gradient steps of every search, 0 for none beyond the given
    inputs (None: 10, at effort 0 none). tighten: use the whole effort for bounds on decided boxes too.
    time_limit: seconds. resume: a file that keeps what is finished; force: start it again where the file
    there is none of this run."""

    effort: int = 2
    search: int | None = None
    seed: int = 0
    tighten: bool = False
    time_limit: float | None = None
    resume: str | None = None
    force: bool = False

    @property
    def steps(self) -> int:
        return self.search if self.search is not None else 10 if self.effort else 0

    def check(self) -> None:
        if not 0 <= self.effort <= 3:
            raise UsageError(f"the effort must be 0, 1, 2 or 3, not {self.effort}")
        if self.search is not None and self.search < 0:
            raise UsageError(f"the number of search steps must be >= 0, not {self.search}")
        if self.time_limit is not None and not self.time_limit > 0:
            raise UsageError(f"the time limit must be a number of seconds > 0, not {self.time_limit:g}")


def cut(region: Region, index: np.ndarray) -> Region:
    """Some boxes of a region."""

    def part(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {
            name: np.broadcast_to(array, (region.size, *array.shape[1:]))[index]
            for name, array in arrays.items()
        }

    assert region.centers is not None
    return Region(part(region.low), part(region.high), part(region.centers), False)


class Certifier:
    """Everything that is built once for a pair."""

    def __init__(self, pairing: Pairing, device: Device, options: Options, files: FilePair | None):
        """files: both files of the pair, to run at every point that is tried; None where the networks come
        from none."""
        self._pairing, self._options = pairing, options
        self._files = None if files is None else FilesOnBoxes(files)
        if not options.effort:
            device = narrowed(pairing.a, device)
        self._bounds = LocalBounds(pairing, device, backward=options.effort > 0)
        self._refinement = Refinement(self._bounds)
        self._output = class_output(pairing.a)
        self._search = BoxSearch(pairing, device, self._output is not None)
        self._outputs = Outputs(self._bounds, self._output)
        self.together = self._bounds.together
        # without a search the given inputs are all that is evaluated; there float32 is enough, but for
        # networks that cancel what differs
        quick = not options.effort and not options.steps and self._bounds.distance <= _LIKE
        self._displacement = (
            Displacement(self._bounds.network, self._bounds.coefficients, device) if quick else None
        )

    def notes(self) -> list[str]:
        found = []
        if self._output is None:
            found.append("no single output of class scores [batch, classes]: differences only, no verdicts")
        if self._outputs.large:
            found.append(
                "outputs with too many entries for the backward pass have interval bounds:"
                f" {', '.join(self._outputs.large)}"
            )
        if self._refinement.left and self._options.effort < 3:
            most = max(self._refinement.left, key=lambda name: self._refinement.left[name])
            found.append(
                f"activations with too many arguments in doubt keep their intervals (node '{most}':"
                f" {self._refinement.left[most]}); --effort 3 bounds them one by one, in minutes or hours for"
                " an input"
            )
        if self._files is not None and self._files.unchecked:
            found.append(
                f"{self._files.unchecked} inputs have a disagreement that could not be checked on the files:"
                f" {self._files.reason}"
            )
        return found

    def kept(self) -> dict[str, Any]:
        """What the notes tell of the boxes so far, for a journal."""
        return {
            "left": dict(self._refinement.left),
            "unchecked": 0 if self._files is None else self._files.unchecked,
        }

    def restore(self, kept: Mapping[str, Any]) -> None:
        """Go on from what `kept` gave."""
        self._refinement.left.update(kept.get("left", {}))
        if self._files is not None:
            self._files.unchecked = kept.get("unchecked", 0)

    def run(self, region: Region, index: np.ndarray, deadline: float) -> list[InputCertificate]:
        """The certificates of some boxes."""
        n = region.size
        if monotonic() > deadline:
            return [
                InputCertificate(int(k), "undecided" if self._output else None, None, {}, {}, finished=False)
                for k in index
            ]
        rng = np.random.default_rng([self._options.seed, int(index[0])])
        given = (
            self._search.centers(region)
            if self._displacement is None
            else self._search.moved(region, self._displacement)
        )
        predicted = given.a.argmax(axis=1) if self._output is not None else None
        state = self._bounds.start(dict(region.low), dict(region.high))
        state.deadline = deadline
        bounded = self._outputs.intervals(state, predicted)
        stage, points = np.zeros(n, int), {}
        finished = self._stages(state, region, bounded, predicted, stage, points, rng)
        steps = self._options.steps if monotonic() < deadline else 0
        lower = self._search.differences(region, bounded.all(), predicted, steps, rng, given)
        self._verify(lower, bounded, region, points)
        agree = bounded.agree() if predicted is not None else np.zeros(n, bool)
        seen = self._on_files(region, lower, points, agree, predicted is not None)
        return [
            replace(
                self._record(k, int(index[k]), bounded, agree[k], lower, predicted, stage, finished, points),
                files=seen.get(k),
            )
            for k in range(n)
        ]

    def _on_files(
        self, region: Region, lower: LowerBounds, points: dict, agree: np.ndarray, classified: bool
    ) -> dict[int, FilesSeen]:
        """Both files at the centre of every box and at every point that was tried in it. A box in which they
        predict different classes does not agree, whatever is proved of the networks: `points` gets the point,
        `agree` is changed."""
        if self._files is None:
            return {}
        assert region.centers is not None and lower.tried is not None
        found = {}
        for k in range(region.size):
            tried = [lower.tried[lower.owners == k]] + ([points[k][1][None]] if k in points else [])
            if not self._pairing.a.batched:  # one point at a time
                tried = [row[None] for rows in tried for row in rows]
            arrays = [self._search.inputs.arrays(rows) for rows in tried if len(rows)]
            center = {
                name: array[k : k + 1] if self._pairing.a.batched else array
                for name, array in region.centers.items()
            }
            differ = self._files.look(center, arrays)
            if differ.point is not None and classified:
                agree[k] = False
                if differ.classes is not None and k not in points:
                    points[k] = (differ.classes, self._search.inputs.matrix(differ.point)[0])
            found[k] = differ.seen
        return found

    def _stages(
        self, state: State, region: Region, bounded: Bounded, predicted: np.ndarray | None, stage: np.ndarray,
        points: dict[int, tuple],
        rng: np.random.Generator,
    ) -> np.ndarray:  # fmt: skip
        """Improve `bounded` in place, box by box until it is decided. Which boxes are finished, [n]."""
        last = self._options.effort

        def open_boxes() -> np.ndarray:
            if predicted is None or self._options.tighten:
                return state.valid.copy()
            return state.valid & ~bounded.agree() & ~np.isin(np.arange(state.size), list(points))

        if last > 0 and state.valid.any():
            index = np.flatnonzero(state.valid)
            try:
                bounded.meet(
                    index,
                    self._outputs.backward(
                        state.take(index), None if predicted is None else predicted[index]
                    ),
                )
            except OutOfTimeError:
                return np.zeros(state.size, bool) if predicted is None else bounded.agree()
            stage[index] = 1
            if predicted is not None:
                self._falsify(region, bounded, predicted, points, rng)
        if last < 2:
            return np.ones(state.size, bool)
        left = np.flatnonzero(open_boxes())
        # a few boxes at a time: what fills the passes, so that a time limit finds most boxes finished or not
        #     begun
        few = max(1, self._bounds.rows // _ROWS)
        for index in (left[k : k + few] for k in range(0, len(left), few)):
            part = state.take(index)
            for effort in range(2, last + 1):
                try:
                    self._refinement.run(part, maxima=effort > 2)
                    found = self._outputs.backward(
                        part, None if predicted is None else predicted[index], rivals=effort > 2
                    )
                except OutOfTimeError:
                    return ~open_boxes() | (stage == last)
                bounded.meet(index, found)
                stage[index] = effort
                keep = np.flatnonzero(open_boxes()[index] & part.valid)
                index, part = index[keep], part.take(keep)
                if not len(index):
                    break
        return np.ones(state.size, bool)

    def _falsify(
        self, region: Region, bounded: Bounded, predicted: np.ndarray, points: dict, rng: np.random.Generator
    ) -> None:
        """Look for disagreements in the boxes that are not known to agree."""
        left = np.array([k for k in np.flatnonzero(~bounded.agree()) if k not in points], int)
        if not len(left):
            return
        assert bounded.margin_a is not None
        found = self._search.disagreements(
            cut(region, left), predicted[left], bounded.margin_a[left], self._options.steps, rng
        )
        for k, candidates in found.items():
            for point in candidates:
                classes = self._checked(point)
                if classes is not None:
                    points[int(left[k])] = (classes, point)
                    break

    def _checked(self, point: np.ndarray) -> tuple[Any, Any] | None:
        """The classes that both files predict at a point, where they differ."""
        return None if self._files is None else self._files.classes(self._search.inputs.arrays(point[None]))

    def _verify(self, lower: LowerBounds, bounded: Bounded, region: Region, points: dict) -> None:
        """Nothing found may lie above what is certified, and no disagreement in a box that agrees."""
        pairing = self._pairing
        limit = bounded.all()
        above = lower.differences - lower.noise[:, None] > limit
        if (
            lower.changes is not None
            and lower.margin_a is not None
            and lower.margin_b is not None
            and bounded.changes is not None
        ):
            above |= lower.changes - 2 * lower.noise[:, None] > bounded.changes
            for found, certain in ((lower.margin_a, bounded.margin_a), (lower.margin_b, bounded.margin_b)):
                above |= (
                    found + 2 * lower.noise[:, None] < certain
                )  # so that no disagreement is found in a box that agrees, either
        if above.any():
            box, output = (int(k[0]) for k in np.nonzero(above))
            raise ViolationError(
                f"{pairing.a.path} and {pairing.b.path} differ by {lower.differences[box, output]!r} at"
                f" output {output} in the box around input {box} of a chunk, where the certified bound is"
                f" {limit[box, output]!r}: this, the change of a score difference or a margin is beyond what"
                " is certified",
                {name: array[box : box + 1] for name, array in (region.centers or {}).items()},
            )
        for k, point in lower.points.items():
            if k not in points and not bounded.agree()[k]:
                classes = self._checked(point)
                if classes is not None:
                    points[k] = (classes, point)

    def _record(
        self, k: int, index: int, bounded: Bounded, agree: bool, lower: LowerBounds,
        predicted: np.ndarray | None, stage: np.ndarray, finished: np.ndarray, points: dict,
    ) -> InputCertificate:  # fmt: skip
        """One box as a record."""
        labels = dict(zip(self._pairing.a.outputs, self._pairing.a.output_names, strict=True))
        outputs = {labels[name]: tuple(values[k].tolist()) for name, values in bounded.outputs.items()}
        found, start = {}, 0
        for name, values in bounded.outputs.items():
            # what was found is at most the bound, but for what its evaluation rounds
            found[labels[name]] = tuple(
                np.minimum(lower.differences[k, start : start + values.shape[1]], values[k]).tolist()
            )
            start += values.shape[1]
        made = InputCertificate(
            index, None, None, outputs, found, (), None, None, int(stage[k]), bool(finished[k])
        )
        if (
            predicted is None
            or bounded.changes is None
            or bounded.margin_a is None
            or bounded.margin_b is None
        ):
            return made
        i = int(predicted[k])
        others = [j for j in range(bounded.changes.shape[1]) if j != i]
        changes = tuple(
            Change(
                j,
                float(bounded.changes[k, j]),
                (
                    None
                    if lower.changes is None
                    else min(float(lower.changes[k, j]), float(bounded.changes[k, j]))
                ),
            )
            for j in others
        )
        margin_a, margin_b = (float(m[k, others].min()) for m in (bounded.margin_a, bounded.margin_b))
        verdict, classes, point = "undecided", None, None
        if agree:
            verdict = "agree"
        elif k in points:
            verdict, classes = "disagree", points[k][0]
            point = self._search.inputs.arrays(np.asarray(points[k][1])[None])
        return replace(
            made,
            verdict=verdict,
            predicted=i,
            changes=changes,
            margin_a=margin_a,
            margin_b=margin_b,
            classes=classes,
            point=point,
        )
