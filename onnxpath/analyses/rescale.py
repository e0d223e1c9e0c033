"""Rescaling the channels of a model's file (docs/theory.md, section 5): `onnxpath.rescale`.

    random      λ drawn from a list of factors, one per group of channels (paper, Appendix D)
    normalize   every hidden channel's incoming weights and bias have ℓ1 norm 1 (paper, Algorithm 1)
    equalize    the ranges of rows and of the columns that read them suit quantization with one step per
                tensor

None of them changes the function or Φ. Before the new file is moved into place its path-norm, its path-metric
to the model and its outputs in ONNX Runtime are measured; a file that computes something else is not written.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from onnxpath.analyses.metric.metric import path_metric
from onnxpath.analyses.prune.costs import measure
from onnxpath.engine.session import Device
from onnxpath.errors import ModelError, UnsupportedError, UsageError
from onnxpath.exporter import check_targets, write
from onnxpath.exporter.rescaling import FileGroups, edits, file_groups
from onnxpath.exporter.writing import Written
from onnxpath.files.outputs import largest_difference, on_random_inputs
from onnxpath.importer import load
from onnxpath.importer.source import File
from onnxpath.model.network import Network
from onnxpath.records import Factors, OutputDifference, PathMetric, Rescaling
from onnxpath.rewrites.rescaling.equalization import applied, equalize
from onnxpath.rewrites.rescaling.groups import Groups
from onnxpath.rewrites.rescaling.normalization import normalize

MODES = ("random", "normalize", "equalize")
FACTORS = (1.0, 128.0, 4096.0)
_SAMPLES = 4
# Beyond this part of the largest output, or of the path-norm, the new file is another network. Rounding
# explains about 1e-6 of it in float32, and up to 1e-2 in half precision.
_TOLERANCE = 0.05
_NOTICEABLE = 1e-5


def rescale(
    source: File,
    out: str | os.PathLike[str],
    mode: str = "random",
    *,
    seed: int = 0,
    factors: Sequence[float] = FACTORS,
    powers_of_two: bool = False,
    shapes: Mapping[str, Sequence[int]] | None = None,
    device: Device | None = None,
    force: bool = False,
    levels: int = 127,
    by_channel: bool = False,
) -> Rescaling:
    """Write a copy of a model whose channels are rescaled; see `onnxpath.rescale`. levels, by_channel: the
    grid to equalize for."""
    device = device or Device()

    if mode not in MODES:
        raise UsageError(f"the mode '{mode}' is not one of {', '.join(MODES)}")
    check_targets(source, [os.fsdecode(os.fspath(out))], force=force, certified=False)
    device.resolve()
    network = load(source, shapes={name: tuple(shape) for name, shape in (shapes or {}).items()})
    found = file_groups(network)
    free = found.canonical.free()
    if not free:
        held = (
            f"{found.pinned} groups exist, but the file keeps them as they are"
            if found.pinned
            else "no hidden channel is free"
        )
        raise UnsupportedError(
            f"{network.path}: nothing to rescale: {held} (shared, computed or repeated weights, or no hidden"
            " layer)"
        )
    up, down = _chosen(network, found, mode, seed, factors, powers_of_two, device, levels, by_channel)
    changed = edits(network, found, up, down)
    seen: list[tuple[PathMetric, OutputDifference | None]] = []

    def verify(path: str) -> None:
        seen.append(
            _verified(network, found.canonical, up, source, path, os.fsdecode(os.fspath(out)), shapes, device)
        )

    written = write(source, changed, out, force=force, verify=verify)
    return _record(network, found, mode, seed, (up, down), changed, seen[0], written)


def _record(
    network: Network, found: FileGroups, mode: str, seed: int, factors: tuple[np.ndarray, np.ndarray],
    changed: Mapping[str, np.ndarray], measured: "tuple[PathMetric, OutputDifference | None]",
    written: Written,
) -> Rescaling:  # fmt: skip
    """factors: (up, down) by group. changed: the tensors of the file that differ."""
    (up, down), (metric, outputs), free = factors, measured, found.canonical.free()
    notes = [*network.notes, *written.notes]
    used = np.array(sorted(free))
    log2 = np.log2(up[used])
    if metric.relative > _NOTICEABLE:
        exact = np.array_equal(log2, np.rint(log2))
        why = (
            "some are too small for it: use factors closer to 1" if exact else "powers of two would be exact"
        )
        notes.append(f"the file's number format rounds the rescaled weights: {why}")
    dead = int((down[used] == 0).sum())
    return Rescaling(
        metric.a, replace(metric.b, path=written.path, sha256=written.sha256), mode,
        seed if mode == "random" else None,
        len(free), int((log2 != 0).sum()) + dead, found.pinned, dead,
        Factors(float(up[used].min()), float(up[used].max()), bool(np.array_equal(log2, np.rint(log2)))),
        tuple(changed),
        metric.path_metric, metric.relative, outputs, metric.tool, tuple(notes),
    )  # fmt: skip


def _chosen(
    network: Network, found: FileGroups, mode: str, seed: int, factors: Sequence[float], powers_of_two: bool,
    device: Device,
    levels: int, by_channel: bool,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """(up, down) by group."""
    groups = found.canonical
    if mode == "random":
        log2 = np.zeros(groups.count)
        free = sorted(groups.free())
        log2[free] = np.random.default_rng(seed).choice(_log_factors(factors), len(free))
    elif mode == "normalize":
        up, down = normalize(network, groups)
        if not powers_of_two:
            return up, down
        log2 = np.log2(up)
        up, down = np.exp2(np.rint(log2)), np.where(down == 0, 0.0, np.exp2(-np.rint(log2)))
        return up, down
    else:
        costs = measure(network, device).costs
        log2 = equalize(
            network,
            groups,
            lambda a, b: _size(path_metric(a, b, device)),
            costs,
            powers_of_two,
            levels,
            by_channel,
        )
    log2 = np.rint(log2) if powers_of_two else log2
    return np.exp2(log2), np.exp2(-log2)


def _size(metric: PathMetric) -> float:
    upper = metric.path_metric.upper.log10
    return -np.inf if upper is None else upper


def _log_factors(factors: Sequence[float]) -> np.ndarray:
    values = np.array(factors, np.float64)
    if not values.size or not (np.isfinite(values) & (values > 0)).all():
        raise UsageError(
            f"the factors {', '.join(f'{x:g}' for x in factors) or '(none)'} have to be positive numbers"
        )
    return np.log2(values)


def _metric(network: Network, after: Network, groups: Groups, up: np.ndarray, device: Device) -> PathMetric:
    """The path-metric of a network and its rescaled copy. Φ is that of the copy scaled back, too: where the
    search for a common scale (rescaling.alignment) misses the one that is known here, the copy is compared
    after going back."""
    metric = path_metric(network, after, device)
    if metric.relative <= _NOTICEABLE:
        return metric
    back = path_metric(network, applied(after, groups, -np.log2(up)), device)
    # each coordinate on the way back is rounded four times at most, n of them to a path (docs/theory.md,
    # section 5)
    slack = back.a.path_norm.times(8 * len(network.nodes) * 2.0**-52)
    upper = back.path_metric.upper.times(1 + back.path_metric.relative_error) + slack
    if not upper < metric.path_metric.upper:
        return metric
    interval = replace(
        back.path_metric,
        lower=back.path_metric.lower.minus(slack),
        upper=upper,
        exact=False,
        relative_error=0.0,
    )
    return replace(back, path_metric=interval, relative=upper.over(back.a.path_norm), b=metric.b)


def _verified(
    network: Network,
    groups: Groups,
    up: np.ndarray,
    source: object,
    staged: str,
    name: str,
    shapes: Mapping[str, Sequence[int]] | None,
    device: Device,
) -> tuple[PathMetric, OutputDifference | None]:
    """The path-metric and the largest difference of outputs; ModelError when they are more than rounding."""
    after = load(staged, shapes={key: tuple(shape) for key, shape in (shapes or {}).items()})
    metric = _metric(network, replace(after, path=name), groups, up, device)
    try:
        expected = on_random_inputs(source, network.shapes, _SAMPLES, device.threads)
    except ModelError:
        outputs = None
    else:  # one session at a time: each holds a copy of the weights
        difference, size = largest_difference(
            expected, on_random_inputs(staged, network.shapes, _SAMPLES, device.threads)
        )
        outputs = OutputDifference(_SAMPLES, difference, size)
        if not difference <= _TOLERANCE * max(size, 1e-30):
            raise ModelError(
                f"{network.path}: not written: the rescaled weights no longer fit the file's number format"
                f" (outputs of up to {size:g} would change by {difference:g}); use factors closer to 1"
            )
    if not metric.relative <= _TOLERANCE:
        raise ModelError(
            f"{network.path}: not written: the rescaled weights no longer fit the file's number format "
            f"(path-metric {metric.relative:.2g} of the path-norm); use factors closer to 1"
        )
    return metric, outputs
