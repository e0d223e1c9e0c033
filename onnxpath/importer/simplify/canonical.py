"""Simplification to a canonical form: different encodings of one network become the same list of nodes.

One sweep in topological order. Every node is rewritten against the (already simplified) producer of its input
until no rule applies; a rule either finds that the node does nothing, or puts the work of its producer into
it:

    Reshape(Reshape(x)) = Reshape(x),   Transpose(Transpose(x)) = Transpose(x) by the composed permutation,
    Conv(Pad(x)) = Conv(x) with larger pads,   s (W x + b) + t = (s W) x + (s b + t).

Then nested sums and concatenations are flattened, dead nodes dropped, and nodes listed in the order of a
depth-first walk from the outputs, which depends on the network and not on the order of the file. No
recursion; linear in the number of nodes.
"""

from collections import Counter
from dataclasses import dataclass, field, replace

from onnxpath.importer.simplify import fusing, movement
from onnxpath.model.network import Node, Shape


@dataclass(eq=False)
class Draft:
    """A network in the making. `kept`: outputs of BatchNormalization nodes that stay on their own."""

    nodes: list[Node]
    shapes: dict[str, Shape]
    inputs: list[str]
    outputs: list[str]
    kept: set[str] = field(default_factory=set)
    folded: list[str] = field(default_factory=list)


def simplify(draft: Draft) -> Draft:
    """The canonical form of a draft, in place."""
    _drop_dead(draft)
    _sweep(draft)
    _drop_dead(draft)
    _flatten_nested(draft)
    _drop_dead(draft)
    _order(draft)
    live = {*draft.inputs, *(node.output for node in draft.nodes)}
    draft.shapes = {name: shape for name, shape in draft.shapes.items() if name in live}
    return draft


def _uses(draft: Draft) -> Counter[str]:
    """How often a tensor is read; an output of the network counts as read."""
    uses = Counter(draft.outputs)
    for node in draft.nodes:
        uses.update(node.inputs)
    return uses


def _sweep(draft: Draft) -> None:
    shapes, uses = draft.shapes, _uses(draft)
    producers: dict[str, Node] = {}
    same: dict[str, str] = {}
    for original in draft.nodes:
        node = replace(original, inputs=tuple(same.get(name, name) for name in original.inputs))
        while True:
            before = producers.get(node.inputs[0])
            if movement.does_nothing(node, before, shapes) and node.output not in draft.kept:
                source = node.inputs[0]
                same[node.output] = source
                uses[source] += uses[node.output] - 1
                break
            rewritten = movement.simpler(node, shapes)
            if rewritten is None and before is not None:
                rewritten = movement.merged(before, node, shapes)
                if (
                    rewritten is None
                    and uses[before.output] == 1
                    and not {before.output, node.output} & draft.kept
                ):
                    rewritten = fusing.fused(before, node, shapes)
                    if rewritten is not None:
                        draft.folded.append(node.name)
                if rewritten is not None:
                    _skip(before, uses)
            if rewritten is None:
                producers[node.output] = node
                break
            node = rewritten
    draft.outputs = [same.get(name, name) for name in draft.outputs]
    draft.nodes = list(producers.values())


def _skip(before: Node, uses: Counter[str]) -> None:
    """The reader of `before` now reads what `before` reads."""
    uses[before.output] -= 1
    if uses[before.output] > 0:
        uses.update(before.inputs)


def _flatten_nested(draft: Draft) -> None:
    """Add(Add(a, b), c) = Add(a, b, c) when nothing else reads the inner sum, and likewise for Concat along
    one axis."""
    uses = _uses(draft)
    outer = {node.output: node for node in draft.nodes if node.op in ("Add", "Concat")}
    inner = {
        name
        for node in outer.values()
        for name in node.inputs
        if name in outer and uses[name] == 1 and _alike(node, outer[name])
    }
    nodes = []
    for node in draft.nodes:
        if node.output in inner:
            continue
        if node.output in outer:
            terms: list[str] = []
            stack = list(reversed(node.inputs))
            while stack:
                name = stack.pop()
                if name in inner:
                    stack.extend(reversed(outer[name].inputs))
                else:
                    terms.append(name)
            node = replace(node, inputs=tuple(terms))
        nodes.append(node)
    draft.nodes = nodes


def _alike(node: Node, other: Node) -> bool:
    return node.op == other.op and node.attributes == other.attributes


def _drop_dead(draft: Draft) -> None:
    needed = set(draft.outputs)
    alive = []
    for node in reversed(draft.nodes):
        if node.output in needed:
            needed.update(node.inputs)
            alive.append(node)
    draft.nodes = alive[::-1]


def _order(draft: Draft) -> None:
    """Depth-first from the outputs, operands before the node that reads them, first operand first."""
    producers = {node.output: node for node in draft.nodes}
    ordered: dict[str, Node] = {}
    for output in draft.outputs:
        stack = [(output, False)]
        while stack:
            name, visited = stack.pop()
            if name in ordered or name not in producers:
                continue
            node = producers[name]
            if visited:
                ordered[name] = node
            else:
                stack.append((name, True))
                stack.extend((operand, False) for operand in reversed(node.inputs) if operand not in ordered)
    draft.nodes = list(ordered.values())
