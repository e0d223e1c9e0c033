"""Leave off what comes last: Softmax, LogSoftmax, Sigmoid, ArgMax (and Identity or Cast behind them) at an
output.

Two networks are compared by their logits. A node is left off when its result is an output of the graph and
nothing else reads it; then the node before it is looked at. Quantizers behind such a node go with it, and so
do the Flatten and Reshape around a Softmax that onnx's version converter writes, and the Log of a Softmax.
What was left off is part of the file's interface (importer/structure/declared.py). An output that is made of
another output, or of what another one is made of (the class and the probabilities of one score), is left out;
equal outputs are outputs each.
"""

from dataclasses import dataclass

from onnx import TensorProto

from onnxpath.importer.decode.tensors import FLOATS
from onnxpath.importer.lower.context import FileNode
from onnxpath.importer.structure.inference import QUANTIZERS
from onnxpath.importer.structure.nodes import FileGraph

_SOFTMAX = ("Softmax", "LogSoftmax")
_TAIL = ("Softmax", "LogSoftmax", "Sigmoid", "ArgMax", "Identity", "Cast")


def _silent(node: FileNode) -> bool:
    """It changes no value, so there is nothing to tell."""
    return node.op_type == "Identity" or (
        node.op_type == "Cast" and node.attribute("to", TensorProto.FLOAT) in FLOATS
    )


def _around_softmax(made: dict[str, FileNode], node: FileNode) -> list[FileNode]:
    """Flatten, Softmax and the Reshape `node` that takes the shape of what was flattened, in this order; else
    nothing."""
    if node.op_type != "Reshape" or len(node.inputs) < 2:
        return []
    softmax = made.get(node.inputs[0])
    flatten = None if softmax is None or softmax.op_type not in _SOFTMAX else made.get(softmax.inputs[0])
    shape = made.get(node.inputs[1])
    if (
        softmax is None
        or flatten is None
        or flatten.op_type != "Flatten"
        or shape is None
        or shape.op_type != "Shape"
    ):
        return []
    whole = (
        shape.inputs == flatten.inputs
        and not shape.attribute("start", 0)
        and shape.attribute("end", None) is None
    )
    return [flatten, softmax, node] if whole else []


def _belongs(made: dict[str, FileNode], node: FileNode) -> bool:
    """It is one of these nodes, or a quantizer of what such a node makes."""
    while node.op_type in QUANTIZERS and (before := made.get(node.inputs[0])) is not None:
        node = before
        if node.op_type in _TAIL and not _silent(node):
            return True
    if node.op_type == "Log":
        before = made.get(node.inputs[0])
        return before is not None and (before.op_type == "Softmax" or bool(_around_softmax(made, before)))
    return node.op_type in _TAIL


@dataclass(frozen=True)
class Tail:
    """What was left off. outputs: those of the file that a tensor stands for; altered: those whose values are
    not the tensor's; chains: the nodes between it and each of these outputs, first one first; names: of all
    of them. notes: for people."""

    outputs: dict[str, list[str]]
    altered: frozenset[str]
    chains: dict[str, tuple[FileNode, ...]]
    names: tuple[str, ...]
    notes: list[str]


def _chain(made: dict[str, FileNode], output: str, tensor: str) -> tuple[FileNode, ...]:
    found: list[FileNode] = []
    while output != tensor:
        found.append(made[output])
        output = made[output].inputs[0]
    return tuple(found[::-1])


def cut_tail(graph: FileGraph) -> Tail:
    """Removes the nodes from `graph`."""
    made = {node.outputs[0]: node for node, _ in graph.nodes if node.outputs and node.inputs}
    wrapped = {node.outputs[0]: node for last in made.values() for node in _around_softmax(made, last)}
    producer = {name: node for name, node in made.items() if name in wrapped or _belongs(made, node)}
    groups: dict[str, list[str]] = {name: [name] for name in graph.outputs}
    cut: list[FileNode] = []
    altered: set[str] = set()
    pending = list(reversed(graph.outputs))
    while pending:
        tensor = pending.pop()
        node = producer.get(tensor)
        if node is None or tensor not in groups or graph.uses[tensor] or not node.inputs[0]:
            continue
        cut.append(node)
        before = node.inputs[0]
        for name in node.inputs:
            graph.uses[name] -= 1
        outputs = groups.pop(tensor)
        if not _silent(node):
            altered.update(outputs)
        groups.setdefault(before, []).extend(outputs)
        pending.append(before)
    gone = set(cut)
    graph.nodes = [(node, proto) for node, proto in graph.nodes if node not in gone]
    quiet = (*QUANTIZERS, "Flatten", "Reshape")
    notes = [
        f"left off the end: {node.op_type} '{node.name}'"
        for node in cut
        if not _silent(node) and node.op_type not in quiet
    ]
    position = {name: k for k, name in enumerate(graph.outputs)}
    ordered = {tensor: sorted(names, key=position.__getitem__) for tensor, names in groups.items()}
    ordered = dict(sorted(ordered.items(), key=lambda item: position[item[1][0]]))
    chains = {name: _chain(made, name, tensor) for tensor, names in ordered.items() for name in names}
    return Tail(ordered, frozenset(altered), chains, tuple(node.name for node in cut), notes)
