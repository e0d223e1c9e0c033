"""Versions, wiring, operators and attributes: a graph that cannot be understood is refused by name."""

import numpy as np
import onnx
from building import chain, gemm, info, node, refused
from onnx import TensorProto, helper

from onnxpath.errors import UnsupportedError
from onnxpath.importer import load


def test_versions() -> None:
    for field, value, words in (
        ("ir_version", 99, "upgrade"),
        ("opset", 99, "upgrade"),
        ("opset", 5, "opset 5"),
        ("domain", "other", "opset"),
    ):
        proto = gemm()
        if field == "ir_version":
            proto.ir_version = value
        elif field == "opset":
            proto.opset_import[0].version = value
        else:
            proto.opset_import[0].domain = value
        refused(proto, words)
    proto = gemm()
    proto.opset_import[0].domain = "ai.onnx"
    proto.opset_import.append(helper.make_opsetid("never.used", 1))
    proto.graph.node[0].domain = "ai.onnx"
    assert len(load(proto).nodes) == 1
    proto = gemm()
    del proto.graph.output[:]
    refused(proto, "no outputs")
    refused(onnx.ModelProto(), "no graph")


def test_structure_errors_name_the_tensor() -> None:
    refused(
        chain(node("Relu", "x", "y"), node("Neg", "x", "y")), "'y'", "produced twice", "the_Relu", "the_Neg"
    )
    refused(chain(node("Relu", "x", "x")), "'x'", "produced twice")
    refused(chain(node("Add", "x,nowhere", "y")), "'nowhere'", "the_Add")
    refused(chain(node("Relu", "x", "z")), "'y'", "output of the graph")
    refused(
        chain(node("Add", "x,b", "a"), node("Relu", "a", "b"), node("Neg", "b", "y")),
        "cycle",
        "the_Add",
        "the_Relu",
    )
    ring = [
        helper.make_node("Add", ["x", f"t{k}"], [f"t{(k + 1) % 1000}"], name=f"n{k}") for k in range(1000)
    ]
    refused(chain(*ring, node("Neg", "t5", "y")), "cycle")
    twice = gemm()
    twice.graph.initializer.append(twice.graph.initializer[0])
    refused(twice, "two initializers", "'w'")


def test_operators_outside_are_refused_by_name() -> None:
    custom = helper.make_node("Sparse", ["x"], ["y"], name="q", domain="finn.custom_op.general")
    refused(chain(custom), "'q'", "finn.custom_op.general:Sparse", kind=UnsupportedError)
    refused(chain(node("Invented", "x", "y")), "the_Invented", kind=UnsupportedError)
    refused(
        chain(node("RandomNormal", "", "r", shape=[1, 8]), node("Add", "x,r", "y")),
        "RandomNormal",
        kind=UnsupportedError,
    )
    branch = helper.make_graph([helper.make_node("Identity", ["x"], ["b"])], "b", [], [info("b", None)])
    choice = node("If", "c", "y", then_branch=branch, else_branch=branch)
    refused(chain(choice, weights={"c": np.array(True)}), "the_If", kind=UnsupportedError)
    assert (
        len(
            load(
                chain(choice, node("Relu", "x", "z"), outputs="y,z", weights={"c": np.array(True)}),
                output_names=["z"],
            ).nodes
        )
        == 1
    )


def test_attributes_are_checked() -> None:
    weights = {"w": np.ones((4, 3, 3, 3), np.float32)}
    for attributes, words in [
        ({"strides": [0, 0]}, "strides"), ({"dilations": [1, -1]}, "dilations"), ({"group": 0}, "group"),
        ({"strides": 2.5}, "strides"),
        ({"pads": [0, 0, 2**62, 2**62]}, "the_Conv"), ({"unheard_of": 1}, "unheard_of"),
        ({"kernel_shape": [9, 9]}, "the_Conv"),
    ]:  # fmt: skip
        refused(chain(node("Conv", "x,w", "y", **attributes), weights=weights, shape=(1, 3, 8, 8)), words)
    refused(chain(node("Conv", "x", "y")), "1 inputs")
    refused(chain(node("LeakyRelu", "x,x", "y")), "2 inputs")
    refused(chain(node("Transpose", "x", "y", perm=[0, 5])), "the_Transpose")


def test_local_functions_are_inlined() -> None:
    body = [helper.make_node("Relu", ["a"], ["m"]), helper.make_node("Neg", ["m"], ["b"])]
    function = helper.make_function("local", "Block", ["a"], ["b"], body, [helper.make_opsetid("", 17)])
    proto = chain(helper.make_node("Block", ["x"], ["y"], domain="local"))
    proto.opset_import.append(helper.make_opsetid("local", 1))
    proto.functions.append(function)
    assert [item.op for item in load(proto).nodes] == ["Relu", "Scale"]


def test_sparse_initializers_are_refused_by_name() -> None:
    proto = chain(node("Gemm", "x,s", "y"))
    values = helper.make_tensor("s", TensorProto.FLOAT, [1], [1.0])
    proto.graph.sparse_initializer.append(
        helper.make_sparse_tensor(values, helper.make_tensor("i", TensorProto.INT64, [1], [3]), [8, 3])
    )
    refused(proto, "'s'", "sparse", kind=UnsupportedError)
