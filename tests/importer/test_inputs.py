"""Shapes of inputs: static, symbolic, given; what was decided is noted."""

import numpy as np
import onnx
import pytest
from building import W, chain, info, node, refused
from onnx import TensorProto

from onnxpath.errors import UnsupportedError, UsageError
from onnxpath.importer import load
from onnxpath.importer.decode.memory import available_bytes, human


def relu(shape: object, kind: int = TensorProto.FLOAT) -> onnx.ModelProto:
    proto = chain(node("Relu", "x", "y"))
    proto.graph.input[0].CopyFrom(info("x", shape, kind))
    return proto


@pytest.mark.parametrize(
    ("declared", "given", "expected"),
    [
        ((1, 3, 8, 8), None, (1, 3, 8, 8)),
        (("N", 3, 8, 8), None, (1, 3, 8, 8)),
        ((None, 3), None, (1, 3)),
        (("N", "N", 3), None, (1, 1, 3)),
        ((2, "batch_size", 3), None, (2, 1, 3)),
        (("N", 3, "H", "W"), (1, 3, 4, 6), (1, 3, 4, 6)),
        (("N", 3, "H", "W"), (5, 3, 4, 6), (5, 3, 4, 6)),
        (None, (1, 7), (1, 7)),
        ((0, 3), None, (1, 3)),
    ],
)
def test_input_shapes(declared: object, given: tuple | None, expected: tuple) -> None:
    network = load(relu(declared), shapes=None if given is None else {"x": given})
    assert network.shapes["x"] == expected


@pytest.mark.parametrize(
    ("declared", "given", "words"),
    [
        (("N", 3, "H", "W"), None, ["'x'", "axes 2, 3", "--shape x=1x3xNxN"]),
        ((1, None), None, ["'x'", "axis 1", "--shape x="]),
        (None, None, ["'x'", "--shape x="]),
        ((1, 3), {"x": (1, 4)}, ["1x3", "1x4"]),
        ((8, 3), {"x": (1, 3)}, ["8x3", "1x3"]),
        ((1, 3), {"x": (1, 3, 1)}, ["1x3x1"]),
        (("N", "H"), {"x": (1, 0)}, ["positive"]),
        (("N", "H"), {"z": (1, 2)}, ["'z'", "x"]),
    ],
)
def test_shapes_that_are_missing_or_do_not_fit(
    declared: object, given: dict | None, words: list[str]
) -> None:
    refused(relu(declared), *words, kind=UsageError, shapes=given)


def test_a_name_given_a_size_has_it_everywhere() -> None:
    proto = chain(node("Add", "x,z", "y"))
    del proto.graph.input[:]
    proto.graph.input.extend([info("x", ["N", "H"]), info("z", ["N", "H"])])
    network = load(proto, shapes={"x": (1, 5)})
    assert network.inputs == ("x", "z") and network.shapes["z"] == (1, 5)


def test_input_types_and_sizes() -> None:
    for kind in (TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BFLOAT16):
        assert load(relu([1, 3], kind)).nodes
    refused(relu([1, 3], TensorProto.INT64), "'x'", "int64", kind=UnsupportedError)
    refused(relu([1, 3], TensorProto.STRING), "'x'", "string", kind=UnsupportedError)
    refused(relu([1, 2**50]), "memory")
    image = chain(node("Cast", "x", "f", to=1), node("Relu", "f", "y"))
    image.graph.input[0].CopyFrom(info("x", [1, 3], TensorProto.UINT8))
    assert [item.op for item in load(image).nodes] == ["Relu"]


def test_notes_tell_what_was_decided() -> None:
    network = load(relu([8, 3]))
    assert network.batched and any("fixed batch of 8" in note for note in network.notes)
    two = chain(node("Relu", "x", "y"), node("Identity", "c", "z"), outputs="y,z", weights={"c": W})
    network = load(two)
    assert network.output_names == ("y",) and any(
        "'z' does not depend on any input" in note for note in network.notes
    )
    refused(chain(node("Identity", "c", "y"), weights={"c": W}), "no output depends on an input")
    refused(two, "'missing'", "y, z", kind=UsageError, output_names=["missing"])


def test_shapes_of_activations_are_known() -> None:
    nodes = [
        node("Shape", "x", "s"), node("Gather", "s,first", "n"), node("Unsqueeze", "n,zero", "u"),
        node("Concat", "u,rest", "shape", axis=0),
        node("Reshape", "x,shape", "y"),
    ]  # fmt: skip
    network = load(
        chain(
            *nodes,
            shape=("N", 2, 4),
            weights={"first": np.array(0), "zero": np.array([0]), "rest": np.array([-1])},
        )
    )
    assert [item.op for item in network.nodes] == ["Reshape"] and network.shapes[network.outputs[0]] == (1, 8)


def test_sizes_are_said_in_units() -> None:
    assert human(12) == "12 bytes" and human(3_200_000_000) == "3.2 GB" and available_bytes() > 1 << 20
