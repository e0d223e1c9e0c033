"""Brute force: the path-lifting Φ of small networks, path by path.

Every scalar of every tensor is a neuron. What a node does to its inputs is read off as dense matrices, by
running the float64 reference on all basis vectors; max neurons have edges of weight 1 and ReLU passes
everything. Then all paths are listed, from every input neuron and from every bias, with the product of their
weights in both networks of a pair.

The two networks of a pair must have the same tensor names (as `networks.perturb` makes them).
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from reference import OPERATIONS

from onnxpath.model.network import Network, Node

LIMIT = 200_000
_SUMS = {"MaxPool": "SumPool", "ReduceMax": "ReduceSum", "Max": "Add"}


class TooManyPathsError(Exception):
    """The network is not small."""


@dataclass(frozen=True)
class Edges:
    """A node: one (out, in) matrix per operand for each network, and the biases."""

    output: str
    inputs: tuple[str, ...]
    p: tuple[np.ndarray, ...]
    q: tuple[np.ndarray, ...]
    bias_p: np.ndarray
    bias_q: np.ndarray


@dataclass(frozen=True)
class Paths:
    """Paths that end at one tensor: `end` neuron, `start` input neuron (-1: a bias), Φ in both networks."""

    end: np.ndarray
    start: np.ndarray
    p: np.ndarray
    q: np.ndarray


def _matrices(network: Network, node: Node) -> tuple[tuple[np.ndarray, ...], np.ndarray]:
    shape = network.shapes[node.output]
    sizes = [network.size_of(name) for name in node.inputs]
    out = network.size_of(node.output)
    if node.op == "Relu":
        return (np.eye(out),), np.zeros(out)
    run = OPERATIONS[_SUMS.get(node.op, node.op)]
    weight = None if node.weight is None else torch.tensor(np.asarray(node.weight.array(), np.float64))
    bias = None if node.bias is None else torch.tensor(np.asarray(node.bias.array(), np.float64))

    def evaluate(operands: list[np.ndarray], count: int, bias: torch.Tensor | None) -> np.ndarray:
        if not network.batched and count > 1:  # one basis vector after the other
            return np.concatenate([evaluate([x[k : k + 1] for x in operands], 1, bias) for k in range(count)])
        if not network.batched:
            tensors = [
                torch.from_numpy(x.reshape(network.shapes[n]))
                for x, n in zip(operands, node.inputs, strict=True)
            ]
            return run(node, tensors, weight, bias, shape).reshape(1, out).numpy().copy()
        tensors = [
            torch.from_numpy(x.reshape(count, *network.shapes[n][1:]))
            for x, n in zip(operands, node.inputs, strict=True)
        ]
        return run(node, tensors, weight, bias, (count, *shape[1:])).reshape(count, out).numpy().copy()

    found = []
    for k, size in enumerate(sizes):
        operands = [np.eye(size) if j == k else np.zeros((size, other)) for j, other in enumerate(sizes)]
        found.append(evaluate(operands, size, None).T)
    constant = (
        evaluate([np.zeros((1, size)) for size in sizes], 1, bias)[0] if bias is not None else np.zeros(out)
    )
    return tuple(found), constant


def edges(a: Network, b: Network | None = None) -> list[Edges]:
    """The neuron-level graph of a network, or of a pair."""
    b = b or a
    found = []
    for x, y in zip(a.nodes, b.nodes, strict=True):
        assert (x.op, x.inputs, x.output) == (y.op, y.inputs, y.output)
        p, bias_p = _matrices(a, x)
        q, bias_q = (p, bias_p) if x is y else _matrices(b, y)
        found.append(Edges(x.output, x.inputs, p, q, bias_p, bias_q))
    return found


def count(network: Network, graph: list[Edges]) -> dict[str, np.ndarray]:
    """How many paths with a non-zero weight in one of the networks end at every neuron."""
    number = {name: np.ones(network.size_of(name)) for name in network.inputs}
    for item in graph:
        number[item.output] = 1.0 * ((item.bias_p != 0) | (item.bias_q != 0))
        for name, p, q in zip(item.inputs, item.p, item.q, strict=True):
            number[item.output] = number[item.output] + ((p != 0) | (q != 0)) @ number[name]
    return number


def lift(a: Network, b: Network | None = None, graph: list[Edges] | None = None) -> dict[str, Paths]:
    """Every path to every output neuron. Raises TooManyPathsError beyond LIMIT."""
    graph = graph or edges(a, b)
    total = sum(float(n.sum()) for n in count(a, graph).values())
    if total > LIMIT:
        raise TooManyPathsError(f"{total:.0f} paths, at most {LIMIT} are enumerated")
    paths: dict[str, Paths] = {}
    first = 0
    for name in a.inputs:
        size = a.size_of(name)
        paths[name] = Paths(np.arange(size), first + np.arange(size), np.ones(size), np.ones(size))
        first += size
    for item in graph:
        biased = np.flatnonzero((item.bias_p != 0) | (item.bias_q != 0))
        parts = [Paths(biased, np.full(biased.size, -1), item.bias_p[biased], item.bias_q[biased])]
        for name, p, q in zip(item.inputs, item.p, item.q, strict=True):
            parts.append(_extend(paths[name], p, q))
        paths[item.output] = Paths(
            *(np.concatenate([getattr(part, key) for part in parts]) for key in ("end", "start", "p", "q"))
        )
    return {name: paths[name] for name in a.outputs}


def _extend(before: Paths, p: np.ndarray, q: np.ndarray) -> Paths:
    """Every path, continued along every edge that leaves its last neuron."""
    source, target = np.nonzero(((p != 0) | (q != 0)).T)
    degree = np.bincount(source, minlength=p.shape[1])
    offset = np.cumsum(degree) - degree
    times = degree[before.end]
    path = np.repeat(np.arange(before.end.size), times)
    edge = np.arange(path.size) - np.repeat(np.cumsum(times) - times, times) + offset[before.end[path]]
    u, v = source[edge], target[edge]
    return Paths(v, before.start[path], before.p[path] * p[v, u], before.q[path] * q[v, u])


def per_neuron(paths: Paths, values: np.ndarray, size: int) -> np.ndarray:
    """Σ of a value of every path, by the neuron where the path ends."""
    return np.bincount(paths.end, values, minlength=size)


def norm(network: Network, q: float, inputs: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """Σ_{p→v} |Φ_p|^q x^q for every output neuron v; `inputs`: all input neurons, one after the other
    (default 1)."""
    found = {}
    for name, paths in lift(network).items():
        values = (paths.p != 0).astype(float) if q == 0 else np.abs(paths.p) ** q
        if inputs is not None:
            values = values * np.where(paths.start < 0, 1.0, inputs[paths.start] ** q)
        found[name] = per_neuron(paths, values, network.size_of(name))
    return found


def metric(a: Network, b: Network) -> dict[str, np.ndarray]:
    """Σ_{p→v} |Φ_p(a) - Φ_p(b)| for every output neuron v."""
    return {
        name: per_neuron(paths, np.abs(paths.p - paths.q), a.size_of(name))
        for name, paths in lift(a, b).items()
    }


def one_sided(a: Network, b: Network) -> float:
    """Σ over the outputs of D' = min(|P| D + |P - Q| a_Q, |Q| D + |P - Q| a_P), biases alike (theory, section
    4)."""
    big = {name: np.ones(a.size_of(name)) for name in a.inputs}
    values = {name: (x, x, 0 * x) for name, x in big.items()}
    for item in edges(a, b):
        ap, aq, gap = np.abs(item.bias_p), np.abs(item.bias_q), np.abs(item.bias_p - item.bias_q)
        left = right = gap
        for name, p, q in zip(item.inputs, item.p, item.q, strict=True):
            xp, xq, d = values[name]
            ap, aq = ap + np.abs(p) @ xp, aq + np.abs(q) @ xq
            left = left + np.abs(p) @ d + np.abs(p - q) @ xq
            right = right + np.abs(q) @ d + np.abs(p - q) @ xp
        values[item.output] = ap, aq, np.minimum(left, right)
    return float(sum(values[name][2].sum() for name in a.outputs))


def combine(a: Network, b: Network, rule) -> Network:
    """A network whose k-th weighted node has rule(k, p, q) for parameters, p and q being float64 arrays."""
    nodes, k = [], 0
    for x, y in zip(a.nodes, b.nodes, strict=True):
        if x.weight is None and y.weight is None and x.bias is None and y.bias is None:
            nodes.append(x)
            continue
        made = {}
        for key, missing in (("weight", 1.0 if x.op == "Scale" else 0.0), ("bias", 0.0)):
            p, q = getattr(x, key), getattr(y, key)
            if p is not None or q is not None:
                some = p if p is not None else q
                arrays = [
                    np.full(some.shape, missing) if r is None else np.asarray(r.array(), np.float64)
                    for r in (p, q)
                ]
                made[key] = replace(some, base=np.asarray(rule(k, *arrays)), scale=None)
        nodes.append(replace(x, **made))
        k += 1
    return replace(a, nodes=tuple(nodes))


def shrunk(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """±min(|p|, |q|) where the signs agree, else 0."""
    return np.where(p * q > 0, np.sign(p), 0) * np.minimum(np.abs(p), np.abs(q))
