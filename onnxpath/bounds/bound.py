"""`bound`: how much the outputs of two networks can differ over a domain, at worst, beside the largest difference found.

The certified side is `difference_bounds` (docs/theory.md, section 4), the found side `search`: every difference that a search
finds lies below the bound, or there is a bug (`ViolationError`). For the p-norm of the difference over all output neurons the
neurons' bounds are put together, ‖(D_v)_v‖_p.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from onnxpath import tool
from onnxpath.bounds import difference_bounds
from onnxpath.bounds.difference_bounds import Bounds, output_difference
from onnxpath.domain import Domain, Region
from onnxpath.engine.scaled import Scaled
from onnxpath.engine.session import Device
from onnxpath.errors import UsageError, ViolationError
from onnxpath.matching import Pairing, match
from onnxpath.network import EXTENSIONS, Network
from onnxpath.quantizers import quantizes
from onnxpath.results import Bound, BoundOutput, BoundSide, Compared, Flips, InputBound, Largest, Margin, QuantizerRange

__all__ = ["bound", "output_difference"]

NORMS = ("1", "2", "inf")
# Beyond this ratio of certified and found a note says that the worst case is far from what happens.
_FAR = 1e3
# The files themselves are run on at most this many of the points that were found.
_FILES = 32


def bound(
    a: Network, b: Network, domain: Domain, device: Device | None = None, *, norm: str = "inf", search: int | None = 20, seed: int = 0,
    margin: bool = False, confidence: float = 0.99, compare: bool = False, files: tuple[Any, Any] | None = None,
) -> Bound:  # fmt: skip
    """Certified bounds on |f_A - f_B| for every output neuron over the domain; see `onnxpath.bound`.

    search: steps of sign-gradient ascent after corners and samples; 0 for these alone, None for no search. files: where the networks came from,
    to run them in ONNX Runtime on the points that were found. Raises
    MismatchError, UsageError, and ViolationError when the search found more than the bound allows.
    """
    device = device or Device()
    if norm not in NORMS:
        raise UsageError(f"the norm must be one of {', '.join(NORMS)}, not '{norm}'")
    if search is not None and search < 0:
        raise UsageError(f"the number of search steps must be >= 0, not {search}")
    if not 0 < confidence < 1:
        raise UsageError(f"the confidence must lie strictly between 0 and 1, not {confidence:g}")
    pairing = match(a, b, quantizers=True)
    quantized = quantizes(pairing.a)
    region = domain.resolve(pairing.a)
    found = difference_bounds.bounds(pairing, region, device)
    certified = found.all().norms(norm)
    largest, inputs, points = _found(pairing, region, found, certified, device, norm, search, seed)
    worst = max(range(region.size), key=lambda k: certified[k].log2) if pairing.a.batched else 0
    notes = [*(f"{side}: {note}" for side, network in (("A", a), ("B", b)) for note in network.notes)]
    if files is not None and points:
        value, note = _of_files(pairing, files, points, norm, quantized, a.halves + b.halves > 0)
        largest = replace(largest, files=value)
        notes += [note] if note else []
    if largest.ratio is not None and largest.ratio > _FAR:
        notes.append(
            f"the certified bound is {largest.ratio:.1e} times the largest difference found: for this pair the worst case that "
            "weights allow is far from what was seen; smaller domains (--inputs) give smaller bounds"
        )
    return Bound(
        BoundSide(a.path, a.sha256), BoundSide(b.path, b.sha256), dict(domain.describe), norm, _outputs(pairing, found), largest,
        found.method, difference_bounds.layers(pairing, region, found, worst, device), tool.describe(device), inputs if region.centers is not None else (), _flips(pairing, region, device, confidence),
        _margin(pairing, region, found, device) if margin else None,
        _compared(pairing, region, found, device) if compare else (), _extensions(pairing), tuple(notes), _quantizers(pairing, found),
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
) -> tuple[Largest, tuple[InputBound, ...], list[tuple[Mapping[str, np.ndarray], Scaled]]]:
    """Search every box; the largest certified bound and difference, both for every box, and the points that were found."""
    worst = max(certified, key=lambda value: value.log2)
    if steps is None:
        return Largest(worst, None, None), tuple(InputBound(k, limit, None) for k, limit in enumerate(certified)), []
    from onnxpath.search import search

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
    order = sorted(range(len(result.boxes)), key=lambda k: -(result.boxes[k].value or 0.0))
    return (
        Largest(worst, best.value, ratio if ratio is not None and np.isfinite(ratio) else None, best.how, result.runs),
        inputs,
        [(result.boxes[k].point, certified[k]) for k in order],
    )


def _extensions(pairing: Pairing) -> tuple[str, ...]:
    return tuple(dict.fromkeys(node.name for node in pairing.a.nodes if node.op in EXTENSIONS and node.op != "Quantizer"))


def _quantizers(pairing: Pairing, found: Bounds) -> tuple[QuantizerRange, ...]:
    """Where the quantizers of either network saturate over the domain."""
    records = []
    for node in pairing.a.nodes:
        if node.op == "Quantizer" and found.roundings is not None:
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


def _of_files(
    pairing: Pairing, files: tuple[Any, Any], points: list[tuple[Mapping[str, np.ndarray], Scaled]], norm: str, integer: bool, half: bool
) -> tuple[float | None, str]:
    """The largest difference of the files' own outputs on some of the points, and a note: why there is none, or that a runtime's kernels
    do not compute what the file says."""
    from onnxpath.search.verification import verify

    largest = None
    for point, limit in points[: _FILES if integer else 1]:
        found = verify(pairing, point, files, norm)
        if found.value is None:
            return largest, f"not run on the files themselves: {found.reason}"
        largest = found.value if largest is None else max(largest, found.value)
        if half and limit.value is not None and found.value > limit.value:
            return largest, (
                f"the files' own outputs differ by {found.value:.6g}, more than the bound {limit.value:.6g}: arithmetic in half precision rounds, "
                "which the bound does not count"
            )
        if integer and limit.value is not None and found.value > limit.value:
            return largest, (
                f"ONNX Runtime's kernels on this machine differ by {found.value:.6g}, more than the bound {limit.value:.6g}: they do not compute "
                "what the file defines (8-bit products that saturate on processors without VNNI: quantize with reduce_range)"
            )
        if limit.value and found.value > 1.01 * limit.value:
            return largest, (
                f"the files' own outputs differ by {found.value:.6g}, more than the bound {limit.value:.6g}, which does not count what a runtime "
                "rounds: ONNX Runtime may round activations to 8 bits before dequantized weights (session.qdq_matmulnbits_accuracy_level=1 "
                "forbids it)"
            )
    return largest, ""


def _compared(pairing: Pairing, region: Region, found: Bounds, device: Device) -> tuple[Compared, ...]:
    from onnxpath.bounds.compare import compare

    return compare(pairing, region, found, device)


def _margin(pairing: Pairing, region: Region, found: Bounds, device: Device) -> Margin:
    from onnxpath.bounds.margins import margins

    return margins(pairing, region, found, device)


def _flips(pairing: Pairing, region: Region, device: Device, confidence: float) -> Flips | None:
    """How often the predicted class of the given inputs differs; None without inputs or without classes."""
    from onnxpath.bounds.classes import class_output
    from onnxpath.bounds.flips import flips
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
