"""`compare`: two files as ONNX Runtime runs them, whatever they contain: interfaces, differences of every
output, predicted classes.

Nothing is proved here, and no structure is needed. Every input is run by itself; where files take batches,
all of them are run at once, too, and a file that gives something else then (it mixes the samples of a batch)
is told.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from onnxpath.analyses import tool
from onnxpath.engine.session import Device
from onnxpath.errors import ModelError, UsageError
from onnxpath.files.described import described
from onnxpath.files.given import given
from onnxpath.files.invented import Recipe, invented
from onnxpath.files.pair import FilePair, gap, predicted
from onnxpath.files.rows import Arrays, batched
from onnxpath.files.runtime import DEFAULT, Runtime
from onnxpath.files.side import Side
from onnxpath.model.interface import Interface, changes
from onnxpath.records import ComparedOutput, Comparison

# Inputs that are made, where none are given.
COUNT = 8
# Numbers of an output that are kept for its quantile; beyond that every second, fourth, ... one.
_KEPT = 1 << 24
# What rounding may make of a batch, relative to the largest output.
_MIXED = 1e-3
_QUANTILE = 0.99


@dataclass
class _Tally:
    """One output so far."""

    types: tuple[str, str] = ("", "")
    shapes: tuple[tuple[int, ...], tuple[int, ...]] = ((), ())
    largest: float = -1.0
    total: float = 0.0
    size: float = 0.0
    index: int | None = None
    entry: int | None = None
    unequal: int = 0
    entries: int = 0
    subtracted: bool = True
    kept: list[np.ndarray] = field(default_factory=list)
    stride: int = 1

    def add(self, index: int, a: np.ndarray, b: np.ndarray) -> None:
        if not self.entries:
            self.types, self.shapes = (str(a.dtype), str(b.dtype)), (a.shape, b.shape)
        found = gap(a, b).reshape(-1)
        self.entries += found.size
        self.unequal += int(np.count_nonzero(found))
        if a.shape != b.shape or a.dtype.kind not in "fiub" or b.dtype.kind not in "fiub":
            self.subtracted = False
            return
        if not found.size:
            return
        known = a[np.isfinite(a.astype(np.float64))]
        self.size = max(self.size, float(np.abs(known.astype(np.float64)).max(initial=0.0)))
        self.total += float(found.sum())
        at = int(found.argmax())
        if found[at] > self.largest:
            self.largest, self.index, self.entry = float(found[at]), index, at
        self.kept.append(found[:: self.stride].astype(np.float32))
        if sum(part.size for part in self.kept) > _KEPT:
            self.kept, self.stride = [np.concatenate(self.kept)[::2]], 2 * self.stride

    def record(self, name: str, name_b: str) -> ComparedOutput:
        if not self.subtracted or self.largest < 0:
            return ComparedOutput(
                name,
                name_b,
                self.types,
                self.shapes,
                None,
                None,
                None,
                self.size,
                None,
                None,
                self.unequal,
                self.entries,
            )
        values = np.concatenate(self.kept)
        place = min(len(values) - 1, int(np.ceil(_QUANTILE * len(values))) - 1)
        quantile = float(np.partition(values, place)[place])
        mean = self.total / self.entries
        return ComparedOutput(
            name,
            name_b,
            self.types,
            self.shapes,
            self.largest,
            mean,
            quantile,
            self.size,
            self.index,
            self.entry,
            self.unequal,
            self.entries,
        )


def compare(
    a: Any, b: Any, inputs: Any = None, *, runtime: Runtime = DEFAULT,
    shapes: Mapping[str, Sequence[int]] | None = None, low: float | None = None,
    high: float | None = None, seed: int = 0, count: int = COUNT,
    interfaces: tuple[Interface | None, Interface | None] = (None, None),
) -> Comparison:  # fmt: skip
    """See `onnxpath.compare`. interfaces: of the files, with the functions at their ends, where a network
    could be read out of them."""
    pair = FilePair((a, b), (None, None), runtime)
    pair.require()
    first, second = pair.sides
    assert first.session is not None and second.session is not None
    _check_limits(low, high)
    if inputs is not None:
        if low is not None or shapes:
            raise UsageError("low, high and shapes are for inputs that are made; these are given")
        arrays, stacked = given(first, inputs)
        made: dict[str, Any] = {}
    else:
        recipe = Recipe({name: tuple(shape) for name, shape in (shapes or {}).items()}, low, high, seed)
        arrays, stacked, recipe = invented(first.session, second.session, pair.inputs, recipe, count)
        sizes = {name: [*((1,) * (not stacked)), *array.shape[1:]] for name, array in arrays.items()}
        made = recipe.describe() | {"shapes": sizes}
    tallies = [_Tally() for _ in pair.outputs]
    classes: list[tuple[Any, Any]] = []
    for x, y in pair.run(arrays, stacked):
        for tally, (name_a, name_b) in zip(tallies, pair.outputs, strict=True):
            tally.add(x.index, x.outputs[name_a], y.outputs[name_b])
        classes.append((predicted(x.outputs), predicted(y.outputs)))
    pair.require()
    total = batched(arrays)
    if not classes:
        raise ModelError(
            f"{first.session.label} and {second.session.label} gave nothing that belongs to the same inputs"
        )
    named = all(p is not None and q is not None for p, q in classes)
    first_own, second_own = interfaces
    found = pair.changes
    if first_own is not None and second_own is not None:
        found = tuple(dict.fromkeys((*changes(first_own, second_own), *found)))
    points = pair.samples(arrays)
    mixed = _mixed(first, points[0], stacked), _mixed(second, points[1], stacked)
    ports = tuple((side.interface.inputs, side.interface.outputs) for side in pair.sides)
    return Comparison(
        described(a), described(b),
        (ports[0], ports[1]), found,
        "given" if inputs is not None else "seeded", made, total,
        tuple(tally.record(*names) for tally, names in zip(tallies, pair.outputs, strict=True)),
        sum(p != q for p, q in classes) if named else None, mixed, runtime.to_dict(),
        tool.describe(Device("cpu")), tuple(_notes(mixed, inputs is None)),
    )  # fmt: skip


def _check_limits(low: float | None, high: float | None) -> None:
    if (low is None) != (high is None):
        raise UsageError("low and high belong together")
    if low is not None and high is not None and not (np.isfinite(high - low) and low <= high):
        raise UsageError(f"the limits {low:g} and {high:g} are no finite numbers, the low one first")


def _notes(mixed: Sequence[float | None], seeded: bool) -> Iterator[str]:
    for label, share in zip("AB", mixed, strict=True):
        if share is not None and share > _MIXED:
            yield (
                f"{label} mixes the inputs of a batch: run at once, its outputs differ from those one by one"
                f" by {share:.2g} of the largest"
            )
    if seeded:
        yield (
            "the inputs were made for the declared types and shapes: differences on real ones may be larger;"
            " give them with --inputs"
        )


def _mixed(side: Side, points: Arrays, stacked: bool) -> float | None:
    """How far the outputs for all inputs at once are from those one by one, relative to the largest; None
    where the file takes one at a time."""
    at_once = None if stacked else side.at_once(points)
    if at_once is None:
        return None
    worst, size, n = 0.0, 0.0, batched(points)
    for sample in side.run(points):
        for name, alone in sample.outputs.items():
            together = at_once[name]
            if alone.dtype.kind == "f" and alone.ndim and together.shape == (n, *alone.shape[1:]):
                worst = max(
                    worst, float(gap(alone, together[sample.index : sample.index + 1]).max(initial=0.0))
                )
                size = max(size, float(np.abs(np.nan_to_num(alone)).max(initial=0.0)))
    share = worst / size if size else 0.0
    return share if np.isfinite(share) else None
