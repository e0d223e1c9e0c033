"""What the generalization bounds need to know of an architecture (paper, Section 5 and Appendix G;
docs/generalization.md).

D, K and P: depth, largest kernel of a max-pool neuron (1 if there is none), number of distinct k among
k-max-pool neurons (those of ONNX files all have k = 1). Directed regular partitions (Definition G.3): the
neurons of a channel form one class, classes follow the topological order, and all neurons of a class must
have the same number of antecedents in every class. Zero padding breaks this: a border neuron has fewer.
"""

from math import prod

import numpy as np

from onnxpath.analyses.inspect import depth, kernels
from onnxpath.analyses.theory.neurons import Graph
from onnxpath.analyses.theory.normalized import final
from onnxpath.model.network import Network, Node, Site
from onnxpath.model.paths import require_paths
from onnxpath.ops import OPERATORS
from onnxpath.records import Architecture


def irregular(network: Network) -> tuple[str, ...]:
    """Nodes that break the regularity of the partition by channels."""
    nodes = (node for node in network.nodes if OPERATORS[node.op].kind != "relu")
    return tuple(node.name for node in nodes if not OPERATORS[node.op].regular(Site.of(network, node)))


def partition(network: Network, graph: Graph) -> np.ndarray:
    """The class of every neuron of a graph: one per tensor and channel, in topological order; one each where
    there is no space."""
    found = np.zeros(graph.kind.size, np.int64)
    count = 0
    for _, first, shape in graph.tensors:
        channels = shape[1] if len(shape) > 2 else prod(shape)
        ids = np.arange(prod(shape)).reshape(shape)
        classes = np.arange(channels).reshape(1, -1, *(1,) * (len(shape) - 2)) if len(shape) > 2 else ids
        found[first : first + prod(shape)] = (count + np.broadcast_to(classes, shape)).reshape(-1)
        count += channels
    return found


def directed(graph: Graph, classes: np.ndarray) -> bool:
    """Whether no edge goes to an earlier class, or stays inside one."""
    return bool((classes[graph.source] < classes[graph.target]).all())


def regular(graph: Graph, classes: np.ndarray) -> np.ndarray:
    """Neurons whose numbers of antecedents, class by class, differ from those of the first neuron of their
    own class."""
    pairs, count = np.unique(np.stack([graph.target, classes[graph.source]]), axis=1, return_counts=True)
    signature: dict[int, list[tuple[int, int]]] = {}
    for target, source, n in zip(*pairs, count, strict=True):
        signature.setdefault(int(target), []).append((int(source), int(n)))
    first: dict[int, list[tuple[int, int]]] = {}
    return np.array(
        [
            v
            for v in range(classes.size)
            if first.setdefault(int(classes[v]), signature.get(v, [])) != signature.get(v, [])
        ],
        int,
    )


def _learned(node: Node) -> int:
    return sum(parameter.size for parameter in node.parameters() if not parameter.fixed)


def _channels(network: Network, tensor: str) -> int:
    shape = network.shapes[tensor]
    return shape[1] if len(shape) > 2 else prod(shape)


def _merged(network: Network, tensor: str) -> bool:
    """Whether a tensor is made by learned weights (behind views) and read by one node only."""
    while (
        tensor in network.producer
        and tensor not in network.outputs
        and len(network.consumers.get(tensor, ())) == 1
    ):
        node = network.producer[tensor]
        if _learned(node):
            return True
        if OPERATORS[node.op].kind != "movement" or len(node.inputs) != 1:
            return False
        tensor = node.inputs[0]
    return False


def _rows(network: Network) -> tuple[int, int, int]:
    """Dimensions of hidden and output rows, and the largest number of hidden rows on a path (at least 1)."""
    ends = final(network)
    sizes = {True: 0, False: 0}
    reached = dict.fromkeys(network.inputs, 0)  # rows on the longest path, this tensor's own included
    own = dict.fromkeys(network.inputs, False)  # whether the last of them is this tensor's own
    for node in network.nodes:
        last, kind = node.output in ends, OPERATORS[node.op].kind
        size, taken = _row(network, node)
        if last and size == 0 and (kind not in ("movement", "relu") or node.inputs[0] not in ends):
            size = _channels(
                network, node.output
            )  # fixed edges from neurons that were divided by their factors
        sizes[last] += size
        reached[node.output] = max(
            reached[name] + (not mine) for name, mine in zip(node.inputs, taken, strict=True)
        )
        views = kind in ("movement", "relu")
        own[node.output] = (
            all(own[name] for name in node.inputs) if views else not all(taken) or len(node.inputs) > 1
        )
    levels = 0
    for name in network.outputs:
        if name not in ends:  # a hidden tensor that is an output too
            sizes[True] += _channels(network, name)
        levels = max(levels, reached[name] - (name in ends and own[name]))
    return sizes[False], sizes[True], max(1, levels)


def _row(network: Network, node: Node) -> tuple[int, list[bool]]:
    """Numbers of a node's rows that depend on parameters, and for every operand whether its own rows become
    part of these (or the node has none, so that nothing is added to a path)."""
    operator, operands = OPERATORS[node.op], len(node.inputs)
    if _learned(node):
        behind = node.bias is not None and (
            node.weight is None or node.weight.fixed
        )  # a bias of its own behind fixed edges
        return _learned(node) + (node.bias.size if behind and node.bias is not None else 0), [False]
    if operator.merges:
        merged = [operator.kind == "sum" and _merged(network, name) for name in node.inputs]
        return (operands - sum(merged)) * _channels(network, node.output), merged
    if operator.kind in ("sum", "max") and (
        1 in operator.mixes(Site.of(network, node)) or len(network.shapes[node.inputs[0]]) == 2
    ):
        return network.size_of(node.inputs[0]), [False]  # a reduction over channels
    return 0, [True] * operands


def _of_a_perceptron(node: Node) -> bool:
    """Whether it is a dense layer, a ReLU, or a view between them."""
    operator = OPERATORS[node.op]
    return operator.dense or operator.kind == "relu" or (operator.kind == "movement" and bool(operator.view))


def read(network: Network) -> Architecture:
    """The numbers of a network's architecture."""
    require_paths(network)
    sizes = kernels(network)
    hidden, output, levels = _rows(network)
    biased = any(node.bias is not None and bool(np.any(node.bias.array())) for node in network.nodes)
    plain = all(_of_a_perceptron(node) for node in network.nodes) and all(
        len(network.consumers.get(name, ())) <= 1 for name in network.shapes
    )
    return Architecture(
        depth(network), max(sizes, default=1), 1 if sizes else 0,
        sum(parameter.size for parameter in network.parameters().values()),
        sum(network.size_of(name) for name in network.inputs),
        sum(network.size_of(name) for name in network.outputs),
        hidden, output, levels, irregular(network), biased, plain and len(network.inputs) == 1,
    )  # fmt: skip
