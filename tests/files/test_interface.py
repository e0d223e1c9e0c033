"""What of an interface is a change, and what is another spelling of the same."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, version_converter

import onnxpath
from onnxpath.model.interface import Interface, Port, Step, changes
from tests.files.support import classifier, model

F = TensorProto.FLOAT


def kinds(a: Interface, b: Interface) -> list[str]:
    return [change.kind for change in changes(a, b)]


def one(outputs=(), inputs=(), tails=None) -> Interface:
    return Interface(tuple(inputs), tuple(outputs), tails or {})


X, Y = Port("x", "float32", ("n", 4)), Port("y", "float32", ("n", 3))


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        (one([Y], [X]), one([Y], [X]), []),
        (one([Y]), one([Port("z", "float32", ("n", 3))]), ["names"]),
        (one([Y, Port("s", "float32", ("n",))]), one([Port("s", "float32", ("n",)), Y]), ["order"]),
        (one([Y]), one([Y, Port("s", "float32", ("n",))]), ["count"]),
        (one([Y]), one([Port("y", "float64", ("n", 3))]), ["types"]),
        (one([Y]), one([Port("y", "float32", ("n", 4))]), ["shapes"]),
        (one([Y]), one([Port("y", "float32", ("n",))]), ["shapes"]),
        (one([Y]), one([Port("y", "float32", ("n", None))]), []),
        (one([Y]), one([Port("y", "float32", None)]), []),
        (one([Y]), one([Port("y", "float32", (8, 3))]), ["batch"]),
        (one([Port("y", "float32", (1, 3))]), one([Port("y", "float32", (8, 3))]), ["batch"]),
        (
            one(inputs=[Port("x", "float32", ("n", 3, "h", "w"))]),
            one(inputs=[Port("x", "float32", ("n", 3, 32, 32))]),
            ["shapes"],
        ),
        (
            one(inputs=[Port("x", "float32", ("n", 3, 32, 32))]),
            one(inputs=[Port("x", "float32", ("n", 3, "h", "w"))]),
            [],
        ),
        (one(inputs=[Port("x", "float32", (5,))]), one(inputs=[Port("x", "float32", (6,))]), ["shapes"]),
        (
            one([Y], tails={"y": (Step("Softmax", (1,)),)}),
            one([Y], tails={"y": (Step("Softmax", (0,)),)}),
            ["tail"],
        ),
        (one([Y], tails={"y": (Step("Softmax", (1,)),)}), one([Y]), ["tail"]),
    ],
)
def test_kinds_of_changes(a: Interface, b: Interface, expected: list[str]) -> None:
    assert kinds(a, b) == expected
    if expected not in (
        ["shapes"],
        ["batch"],
        [],
    ):  # an input may become free, and an output be said to be of a size
        assert kinds(b, a) == expected


def test_a_change_says_both_sides() -> None:
    (change,) = changes(
        one([Y], tails={"y": (Step("Softmax", (1,)),)}),
        one([Y], tails={"y": (Step("ArgMax", (1,), (("keepdims", 0),)),)}),
    )
    assert change.text == "output 'y' ends with Softmax(axis 1), and with ArgMax(axis 1, keepdims 0) in B"


def interface(nodes, shape, opset, out=None) -> Interface:
    """Of x -> Relu -> the nodes, from h to y."""
    made = model(
        [helper.make_node("Relu", ["x"], ["h"]), *nodes],
        [("x", F, shape)],
        [("y", F, out or shape)],
        opset=opset,
    )
    return onnxpath.load(made).interface


def node(op: str, source: str, result: str, **attributes) -> onnx.NodeProto:
    return helper.make_node(op, [source], [result], **attributes)


@pytest.mark.parametrize("shape", [(1, 5), (1, 5, 3), (1, 5, 3, 2), (1, 5, 1, 1)])
@pytest.mark.parametrize("axis", [1, 2, -1])
@pytest.mark.parametrize("op", ["Softmax", "LogSoftmax"])
def test_softmax_of_opset_12_is_what_the_version_converter_makes_of_it(
    shape: tuple, axis: int, op: str
) -> None:
    if axis >= len(shape):
        axis = -2 if len(shape) > 2 else 1
    made = model(
        [node("Relu", "x", "h"), node(op, "h", "y", axis=axis)],
        [("x", F, shape)],
        [("y", F, shape)],
        opset=12,
    )
    converted = version_converter.convert_version(made, 13)
    a, b = onnxpath.load(made), onnxpath.load(converted)
    assert (
        a.interface.tails["y"] == b.interface.tails["y"] and a.cut and not changes(a.interface, b.interface)
    )
    assert [n.op for n in a.nodes] == [n.op for n in b.nodes]


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ([node("Softmax", "h", "y", axis=-1)], [node("Softmax", "h", "y", axis=2)]),
        ([node("LogSoftmax", "h", "y", axis=1)], [node("Softmax", "h", "s", axis=1), node("Log", "s", "y")]),
        (
            [node("Softmax", "h", "y", axis=1)],
            [node("Softmax", "h", "s", axis=1), node("Identity", "s", "y")],
        ),
    ],
)
def test_equal_functions(a: list, b: list) -> None:
    assert not changes(interface(a, (1, 5, 3), 17), interface(b, (1, 5, 3), 17))


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ([node("Softmax", "h", "y", axis=1)], [node("Softmax", "h", "y", axis=0)]),
        ([node("Softmax", "h", "y", axis=1)], [node("LogSoftmax", "h", "y", axis=1)]),
        ([node("Softmax", "h", "y", axis=1)], [node("Sigmoid", "h", "y")]),
        (
            [node("Softmax", "h", "y", axis=1)],
            [node("Softmax", "h", "s", axis=1), node("Softmax", "s", "y", axis=1)],
        ),
        ([node("Softmax", "h", "y", axis=1)], [node("Identity", "h", "y")]),
        ([node("Sigmoid", "h", "y")], [node("Sigmoid", "h", "s"), node("Sigmoid", "s", "y")]),
    ],
)
def test_other_functions(a: list, b: list) -> None:
    assert "tail" in kinds(interface(a, (1, 5, 3), 17), interface(b, (1, 5, 3), 17))


def test_softmax_over_a_batch_of_one_is_another_function() -> None:
    """Axis 0 has one entry here, and as many as there are inputs for the program."""
    assert "tail" in kinds(
        interface([node("Softmax", "h", "y", axis=0)], (1, 1), 17),
        interface([node("Softmax", "h", "y", axis=1)], (1, 1), 17),
    )


def test_a_reshape_to_another_shape_is_no_part_of_a_softmax() -> None:
    nodes = [
        node("Flatten", "h", "f", axis=1), node("Softmax", "f", "s", axis=1),
        helper.make_node("Reshape", ["s", "to"], ["y"]),
    ]  # fmt: skip
    made = model(
        [node("Relu", "x", "h"), *nodes],
        [("x", F, (1, 2, 3))],
        [("y", F, (1, 3, 2))],
        {"to": np.array([1, 3, 2], np.int64)},
    )
    with pytest.raises(onnxpath.UnsupportedError, match="Softmax"):
        onnxpath.load(made)


def test_integers_and_types_are_declared() -> None:
    made = classifier()
    made.graph.node.append(helper.make_node("ArgMax", ["y"], ["label"], axis=-1, keepdims=0))
    made.graph.output.append(helper.make_tensor_value_info("label", TensorProto.INT64, ["n"]))
    found = onnxpath.load(made).interface
    assert [(port.name, port.type, port.shape) for port in found.outputs] == [
        ("y", "float32", ("n", 3)),
        ("label", "int64", ("n",)),
    ]
    assert found.tails["label"] == (Step("ArgMax", (1,), (("keepdims", 0),)),)
