"""Pruning whole channels (paper, Section 4; docs/theory.md, section 5): what a group of channels costs, and
which ones go.

The paths through a group of channels enter it: by a weight from a channel outside into one of the group, or
at a bias of it. So

    cost(group) = Σ of the Φ-costs of the weights that enter the group, and of its biases
               >= ‖Φ(θ) - Φ(θ without the group)‖₁,

with equality when no path enters twice (outside of residual connections). For a single channel v this is a_v
g_v, summed over its cells. A removed channel is one whose entering weights and biases are 0: the pair is
monotone, its path-metric exact.
"""

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import replace

import numpy as np

from onnxpath.analyses.metric.norm import path_norms
from onnxpath.analyses.prune.costs import Cotangent, Measured, measure
from onnxpath.analyses.prune.criteria import Settings
from onnxpath.engine.scaled import Scaled
from onnxpath.engine.session import Device
from onnxpath.errors import ModelError, UsageError
from onnxpath.exporter.channels import ChannelGroups, bias_ids, channel_groups
from onnxpath.importer import load
from onnxpath.model.network import Network, Node, Parameter, Site
from onnxpath.ops import OPERATORS
from onnxpath.records import PrunedLayer
from onnxpath.rewrites.rescaling.groups import Groups, learned, sides

# log10 of a path-norm, in float32 by two different graphs: 1e-6 relative would do.
_SAME = 1e-4


def channel_costs(network: Network, found: Groups, costs: Mapping[tuple[str, str], np.ndarray]) -> np.ndarray:
    """The cost of every group, by id.

    found: ids of the network's tensors (`ChannelGroups.canonical`). costs: Φ-costs, or any other non-negative
    numbers, by (output of the node, "weight" or "bias"), each of the parameter's shape.
    """
    total = np.zeros(found.count)
    for node in learned(network):
        entering, into = _entering(network, node, found)
        array = costs.get((node.output, "weight"))
        if array is not None and entering is not None:
            _add(total, into, np.where(entering, array, 0))
        array = costs.get((node.output, "bias"))
        if array is not None and node.bias is not None:
            _add(total, bias_ids(Site.of(network, node), found, node.bias), array)
    total[0] = 0
    return total


def _entering(network: Network, node: Node, found: Groups) -> tuple[np.ndarray | None, np.ndarray]:
    """Which weights lead from outside of a group into it, and the group."""
    if node.weight is None or node.weight.fixed:
        return None, np.zeros(1, np.int64)
    numbers = np.arange(found.count)
    inside, out = sides(Site.of(network, node), found, numbers, numbers)
    return np.broadcast_to(inside != out, np.broadcast_shapes(inside.shape, out.shape)), out


def _add(total: np.ndarray, ids: np.ndarray, values: np.ndarray) -> None:
    """total[ids] += values, ids broadcastable to them."""
    axes = tuple(k for k in range(values.ndim) if ids.ndim == values.ndim and ids.shape[k] == 1)
    sums = values.sum(axis=axes, keepdims=True, dtype=np.float64)
    np.add.at(total, np.broadcast_to(ids, sums.shape).reshape(-1), sums.reshape(-1))


def selected(
    network: Network, found: Groups, costs: np.ndarray, fraction: float, by_layer: bool = False
) -> set[int]:
    """The groups to remove, cheapest first, until that fraction of the channels that can go is gone, counted
    where they are produced; by_layer: that fraction of every layer's (a group belongs to the first layer that
    produces it). No tensor loses its last channel."""
    counted = {name: Counter(array.reshape(-1).tolist()) for name, array in found.ids.items() if array.any()}
    where: dict[int, list[str]] = {}
    for name, counts in counted.items():
        for group in counts:
            where.setdefault(group, []).append(name)
    free, layers, size = found.free(), dict[int, str](), Counter[int]()
    for node in learned(network):
        for group, count in counted.get(node.output, {}).items():
            if group in free:
                layers.setdefault(group, node.output if by_layer else "")
                size[group] = max(size[group], count)
    left = {name: counts.total() for name, counts in counted.items()}
    total = Counter[str]()
    for group, layer in layers.items():
        total[layer] += size[group]
    goal = {layer: int(fraction * count + 1e-9) for layer, count in total.items()}
    gone, chosen = Counter[str](), set[int]()
    for group in sorted(layers, key=lambda g: (costs[g], g)):
        layer = layers[group]
        if gone[layer] + size[group] > goal[layer] or any(
            left[name] <= counted[name][group] for name in where[group]
        ):
            continue
        for name in where[group]:
            left[name] -= counted[name][group]
        gone[layer] += size[group]
        chosen.add(group)
    return chosen


def without(network: Network, found: Groups, removed: Collection[int]) -> Network:
    """The network with the weights and biases that produce the channels of these groups at 0."""
    gone = np.zeros(found.count, bool)
    gone[list(removed)] = True
    nodes = []
    for node in network.nodes:
        if OPERATORS[node.op].diagonal or (node.weight is not None and not node.weight.fixed):
            weight, bias = node.weight, node.bias
            if weight is not None and not weight.fixed:
                weight = _at_zero(weight, _into(network, node, found, gone))
            if bias is not None:
                bias = _at_zero(bias, gone[bias_ids(Site.of(network, node), found, bias)])
            node = replace(node, weight=weight, bias=bias)
        nodes.append(node)
    return replace(network, nodes=tuple(nodes))


def _into(network: Network, node: Node, found: Groups, values: np.ndarray) -> np.ndarray:
    """Values of the groups that a node's weights produce, broadcastable to the weight."""
    return sides(Site.of(network, node), found, values, values)[1]


def _at_zero(parameter: Parameter, gone: np.ndarray) -> Parameter:
    return parameter.scaled(np.where(gone, 0.0, 1.0)) if gone.any() else parameter


def groups_of(source: object, network: Network) -> ChannelGroups:
    """The groups that the file can lose; UsageError when there are none."""
    found = channel_groups(source, network)
    if not found.free():
        raise UsageError(
            f"{network.path}: no channel can be removed: every one reaches an input or an output, or is held"
            " by its file"
        )
    return found


def choose(
    network: Network,
    found: Groups,
    settings: Settings,
    sparsity: float,
    device: Device,
    measured: Measured,
    cotangent: Cotangent,
) -> tuple[set[int], tuple[PrunedLayer, ...], Scaled]:
    """The groups to remove, what every layer loses, and Σ of their costs."""
    costs = channel_costs(network, found, measured.costs)
    ranking = costs
    if settings.criterion == "magnitude":
        values = {
            (n.output, kind): np.abs(p.array())
            for n in learned(network)
            for kind, p in (("weight", n.weight), ("bias", n.bias))
            if p
        }
        ranking = channel_costs(network, found, values)
    elif settings.criterion == "random":
        ranking = np.random.default_rng(settings.seed).random(found.count)
    elif cotangent is not None:
        ranking = channel_costs(network, found, measure(network, device, cotangent).costs)
    removed = selected(network, found, ranking, sparsity, settings.scope == "layer")
    gone = np.zeros(found.count, bool)
    gone[list(removed)] = True
    layers = []
    for node in learned(network):
        if OPERATORS[node.op].diagonal or node.weight is None:
            continue
        inside, out = sides(Site.of(network, node), found, gone, gone)
        shape = node.weight.shape
        lost = np.broadcast_to(inside | out, shape)
        entering, _ = _entering(network, node, found)
        array = measured.costs.get((node.output, "weight"))
        cost = (
            0.0
            if array is None
            else float(array.sum(dtype=np.float64, where=np.broadcast_to(entering & out, shape)))
        )
        bias = measured.costs.get((node.output, "bias"))
        if bias is not None and node.bias is not None:
            where = np.broadcast_to(gone[bias_ids(Site.of(network, node), found, node.bias)], bias.shape)
            cost += float(bias.sum(dtype=np.float64, where=where))
        count = int(np.count_nonzero(lost))
        tensor = node.weight.sources[0] if node.weight.sources else node.weight.name
        layers.append(
            PrunedLayer(
                node.name, tensor, node.weight.size, count, count, Scaled(cost, measured.exponent), False
            )
        )
    return removed, tuple(layers), Scaled(float(costs[list(removed)].sum()), measured.exponent)


def same_paths(path: str, network: Network, norm: Scaled) -> None:
    """Raises ModelError unless the smaller file of a network has this path-norm: every path that should be
    left is, and no other."""
    found = []
    for keep in (False, True):  # the network was read in one of the two ways
        small = load(
            path,
            shapes={name: network.shapes[name] for name in network.inputs},
            output_names=network.output_names,
            keep_batchnorm=keep,
        )
        value = path_norms(small, [1.0], Device("cpu")).norms[0].value
        if value.log10 == norm.log10 or (
            value.log10 is not None and norm.log10 is not None and abs(value.log10 - norm.log10) < _SAME
        ):
            return
        found.append(f"{value.log10}")
    raise ModelError(
        f"{network.path}: not written: without these channels the path-norm is 10^{norm.log10}, but that of"
        f" the smaller file 10^{found[0]}"
    )
