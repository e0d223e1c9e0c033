"""Cross-layer equalization: rescalings that make quantizing with one step per tensor as harmless as they can.

With one step for a whole tensor, a channel of small weights keeps few levels. Let r_out(c) be the range max
|W[c]| of the rows that produce channel c and r_in(c) that of the columns that read it; multiplying the rows
by

    λ_c = √(r_in(c) / r_out(c))        (data-free quantization: Nagel et al., 2019, Equation 11)

gives both the same range √(r_out r_in). Groups with several producers or readers take the largest range of
either; groups are visited in topological order, for several rounds, since a layer's rows change the range of
its columns.

Equal ranges are not what counts. Rounding a layer to a grid of step s_l = max |W| / L moves its weights by
s_l / 4 on average, so that the path-metric is about J = Σ_l s_l A_l / 4 with A_l = Σ of the derivatives
∂‖Φ‖₁/∂|θ| of its weights (section 7 of docs/theory.md), which a rescaling divides by what it multiplies the
weights with. While no step may grow, J depends on one λ_c through a / λ_c + b λ_c, a from the rows of c and b
from its columns: the best λ_c is √(a / b), cut to what the steps allow. Groups are visited in turn; J never
increases (`_refined`).

How far to go is decided by what it is for: of the candidates λ^t, t in `STEPS`, each refined, the one with
the smallest difference bound between the network and its own rounding is kept, no change among them.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from onnxpath.errors import MissingFactError
from onnxpath.model.network import Network, Node, Parameter, Site
from onnxpath.ops import OPERATORS
from onnxpath.rewrites.rescaling.groups import Groups, channel, learned, multipliers, rescaled

STEPS = (0.0, 0.5, 0.75, 1.0)
Costs = Mapping[tuple[str, str], np.ndarray]
_ROUNDS = 8
_CLOSE = 1e-3


@dataclass(frozen=True, eq=False)
class _Layer:
    """A learned node: ranges [parts, out, in] of its kernels as the file stores them, the sums of their
    derivatives (None: not known), group ids of rows and columns as vectors."""

    ranges: np.ndarray
    derivatives: np.ndarray | None
    rows: np.ndarray
    columns: np.ndarray

    def factors(self, log2: np.ndarray) -> np.ndarray:
        """By what a rescaling multiplies the weights: [parts, out, in]."""
        parts, out, width = self.ranges.shape
        return np.exp2(log2[self.rows].reshape(parts, out, 1) - log2[self.columns].reshape(parts, 1, width))


def equalize(
    network: Network, found: Groups, difference: Callable[[Network, Network], float] | None = None,
    costs: Costs | None = None,
    powers_of_two: bool = False, levels: int = 127, by_channel: bool = False,
) -> np.ndarray:  # fmt: skip
    """log2 λ of every group, 0 for group 0.

    difference: bound on the distance of a network to a rounded one (any increasing function of it), to choose
    how far to go. costs: Φ-costs by (output of the node, "weight"), to refine by (any multiple of them).
    powers_of_two: only those. levels, by_channel: the grid that the choice is made for, `levels` steps on
    either side of zero, one step per tensor or per output channel.
    """
    weighted = [node for node in learned(network) if node.weight is not None and not node.weight.fixed]
    layers = [
        _layer(network, node, found, None if costs is None else costs.get((node.output, "weight")))
        for node in weighted
    ]
    log2 = _equalized(layers, found.count)
    if difference is None:
        return np.rint(log2) if powers_of_two else log2
    candidates = [np.zeros(found.count)]
    for step in STEPS:
        start = np.rint(step * log2) if powers_of_two else step * log2
        candidates += [start] if step else []
        if costs is not None:
            candidates.append(_refined(layers, start, powers_of_two))
    different = [
        c for k, c in enumerate(candidates) if not any(np.array_equal(c, other) for other in candidates[:k])
    ]
    values = [
        difference(other := applied(network, found, candidate), rounded(other, levels, by_channel))
        for candidate in different
    ]
    return different[int(np.argmin(values))]


def output_axis(network: Network, node: Node) -> int:
    """The axis of a contraction's weight that counts output channels."""
    return OPERATORS[node.op].weight_axes(Site.of(network, node))[0]


def _layer(network: Network, node: Node, found: Groups, cost: np.ndarray | None) -> _Layer:
    site, operator = Site.of(network, node), OPERATORS[node.op]
    assert node.weight is not None
    values = np.abs(node.weight.base)  # what is rounded is what the file stores
    slopes = None
    if cost is not None:
        slopes = np.divide(
            cost, values, out=np.zeros(values.shape), where=values > 0, dtype=np.float64, casting="unsafe"
        )
    axes = operator.axes(site)
    if axes is None:
        shape = np.broadcast_shapes(
            found.ids[node.output].shape, found.ids[node.inputs[0]].shape, values.shape
        )
        rows, columns = (
            np.broadcast_to(found.ids[name], shape).reshape(-1) for name in (node.output, node.inputs[0])
        )
        return _Layer(
            np.broadcast_to(values, shape).reshape(-1, 1, 1),
            None if slopes is None else np.broadcast_to(slopes, shape).reshape(-1, 1, 1),
            rows,
            columns,
        )
    source, target = axes
    return _Layer(
        _kernels(site, values, np.max), None if slopes is None else _kernels(site, slopes, np.sum),
        channel(found.ids[node.output], target, site.output_shape[target]),
        channel(found.ids[node.inputs[0]], source, site.input_shapes[0][source]),
    )  # fmt: skip


def _kernels(site: Site, array: np.ndarray, gather: Callable[..., np.ndarray]) -> np.ndarray:
    """The largest entry (or the sum) of every kernel: [parts, out, in] as `Operator.matrix` orders it."""
    node = site.node
    if node.op == "MatMul":
        flat = gather(array.reshape(-1, *array.shape[-2:]), axis=0)
        return (flat.T if site["side"] == "right" else flat)[None]
    if node.op not in ("Conv", "ConvTranspose"):
        raise MissingFactError(node.op, "how its kernels lie in its weight")
    whole = gather(array.reshape(*array.shape[:2], -1), axis=-1)
    parts = site["group"]
    if node.op == "Conv":
        return whole.reshape(parts, -1, whole.shape[1])
    return whole.reshape(parts, -1, whole.shape[1]).transpose(0, 2, 1)


def _batches(layers: Sequence[_Layer]) -> list[tuple[tuple[int, ...], tuple[int, ...], list[int]]]:
    """Free groups with the same producers and the same readers, in topological order: (producers, readers,
    groups)."""
    readers: dict[int, list[int]] = {}
    producers: dict[int, list[int]] = {}
    for k, layer in enumerate(layers):
        for group in np.unique(layer.rows).tolist():
            producers.setdefault(group, []).append(k)
        for group in np.unique(layer.columns).tolist():
            readers.setdefault(group, []).append(k)
    found: dict[tuple, list[int]] = {}
    for group in sorted(set(readers) & set(producers) - {0}):
        found.setdefault((tuple(producers[group]), tuple(readers[group])), []).append(group)
    return [(*key, members) for key, members in sorted(found.items())]


def _equalized(layers: Sequence[_Layer], count: int) -> np.ndarray:
    log2 = np.zeros(count)
    batches = _batches(layers)
    for _ in range(_ROUNDS):
        moved = 0.0
        for makes, reads, members in batches:
            out, into = np.full(count, -np.inf), np.full(count, -np.inf)
            for k in makes:
                np.maximum.at(out, layers[k].rows, _log_ranges(layers[k], log2, axis=2))
            for k in reads:
                np.maximum.at(into, layers[k].columns, _log_ranges(layers[k], log2, axis=1))
            with np.errstate(invalid="ignore"):  # dead on both sides
                step = (into[members] - out[members]) / 2
            step = np.where(np.isfinite(step), step, 0.0)
            log2[members] += step
            moved = max(moved, float(np.abs(step).max(initial=0.0)))
        if moved < _CLOSE:
            break
    return log2


def _log_ranges(layer: _Layer, log2: np.ndarray, axis: int) -> np.ndarray:
    """log2 of the largest rescaled entry of every row (axis 2) or column (axis 1)."""
    with np.errstate(divide="ignore", over="ignore"):
        return np.log2((layer.ranges * layer.factors(log2)).max(axis=axis)).reshape(-1)


def _refined(layers: Sequence[_Layer], start: np.ndarray, powers_of_two: bool) -> np.ndarray:
    """Coordinate descent of J from `start`, in which no step grows."""
    log2 = start.copy()
    batches = [
        batch
        for batch in _batches(layers)
        if all(layers[k].derivatives is not None for k in (*batch[0], *batch[1]))
    ]
    for _ in range(_ROUNDS):
        moved = 0.0
        for makes, reads, members in batches:
            a, b, highest, lowest = (
                np.zeros(len(log2)),
                np.zeros(len(log2)),
                np.full(len(log2), np.inf),
                np.full(len(log2), -np.inf),
            )
            for k, ids, axis in [
                *((k, layers[k].rows, 2) for k in makes),
                *((k, layers[k].columns, 1) for k in reads),
            ]:
                layer = layers[k]
                with np.errstate(divide="ignore", over="ignore"):
                    factors = layer.factors(log2)
                    now = layer.ranges * factors
                    step = now.max(initial=0.0)
                    np.add.at(
                        a if axis == 2 else b,
                        ids,
                        (step * layer.derivatives / factors).sum(axis=axis).reshape(-1),
                    )
                    room = (
                        np.log2(step) - np.log2(now.max(axis=axis)).reshape(-1)
                        if step > 0
                        else np.full(len(ids), np.inf)
                    )
                if axis == 2:
                    np.minimum.at(highest, ids, room)
                else:
                    np.maximum.at(lowest, ids, -room)
            move = _best(a[members], b[members], lowest[members], highest[members], powers_of_two)
            log2[members] += move
            moved = max(moved, float(np.abs(move).max(initial=0.0)))
        if moved < _CLOSE:
            break
    return log2


def _best(
    a: np.ndarray, b: np.ndarray, lowest: np.ndarray, highest: np.ndarray, powers_of_two: bool
) -> np.ndarray:
    """log2 of the λ in [2^lowest, 2^highest] that makes a / λ + b λ smallest; 0 where nothing is known."""
    usable = (a > 0) & (b > 0) & np.isfinite(a) & np.isfinite(b) & (lowest <= highest)
    with np.errstate(divide="ignore", invalid="ignore"):
        best = np.where(usable, np.log2(np.where(usable, a, 1.0) / np.where(usable, b, 1.0)) / 2, 0.0)
    if not powers_of_two:
        return np.where(usable, np.clip(best, lowest, highest), 0.0)
    options = [np.clip(np.floor(best) + k, np.ceil(lowest - 1e-9), np.floor(highest + 1e-9)) for k in (0, 1)]
    value = [a * np.exp2(-move) + b * np.exp2(move) for move in np.where(usable, options, 0.0)]
    return np.where(usable, np.where(value[1] < value[0], options[1], options[0]), 0.0)


def applied(network: Network, found: Groups, log2: np.ndarray) -> Network:
    """The network with every group g multiplied by 2**log2[g], in the numbers that the file stores where they
    are weights."""
    nodes = []
    for node in network.nodes:
        if OPERATORS[node.op].kind == "weighted" and (
            node.op == "Scale" or not (node.weight is None or node.weight.fixed)
        ):
            weight, bias = rescaled(network, node, node.weight, node.bias, found, log2)
            if node.weight is not None and node.op != "Scale":
                factor = multipliers(Site.of(network, node), found, np.exp2(log2), np.exp2(-log2))[0]
                weight = replace(
                    node.weight, base=node.weight.base.astype(np.float64) * factor
                )  # exact, or rounded once
            node = replace(node, weight=weight, bias=bias)
        nodes.append(node)
    return replace(network, nodes=tuple(nodes))


def rounded(network: Network, levels: int = 127, by_channel: bool = False) -> Network:
    """The network with every weight that its file stores rounded to `levels` steps on either side of zero,
    one step per tensor, or per output channel; biases stay."""
    return replace(network, nodes=tuple(_rounded(network, levels, by_channel)))


def _rounded(network: Network, levels: int, by_channel: bool) -> Iterator[Node]:
    for node in network.nodes:
        weight: Parameter | None = node.weight
        if weight is None or weight.fixed:
            yield node
            continue
        value = weight.base
        axes = (
            None
            if not by_channel or node.op == "Scale"
            else tuple(k for k in range(value.ndim) if k != output_axis(network, node))
        )
        step = np.abs(value).max(axis=axes, keepdims=True, initial=0.0).astype(np.float64) / levels
        step = np.where((step > 0) & np.isfinite(1 / np.where(step > 0, step, 1.0)), step, 1.0)
        yield replace(node, weight=replace(weight, base=(np.rint(value / step) * step).astype(value.dtype)))
