"""What a network is in the paper's model: neurons by kind, parameters, depth, number of paths
(docs/theory.md, section 1)."""

from collections import Counter

import numpy as np

from onnxpath.analyses import tool
from onnxpath.analyses.metric.norm import evaluate
from onnxpath.analyses.theory.lifting import lift
from onnxpath.engine.scaled import Scaled
from onnxpath.engine.session import Device
from onnxpath.errors import UsageError
from onnxpath.model.network import Network, Node, Site
from onnxpath.model.paths import require_paths
from onnxpath.ops import OPERATORS
from onnxpath.records import Inspection, Path, Tensor
from onnxpath.rewrites.rescaling.groups import groups


def _coefficients(node: Node) -> bool:
    """Whether a node only puts fixed coefficients on the edges before it, as the 1/count of an average."""
    fixed = node.bias is None and (node.weight is None or node.weight.fixed)
    return fixed and OPERATORS[node.op].diagonal


def _takes_over(node: Node) -> bool:
    """Whether the sums that linear neurons make may become the node's own: it is a ReLU, or a sum of
    branches."""
    operator = OPERATORS[node.op]
    return operator.kind == "relu" or (operator.kind == "sum" and operator.merges)


def _sum_of_its_own(network: Network, tensor: str) -> bool:
    """Whether linear neurons make a tensor (behind views and fixed coefficients) that one node alone reads: a
    ReLU or a sum that reads it then takes their edges over, and needs none of its own."""
    if tensor in network.outputs or tensor not in network.producer or len(network.consumers[tensor]) != 1:
        return False
    node = network.producer[tensor]
    kind = OPERATORS[node.op].kind
    if kind == "movement" or _coefficients(node):
        return all(_sum_of_its_own(network, name) for name in node.inputs)
    return kind in ("weighted", "sum")


def depth(network: Network) -> int:
    """The largest number of edges on a path, D in the paper. Weighted nodes, pools and reductions are neurons
    behind an edge; so are ReLUs and sums of branches, but for those that are the activation, or the sum, of
    linear neurons nothing else reads. Views and fixed coefficients count nothing."""
    reached = dict.fromkeys(network.inputs, 0)
    for node in network.nodes:
        takes_over = _takes_over(node)
        taken = [takes_over and _sum_of_its_own(network, name) for name in node.inputs]
        step = OPERATORS[node.op].kind != "movement" and not _coefficients(node)
        reached[node.output] = max(
            reached[name] + (step and not mine) for name, mine in zip(node.inputs, taken, strict=True)
        )
    return max(reached[name] for name in network.outputs)


def neurons(network: Network) -> dict[str, int]:
    """Neurons by kind. A linear node whose only reader is a ReLU (through views and sums) is the ReLU's own
    sum."""
    found = {
        "input": sum(network.size_of(name) for name in network.inputs),
        "identity": 0,
        "relu": 0,
        "max_pool": 0,
    }
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
        if _takes_over(node):
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
            sizes.add(OPERATORS[node.op].terms(Site.of(network, node)))
    return tuple(sorted(sizes, reverse=True))


def inspect(network: Network, device: Device | None = None, list_paths: int = 0) -> Inspection:
    """Inputs, outputs, neurons, parameters (shared ones once), depth and the number of paths without a zero
    weight.

    list_paths: list every path of a network that has at most this many; UsageError, with their number, if it
        has more.
    """
    require_paths(network)
    device = device or Device()
    parameters = network.parameters()
    paths = Scaled(0.0)
    for reading in evaluate(network, 0.0, device).values():
        paths = paths + reading.total()
    return Inspection(
        network.path, network.sha256, network.opset,
        tuple(Tensor(name, network.shapes[name]) for name in network.inputs),
        tuple(Tensor(label, network.shapes[name]) for label,
        name in zip(network.output_names, network.outputs, strict=True)),
        neurons(network), sum(p.size for p in parameters.values()),
        sum(int(p.size - np.count_nonzero(p.base)) for p in parameters.values()), len(parameters),
        depth(network), paths, kernels(network),
        dict(sorted(Counter(node.op for node in network.nodes).items())),
        len(groups(network).free()), tool.describe(device),
        sum(network.size_of(name) for name in network.inputs),
        sum(network.size_of(name) for name in network.outputs),
        _listed(network, list_paths, paths) if list_paths else None, network.folded, network.cut,
        network.notes,
    )  # fmt: skip


def _listed(network: Network, budget: int, paths: Scaled) -> tuple[Path, ...]:
    if (
        Scaled(1.01 * budget) < paths
    ):  # the pass that counts them is rounded: near the budget the graph is counted
        count = (
            f"{paths.value:,.0f}"
            if paths.value is not None and paths.value < 1e15
            else f"10^{paths.log10:.1f}"
        )
        raise UsageError(
            f"{network.path}: there are {count} paths, more than the {budget:,} that may be listed; paths are"
            " listed for small networks only"
        )
    found = lift(network, budget)
    phi, start = found.coordinates(), found.start
    labels: dict[int, str] = {}

    def label(neuron: int) -> str:
        if neuron not in labels:
            labels[neuron] = found.graph.label(neuron)
        return labels[neuron]

    return tuple(
        Path(tuple(map(label, found.neurons(k))), bool(start[k] >= 0), float(phi[k])) for k in range(phi.size)
    )
