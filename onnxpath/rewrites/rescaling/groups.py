"""Neuron-wise rescaling: which channels may be rescaled together (docs/theory.md, section 5).

Multiplying by λ > 0 what a hidden channel's producers put into it (weights and bias), and dividing by λ the
weights of its consumers, changes neither the function nor Φ. Channels tied by Add, Concat, pooling,
activations or data movement form one group; groups that reach an input or an output, an activation that is
not positively homogeneous, or a weight that several nodes share, keep λ = 1.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from onnxpath.errors import MissingFactError
from onnxpath.model.matching import Parameters
from onnxpath.model.network import Network, Node, Parameter, Shape, Site
from onnxpath.ops import OPERATORS
from onnxpath.ops.operator import compress


class Union:
    """Union-find over channel ids; id 0 is the pinned group."""

    def __init__(self) -> None:
        self._parent = [0]

    def fresh(self, count: int) -> np.ndarray:
        start = len(self._parent)
        self._parent.extend(range(start, start + count))
        return np.arange(start, start + count)

    def find(self, k: int) -> int:
        parent = self._parent
        while parent[k] != k:
            parent[k] = parent[parent[k]]
            k = parent[k]
        return k

    def join(self, a: np.ndarray, b: np.ndarray) -> None:
        for x, y in np.unique(np.stack([a.reshape(-1), b.reshape(-1)], 1), axis=0):
            low, high = sorted((self.find(int(x)), self.find(int(y))))
            self._parent[high] = low

    def roots(self) -> np.ndarray:
        return np.array([self.find(k) for k in range(len(self._parent))])


@dataclass(frozen=True, eq=False)
class Groups:
    """Rescaling groups: `ids` of every tensor (broadcastable to its shape), 0 for channels that must keep λ =
    1."""

    ids: dict[str, np.ndarray]
    count: int

    def free(self) -> set[int]:
        return {int(k) for array in self.ids.values() for k in np.unique(array)} - {0}


def _flat(union: Union, array: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    """Join the ids along `axes` and keep one of each."""
    for axis in axes:
        if array.shape[axis] > 1:
            first = array[(slice(None),) * axis + (slice(0, 1),)]
            union.join(np.broadcast_to(first, array.shape), array)
            array = first
    return array


def _others(rank: int, axis: int) -> tuple[int, ...]:
    return tuple(k for k in range(rank) if k != axis)


def groups(network: Network, twin: Mapping[str, Parameters] | None = None) -> Groups:
    """The rescaling groups of a network, at channel level; with a twin, those that both networks have."""
    union = Union()
    ids = {name: np.zeros((1,) * len(network.shapes[name]), np.int64) for name in network.inputs}
    uses: dict[tuple, int] = {}
    for node in network.nodes:
        if node.weight is not None and not node.weight.fixed:
            uses[node.weight.sources] = uses.get(node.weight.sources, 0) + 1
    for node in network.nodes:
        site, operator = Site.of(network, node), OPERATORS[node.op]
        before = [ids[name] for name in node.inputs]
        if operator.kind == "weighted":
            biases = (node.bias, twin[node.output][1] if twin else None)
            ids[node.output] = _through_weights(
                union, site, before[0], [bias for bias in biases if bias is not None]
            )
            if node.weight is not None and node.weight.sources and uses.get(node.weight.sources, 0) > 1:
                for array in (before[0], ids[node.output]):
                    union.join(array, np.zeros_like(array))
        elif operator.kind in ("movement", "relu", "activation", "quantizer"):
            ids[node.output] = operator.image(site, before)
            if not operator.homogeneous:
                union.join(before[0], np.zeros_like(before[0]))
        elif operator.kind not in ("sum", "max"):
            raise MissingFactError(node.op, "what rescaling makes of it")
        elif operator.merges:
            full = np.broadcast_shapes(*(array.shape for array in before))
            first = np.broadcast_to(before[0], full)
            for array in before[1:]:
                union.join(first, np.broadcast_to(array, full))
            ids[node.output] = first
        else:
            ids[node.output] = _flat(union, before[0], operator.mixes(site))
    for name in network.outputs:
        union.join(ids[name], np.zeros_like(ids[name]))
    roots = union.roots()
    return Groups({name: compress(roots[array]) for name, array in ids.items()}, len(roots))


def _through_weights(union: Union, site: Site, array: np.ndarray, biases: list[Parameter]) -> np.ndarray:
    node, axes = site.node, OPERATORS[site.node.op].axes(site)
    rank = len(site.output_shape)
    if axes is None:
        bias_axes = tuple(k for k in range(rank) if any(bias.shape[k] == 1 for bias in biases))
        if node.weight is None or node.weight.fixed:
            return _flat(union, array, bias_axes)
        shape = node.weight.shape
        _flat(union, array, tuple(k for k in range(rank) if shape[k] == 1))
        return _flat(union, union.fresh(node.weight.size).reshape(shape), bias_axes)
    source, target = axes
    if node.coefficients.fixed:
        array = _flat(union, array, (source,))
        if biases:
            union.join(array, np.zeros_like(array))
        return array
    _flat(union, array, _others(array.ndim, source))
    shape = [1] * rank
    shape[target] = site.output_shape[target]
    made = union.fresh(site.output_shape[target]).reshape(shape)
    for bias in () if OPERATORS[node.op].channel_bias else biases:
        wide = (1,) * (rank - len(bias.shape)) + bias.shape
        if wide[target] == 1:
            made = np.broadcast_to(_flat(union, made, (target,)), shape)
    return made


def channel(array: np.ndarray, axis: int, length: int) -> np.ndarray:
    """The ids along one axis."""
    index = tuple(slice(None) if k == axis else 0 for k in range(array.ndim))
    return np.broadcast_to(array[index], (length,))


def learned(network: Network) -> Iterator[Node]:
    for node in network.nodes:
        if OPERATORS[node.op].kind == "weighted" and (node.op == "Scale" or not node.coefficients.fixed):
            yield node


def lambdas(network: Network, node: Node, found: Groups, log2: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    site = Site.of(network, node)
    source, target = OPERATORS[node.op].contracted(site)
    return (
        log2[channel(found.ids[node.inputs[0]], source, site.input_shapes[0][source])],
        log2[channel(found.ids[node.output], target, site.output_shape[target])],
    )


def rescaled(
    network: Network,
    node: Node,
    weight: Parameter | None,
    bias: Parameter | None,
    found: Groups,
    log2: np.ndarray,
) -> Parameters:
    """The node's parameters after rescaling every group g by 2**log2[g]."""
    site = Site.of(network, node)
    factor, shift = multipliers(
        site, found, np.exp2(log2), np.exp2(-log2), None if bias is None else bias.shape
    )
    if weight is not None:
        weight = _times(weight, factor)
    elif OPERATORS[node.op].axes(site) is None and not (factor == 1).all():
        weight = Parameter("", factor.reshape((1,) * (len(site.output_shape) - factor.ndim) + factor.shape))
    return weight, None if bias is None else _times(bias, shift)


def multipliers(
    site: Site, found: Groups, up: np.ndarray, down: np.ndarray, bias: Shape | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """By what a node's weight and its bias (of shape `bias`) are multiplied, both broadcastable to them, when
    everything that produces a channel of group g is multiplied by up[g] and every weight that reads one by
    down[g].

    down = 1 / up is a rescaling; up = 0 or down = 0 cuts the channel off.
    """
    node = site.node
    if OPERATORS[node.op].axes(site) is None:
        return elementwise(found, node, up, down), up[found.ids[node.output]]
    target = OPERATORS[node.op].contracted(site)[1]
    columns, rows = sides(site, found, down, up)
    out = up[channel(found.ids[node.output], target, site.output_shape[target])]
    if bias is None:
        return rows * columns, out
    rank, axis = len(bias), target - len(site.output_shape)
    if OPERATORS[node.op].channel_bias:
        axis = -1
    shape = [1] * rank
    if -axis <= rank and bias[axis] > 1:
        shape[axis] = len(out)
        return rows * columns, out.reshape(shape)
    return rows * columns, out[:1].reshape(shape)  # one value for several channels, which are one group then


def sides(site: Site, found: Groups, inside: np.ndarray, out: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Values of the groups that a node's weights read and of those that they produce, each broadcastable to
    the weight."""
    node = site.node
    if OPERATORS[node.op].axes(site) is None:
        return inside[found.ids[node.inputs[0]]], out[found.ids[node.output]]
    source, target = OPERATORS[node.op].contracted(site)
    columns = inside[channel(found.ids[node.inputs[0]], source, site.input_shapes[0][source])]
    rows = out[channel(found.ids[node.output], target, site.output_shape[target])]
    return OPERATORS[node.op].shift(site, columns, rows)


def statistic(site: Site, values: np.ndarray, shape: Shape) -> np.ndarray:
    """Values of the channels of a node's output as those of a BatchNormalization's parameter of that shape:
    without spatial axes."""
    spatial = len(site.output_shape) - 1 - len(shape)
    return np.broadcast_to(values, (1, *site.output_shape[1:]))[(0, ..., *(0,) * spatial)]


def across(array: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two arrays of ids, broadcast against each other."""
    shape = np.broadcast_shapes(array.shape, other.shape)
    return np.broadcast_to(array, shape), np.broadcast_to(other, shape)


def elementwise(found: Groups, node: Node, up: np.ndarray, down: np.ndarray) -> np.ndarray:
    """up[out] down[in] of every channel of a node that works element by element; 1 where both are one
    group."""
    inside, out = found.ids[node.inputs[0]], found.ids[node.output]
    return np.where(inside == out, 1.0, up[out] * down[inside])


def _times(parameter: Parameter, factor: np.ndarray) -> Parameter:
    if (factor == 1).all():
        return parameter
    return parameter.scaled(
        factor if factor.ndim == len(parameter.shape) else factor.reshape(parameter.shape)
    )
