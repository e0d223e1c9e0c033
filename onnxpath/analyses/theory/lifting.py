"""The path-lifting of small networks, path by path (paper, Definitions A.3 to A.5; docs/lipschitz.md, section
2).

A path p = p_0 -> ... -> p_L ends at an output neuron and starts at an input, or at a neuron with a bias:

    Φ_p(θ) = Π_l w_{p_{l-1} p_l},   times b_{p_0} if p_0 is no input.

Its activation a_p(θ, x) is 1 when every ReLU neuron on it has a positive value and, at every k-max-pool
neuron v on it, the path comes from the first u, in the order of neurons, with w_uv u = v; otherwise 0. A(θ,
x) is the matrix with a_p in the column of p_0, or in a last column for paths that start at a bias, and

    R_θ(x)_v = Σ_{p→v} Φ_p(θ) (A(θ, x) (x, 1))_p       for every output v.

Paths through a weight that is 0 are left out: their coordinate of Φ is 0.
"""

from dataclasses import dataclass
from functools import cached_property
from math import inf

import numpy as np

from onnxpath.analyses.theory.neurons import EDGES, MAX, RELU, Graph, graph
from onnxpath.errors import UsageError
from onnxpath.model.network import Network
from onnxpath.model.paths import require_paths

# Paths that are enumerated at most, unless the caller says otherwise.
BUDGET = 200_000


@dataclass(frozen=True, eq=False)
class Lifting:
    """All paths of a graph of neurons.

    Pieces of paths are rows of a table: the row `parent` that a piece continues (-1: it starts here), the
    edge it takes (-1) and the neuron where it `ends`. A path is a row that ends at an output: `rows` lists
    them, by output number `output`.
    """

    graph: Graph
    parent: np.ndarray
    edge: np.ndarray
    ends: np.ndarray
    rows: np.ndarray
    output: np.ndarray

    def coordinates(self, weight: np.ndarray | None = None, bias: np.ndarray | None = None) -> np.ndarray:
        """Φ, float64 [paths], for the graph's own parameters or others of the same graph."""
        weight = self.graph.weight if weight is None else weight
        bias = self.graph.bias if bias is None else bias
        first = np.where(self.graph.starts >= 0, 1.0, bias)[self.ends]
        return self._along(first, weight)[self.rows]

    def _along(self, first: np.ndarray, factor: np.ndarray) -> np.ndarray:
        """Products along the pieces: `first` where a piece starts, times the factors of its edges."""
        found = np.array(first, np.float64)
        for rows in self._generations:
            found[rows] = found[self.parent[rows]] * factor[self.edge[rows]]
        return found

    @cached_property
    def lengths(self) -> np.ndarray:
        """The number of edges of every row."""
        length, before = np.zeros(self.parent.size, np.int64), self.parent
        while (before >= 0).any():
            length += before >= 0
            before = np.where(before >= 0, self.parent[before], -1)
        return length

    @cached_property
    def _generations(self) -> list[np.ndarray]:
        """Rows by the number of edges, without those of none."""
        return [np.flatnonzero(self.lengths == k) for k in range(1, int(self.lengths.max(initial=0)) + 1)]

    @cached_property
    def start(self) -> np.ndarray:
        """For every path, the input number it starts at, or -1 for a bias."""
        first = np.where(self.parent < 0, self.graph.starts[self.ends], 0)
        for rows in self._generations:
            first[rows] = first[self.parent[rows]]
        return first[self.rows]

    def neurons(self, path: int) -> list[int]:
        """The neurons of a path, in order."""
        row, found = int(self.rows[path]), []
        while row >= 0:
            found.append(int(self.ends[row]))
            row = int(self.parent[row])
        return found[::-1]

    def activations(self, inputs: dict[str, np.ndarray]) -> np.ndarray:
        """a_p(θ, x) for every path: 0 or 1, int8 [paths]."""
        g, values = self.graph, self.graph.values(inputs)
        neuron = (g.kind != RELU) | (values > 0)
        edge = neuron[g.target]
        terms = g.weight * values[g.source]
        reached = np.flatnonzero((g.kind[g.target] == MAX) & (terms == values[g.target]))
        _, chosen = np.unique(g.target[reached], return_index=True)  # edges are sorted by target, then source
        wins = np.zeros(g.target.size, bool)
        wins[reached[chosen]] = True
        edge &= wins | (g.kind[g.target] != MAX)
        return self._along(neuron[self.ends], edge)[self.rows].astype(np.int8)

    def matrix(self, inputs: dict[str, np.ndarray]) -> np.ndarray:
        """A(θ, x), int8 [paths, inputs + 1]."""
        size = int(self.graph.starts.max()) + 1
        found = np.zeros((self.rows.size, size + 1), np.int8)
        start = self.start
        found[np.arange(self.rows.size), np.where(start >= 0, start, size)] = self.activations(inputs)
        return found

    def realization(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """R_θ(x) = ⟨Φ, A(θ, x) (x, 1)⟩ at every output."""
        x = np.concatenate(
            [np.asarray(inputs[name], np.float64).reshape(-1) for name in self.graph.inputs] + [np.ones(1)]
        )
        terms = self.coordinates() * self.activations(inputs) * x[self.start]
        return self.by_output(terms)

    def by_output(self, terms: np.ndarray) -> dict[str, np.ndarray]:
        """Σ over the paths that end at every output number, in the outputs' shapes."""
        sums = np.bincount(self.output, terms, minlength=self.graph.ends.size)
        found, first = {}, 0
        for name, ids in self.graph.outputs.items():
            found[name] = sums[first : first + ids.size].reshape(ids.shape)
            first += ids.size
        return found


def _useful(g: Graph, edge: np.ndarray) -> np.ndarray:
    """Neurons from which an output can be reached along these edges."""
    found = np.zeros(g.kind.size, bool)
    found[g.ends[g.ends >= 0]] = True
    for _, edges in reversed(list(g.layers())):
        found[g.source[edges][edge[edges] & found[g.target[edges]]]] = True
    return found


def count(g: Graph, edge: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """How many pieces of paths end at every neuron, along some edges and from some biases (bool masks);
    float64."""
    found = ((g.starts >= 0) | bias).astype(np.float64)
    for neurons, edges in g.layers():
        target = g.target[edges] - neurons.start
        more = np.bincount(
            target, found[g.source[edges]] * edge[edges], minlength=neurons.stop - neurons.start
        )
        found[neurons] += more
    return found


def enumerate_paths(
    g: Graph, budget: int = BUDGET, *, edge: np.ndarray | None = None, bias: np.ndarray | None = None
) -> Lifting:
    """Every path along the given edges and from the given biases (default: those that are not 0).

    Raises UsageError, with the number of paths, when there are more than `budget`.
    """
    edges_from = np.asarray(g.weight != 0) if edge is None else edge
    useful = _useful(g, edges_from)
    edge = edges_from & useful[g.target]
    bias = (np.asarray(g.bias != 0) if bias is None else bias) & useful
    ends = g.ends
    total = float(count(g, edge, bias)[ends[ends >= 0]].sum())
    if total > budget:
        raise UsageError(
            f"there are {total:,.0f} paths, more than the {budget:,} that may be listed"
            if total < 1e15
            else f"there are {total:.3g} paths, more than the {budget:,} that may be listed"
        )
    first = np.zeros(g.kind.size, np.int64)  # where the pieces that end at a neuron lie, and how many
    number = np.zeros(g.kind.size, np.int64)
    sources = np.flatnonzero((g.starts >= 0) & useful)
    first[sources], number[sources] = np.arange(sources.size), 1
    parents, edges_taken, places, size = (
        [np.full(sources.size, -1)],
        [np.full(sources.size, -1)],
        [sources],
        sources.size,
    )
    for neurons, edges in g.layers():
        used = np.flatnonzero(edge[edges]) + edges.start
        times = number[g.source[used]]
        taken = np.repeat(used, times)
        offset = np.arange(taken.size) - np.repeat(np.cumsum(times) - times, times)
        biased = np.flatnonzero(bias[neurons]) + neurons.start
        place = np.concatenate([biased, g.target[taken]])
        order = np.argsort(place, kind="stable")
        parents.append(np.concatenate([np.full(biased.size, -1), first[g.source[taken]] + offset])[order])
        edges_taken.append(np.concatenate([np.full(biased.size, -1), taken])[order])
        places.append(place[order])
        number[neurons] = np.bincount(place - neurons.start, minlength=neurons.stop - neurons.start)
        first[neurons] = size + np.cumsum(number[neurons]) - number[neurons]
        size += place.size
    times = np.where(ends >= 0, number[ends], 0)
    output = np.repeat(np.arange(ends.size), times)
    rows = np.arange(output.size) - np.repeat(np.cumsum(times) - times, times) + first[ends[output]]
    return Lifting(
        g, np.concatenate(parents), np.concatenate(edges_taken), np.concatenate(places), rows, output
    )


def lift(network: Network, budget: int = BUDGET, limit: int = EDGES) -> Lifting:
    """The path-lifting of a small network. Raises UsageError beyond `budget` paths or `limit` edges."""
    require_paths(network)
    try:
        return enumerate_paths(graph(network, limit), budget)
    except UsageError as error:
        text = str(error)
        raise (
            error
            if network.path in text
            else UsageError(f"{network.path}: {text}; paths are listed for small networks only")
        ) from None


def norm(lifting: Lifting, q: float = 1.0, r: float | None = None) -> float:
    """‖Φ‖_q over all outputs, or the mixed norm ‖(‖Φ^{→v}‖_q)_v‖_r; q = 0 counts paths."""
    phi = lifting.coordinates()
    powers = (phi != 0).astype(float) if q == 0 else np.abs(phi) ** q
    each = np.concatenate([part.reshape(-1) for part in lifting.by_output(powers).values()])
    if r is None:
        return float(each.sum() ** (1 / q if q else 1))
    each = each ** (1 / q if q else 1)
    return float(each.max(initial=0.0) if r == inf else (each**r).sum() ** (1 / r))
