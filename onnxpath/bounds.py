"""`bound`: how much the outputs of two networks can differ over a domain, at worst, beside the largest difference found.

The certified side is `difference_bounds` (docs/theory.md, section 4), the found side `search`: every difference that a search
finds lies below the bound, or there is a bug (`ViolationError`). For the p-norm of the difference over all output neurons the
neurons' bounds are put together, ‖(D_v)_v‖_p.
"""

import os
from collections.abc import Mapping, Sequence

import numpy as np

from onnxpath import difference_bounds, tool
from onnxpath.difference_bounds import Bounds, output_difference
from onnxpath.domain import Domain, Region
from onnxpath.engine.scaled import Scaled
from onnxpath.engine.session import Device
from onnxpath.errors import UsageError, ViolationError
from onnxpath.matching import Pairing, match
from onnxpath.network import Network
from onnxpath.results import Bound, BoundOutput, BoundSide, Compared, Flips, InputBound, Largest, Margin

__all__ = ["bound", "output_difference"]

NORMS = ("1", "2", "inf")
# Beyond this ratio of certified and found a note says that the worst case is far from what happens.
_FAR = 1e3


def bound(
    a: Network, b: Network, domain: Domain, device: Device | None = None, *, norm: str = "inf", search: int | None = 20, seed: int = 0,
    margin: bool = False, confidence: float = 0.99, compare: bool = False,
) -> Bound:  # fmt: skip
    """Certified bounds on |f_A - f_B| for every output neuron over the domain; see `onnxpath.bound`.

    search: steps of sign-gradient ascent after corners and samples; 0 for these alone, None for no search. Raises
    MismatchError, UsageError, and ViolationError when the search found more than the bound allows.
    """
    device = device or Device()
    if norm not in NORMS:
        raise UsageError(f"the norm must be one of {', '.join(NORMS)}, not '{norm}'")
    if search is not None and search < 0:
        raise UsageError(f"the number of search steps must be >= 0, not {search}")
    if not 0 < confidence < 1:
        raise UsageError(f"the confidence must lie strictly between 0 and 1, not {confidence:g}")
    pairing = match(a, b)
    region = domain.resolve(pairing.a)
    found = difference_bounds.bounds(pairing, region, device)
    certified = found.all().norms(norm)
    largest, inputs = _found(pairing, region, found, certified, device, norm, search, seed)
    worst = max(range(region.size), key=lambda k: certified[k].log2) if pairing.a.batched else 0
    notes = [*(f"{side}: {note}" for side, network in (("A", a), ("B", b)) for note in network.notes)]
    if largest.ratio is not None and largest.ratio > _FAR:
        notes.append(
            f"the certified bound is {largest.ratio:.1e} times the largest difference found: for this pair the worst case that "
            "weights allow is far from what was seen; smaller domains (--inputs) give smaller bounds"
        )
    return Bound(
        BoundSide(a.path, a.sha256), BoundSide(b.path, b.sha256), dict(domain.describe), norm, _outputs(pairing, found), largest,
        found.method, difference_bounds.layers(pairing, region, found, worst, device), tool.describe(device), inputs if region.centers is not None else (), _flips(pairing, region, device, confidence),
        _margin(pairing, region, found, device) if margin else None,
        _compared(pairing, region, found, device) if compare else (), pairing.a.extensions, tuple(notes),
    )  # fmt: skip


def _outputs(pairing: Pairing, found: Bounds) -> tuple[BoundOutput, ...]:
    """The largest bound over all boxes, for every neuron."""
    outputs = []
    for label, label_b, name in zip(pairing.a.output_names, pairing.b.output_names, pairing.a.outputs, strict=True):
        values = found.outputs[name].floats().max(axis=0)
        outputs.append(BoundOutput(label, label_b, pairing.a.shapes[name], tuple(values.tolist())))
    return tuple(outputs)


def _found(
    pairing: Pairing, region: Region, bounds: Bounds, certified: Sequence[Scaled], device: Device, norm: str, steps: int | None, seed: int
) -> tuple[Largest, tuple[InputBound, ...]]:
    """Search every box; the largest certified bound and difference, and both for every box."""
    worst = max(certified, key=lambda value: value.log2)
    if steps is None:
        return Largest(worst, None, None), tuple(InputBound(k, limit, None) for k, limit in enumerate(certified))
    from onnxpath import search

    aim = {name: np.minimum(array.floats(), np.finfo(np.float64).max) for name, array in bounds.outputs.items()}
    result = search.search(pairing, region, device, steps=steps, norm=norm, seed=seed, aim=aim)
    for box, limit in zip(result.boxes, certified, strict=True):
        if box.value is not None and limit.value is not None and box.value - box.error > limit.value:
            raise ViolationError(
                f"{pairing.a.path} and {pairing.b.path} differ by {box.value!r} ({norm}-norm) for an input of the domain, more than "
                f"the certified bound {limit.value!r}",
                box.point,
            )
    best = result.boxes[result.largest()]
    ratio = worst.over(Scaled(best.value)) if best.value else None
    inputs = tuple(InputBound(k, limit, box.value) for k, (box, limit) in enumerate(zip(result.boxes, certified, strict=True)))
    ratio = ratio if ratio is not None and np.isfinite(ratio) else None
    return Largest(worst, best.value, ratio, best.how, result.runs, _on_files(pairing, best.point, norm)), inputs


def _on_files(pairing: Pairing, point: Mapping[str, np.ndarray], norm: str) -> float | None:
    """The difference of the files' own outputs at a point; None for networks that did not come from files ONNX Runtime runs."""
    paths = pairing.a.path, pairing.b.path
    if not all(os.path.isfile(path) for path in paths):
        return None
    from onnxpath.verification import verify

    return verify(pairing, point, paths, norm).value


def _compared(pairing: Pairing, region: Region, found: Bounds, device: Device) -> tuple[Compared, ...]:
    from onnxpath.compare import compare

    return compare(pairing, region, found, device)


def _margin(pairing: Pairing, region: Region, found: Bounds, device: Device) -> Margin:
    from onnxpath.margins import margins

    return margins(pairing, region, found, device)


def _flips(pairing: Pairing, region: Region, device: Device, confidence: float) -> Flips | None:
    """How often the predicted class of the given inputs differs; None without inputs or without classes."""
    from onnxpath.flips import flips
    from onnxpath.margins import class_output
    from onnxpath.passes.forward import Forward, counterpart

    output = class_output(pairing.a)
    if region.centers is None or output is None:
        return None
    forward, step = Forward([pairing.a, counterpart(pairing)], device), difference_bounds.chunk(pairing.a)
    parts = [
        forward.run({name: array[start : start + step] for name, array in region.centers.items()}) for start in range(0, region.size, step)
    ]
    first, second = (np.concatenate([part[k][output] for part in parts]) for k in (0, 1))
    return flips(first, second, confidence)
