"""Cross-layer equalization: rescalings that make quantizing with one step per tensor as harmless as they can.

With one step for a whole tensor, a channel of small weights keeps few levels. Let r_out(c) be the range max |W[c]| of the rows
that produce channel c and r_in(c) that of the columns that read it; multiplying the rows by

    λ_c = √(r_in(c) / r_out(c))        (data-free quantization: Nagel et al., 2019, Equation 11)

gives both the same range √(r_out r_in). Groups with several producers or readers take the largest range of either; groups are
visited in topological order, for several rounds, since a layer's rows change the range of its columns.

How far to go is decided by what it is for: of the exponents t in `STEPS` the one whose λ^t gives the smallest difference bound
between the network and its own per-tensor int8 rounding is kept, t = 0 (no change) among them.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from onnxpath.network import Network, Node, Parameter, Site
from onnxpath.ops import OPERATORS
from onnxpath.rescaling.groups import Groups, channel, learned, rescaled

STEPS = (0.0, 0.5, 0.75, 1.0)
_ROUNDS = 8
_CLOSE = 1e-3


@dataclass(frozen=True, eq=False)
class _Layer:
    """A learned node: ranges [parts, out, in] of its kernels, group ids of rows and columns as vectors."""

    ranges: np.ndarray
    rows: np.ndarray
    columns: np.ndarray


def equalize(network: Network, found: Groups, difference: Callable[[Network, Network], float] | None = None) -> np.ndarray:
    """log2 λ of every group, 0 for group 0.

    difference: bound on the distance of a network to a rounded one (any increasing function of it), to choose how far to go.
    """
    weighted = [node for node in learned(network) if node.weight is not None and not node.weight.fixed]
    log2 = _equalized([_layer(network, node, found) for node in weighted], found.count)
    if difference is None or not log2.any():
        return log2
    values = [difference(candidate := applied(network, found, step * log2), rounded(candidate)) for step in STEPS]
    return STEPS[int(np.argmin(values))] * log2


def _layer(network: Network, node: Node, found: Groups) -> _Layer:
    site, operator = Site.of(network, node), OPERATORS[node.op]
    weight = node.weight
    if operator.axes(site) is None:
        shape = np.broadcast_shapes(found.ids[node.output].shape, found.ids[node.inputs[0]].shape)
        values = np.abs(weight.array())
        shape = np.broadcast_shapes(shape, values.shape)
        ids = (np.broadcast_to(found.ids[name], shape).reshape(-1) for name in (node.output, node.inputs[0]))
        return _Layer(np.broadcast_to(values, shape).reshape(-1, 1, 1), *ids)
    source, target = operator.axes(site)
    return _Layer(
        _kernel_ranges(site, np.abs(weight.array())),
        channel(found.ids[node.output], target, site.output_shape[target]),
        channel(found.ids[node.inputs[0]], source, site.input_shapes[0][source]),
    )


def _kernel_ranges(site: Site, array: np.ndarray) -> np.ndarray:
    """The largest entry of every kernel: [parts, out, in] as `Operator.matrix` orders it."""
    node = site.node
    if node.op == "MatMul":
        flat = array.reshape(-1, *array.shape[-2:]).max(0)
        return (flat.T if site["side"] == "right" else flat)[None]
    largest = array.reshape(*array.shape[:2], -1).max(-1)
    parts = site["group"]
    if node.op == "Conv":
        return largest.reshape(parts, -1, largest.shape[1])
    return largest.reshape(parts, -1, largest.shape[1]).transpose(0, 2, 1)


def _equalized(layers: list[_Layer], count: int) -> np.ndarray:
    log2 = np.zeros(count)
    readers: dict[int, list[int]] = {}
    producers: dict[int, list[int]] = {}
    for k, layer in enumerate(layers):
        for group in np.unique(layer.rows).tolist():
            producers.setdefault(group, []).append(k)
        for group in np.unique(layer.columns).tolist():
            readers.setdefault(group, []).append(k)
    batches: dict[tuple, list[int]] = {}
    for group in sorted(set(readers) & set(producers) - {0}):
        batches.setdefault((producers[group][0], tuple(producers[group]), tuple(readers[group])), []).append(group)
    for _ in range(_ROUNDS):
        moved = 0.0
        for (_, makes, reads), members in sorted(batches.items()):
            out, into = np.full(count, -np.inf), np.full(count, -np.inf)
            for k in makes:
                _raise(out, layers[k].rows, _log_ranges(layers[k], log2, axis=2))
            for k in reads:
                _raise(into, layers[k].columns, _log_ranges(layers[k], log2, axis=1))
            with np.errstate(invalid="ignore"):  # dead on both sides
                step = (into[members] - out[members]) / 2
            step = np.where(np.isfinite(step), step, 0.0)
            log2[members] += step
            moved = max(moved, float(np.abs(step).max(initial=0.0)))
        if moved < _CLOSE:
            break
    return log2


def _raise(target: np.ndarray, ids: np.ndarray, values: np.ndarray) -> None:
    np.maximum.at(target, ids, values)


def _log_ranges(layer: _Layer, log2: np.ndarray, axis: int) -> np.ndarray:
    """log2 of the largest rescaled entry of every row (axis 2) or column (axis 1)."""
    parts, out, width = layer.ranges.shape
    rows = np.exp2(log2[layer.rows]).reshape(parts, out, 1)
    columns = np.exp2(-log2[layer.columns]).reshape(parts, 1, width)
    with np.errstate(divide="ignore", over="ignore"):
        if axis == 2:
            return np.log2((layer.ranges * columns).max(axis=2) * rows[..., 0]).reshape(-1)
        return np.log2((layer.ranges * rows).max(axis=1) * columns[:, 0]).reshape(-1)


def applied(network: Network, found: Groups, log2: np.ndarray) -> Network:
    """The network with every group g multiplied by 2**log2[g]."""
    nodes = []
    for node in network.nodes:
        if OPERATORS[node.op].kind == "weighted" and (node.op == "Scale" or not node.weight.fixed):
            weight, bias = rescaled(network, node, node.weight, node.bias, found, log2)
            node = replace(node, weight=weight, bias=bias)
        nodes.append(node)
    return replace(network, nodes=tuple(nodes))


def rounded(network: Network, levels: int = 127) -> Network:
    """The network with every weight tensor rounded to `levels` steps on either side of zero, one step per tensor; biases stay."""

    def nearest(parameter: Parameter | None) -> Parameter | None:
        if parameter is None or parameter.fixed:
            return parameter
        value = parameter.array()
        step = float(np.abs(value).max(initial=0.0)) / levels
        if step == 0 or not np.isfinite(1 / step):
            return parameter
        return replace(parameter, base=(np.rint(value / step) * step).astype(value.dtype), scale=None)

    return replace(network, nodes=tuple(replace(node, weight=nearest(node.weight)) for node in network.nodes))
