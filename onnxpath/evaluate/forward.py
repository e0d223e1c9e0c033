"""The signed forward pass: R_θ(x), what the network computes (docs/theory.md, section 1).

    h_v = b_v + Σ_u w_uv h_u,    ReLU, maxima and activations as they are,

of one network, or of both networks of a pair in one graph: network A, and the parameters of B in A's
structure (`counterpart`). Nothing is scaled: values that float32 cannot hold become infinite, and callers
pass over them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from onnxpath.engine.graph import GraphBuilder
from onnxpath.engine.session import Device, Session
from onnxpath.model.matching import Pairing
from onnxpath.model.network import Network, Node, Parameter, Site
from onnxpath.ops import OPERATORS

# Graphs with more nodes than this open without optimisation, whose time grows with the square of their
# number.
_DEEP = 1500


def counterpart(pairing: Pairing) -> Network:
    """Network B of a pair, in the structure and with the tensor names of network A."""

    def other(node: Node) -> Node:
        if OPERATORS[node.op].kind == "quantizer":
            a = node.attributes
            return replace(node, attributes={"quantizer": a["twin"], "twin": a["quantizer"]})
        if node.output in pairing.twin:
            return replace(node, weight=pairing.twin[node.output][0], bias=pairing.twin[node.output][1])
        return node

    return replace(
        pairing.a, nodes=tuple(map(other, pairing.a.nodes)), path=pairing.b.path, sha256=pairing.b.sha256
    )


@dataclass(frozen=True, eq=False)
class Traced:
    """A network in a graph: the graph's tensor of every tensor of the network, and what its nodes' parameters
    are bound to.

    weights: by node output, the bound weight and how it is stored (the operator's extra arguments).
    """

    network: Network
    values: Mapping[str, str]
    weights: Mapping[str, tuple[str, dict]]


def sources(graph: GraphBuilder, network: Network) -> dict[str, str]:
    """The network's inputs as inputs of the graph, for any number of samples where the network allows it."""
    shapes = network.shapes
    return {
        name: graph.input(name, ("batch", *shapes[name][1:]) if network.batched else shapes[name])
        for name in network.inputs
    }


def _array(parameter: Parameter, dtype: np.dtype) -> np.ndarray:
    with np.errstate(over="ignore"):
        return parameter.array().astype(dtype, copy=False)


def _weight(graph: GraphBuilder, site: Site, parameter: Parameter) -> tuple[str, dict]:
    """Bind a weight; one stored as the transpose of a matrix stays as it is stored."""
    array = _array(parameter, graph.dtype)
    stored = array.ndim == 2 and not array.flags.c_contiguous and array.T.flags.c_contiguous
    if stored and OPERATORS[site.node.op].one_matrix(site):
        return graph.bind(array.T), {"transposed": True}
    return graph.bind(np.ascontiguousarray(array)), {}


def trace(graph: GraphBuilder, network: Network, inputs: Mapping[str, str]) -> Traced:
    """Emit the network on these inputs (tensors of the graph, by name)."""
    values, weights = dict(inputs), {}
    for node in network.nodes:
        given: dict = {}
        if node.weight is not None:
            weights[node.output] = _weight(graph, Site.of(network, node), node.weight)
            given = {"weight": weights[node.output][0], **weights[node.output][1]}
        if node.bias is not None:
            given["bias"] = graph.bind(np.ascontiguousarray(_array(node.bias, graph.dtype)))
        operator = OPERATORS[node.op]
        values[node.output] = operator.emit(
            graph, Site.of(network, node), [values[name] for name in node.inputs], **given
        )
    return Traced(network, values, weights)


def open_session(graph: GraphBuilder, device: Device) -> Session:
    """The graph, ready to run."""
    return Session(graph.model().SerializeToString(), graph.feeds, device, deep=graph.nodes > _DEEP)


class Forward:
    """R_θ of one or several networks of one structure, ready to run any number of times."""

    def __init__(self, networks: Sequence[Network], device: Device):
        """networks: with the same tensor names, e.g. (pairing.a, counterpart(pairing))."""
        graph = GraphBuilder(device.dtype, device.native_conv)
        inputs = sources(graph, networks[0])
        self._names = [{name: graph.output(traced.values[name]) for name in networks[0].outputs} for traced in
                       (trace(graph, network, inputs) for network in networks)]  # fmt: skip
        self._session = open_session(graph, device)
        self._dtype = device.dtype

    def run(self, inputs: Mapping[str, np.ndarray]) -> list[dict[str, np.ndarray]]:
        """For every network its outputs [batch, ...] by name, in the device's precision. inputs: [batch, ...]
        by name."""
        found = self._session.run({name: np.asarray(array, self._dtype) for name, array in inputs.items()})
        return [{name: found[label] for name, label in names.items()} for names in self._names]
