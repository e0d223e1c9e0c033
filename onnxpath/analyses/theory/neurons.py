"""The graph of neurons behind a small network (paper, Definition A.2): one vertex per number, one edge per
weight.

Weighted nodes, sums and poolings make neurons; views only rename them, and a padded cell is no neuron (id
-1). A ReLU that is the only reader of linear neurons is their activation; otherwise it is a neuron of its own
behind an edge of weight 1. Ids follow the topological order, which is the lexicographic order of the tie rule
of max-pooling.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from math import prod

import numpy as np

from onnxpath.errors import UsageError
from onnxpath.model.network import Network, Node, Parameter, Shape, Site
from onnxpath.ops import OPERATORS

INPUT, IDENTITY, RELU, MAX = range(4)
# Edges that fit comfortably in memory.
EDGES = 4_000_000
# Edges that are listed at once.
_BLOCK = 1 << 18


@dataclass(frozen=True, eq=False)
class Graph:
    """Neurons 0 ... n-1 in topological order, and edges sorted by target.

    kind: INPUT, IDENTITY, RELU or MAX. pool: k of a k-max-pool neuron. bias: float64 [n]. source, target,
        weight: [edges].
    inputs, outputs: ids in the shape of every tensor (-1: constant 0, no neuron). tensors: name, first id and
        shape of what each
    node made, for labels. bounds: first ids of consecutive layers, without edges inside a layer, then n.
    """

    kind: np.ndarray
    pool: np.ndarray
    bias: np.ndarray
    source: np.ndarray
    target: np.ndarray
    weight: np.ndarray
    inputs: dict[str, np.ndarray]
    outputs: dict[str, np.ndarray]
    tensors: tuple[tuple[str, int, Shape], ...]
    bounds: tuple[int, ...]

    def layers(self) -> Iterator[tuple[slice, slice]]:
        """Neurons and edges of every layer after the inputs."""
        cuts = np.searchsorted(self.target, self.bounds)
        for k in range(len(self.bounds) - 1):
            yield slice(self.bounds[k], self.bounds[k + 1]), slice(int(cuts[k]), int(cuts[k + 1]))

    @cached_property
    def starts(self) -> np.ndarray:
        """For every neuron, its place among all inputs, one tensor after the other, or -1."""
        place = np.full(self.kind.size, -1)
        ids = np.concatenate([array.reshape(-1) for array in self.inputs.values()])
        place[ids] = np.arange(ids.size)
        return place

    @cached_property
    def ends(self) -> np.ndarray:
        """The neuron behind every output number, one tensor after the other (-1: constant 0)."""
        return np.concatenate([array.reshape(-1) for array in self.outputs.values()])

    @cached_property
    def hidden(self) -> np.ndarray:
        """Neurons that are neither inputs nor outputs."""
        found = self.kind != INPUT
        found[self.ends[self.ends >= 0]] = False
        return found

    def label(self, neuron: int) -> str:
        """A neuron for people: the tensor's node and the index without the batch axis."""
        name, first, shape = next(t for t in reversed(self.tensors) if t[1] <= neuron)
        index = np.unravel_index(neuron - first, shape)
        return f"{name}[{','.join(str(int(k)) for k in (index[1:] if len(index) > 1 else index))}]"

    def values(self, inputs: dict[str, np.ndarray]) -> np.ndarray:
        """The value of every neuron in float64, for one sample."""
        found = np.zeros(self.kind.size)
        for name, ids in self.inputs.items():
            found[ids.reshape(-1)] = np.asarray(inputs[name], np.float64).reshape(-1)
        for neurons, edges in self.layers():
            terms = self.weight[edges] * found[self.source[edges]]
            first, target = neurons.start, self.target[edges] - neurons.start
            sums = np.bincount(target, terms, minlength=neurons.stop - first) + self.bias[neurons]
            kind = self.kind[neurons]
            found[neurons] = np.where(kind == RELU, np.maximum(sums, 0.0), sums)
            if (kind == MAX).any():
                order = np.lexsort((-terms, target))  # every neuron's terms from the largest down
                begin = np.searchsorted(target[order], np.arange(kind.size))
                pick = np.where(kind == MAX, begin + self.pool[neurons] - 1, 0)
                found[neurons] = np.where(kind == MAX, terms[order][pick], found[neurons])
        return found


@dataclass
class _Builder:
    network: Network
    limit: int
    ids: dict[str, np.ndarray] = field(default_factory=dict)
    kinds: list[np.ndarray] = field(default_factory=list)
    biases: list[np.ndarray] = field(default_factory=list)
    edges: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = field(default_factory=list)
    tensors: list[tuple[str, int, Shape]] = field(default_factory=list)
    bounds: list[int] = field(default_factory=list)
    count: int = 0
    size: int = 0

    def neurons(self, name: str, shape: Shape, kind: int, bias: np.ndarray | None = None) -> np.ndarray:
        n = prod(shape)
        self.kinds.append(np.full(n, kind, np.int8))
        self.biases.append(
            np.zeros(n) if bias is None else np.broadcast_to(bias, shape).reshape(-1).astype(np.float64)
        )
        self.tensors.append((name, self.count, shape))
        if kind != INPUT:
            self.bounds.append(self.count)
        self.count += n
        return np.arange(self.count - n, self.count).reshape(shape)

    def connect(self, site: Site, parts: Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> None:
        """Edges in parts (source ids, target ids, weights) that broadcast against each other; -1: no
        neuron."""
        found = []
        for part in parts:
            source, target, weight = (array.reshape(-1) for array in np.broadcast_arrays(*part))
            some = source >= 0
            self.size += int(some.sum())
            if self.size > self.limit:
                raise UsageError(
                    f"{self.network.path}: the graph of neurons has more than {self.limit:,} edges (at node"
                    f" '{site.node.name}'); it is meant for small networks"
                )
            found.append((source[some], target[some], weight[some].astype(np.float64)))
        source, target, weight = (np.concatenate([part[k] for part in found]) for k in range(3))
        order = np.lexsort((source, target))
        self.edges.append((source[order], target[order], weight[order]))


def _value(parameter: Parameter) -> np.ndarray:
    return parameter.array().astype(np.float64)


def _antecedents(
    site: Site, xs: list[np.ndarray], y: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """(source ids, target ids, weights) of the edges into y, some neurons at a time; -1: no neuron."""
    operator, sources, targets = (
        OPERATORS[site.node.op],
        np.concatenate([x.reshape(-1) for x in xs]),
        y.reshape(-1),
    )
    weights = np.ones(1) if site.node.weight is None else _value(site.node.weight).reshape(-1)
    for v in np.array_split(np.arange(y.size), 1 + y.size * operator.terms(site) // _BLOCK):
        u, w, valid = operator.edges(site, v)
        source = sources[u] if valid is None else np.where(valid, sources[u], -1)
        yield source, targets[v][:, None], np.ones(1) if w is None else weights[w]


def _moved(site: Site, xs: list[np.ndarray]) -> np.ndarray:
    """The ids behind a view."""
    u, _, valid = OPERATORS[site.node.op].edges(site, np.arange(prod(site.output_shape)))
    ids = np.concatenate([x.reshape(-1) for x in xs])[u]
    return (ids if valid is None else np.where(valid, ids, -1)).reshape(site.output_shape)


def _linear_origins(network: Network, tensor: str) -> list[str] | None:
    """Where the neurons of a tensor were made, if a ReLU that reads it is all that ever reads them and they
    are linear."""
    if tensor in network.outputs or tensor not in network.producer or len(network.consumers[tensor]) != 1:
        return None
    node = network.producer[tensor]
    kind = OPERATORS[node.op].kind
    if kind in ("weighted", "sum"):
        return [tensor]
    if kind != "movement":
        return None
    found = [_linear_origins(network, name) for name in node.inputs]
    return None if any(part is None for part in found) else [name for part in found if part for name in part]


def _bias(site: Site) -> np.ndarray | None:
    node = site.node
    if node.bias is None:
        return None
    return OPERATORS[node.op].wide_bias(site, _value(node.bias))


def graph(network: Network, limit: int = EDGES) -> Graph:
    """The graph of neurons of a network with batch size 1 and at most `limit` edges (UsageError beyond
    that)."""
    for name in network.inputs:
        if network.batched and network.shapes[name][0] != 1:
            raise UsageError(
                f"input '{name}' of {network.path} has batch size {network.shapes[name][0]}; give it 1 with"
                " --shape"
            )
    b = _Builder(network, limit)
    kinds: dict[str, int] = {}
    for name in network.inputs:
        b.ids[name] = b.neurons(name, network.shapes[name], INPUT)
    for node in network.nodes:
        if OPERATORS[node.op].kind == "relu":
            kinds |= dict.fromkeys(_linear_origins(network, node.inputs[0]) or (), RELU)
    for node in network.nodes:
        _add(b, node, kinds)
    kind, bias = np.concatenate(b.kinds), np.concatenate(b.biases)
    edges = [np.concatenate([part[k] for part in b.edges]) if b.edges else np.zeros(0, int) for k in range(3)]
    outputs = {name: b.ids[name] for name in network.outputs}
    return Graph(
        kind, np.ones(kind.size, np.int64), bias, edges[0], edges[1], edges[2].astype(np.float64),
        {name: b.ids[name] for name in network.inputs}, outputs, tuple(b.tensors), (*b.bounds, b.count),
    )  # fmt: skip


def _add(b: _Builder, node: Node, kinds: dict[str, int]) -> None:
    site = Site.of(b.network, node)
    kind = OPERATORS[node.op].kind
    xs = [b.ids[name] for name in node.inputs]
    if kind == "movement":
        b.ids[node.output] = _moved(site, xs)
    elif kind == "relu":
        if _linear_origins(b.network, node.inputs[0]) is not None:
            b.ids[node.output] = xs[0]
            return
        made = b.neurons(node.name, site.output_shape, RELU)
        b.connect(site, iter([(xs[0], made, np.ones(1))]))
        b.ids[node.output] = made
    elif kind == "weighted":
        made = b.neurons(node.name, site.output_shape, kinds.get(node.output, IDENTITY), _bias(site))
        b.connect(site, _antecedents(site, xs, made))
        b.ids[node.output] = made
    elif kind in ("sum", "max"):
        made = b.neurons(
            node.name, site.output_shape, MAX if kind == "max" else kinds.get(node.output, IDENTITY)
        )
        b.connect(site, _antecedents(site, xs, made))
        b.ids[node.output] = made
    else:
        raise UsageError(f"{b.network.path}: node '{node.name}' ({node.op}) is outside the paper's model")
