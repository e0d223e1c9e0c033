"""Pairs of networks of which one quantizes activations, or both (docs/quantization.md).

A quantizer is an identity in structure: networks are matched without their quantizers. The pair is then network A with a node for every
quantizer of either side, where the tensor that it rounds is read, that says what each of the two does there (ops/quantizer.py). The
lower end of a quantizer that does a ReLU's work may do that of a Clip instead: q(max(x, 0)) = q(min(max(x, l), h)) for l <= 0 = lo and h >= hi.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import zip_longest

from onnxpath.network import Network, Node
from onnxpath.ops.quantizer import Dynamic, Quantization

Edge = tuple[str, int]
"""A node, by its output, and the number of an operand; ("", k) for output number k of the network."""


@dataclass(frozen=True, eq=False)
class Stripped:
    """A network without quantizers, and the quantizers that every operand goes through, in order."""

    network: Network
    edges: Mapping[Edge, tuple[Node, ...]]


def quantizes(network: Network) -> bool:
    return any(node.op == "Quantizer" for node in network.nodes)


def strip(network: Network) -> Stripped:
    """The network without its quantizers."""
    chains: dict[str, tuple[str, tuple[Node, ...]]] = {}
    edges: dict[Edge, tuple[Node, ...]] = {}

    def source(name: str, edge: Edge | None = None) -> str:
        root, chain = chains.get(name, (name, ()))
        if edge is not None and chain:
            edges[edge] = chain
        return root

    nodes = []
    for node in network.nodes:
        if node.op == "Quantizer":
            root, chain = chains.get(node.inputs[0], (node.inputs[0], ()))
            chains[node.output] = root, (*chain, node)
        else:
            nodes.append(replace(node, inputs=tuple(source(name, (node.output, k)) for k, name in enumerate(node.inputs))))
    outputs = tuple(source(name, ("", k)) for k, name in enumerate(network.outputs))
    shapes = {name: shape for name, shape in network.shapes.items() if name not in chains}
    return Stripped(replace(network, nodes=tuple(nodes), outputs=outputs, shapes=shapes, origin=None), edges)


def plain(network: Network) -> Network:
    """The network without its quantizers, with a note that says so where it has some."""
    count = sum(node.op == "Quantizer" for node in network.nodes)
    if not count:
        return network
    note = f"its {count} quantizers of activations are left out: paths are those of the weights ('bound' counts quantizers)"
    return replace(strip(network).network, notes=(*network.notes, note))


def clipped_alike(a: Network, b: Network) -> Network:
    """b, with Clips like those of a in place of the ReLUs that its quantizers stand for."""
    limits = {node.attributes["parameters"] for node in a.nodes if node.op == "Activation" and node.attributes["function"] == "Clip"}
    if len(limits) != 1 or any(node.op == "Relu" for node in a.nodes):
        return b
    ((low, high),) = limits
    readers = b.consumers

    def absorbed(node: Node) -> bool:
        found = readers.get(node.output, ())
        grids = [reader.attributes["quantizer"] for reader in found if reader.op == "Quantizer"]
        fits = all(grid.lowest >= low and grid.highest <= high for grid in grids)
        return node.op == "Relu" and low <= 0 and bool(grids) and len(grids) == len(found) and fits and node.output not in b.outputs

    clip = {"function": "Clip", "parameters": (low, high)}
    return replace(b, nodes=tuple(replace(node, op="Activation", attributes=clip) if absorbed(node) else node for node in b.nodes))


def needless(network: Network) -> frozenset[str]:
    """ReLUs, by output, that only quantizers with lo >= 0 read, which do their work: q(max(x, 0)) = q(x)."""
    found = set()
    for node in network.nodes:
        if node.op == "Relu" and node.output not in network.outputs:
            grids = [r.attributes["quantizer"] if r.op == "Quantizer" else None for r in network.consumers.get(node.output, ())]
            if grids and all(grid is not None and grid.lowest >= 0 for grid in grids):
                found.add(node.output)
    return frozenset(found)


def without(network: Network, output: str) -> Network:
    """The network without one node of one operand, whose readers read what it reads."""
    source = network.producer[output].inputs[0]
    nodes = tuple(
        replace(node, inputs=tuple(source if name == output else name for name in node.inputs))
        for node in network.nodes
        if node.output != output
    )
    return replace(network, nodes=nodes, shapes={name: shape for name, shape in network.shapes.items() if name != output})


def with_quantizers(network: Network, own: Mapping[Edge, tuple[Node, ...]], other: Mapping[Edge, tuple[Node, ...]]) -> Network:
    """A network with the quantizers of a pair, by its own edges: `own` its own, `other` those of the second network."""
    made: dict[tuple, str] = {}
    shapes = dict(network.shapes)
    nodes: list[Node] = []

    def read(name: str, edge: Edge) -> str:
        for p, q in zip_longest(own.get(edge, ()), other.get(edge, ())):
            key = (name, p and p.output, q and q.output)
            if key not in made:
                output = f"{name}|quantizer {len(made)}"
                attributes = {"quantizer": _grid(p), "twin": _grid(q)}
                nodes.append(Node((q or p).name, "Quantizer", (name,), output, attributes))
                shapes[output] = shapes[name]
                made[key] = output
            name = made[key]
        return name

    for node in network.nodes:
        inputs = tuple(read(name, (node.output, k)) for k, name in enumerate(node.inputs))
        nodes.append(replace(node, inputs=inputs))
    outputs = tuple(read(name, ("", k)) for k, name in enumerate(network.outputs))
    return replace(network, nodes=tuple(nodes), outputs=outputs, shapes=shapes)


def _grid(node: Node | None) -> Quantization | Dynamic | None:
    return None if node is None else node.attributes["quantizer"]
