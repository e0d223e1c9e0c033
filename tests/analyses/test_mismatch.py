"""What a mismatch says: the two sides are never one text, and the attribute that differs is named with both
values."""

from dataclasses import replace

import numpy as np
import pytest
from ops.cases import ALL, CASES
from oracle.sketch import Sketch

from onnxpath.errors import MismatchError
from onnxpath.model.matching import match
from onnxpath.model.network import Network, Node


def alone(node: Node, shapes: tuple, output: tuple, path: str) -> Network:
    return Network(
        path,
        "",
        node.inputs,
        (node.output,),
        (node,),
        dict(zip(node.inputs, shapes, strict=True)) | {node.output: output},
        output_names=("y",),
    )


def sides(a: Network, b: Network) -> tuple[str, str]:
    """What the message says of either network."""
    with pytest.raises(MismatchError) as caught:
        match(a, b)
    message = str(caught.value)
    assert "\n" not in message and a.path in message and b.path in message
    one, other = message.split("where ")
    return one.split(f"{a.path} has ")[1].rstrip(", "), other.split(f"{b.path} has ")[1]


def changed(value: object) -> object:
    """Another value of the same kind, different in one number only."""
    if isinstance(value, str):
        return value + "x"
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    if isinstance(value, float):
        return float(np.nextafter(value, -np.inf))
    if isinstance(value, np.ndarray):
        other = value.copy()
        other.flat[-1] = (
            np.nextafter(other.flat[-1], np.inf) if other.dtype.kind == "f" else other.flat[-1] + 1
        )
        return other
    items = list(value)  # type: ignore[call-overload]
    return (
        type(value)([*items[:-1], changed(items[-1])])
        if not isinstance(value, range)
        else (*items[:-1], items[-1] + 1)
    )


@pytest.mark.parametrize(("op", "label"), ALL)
def test_every_attribute_of_every_operator_is_named(op: str, label: str) -> None:
    site = CASES[op][label]
    if op == "Quantizer":  # an identity in structure
        return
    node = replace(site.node, inputs=tuple(f"x{k}" for k in range(len(site.node.inputs))), output="out")
    a = alone(node, site.input_shapes, site.output_shape, "a.onnx")
    for key, value in node.attributes.items():
        if isinstance(value, (tuple, list)) and not value:
            continue
        other = replace(node, attributes={**node.attributes, key: changed(value)})
        one, two = sides(a, alone(other, site.input_shapes, site.output_shape, "b.onnx"))
        assert one != two and (key in one and key in two)
        left = replace(node, attributes={name: item for name, item in node.attributes.items() if name != key})
        if key not in ("function", "parameters"):
            one, two = sides(a, alone(left, site.input_shapes, site.output_shape, "b.onnx"))
            assert one != two and key in one and f"no {key}" in two


def w(*shape: int) -> np.ndarray:
    return np.ones(shape, np.float32)


def test_a_long_attribute_is_named_where_it_differs() -> None:
    def gather(last: int) -> Network:
        s = Sketch(x=(1, 300))
        return s.network(s.gather("x", 1, [*range(299), last]), path=f"{last}.onnx")

    one, two = sides(gather(3), gather(4))
    assert "indices [299]" in one and len(one) < 200 and one != two


def test_equal_nodes_that_read_something_else() -> None:
    """Operands in another order, or other ones of the same names: in the words of the first network."""

    def joined(swapped: bool, names: tuple[str, str] = ("p", "q")) -> Network:
        s = Sketch(x=(1, 3))
        first = s.matmul("x", w(3, 2), name=names[0])
        second = s.matmul(s.relu("x"), w(3, 2), name=names[1])
        return s.network(
            s.relu(s.concat(*((second, first) if swapped else (first, second)))),
            path="swapped.onnx" if swapped else "straight.onnx",
        )

    one, two = sides(joined(False), joined(True))
    assert "reads 'p', 'q'" in one and "reads 'q', 'p', as straight.onnx calls them" in two
    one, two = sides(joined(False), joined(True, ("q", "p")))  # b calls them so that the texts would be one
    assert "reads 'p', 'q'" in one and "reads 'q', 'p', as straight.onnx calls them" in two


def test_the_same_nodes_with_another_output() -> None:
    def ends(order: int, path: str) -> Network:
        s = Sketch(x=(1, 3))
        first = s.relu(s.matmul("x", w(3, 3), name="m"))
        second = s.relu(s.matmul(first, w(3, 3), name="n"))
        return s.network(*((first, second)[::order]), names=["u", "v"], path=path)

    with pytest.raises(MismatchError) as caught:
        match(ends(1, "a.onnx"), ends(-1, "b.onnx"))
    message = str(caught.value)
    assert "the output 'u' of a.onnx is" in message and "nothing more" not in message
    one, other = message.split("corresponds to ")
    assert one.split("a.onnx is ")[1].split(", where")[0] != other
