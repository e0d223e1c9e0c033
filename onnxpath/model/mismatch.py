"""Saying where two networks differ in structure: the first place, on both sides, and what is not the same
there.

A node differs by its operator, by attributes, by shapes, or by what it reads. What differs is named with both
values; what is equal is not, so that the two sides are never one text.
"""

from collections.abc import Iterator, Mapping

import numpy as np

from onnxpath.model.network import Network, Node
from onnxpath.ops import OPERATORS

Keys = Mapping[str, bytes]
_SHOWN = 8


def plain(value: object) -> object:
    """An attribute as numbers, text and lists of them."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    return list(value) if isinstance(value, (tuple, range)) else value


def describe(network: Network, node: Node, weight: bool = True) -> str:
    """A node for people: name, operator, shapes."""
    shape = "x".join(map(str, network.shapes[node.output]))
    held = f", weight {'x'.join(map(str, node.weight.shape))}" if node.weight is not None and weight else ""
    function = node.attributes.get("function")
    numbers = ", ".join(f"{value:g}" for value in node.attributes.get("parameters", ()))
    op = node.op if function is None else f"{function}({numbers})" if numbers else function
    return f"'{node.name}' ({op}{held}, output {shape})"


def _structure(network: Network, node: Node) -> str:
    """A node as matching sees it: without the shape of a weight that broadcasts."""
    return describe(network, node, not OPERATORS[node.op].broadcasts)


def _values(one: object, other: object) -> tuple[str, str]:
    """Two different values of an attribute: whole, or the first entries that differ of long lists."""
    texts = repr(one), repr(other)
    if max(map(len, texts)) <= 8 * _SHOWN and texts[0] != texts[1]:
        return texts
    try:
        p, q = np.asarray(one), np.asarray(other)
    except ValueError:
        p = q = np.zeros(0)
    if p.shape != q.shape:
        return f"of shape {list(p.shape)}", f"of shape {list(q.shape)}"
    if p.size and p.dtype != object and (p != q).any():
        at = np.argwhere(p != q)[0]
        index = "".join(f"[{k}]" for k in at)
        return f"{index} {p[tuple(at)]!r}", f"{index} {q[tuple(at)]!r}"
    return texts[0][:300], texts[1][:300]


def _attributes(x: Node, y: Node) -> Iterator[tuple[str, str]]:
    """The attributes that differ, with both values."""
    for key in sorted({*x.attributes, *y.attributes}):
        held = [key in node.attributes for node in (x, y)]
        one, other = (plain(node.attributes.get(key)) for node in (x, y))
        if not all(held):
            p, q = (
                f"{key} {value!r}"[:300] if has else f"no {key}"
                for value, has in zip((one, other), held, strict=True)
            )
            yield p, q
        elif repr(one) != repr(other) or one != other:
            p, q = _values(one, other)
            yield f"{key} {p}", f"{key} {q}"


def _operands(a: Network, x: Node, keys_a: Keys, b: Network, y: Node, keys_b: Keys) -> tuple[str, str]:
    """What two nodes read, in the words of the first network where it has the tensor, too."""
    known: dict[bytes, str] = {}
    for tensor, key in keys_a.items():
        known.setdefault(key, tensor)

    def called(network: Network, tensor: str, keys: Keys) -> str:
        tensor_a = known.get(keys[tensor])
        network, tensor = (network, tensor) if tensor_a is None else (a, tensor_a)
        return f"'{network.producer[tensor].name}'" if tensor in network.producer else f"the input '{tensor}'"

    return (
        f"reads {', '.join(called(a, name, keys_a) for name in x.inputs)}",
        f"reads {', '.join(called(b, name, keys_b) for name in y.inputs)}, as {a.path} calls them",
    )


def _sides(a: Network, x: Node, keys_a: Keys, b: Network, y: Node, keys_b: Keys) -> tuple[str, str]:
    """Two nodes that are not the same, so that the texts differ."""
    texts = [_structure(network, node) for network, node in ((a, x), (b, y))]
    if x.op == y.op:
        pairs = list(_attributes(x, y))
        if (
            not pairs
            and a.shapes[x.output] == b.shapes[y.output]
            and texts[0].split("' (")[-1] == texts[1].split("' (")[-1]
        ):
            pairs = [_operands(a, x, keys_a, b, y, keys_b)]
        if pairs:
            texts = [f"{text[:-1]}, {', '.join(pair[k] for pair in pairs)})" for k, text in enumerate(texts)]
    if texts[0] == texts[1]:
        texts = [
            f"{text}, its node number {list(network.nodes).index(node)}"
            for text, (network, node) in zip(texts, ((a, x), (b, y)), strict=True)
        ]
    return texts[0], texts[1]


def _of_outputs(a: Network, keys_a: Keys, b: Network, keys_b: Keys, outputs_b: list[str]) -> str:
    """Both networks have the same nodes, but another one is an output."""
    known = {key: tensor for tensor, key in keys_a.items()}
    k = next(k for k, (x, y) in enumerate(zip(a.outputs, outputs_b, strict=True)) if keys_a[x] != keys_b[y])
    x, y = a.outputs[k], known[keys_b[outputs_b[k]]]
    nodes = [a.producer.get(name) for name in (x, y)]
    if nodes[0] is not None and nodes[1] is not None:
        texts = _sides(a, nodes[0], keys_a, a, nodes[1], keys_a)
    else:
        texts = tuple(
            f"the input '{name}'" if node is None else describe(a, node)
            for name, node in zip((x, y), nodes, strict=True)
        )
    return (
        f"the networks have the same nodes, but the output '{a.output_names[k]}' of {a.path} is {texts[0]},"
        f" where that of {b.path} is what corresponds to {texts[1]}"
    )


def first_difference(
    a: Network,
    keys_a: Keys,
    b: Network,
    keys_b: Keys,
    only: tuple[Node | None, Node | None],
    outputs_b: list[str],
) -> str:
    """keys: of the structure behind every tensor (`onnxpath.model.matching`). only: the first node of either
    network that the other one lacks. outputs_b: those of b in the order of a's."""
    x, y = only
    if x is None and y is None:
        return _of_outputs(a, keys_a, b, keys_b, outputs_b)
    if x is not None and y is not None:
        texts = _sides(a, x, keys_a, b, y, keys_b)
    else:
        texts = tuple("" if node is None else _structure(network, node) for network, node in ((a, x), (b, y)))
    side_a, side_b = (
        f"{net.path} has node {text}" if text else f"{net.path} has nothing more"
        for net, text in zip((a, b), texts, strict=True)
    )
    return f"the networks have different structure; the first difference: {side_a}, where {side_b}"
