"""Both files of a pair on the same points: what a user of either one sees, and how far it is apart.

Differences and predicted classes are those of the *declared* outputs, functions at the end included. Beside
them stands the difference of the numbers that the networks give, which is what bounds are about.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from onnxpath.engine.norms import norms
from onnxpath.errors import ModelError, UsageError
from onnxpath.files.rows import Arrays, Sample, batched
from onnxpath.files.runtime import DEFAULT, Runtime
from onnxpath.files.side import Side
from onnxpath.model.interface import Change, changes, paired
from onnxpath.model.matching import Pairing
from onnxpath.model.network import Network
from onnxpath.records import FilesSeen

Class = int | str | tuple | None


def predicted(outputs: Mapping[str, np.ndarray]) -> Class:
    """The class that one sample's outputs name: the place of the largest of the only row of numbers, a single
    whole number or text; all of them where there are several. None where they name none, or hold NaN
    there."""
    scores = [
        y
        for y in outputs.values()
        if y.dtype.kind in "fiu" and y.ndim == 2 and y.shape[0] == 1 and y.shape[1] > 1
    ]
    labels = [y for y in outputs.values() if y.dtype.kind in "iuUSO" and y.size == 1]
    named: list[int | str] = []
    if len(scores) == 1:
        if np.isnan(scores[0].astype(np.float64)).any():
            return None
        named.append(int(scores[0].argmax()))
    for label in labels:
        first = label.reshape(-1)[0]
        named.append(int(first) if label.dtype.kind in "iu" else str(first))
    return named[0] if len(named) == 1 else tuple(named) or None


def gap(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """|a - b|, float64; infinite where one is no number and the other is, everywhere where shapes differ, and
    where texts do."""
    if a.shape != b.shape:
        return np.full(max(a.size, b.size, 1), np.inf)
    if a.dtype.kind not in "fiub" or b.dtype.kind not in "fiub":
        return np.where(a == b, 0.0, np.inf)
    x, y = a.astype(np.float64), b.astype(np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        same = (x == y) | (np.isnan(x) & np.isnan(y))
        found = np.abs(np.where(same, 0.0, x) - np.where(same, 0.0, y))
    return np.where(np.isnan(found), np.inf, found)


@dataclass
class Looked:
    """n points on both files. difference [n]: largest |a - b| of the declared outputs, NaN where they were
    not run. classes: by file, None where there is none. total [n]: Σ|a| + |b| of what the networks stand for,
    NaN where that is not known."""

    difference: np.ndarray
    classes: tuple[list, list]
    total: np.ndarray
    apart: dict[str, np.ndarray]

    @classmethod
    def of(cls, n: int) -> "Looked":
        """n points of which nothing is known yet."""
        return cls(
            np.full(n, np.nan),
            ([None] * n, [None] * n),
            np.full(n, np.nan),
            {norm: np.full(n, np.nan) for norm in ("1", "2", "inf")},
        )

    def inner(self, norm: str) -> np.ndarray:
        """[n]: the norm ("1", "2", "inf") of the difference of what the networks stand for, in the files; NaN
        where that is not known."""
        return self.apart[norm]

    @property
    def complete(self) -> bool:
        """Whether both files ran on all points."""
        return not np.isnan(self.difference).any()

    @property
    def classified(self) -> bool:
        """Whether both name a class everywhere."""
        return all(c is not None for side in self.classes for c in side)

    def differing(self) -> np.ndarray:
        """[n]: where both name a class, and not the same one, or one of them does and the other does not."""
        return np.array([x != y for x, y in zip(*self.classes, strict=True)], bool)


@dataclass
class _Tally:
    """What was seen since the last record."""

    points: int = 0
    value: float = -1.0
    output: str | None = None
    index: int | None = None
    differing: int = 0
    classified: bool = True
    kinds: dict[str, None] = field(default_factory=dict)


class FilePair:
    """Both files of a pair, run on points that are given by the inputs of a."""

    def __init__(
        self, sources: tuple[Any, Any], networks: tuple[Network | None, Network | None],
        runtime: Runtime = DEFAULT,
        pairing: Pairing | None = None, names: Sequence[str] = (),
    ):  # fmt: skip
        """sources: paths, bytes or onnx.ModelProto. networks: what was read out of them, or None. names:
        outputs to look at (default: all). pairing: how inputs and outputs correspond, where the structures
        do; otherwise they are paired as `onnxpath.model.interface.paired` does."""
        first, second = (
            Side(source, network, runtime, names) for source, network in zip(sources, networks, strict=True)
        )
        for name in names:
            known = [port.name for side in (first, second) for port in side.interface.outputs]
            if name not in known:
                raise UsageError(
                    f"neither file has an output '{name}'; their outputs are"
                    f" {', '.join(dict.fromkeys(known))}"
                )
        self._constants: dict[str, float] = {}
        self.sides, self.runtime = (first, second), runtime
        self._tally = _Tally()
        self._inputs = [(x.name, y.name) for x, y in paired(first.interface.inputs, second.interface.inputs)]
        self._outputs = [
            (x.name, y.name) for x, y in paired(first.interface.outputs, second.interface.outputs)
        ]
        self._inner = [] if pairing is None else pairing.output_names()
        if pairing is not None:
            self._inputs = pairing.inputs()

    @property
    def changes(self) -> tuple[Change, ...]:
        """What differs of the interfaces, and of what was seen so far but that no network tells: outputs that
        depend on no input, keys of maps."""
        first, second = self.sides
        read = first.network is not None and second.network is not None
        found = list(changes(*(side.interface if read else side.declared for side in self.sides)))
        for name, apart in self._constants.items():
            found.append(Change("tail", f"output '{name}' depends on no input, and is {apart:.4g} off in B"))
        for name_a, name_b in self._outputs:
            keys = [{} if side.session is None else side.session.keys for side in self.sides]
            if keys[0].get(name_a) != keys[1].get(name_b):
                found.append(
                    Change(
                        "names",
                        f"output '{name_a}' has the keys {keys[0].get(name_a)}, and in B"
                        f" {keys[1].get(name_b)}",
                    )
                )
        return tuple(found)

    @property
    def inputs(self) -> list[tuple[str, str]]:
        """The declared inputs that correspond."""
        return self._inputs

    @property
    def outputs(self) -> list[tuple[str, str]]:
        """The declared outputs that correspond."""
        return self._outputs

    @property
    def running(self) -> bool:
        return all(side.session is not None for side in self.sides)

    def require(self) -> None:
        """Raises ModelError where one of the files is not run."""
        for side in self.sides:
            if side.session is None:
                raise ModelError(side.reason)

    def samples(self, points: Arrays) -> tuple[Arrays, Arrays]:
        """The points by the inputs of either file."""
        first, second = (
            {names[k]: points[names[0]] for names in self._inputs if names[0] in points} for k in (0, 1)
        )
        return first, second

    def run(self, points: Arrays, stacked: bool = False) -> Iterator[tuple[Sample, Sample]]:
        """What both files make of points, one by one."""
        first, second = (
            side.run(own, stacked) for side, own in zip(self.sides, self.samples(points), strict=True)
        )
        return _zipped(first, second)

    def look(self, points: Arrays, kind: str = "given", stacked: bool = False) -> Looked:
        """Run both files on points [n, ...] by the inputs of a (one point without that axis where a's network
        has no batch). kind: where the points come from, for the record."""
        whole = self.sides[0].whole
        if kind == "found" and not self._held(points):
            return Looked.of(1 if whole else batched(points))
        n = 1 if whole else batched(points)
        looked, tally = Looked.of(n), self._tally
        for x, y in self.run(points, stacked):
            looked.difference[x.index] = self._differ(x, y, tally.points + x.index)
            self._apart(looked, x, y)
            looked.classes[0][x.index], looked.classes[1][x.index] = (
                predicted(x.outputs),
                predicted(y.outputs),
            )
        tally.points += n
        tally.kinds[kind] = None
        tally.differing += int(looked.differing().sum())
        tally.classified &= looked.classified
        return looked

    def _held(self, points: Arrays) -> bool:
        """Whether inputs of whole numbers hold these points: what a search finds between them is no input of
        the files."""
        for side, own in zip(self.sides, self.samples(points), strict=True):
            for port in () if side.session is None else side.session.inputs:
                whole = port.name in own and not port.type.startswith(("float", "bfloat", "string"))
                if whole and not np.array_equal(own[port.name], np.rint(own[port.name])):
                    return False
        return True

    def at_once(self, points: Arrays, looked: Looked) -> None:
        """Run both on all points [n, ...] in one batch, too, where both take any number: what differs then
        counts for every point."""
        first, second = (
            side.at_once(own) for side, own in zip(self.sides, self.samples(points), strict=True)
        )
        if first is None or second is None:
            return
        largest = max(
            (
                float(gap(first[a], second[b]).max(initial=0.0))
                for a, b in self._outputs
                if a in first and b in second
            ),
            default=0.0,
        )
        looked.difference[:] = np.fmax(looked.difference, largest)
        if largest > self._tally.value:
            self._tally.value, self._tally.index = largest, 0

    def _differ(self, x: Sample, y: Sample, index: int) -> float:
        largest, tally = 0.0, self._tally
        for name_a, name_b in self._outputs:
            known = name_a in x.outputs and name_b in y.outputs
            found = float(gap(x.outputs[name_a], y.outputs[name_b]).max(initial=0.0)) if known else np.inf
            largest = max(largest, found)
            if found and (name_a in self.sides[0].constants or name_b in self.sides[1].constants):
                self._constants[name_a] = max(found, self._constants.get(name_a, 0.0))
            if found > tally.value:
                tally.value, tally.output, tally.index = found, name_a, index
        return largest

    def _apart(self, looked: Looked, x: Sample, y: Sample) -> None:
        """Note the difference of what the networks stand for."""
        parts = [(x.inner.get(name_a), y.inner.get(name_b)) for name_a, name_b in self._inner]
        known = [
            (a.reshape(-1), b.reshape(-1))
            for a, b in parts
            if a is not None and b is not None and a.size == b.size
        ]
        if not parts or len(known) < len(parts):
            return
        row = np.concatenate([gap(a, b) for a, b in known])
        for norm, values in looked.apart.items():
            found = norms(row[None], norm)[0]
            values[x.index] = found if np.isfinite(found) else np.inf  # what overflows is no small difference
        with np.errstate(over="ignore", invalid="ignore"):
            looked.total[x.index] = sum(
                float(np.abs(y.astype(np.float64)).sum()) for both in known for y in both
            )

    def seen(self) -> FilesSeen:
        """What was seen of both files since the last call; faithfulness is that at the points since then."""
        tally, self._tally = self._tally, _Tally()
        a, b = (side.verdict() for side in self.sides)
        ran = self.running and tally.points > 0 and tally.value >= 0
        return FilesSeen(
            a, b, tuple(tally.kinds), tally.points, tally.value if ran else None,
            tally.output if ran else None, tally.index if ran else None,
            tally.differing if ran and tally.classified else None, self.runtime.to_dict(),
        )  # fmt: skip


def _zipped(a: Iterator[Sample], b: Iterator[Sample]) -> Iterator[tuple[Sample, Sample]]:
    """Both files' outputs for the samples that both give something for, in order."""
    one, other = next(a, None), next(b, None)
    while one is not None or other is not None:
        if one is not None and other is not None and one.index == other.index:
            yield one, other
            one, other = next(a, None), next(b, None)
        elif other is None or (one is not None and one.index < other.index):
            one = next(a, None)
        else:
            other = next(b, None)
