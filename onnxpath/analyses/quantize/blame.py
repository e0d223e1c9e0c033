"""Which layers to leave as they are: what each exclusion buys in the certified metric, and in the error that
is found.

With Q the network of all layers quantized and Q_ℓ that of all but ℓ, excluding ℓ buys U(P, Q) - U(P, Q_ℓ), U
the certified upper end of the path-metric. The brute-force order runs every Q_ℓ on the points and puts first
the layer without which the largest difference is smallest. The path-metric looks at all inputs at once;
beside it stands what each layer alone can do on the points (`local`).
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from onnxpath.analyses.metric.metric import path_metric
from onnxpath.analyses.prune.prunable import changed
from onnxpath.analyses.quantize.layers import Layer
from onnxpath.analyses.quantize.local import Local
from onnxpath.analyses.quantize.sensitivity import Variant
from onnxpath.analyses.quantize.variants import Runner
from onnxpath.engine.scaled import Scaled
from onnxpath.engine.session import Device
from onnxpath.model.network import Network
from onnxpath.records import Blame, BlamedLayer, Points


def certified(network: Network, twin: Network, device: Device) -> Scaled:
    """The certified upper end of the path-metric."""
    return path_metric(network, twin, device).bound


def ranks(values: Sequence[float]) -> np.ndarray:
    """Ranks from 1, equal values sharing the mean of theirs."""
    array = np.asarray(values, np.float64)
    below = (array[None] < array[:, None]).sum(1)
    return below + ((array[None] == array[:, None]).sum(1) + 1) / 2


def correlation(a: Sequence[float], b: Sequence[float]) -> float | None:
    """Spearman's rank correlation; None where there is none."""
    if len(a) < 2:
        return None
    x, y = ranks(a), ranks(b)
    x, y = x - x.mean(), y - y.mean()
    size = float(np.sqrt((x * x).sum() * (y * y).sum()))
    return float((x * y).sum() / size) if size > 0 else None


def blame(
    network: Network, found: Sequence[Layer], bits: int, rounding: str, variants: Sequence[Variant],
    runner: Runner, local: Local,
    points: Points, device: Device,
) -> Blame:  # fmt: skip
    """The layers in the order of what leaving them out buys. variants: of that width, one per layer."""
    arrays = {layer.tensor: layer.rounded(bits, rounding) for layer in found}
    everything = [(layer, arrays[layer.tensor]) for layer in found]
    whole, error = certified(network, changed(network, arrays), device), runner.error(everything)
    unit = whole if whole.mantissa else Scaled(1.0)
    rows: list[BlamedLayer] = []
    for layer, variant, bound in zip(found, variants, local.bounds(everything), strict=True):
        rest = {tensor: array for tensor, array in arrays.items() if tensor != layer.tensor}
        left = certified(network, changed(network, rest), device) if rest else Scaled(0.0)
        without = runner.error([item for item in everything if item[0] is not layer]).largest
        alone = runner.error([(layer, arrays[layer.tensor])]).largest
        rows.append(
            BlamedLayer(
                layer.name, layer.tensor, variant.metric, left, whole.minus(left), bound, without, alone, 0, 0
            )
        )
    by_metric = sorted(rows, key=lambda row: row.left.over(unit))
    by_error = sorted(rows, key=lambda row: row.found_left)
    ranked = [replace(row, rank=k + 1, found_rank=by_error.index(row) + 1) for k, row in enumerate(by_metric)]
    known = [row for row in rows if row.local is not None]
    return Blame(
        bits, whole, error.largest, tuple(ranked), points,
        correlation([row.left.over(unit) for row in rows], [row.found_left for row in rows]),
        correlation([row.alone.over(unit) for row in rows], [row.found_alone for row in rows]),
        correlation([row.local.log2 for row in known if row.local is not None],
        [row.found_alone for row in known]),
    )  # fmt: skip
