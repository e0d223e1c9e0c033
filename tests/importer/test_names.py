"""Names of nodes are not names of tensors: a node may be called as any tensor of its file is, and nothing
changes.

onnxconverter-common calls its last Cast as the tensor that the Cast reads; other tools call a node as its
output, its weight, or as some other node's output.
"""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnxpath.analyses.bound.bound import bound
from onnxpath.engine.session import Device
from onnxpath.files.runtime import Runtime
from onnxpath.files.side import Side
from onnxpath.importer import load
from onnxpath.model.domain import Domain
from tests.importer.one_node import agree
from tests.reference import evaluate, outputs

CPU = Device("cpu")
RNG = np.random.default_rng(4)
WEIGHTS = {
    "k": RNG.standard_normal((4, 3, 3, 3)),
    "w": RNG.standard_normal((64, 5)),
    "c": RNG.standard_normal(5),
}
NODES = (
    ("Conv", "x,k", "t1", {}), ("Relu", "t1", "t2", {}), ("Add", "t2,t2", "t3", {}), ("Relu", "t3", "t4", {}),
    ("Flatten", "t4", "t5", {}),
    ("Gemm", "t5,w,c", "t6", {}), ("Cast", "t6", "t7", {"to": TensorProto.FLOAT}),
    ("Softmax", "t7", "t8", {}), ("Identity", "t8", "y", {}),
)  # fmt: skip
TENSORS = tuple(output for _, _, output, _ in NODES)


def model(names: list[str]) -> onnx.ModelProto:
    nodes = [
        helper.make_node(op, inputs.split(","), [output], name=name, **attributes)
        for (op, inputs, output, attributes), name in zip(NODES, names, strict=True)
    ]
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 6, 6])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 5])],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in WEIGHTS.items()],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


NAMINGS = {
    "none": [""] * len(NODES),
    "its input": [inputs.split(",")[0] for _, inputs, _, _ in NODES],
    "its weight": [
        inputs.split(",")[-1] if op in ("Conv", "Gemm") else f"n{k}"
        for k, (op, inputs, _, _) in enumerate(NODES)
    ],
    "the next output": [*TENSORS[1:], "x"],
    "the outputs backwards": list(TENSORS[::-1]),
    "an unnamed node's output": [TENSORS[k - 1] if k % 2 else "" for k in range(len(NODES))],
    "an unnamed later node's output": [
        TENSORS[k + 1] if k % 2 and k + 1 < len(NODES) else "" for k in range(len(NODES))
    ],
    "one name for all": ["t6"] * len(NODES),
}


@pytest.mark.parametrize("naming", NAMINGS)
def test_a_node_may_be_called_as_any_tensor(naming: str) -> None:
    """The same network, the same tensors of the file before what is left off, and the same numbers there."""
    named = model(NAMINGS[naming])
    network = load(named)
    assert [node.op for node in network.nodes] == ["Conv", "Relu", "Add", "Relu", "Reshape", "MatMul"]
    assert network.tails == {"y": "t6"} and len(network.cut) == len(set(network.cut)) == 3
    if naming == "one name for all":  # which ONNX Runtime does not run
        return
    x = {"x": RNG.standard_normal((1, 3, 6, 6)).astype(np.float32)}
    (own,), [sample] = outputs(network, evaluate(network, x)), Side(named, network, Runtime()).run(x)
    ran = sample.inner["y"]
    assert ran is not None
    np.testing.assert_allclose(own, ran, rtol=0, atol=1e-5 * np.abs(ran).max())


def test_the_files_of_a_pair_are_read_where_their_networks_end() -> None:
    """As onnxconverter-common writes halves: the last Cast is called as what it reads. What is found on the
    networks is found on the files."""
    nodes = [
        helper.make_node("Cast", ["x"], ["h"], name="x", to=TensorProto.FLOAT16),
        helper.make_node("Gemm", ["h", "w", "c"], ["g"], name="fc", transB=0),
        helper.make_node("Cast", ["g"], ["y"], name="g", to=TensorProto.FLOAT),
    ]
    kinds = {"float": (nodes[1:2], np.float32), "half": (nodes, np.float16)}
    files = {}
    for kind, (chosen, dtype) in kinds.items():
        made = [onnx.NodeProto.FromString(node.SerializeToString()) for node in chosen]
        if kind == "float":
            made[0].input[0], made[0].output[0] = "x", "y"
        graph = helper.make_graph(
            made, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 64])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 5])],
            [numpy_helper.from_array((np.round(WEIGHTS[name] * 8) / 8).astype(dtype), name) for name in ("w",
            "c")],
        )  # fmt: skip
        files[kind] = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    a, b = (load(file, extended=True) for file in files.values())
    assert b.tails == {"y": "g"}
    x = np.round(RNG.standard_normal((4, 64)) * 8) / 8
    found = bound(a, b, Domain.samples({"x": x.astype(np.float32)}), CPU, files=tuple(files.values())).largest
    assert found.files is not None and found.files < 0.02 * np.abs(x @ WEIGHTS["w"]).max()


def test_an_output_that_no_tensor_of_the_file_holds_has_no_tail() -> None:
    """The importer wrote what is before this Softmax anew: QLinearSoftmax reads integers. The file is held
    against the network behind its Softmax then, and no difference of scores is made up."""

    scale, zero = numpy_helper.from_array(np.float32(0.1), "s"), numpy_helper.from_array(np.uint8(0), "z")
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node(
            "QLinearSoftmax", ["q", "s", "z", "s", "z"], ["p"], domain="com.microsoft", axis=-1, opset=13
        ),
        helper.make_node("DequantizeLinear", ["p", "s", "z"], ["y"]),
    ]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(nodes, "g", [value("x", 1, [1, 4])], [value("y", 1, [1, 4])], [scale, zero])
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    file = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    network = load(file, extended=True)
    assert network.output_names == ("y",) and network.cut and network.tails == {}
    side = Side(file, network, Runtime())
    [sample] = side.run({"x": RNG.standard_normal((1, 4)).astype(np.float32)})
    assert sample.inner == {"y": None} and sample.outputs["y"].shape == (1, 4) and side.verdict().faithful
    file.graph.node[1].attribute[0].i = 0  # Softmax along the batch: ones, whatever the scores are
    assert load(file, extended=True).interface.tails["y"][0].axes == (0,)


def test_a_node_called_as_the_input() -> None:
    """The canonical tensors of the input and of the node are two."""
    named = model([""] * len(NODES))
    named.graph.node[0].name = "x"
    del named.graph.node[6:]
    named.graph.output[0].name = "t6"
    agree(named)
