"""`bound`: how much the outputs of two networks can differ over a domain, at worst, beside the largest
difference found.

The certified side is `difference_bounds` (docs/theory.md, section 4), the found side `search`: every
difference that a search finds lies below the bound, or there is a bug (`ViolationError`). For the p-norm of
the difference over all output neurons the neurons' bounds are put together, ‖(D_v)_v‖_p.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from onnxpath.analyses import tool
from onnxpath.analyses.bound import difference_bounds
from onnxpath.analyses.bound.classes import class_output
from onnxpath.analyses.bound.compare import compare as every_bound
from onnxpath.analyses.bound.difference_bounds import Bounds, output_difference
from onnxpath.analyses.bound.flips import counted, flips
from onnxpath.analyses.bound.margins import margins
from onnxpath.engine.scaled import Scaled
from onnxpath.engine.session import Device
from onnxpath.errors import UsageError, ViolationError
from onnxpath.evaluate import search as searching
from onnxpath.evaluate.forward import Forward, counterpart
from onnxpath.files import seeded
from onnxpath.files.pair import FilePair
from onnxpath.files.runtime import DEFAULT, Runtime
from onnxpath.model.domain import Domain, Region
from onnxpath.model.interface import changes
from onnxpath.model.matching import Pairing, match
from onnxpath.model.network import Network
from onnxpath.ops import OPERATORS
from onnxpath.records import Bound, BoundOutput, BoundSide, Flips, InputBound, Largest, QuantizerRange

__all__ = ["bound", "output_difference"]

NORMS = ("1", "2", "inf")
# Beyond this ratio of certified and found a note says that the worst case is far from what happens.
_FAR = 1e3
# Points that the files are run on where a domain without given inputs was not searched.
_SEEDED = 8


def bound(
    a: Network, b: Network, domain: Domain, device: Device | None = None, *, norm: str = "inf",
    search: int | None = 20, seed: int = 0,
    margin: bool = False, confidence: float = 0.99, compare: bool = False,
    files: tuple[Any, Any] | None = None, runtime: Runtime = DEFAULT,
) -> Bound:  # fmt: skip
    """Certified bounds on |f_A - f_B| for every output neuron over the domain; see `onnxpath.bound`.

    search: steps of sign-gradient ascent after corners and samples; 0 for these alone, None for no search.
    files: where the networks came from, to run them at the given inputs and at the points that were found;
    runtime: how. Raises MismatchError, UsageError, and ViolationError when the search found more than the
    bound allows.
    """
    device = device or Device()
    if norm not in NORMS:
        raise UsageError(f"the norm must be one of {', '.join(NORMS)}, not '{norm}'")
    if search is not None and search < 0:
        raise UsageError(f"the number of search steps must be >= 0, not {search}")
    if not 0 < confidence < 1:
        raise UsageError(f"the confidence must lie strictly between 0 and 1, not {confidence:g}")
    pairing = match(a, b, quantizers=True)
    region = domain.resolve(pairing.a)
    found = difference_bounds.bounds(pairing, region, device)
    certified = found.all().norms(norm)
    largest, inputs, points = _found(pairing, region, found, certified, device, norm, search, seed)
    worst = max(range(region.size), key=lambda k: certified[k].log2) if pairing.a.batched else 0
    notes = [*(f"{side}: {note}" for side, network in (("A", a), ("B", b)) for note in network.notes)]
    seen, differing = None, None
    if files is not None:
        ran = _Ran(FilePair(files, (a, b), runtime, pairing), region, points, certified, norm)
        seen, differing, largest = ran.seen, ran.differing, replace(largest, files=ran.largest)
        notes += ran.notes
    if largest.ratio is not None and largest.ratio > _FAR:
        notes.append(
            f"the certified bound is {largest.ratio:.1e} times the largest difference found: for this pair"
            " the worst case that weights allow is far from what was seen; smaller domains (--inputs) give"
            " smaller bounds"
        )
    return Bound(
        BoundSide(a.path, a.sha256), BoundSide(b.path, b.sha256), dict(domain.describe), norm,
        _outputs(pairing, found), largest,
        found.method, difference_bounds.layers(pairing, region, found, worst, device), tool.describe(device),
        inputs if region.centers is not None else (), _flips(pairing, region, device, confidence, differing),
        margins(pairing, region, found, device, differing) if margin else None,
        every_bound(pairing, region, found, device) if compare else (), _extensions(pairing), tuple(notes),
        _quantizers(pairing, found),
        seen, changes(a.interface, b.interface),
    )  # fmt: skip


def _outputs(pairing: Pairing, found: Bounds) -> tuple[BoundOutput, ...]:
    """The largest bound over all boxes, for every neuron."""
    outputs = []
    for label, label_b, name in zip(
        pairing.a.output_names, pairing.b.output_names, pairing.a.outputs, strict=True
    ):
        values = found.outputs[name].floats().max(axis=0)
        outputs.append(BoundOutput(label, label_b, pairing.a.shapes[name], tuple(values.tolist())))
    return tuple(outputs)


def _found(
    pairing: Pairing,
    region: Region,
    bounds: Bounds,
    certified: Sequence[Scaled],
    device: Device,
    norm: str,
    steps: int | None,
    seed: int,
) -> tuple[Largest, tuple[InputBound, ...], list[tuple[Mapping[str, np.ndarray], Scaled]]]:
    """Search every box; the largest certified bound and difference, both for every box, and the points that
    were found."""
    worst = max(certified, key=lambda value: value.log2)
    if steps is None:
        return (
            Largest(worst, None, None),
            tuple(InputBound(k, limit, None) for k, limit in enumerate(certified)),
            [],
        )
    aim = {
        name: np.minimum(array.floats(), np.finfo(np.float64).max) for name, array in bounds.outputs.items()
    }
    result = searching.search(pairing, region, device, steps=steps, norm=norm, seed=seed, aim=aim)
    for box, limit in zip(result.boxes, certified, strict=True):
        if box.value is not None and limit.value is not None and box.value - box.error > limit.value:
            raise ViolationError(
                f"{pairing.a.path} and {pairing.b.path} differ by {box.value!r} ({norm}-norm) for an input of"
                f" the domain, more than the certified bound {limit.value!r}",
                box.point,
            )
    best = result.boxes[result.largest()]
    ratio = worst.over(Scaled(best.value)) if best.value else None
    inputs = tuple(
        InputBound(k, limit, box.value)
        for k, (box, limit) in enumerate(zip(result.boxes, certified, strict=True))
    )
    order = sorted(range(len(result.boxes)), key=lambda k: -(result.boxes[k].value or 0.0))
    return (
        Largest(
            worst,
            best.value,
            ratio if ratio is not None and np.isfinite(ratio) else None,
            best.how,
            result.runs,
        ),
        inputs,
        [(result.boxes[k].point, certified[k]) for k in order],
    )


def _extensions(pairing: Pairing) -> tuple[str, ...]:
    return tuple(
        dict.fromkeys(node.name for node in pairing.a.nodes if OPERATORS[node.op].kind == "activation")
    )


def _quantizers(pairing: Pairing, found: Bounds) -> tuple[QuantizerRange, ...]:
    """Where the quantizers of either network saturate over the domain."""
    records = []
    for node in pairing.a.nodes:
        if OPERATORS[node.op].kind == "quantizer" and found.roundings is not None:
            one = found.roundings[node.output]
            for side, grid, seen in (("a", one.grid_p, one.range_p), ("b", one.grid_q, one.range_q)):
                if grid is None:
                    continue
                overflow, certain = float(seen.overflow(grid).max()), int(seen.outside.sum())
                word = "certain" if certain else "possible" if overflow > 0 else "impossible"
                records.append(
                    QuantizerRange(
                        node.name,
                        side,
                        float(np.max(grid.step)),
                        float(np.min(grid.lowest)),
                        float(np.max(grid.highest)),
                        word,
                        overflow,
                        certain,
                    )
                )
    return tuple(records)


class _Ran:
    """Both files at the given inputs and at the points that were found (without either, at some of the
    domain).

    largest: of the differences of what the networks stand for, in the files, in the norm of the bound.
    differing [inputs]: where the classes that the files predict for the given inputs differ; None where there
    are none. notes: what a reader must know of the files.
    """

    def __init__(
        self,
        pair: FilePair,
        region: Region,
        points: list[tuple[Mapping[str, np.ndarray], Scaled]],
        certified: Sequence[Scaled],
        norm: str,
    ):
        self.differing: np.ndarray | None = None
        self.notes: list[str] = []
        values, limits = [], []
        if region.centers is not None:
            looked = pair.look(region.centers)
            values, limits = (
                [looked.inner(norm)],
                (
                    [*certified]
                    if len(certified) == len(looked.difference)
                    else [*certified] * len(looked.difference)
                ),
            )
            if looked.complete and looked.classified:
                self.differing = looked.differing()
        if points:
            values.append(
                pair.look(_stacked([point for point, _ in points], pair.sides[0].whole), "found").inner(norm)
            )
            limits += [limit for _, limit in points][: len(values[-1])]
        elif region.centers is None:
            values.append(
                pair.look(
                    seeded.inside(region, _SEEDED, pair.sides[0].whole, pair.sides[0].network), "seeded"
                ).inner(norm)
            )
            limits += [*certified] * len(values[-1])
        self.seen = pair.seen()
        found = np.concatenate(values)
        self.largest = None if np.isnan(found).all() else float(np.nanmax(found))
        self.notes += self.seen.reasons
        above = [
            (x, limit)
            for x, limit in zip(found, limits, strict=False)
            if limit.value is not None and x > limit.value
        ]
        if above:
            most, limit = max(above, key=lambda item: item[0] / max(item[1].value or 0.0, 1e-300))
            self.notes.append(
                f"the files' own outputs differ by {most:.6g}, more than the bound {limit.value:.6g} of the"
                " networks: by what a runtime rounds, which the bound does not count, or because a file is"
                " unfaithful"
            )


def _stacked(points: list[Mapping[str, np.ndarray]], whole: bool) -> dict[str, np.ndarray]:
    """Points [1, ...] one behind the other; of a network without a batch the first one."""
    return {
        name: np.asarray(first) if whole else np.concatenate([point[name] for point in points])
        for name, first in points[0].items()
    }


def _flips(
    pairing: Pairing, region: Region, device: Device, confidence: float, differing: np.ndarray | None
) -> Flips | None:
    """How often the predicted class of the given inputs differs: in the files where they ran, else in the
    networks; None without classes."""
    output = class_output(pairing.a)
    if differing is not None:
        return counted(differing, confidence)
    if region.centers is None or output is None:
        return None
    forward, step = Forward([pairing.a, counterpart(pairing)], device), difference_bounds.chunk(pairing.a)
    parts = [
        forward.run({name: array[start : start + step] for name, array in region.centers.items()})
        for start in range(0, region.size, step)
    ]
    first, second = (np.concatenate([part[k][output] for part in parts]) for k in (0, 1))
    return flips(first, second, confidence)
