"""Both files of a pair on the same points: what a user of either one sees, and how far it is apart.

Differences and predicted classes are those of the *declared* outputs, functions at the end included.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from onnxpath.files.rows import Arrays
from onnxpath.files.runtime import DEFAULT, Runtime
from onnxpath.files.side import Side
from onnxpath.interface import paired
from onnxpath.matching import Pairing
from onnxpath.network import Network
from onnxpath.results import FilesSeen


def predicted(outputs: Mapping[str, np.ndarray]) -> Any:
    """The class that one sample's outputs name: the place of the largest of the only row of numbers, or the only single whole number or
    text. None where they name none, or hold NaN there."""
    scores = [y for y in outputs.values() if y.dtype.kind in "fiu" and y.ndim == 2 and y.shape[0] == 1 and y.shape[1] > 1]
    labels = [y for y in outputs.values() if y.dtype.kind in "iuUSO" and y.size == 1]
    if len(scores) == 1:
        return None if np.isnan(scores[0].astype(np.float64)).any() else int(scores[0].argmax())
    if not scores and len(labels) == 1:
        label = labels[0].reshape(-1)[0]
        return int(label) if labels[0].dtype.kind in "iu" else str(label)
    return None


@dataclass
class Looked:
    """n points on both files. difference [n]: largest |a - b| of the declared outputs, NaN where they were not run. classes: by file, None
    where there is none. complete: both files ran on all points."""

    difference: np.ndarray
    classes: tuple[list, list]
    complete: bool = True

    def differing(self) -> np.ndarray:
        """[n]: where both name a class, and not the same one."""
        return np.array([x is not None and y is not None and x != y for x, y in zip(*self.classes, strict=True)], bool)


@dataclass
class _Most:
    """The largest difference seen so far."""

    value: float = -1.0
    output: str | None = None
    index: int | None = None


def gap(a: np.ndarray, b: np.ndarray) -> float:
    """The largest |a - b|; infinite where shapes differ, one is no number where the other is, or texts differ."""
    if a.shape != b.shape and a.size != 1 != b.size:
        return np.inf
    if a.dtype.kind not in "fiub" or b.dtype.kind not in "fiub":
        return 0.0 if a.shape == b.shape and bool(np.all(a == b)) else np.inf
    if a.shape != b.shape:
        return np.inf
    x, y = a.astype(np.float64), b.astype(np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        same = (x == y) | (np.isnan(x) & np.isnan(y))
        found = np.abs(np.where(same, 0.0, x) - np.where(same, 0.0, y))
    return float(np.where(np.isnan(found), np.inf, found).max(initial=0.0))


@dataclass
class FilePair:
    """Both files of a pair, run on points given by the inputs of a.

    sources: paths, bytes or onnx.ModelProto; networks: what was read out of them. pairing: how inputs correspond, where the structures do;
    otherwise inputs are paired as `onnxpath.interface.paired` does.
    """

    sources: tuple[Any, Any]
    networks: tuple[Network, Network]
    runtime: Runtime = DEFAULT
    inputs: list[tuple[str, str]] | None = None
    sides: tuple[Side, Side] = field(init=False)
    _most: _Most = field(init=False, default_factory=_Most)
    _points: int = field(init=False, default=0)
    _differing: int = field(init=False, default=0)
    _classified: bool = field(init=False, default=True)
    _kinds: dict[str, None] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        first, second = (Side(s, network, self.runtime) for s, network in zip(self.sources, self.networks, strict=True))
        self.sides = first, second
        ports = [network.interface.inputs for network in self.networks]
        own = [[port for port in side if port.name in network.inputs] for side, network in zip(ports, self.networks, strict=True)]
        if self.inputs is None:
            self.inputs = [(x.name, y.name) for x, y in paired(*own)]
        self._outputs = [(x.name, y.name) for x, y in paired(self.networks[0].interface.outputs, self.networks[1].interface.outputs)]

    @classmethod
    def of(cls, pairing: Pairing, networks: tuple[Network, Network], sources: tuple[Any, Any], runtime: Runtime = DEFAULT) -> "FilePair":
        """For a pair whose structures correspond."""
        return cls(sources, networks, runtime, pairing.inputs())

    @property
    def running(self) -> bool:
        return all(side.session is not None for side in self.sides)

    def look(self, points: Arrays, kind: str = "given") -> Looked:
        """Run both files on points [n, ...] by the inputs of a (one point without that axis where a's network has no batch). kind: where the
        points come from, for the record."""
        assert self.inputs is not None
        n = 1 if self.sides[0].whole else len(next(iter(points.values())))
        looked = Looked(np.full(n, np.nan), ([None] * n, [None] * n))
        first, second = (
            side.run({names[k]: points[names[0]] for names in self.inputs if names[0] in points}) for k, side in enumerate(self.sides)
        )
        met = 0
        for k, x, y in _zipped(first, second):
            met += 1
            looked.difference[k] = self._differ(x, y, self._points + k)
            looked.classes[0][k], looked.classes[1][k] = predicted(x), predicted(y)
        looked.complete = self.running and met == n
        self._points += n
        self._kinds[kind] = None
        self._differing += int(looked.differing().sum())
        if any(c is None for side in looked.classes for c in side):
            self._classified = False
        return looked

    def _differ(self, x: Arrays, y: Arrays, index: int) -> float:
        largest = 0.0
        for name_a, name_b in self._outputs:
            found = gap(x[name_a], y[name_b]) if name_a in x and name_b in y else np.inf
            largest = max(largest, found)
            if found > self._most.value:
                self._most = _Most(found, name_a, index)
        return largest

    def seen(self) -> FilesSeen:
        """What was seen on all points so far."""
        a, b = (side.verdict() for side in self.sides)
        ran = self.running and self._points > 0 and self._most.value >= 0
        source = " and ".join(self._kinds) or "none"
        return FilesSeen(
            a, b, source, self._points, self._most.value if ran else None, self._most.output if ran else None, self._most.index if ran else None,
            self._differing if ran and self._classified else None, self.runtime.to_dict(),
        )  # fmt: skip


def _zipped(a: Iterator[tuple[int, Arrays]], b: Iterator[tuple[int, Arrays]]) -> Iterator[tuple[int, Arrays, Arrays]]:
    """Both files' outputs for the samples that both give something for, in order."""
    one, other = next(a, None), next(b, None)
    while one is not None or other is not None:
        if one is not None and other is not None and one[0] == other[0]:
            yield one[0], one[1], other[1]
            one, other = next(a, None), next(b, None)
        elif other is None or (one is not None and one[0] < other[0]):
            one = next(a, None)
        else:
            other = next(b, None)
