"""What a network is in the paper's model: neurons by kind, parameters, depth, number of paths (docs/theory.md, section 1)."""

from collections import Counter
from math import prod

import numpy as np

from onnxpath import tool
from onnxpath.engine.scaled import Scaled
from onnxpath.engine.session import Device
from onnxpath.network import Network, Node, Site
from onnxpath.norm import evaluate
from onnxpath.ops import OPERATORS
from onnxpath.rescaling import groups
from onnxpath.results import Inspection, Tensor


def _coefficients(node: Node) -> bool:
    """Whether a node only puts fixed coefficients on the edges before it, as the 1/count of an average."""
    return node.op == "Scale" and node.bias is None and (node.weight is None or node.weight.fixed)


def depth(network: Network) -> int:
    """The largest number of edges on a path, D in the paper: weighted nodes and pools count 1; sums, views, activations and
    fixed coefficients belong to the neuron before or after them."""
    reached = dict.fromkeys(network.inputs, 0)
    for node in network.nodes:
        before = max(reached[name] for name in node.inputs)
        kind = OPERATORS[node.op].kind
        counts = (kind == "weighted" and not _coefficients(node)) or kind == "max" or (kind == "sum" and node.op != "Add")
        reached[node.output] = before + counts
    return max(reached[name] for name in network.outputs)


def neurons(network: Network) -> dict[str, int]:
    """Neurons by kind. A linear node whose only reader is a ReLU (through views and sums) is the ReLU's own sum."""
    found = {"input": sum(network.size_of(name) for name in network.inputs), "identity": 0, "relu": 0, "max_pool": 0}
    for node in network.nodes:
        kind, size = OPERATORS[node.op].kind, network.size_of(node.output)
        if kind == "relu":
            found["relu"] += size
        elif kind == "max":
            found["max_pool"] += size
        elif kind in ("weighted", "sum") and not _coefficients(node) and not _absorbed(network, node.output):
            found["identity"] += size
    return found


def _absorbed(network: Network, tensor: str) -> bool:
    """Whether the tensor's only reader, through views, is a ReLU or a sum."""
    while tensor not in network.outputs:
        readers = network.consumers.get(tensor, ())
        if len(readers) != 1:
            return False
        node = readers[0]
        if node.op in ("Relu", "Add"):
            return True
        if OPERATORS[node.op].kind != "movement":
            return False
        tensor = node.output
    return False


def kernels(network: Network) -> tuple[int, ...]:
    """The distinct numbers of antecedents of max-pool neurons, largest first; the first is K in the paper."""
    sizes = set()
    for node in network.nodes:
        if OPERATORS[node.op].kind == "max":
            sizes.add(prod(node.attributes["kernel"]) if node.op == "MaxPool" else OPERATORS[node.op].terms(Site.of(network, node)))
    return tuple(sorted(sizes, reverse=True))


def inspect(network: Network, device: Device | None = None) -> Inspection:
    """Inputs, outputs, neurons, parameters (shared ones once), depth and the number of paths without a zero weight."""
    network.require_paths()
    device = device or Device()
    parameters = network.parameters()
    paths = Scaled(0.0)
    for reading in evaluate(network, 0.0, device).values():
        paths = paths + reading.total()
    return Inspection(
        network.path, network.sha256, network.opset,
        tuple(Tensor(name, network.shapes[name]) for name in network.inputs),
        tuple(Tensor(label, network.shapes[name]) for label, name in zip(network.output_names, network.outputs, strict=True)),
        neurons(network), sum(p.size for p in parameters.values()),
        sum(int(p.size - np.count_nonzero(p.base)) for p in parameters.values()), len(parameters),
        depth(network), paths, kernels(network), dict(sorted(Counter(node.op for node in network.nodes).items())),
        len(groups(network).free()), tool.describe(device), network.folded, network.cut, network.notes,
    )  # fmt: skip
