"""Local functions, counted before they are inlined: 40 functions that each call the next one twice are 2^40
nodes.

With c(f) the number of nodes that a call of the function f becomes,

    c(f) = Σ_{nodes n of f} (c(g) where n calls a function g, else 1),

which is known after one look at every function, in the order of the calls; a function that calls itself has
no such number.
"""

from collections.abc import Iterable

import onnx

from onnxpath.errors import ModelError, UnsupportedError
from onnxpath.importer.decode.memory import Budget, TooLargeError

# What a node takes as protobuf, in GraphSurgeon and in the importer, together with its share of names.
_NODE = 1 << 13
# Nodes of a model, and calls inside calls: the inliner of onnx recurses.
LARGEST, DEEPEST = 1 << 20, 200

Key = tuple[str, str, str]


def _key(node: "onnx.NodeProto | onnx.FunctionProto", name: str) -> Key:
    return node.domain if node.domain != "ai.onnx" else "", name, getattr(node, "overload", "")


def _nodes(nodes: Iterable[onnx.NodeProto]) -> Iterable[onnx.NodeProto]:
    """The nodes, and those of graphs inside them."""
    stack = list(nodes)
    while stack:
        node = stack.pop()
        yield node
        for attribute in node.attribute:
            stack.extend(attribute.g.node)
            for graph in attribute.graphs:
                stack.extend(graph.node)


def check(path: str, model: onnx.ModelProto, budget: Budget) -> None:
    """ModelError for functions that call themselves, TooLargeError when inlining gives more nodes than can be
    handled."""
    functions = {_key(function, function.name): function for function in model.functions}
    calls = {
        key: [_key(node, node.op_type) for node in _nodes(function.node)]
        for key, function in functions.items()
    }
    count: dict[Key, int] = {}
    depth: dict[Key, int] = {}
    for root in functions:
        stack, open_calls = [(root, False)], set()
        while stack:
            key, done = stack.pop()
            if done:
                open_calls.discard(key)
                count[key] = sum(count.get(called, 1) for called in calls[key])
                depth[key] = 1 + max((depth.get(called, 0) for called in calls[key]), default=0)
            elif key in open_calls:
                raise ModelError(f"{path}: its local function '{functions[key].name}' calls itself")
            elif key not in count:
                open_calls.add(key)
                stack.append((key, True))
                stack.extend(
                    (called, False)
                    for called in dict.fromkeys(calls[key])
                    if called in functions and called not in count
                )
    called = [_key(node, node.op_type) for node in _nodes(model.graph.node)]
    total = sum(count.get(key, 1) for key in called)
    deepest = max((depth.get(key, 0) for key in called), default=0)
    if deepest > DEEPEST:
        raise UnsupportedError(
            f"{path}: its local functions call each other {deepest} deep; at most {DEEPEST} are supported"
        )
    if total > LARGEST:
        written = f"{total} nodes" if total < 10**12 else "more than 10^12 nodes"
        raise TooLargeError(
            f"{path}: its local functions are {written} when they are inlined; at most {LARGEST} can be"
            " handled"
        )
    budget.check(_NODE * total, f"{path}: the {total} nodes that its local functions become")
