"""Leave off what comes last: Softmax, LogSoftmax, Sigmoid, ArgMax (and Identity or Cast behind them) at an output.

Two networks are compared by their logits. A node is left off when its result is an output of the graph and nothing else
reads it; then the node before it is looked at. Quantizers behind such a node go with it. An output that is made of another output, or of what another one is made
of (the class and the probabilities of one score), is left out; equal outputs are outputs each.
"""

from dataclasses import dataclass

from onnx import TensorProto

from onnxpath.importer.context import FileNode
from onnxpath.importer.inference import QUANTIZERS
from onnxpath.importer.structure import FileGraph
from onnxpath.importer.tensors import FLOATS

_TAIL = ("Softmax", "LogSoftmax", "Sigmoid", "ArgMax", "Identity", "Cast")


def _silent(node: FileNode) -> bool:
    """It changes no value, so there is nothing to tell."""
    return node.op_type == "Identity" or (node.op_type == "Cast" and node.attribute("to", TensorProto.FLOAT) in FLOATS)


def _belongs(made: dict[str, FileNode], node: FileNode) -> bool:
    """It is one of these nodes, or a quantizer of what such a node makes."""
    while node.op_type in QUANTIZERS and (before := made.get(node.inputs[0])) is not None:
        node = before
        if node.op_type in _TAIL and not _silent(node):
            return True
    return node.op_type in _TAIL


@dataclass(frozen=True, eq=False)
class Tail:
    """What was left off. outputs: those of the file that a tensor stands for; altered: those whose values are not the tensor's; cut: the nodes' names."""

    outputs: dict[str, list[str]]
    altered: frozenset[str]
    cut: list[str]
    notes: list[str]


def cut_tail(graph: FileGraph) -> Tail:
    """Removes the nodes from `graph`."""
    made = {node.outputs[0]: node for node, _ in graph.nodes if node.outputs and node.inputs}
    producer = {name: node for name, node in made.items() if _belongs(made, node)}
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
    notes = [f"left off the end: {node.op_type} '{node.name}'" for node in cut if not _silent(node) and node.op_type not in QUANTIZERS]
    position = {name: k for k, name in enumerate(graph.outputs)}
    ordered = {tensor: sorted(names, key=position.__getitem__) for tensor, names in groups.items()}
    ordered = dict(sorted(ordered.items(), key=lambda item: position[item[1][0]]))
    return Tail(ordered, frozenset(altered), [node.name for node in cut], notes)
