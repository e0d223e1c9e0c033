"""Encoding invariance: however a network is written down, the importer arrives at the same nodes and the same values."""

import random
import time
from collections.abc import Sequence

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from reference import evaluate, outputs

from onnxpath.importer import load
from onnxpath.network import Network

RNG = np.random.default_rng(7)
Weights = dict[str, np.ndarray]


def node(op: str, inputs: str, outputs: str, **attributes: object) -> onnx.NodeProto:
    return helper.make_node(op, [name.strip() for name in inputs.split(",")], outputs.split(","), **attributes)


def model(
    nodes: Sequence[onnx.NodeProto], weights: Weights, shape: Sequence[int | str], results: str = "y", opset: int = 17, kind: int = TensorProto.FLOAT
) -> onnx.ModelProto:  # fmt: skip
    graph = helper.make_graph(
        list(nodes), "g", [helper.make_tensor_value_info("x", kind, shape)],
        [helper.make_tensor_value_info(name, kind, None) for name in results.split(",")],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in weights.items()],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def normal(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def signature(network: Network) -> list[tuple]:
    """Everything but names: operators, attributes, wiring, shapes and parameter values."""
    number = {name: k for k, name in enumerate(network.inputs)}
    found = []
    for item in network.nodes:
        attributes = {key: np.asarray(value).tolist() for key, value in item.attributes.items()}
        parameters = tuple(None if p is None else np.asarray(p.array(), np.float64).tolist() for p in (item.weight, item.bias))
        found.append((item.op, attributes, tuple(number[name] for name in item.inputs), network.shapes[item.output], parameters))
        number[item.output] = len(number)
    return found


def ops(network: Network) -> list[str]:
    return [item.op for item in network.nodes]


def run(proto: onnx.ModelProto, network: Network) -> None:
    """ONNX Runtime on the file and the float64 oracle on the network agree."""
    x = normal(*network.shapes["x"])
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    for ours, theirs in zip(outputs(network, evaluate(network, {"x": x})), session.run(None, {"x": x}), strict=True):
        np.testing.assert_allclose(ours.reshape(theirs.shape), theirs, rtol=1e-4, atol=1e-5 * np.abs(theirs).max())


# --- one multilayer perceptron, many spellings ------------------------------------------------------------------------

W1, B1, W2, B2 = normal(8, 6), normal(6), normal(6, 3), normal(3)


def perceptron() -> onnx.ModelProto:
    nodes = [node("Gemm", "x,w1,b1", "h"), node("Relu", "h", "r"), node("Gemm", "r,w2,b2", "y")]
    return model(nodes, {"w1": W1, "b1": B1, "w2": W2, "b2": B2}, [1, 8])


def as_matmul_add() -> onnx.ModelProto:
    nodes = [
        node("MatMul", "x,w1", "m"), node("Add", "b1,m", "h"), node("Relu", "h", "r"), node("MatMul", "r,w2", "n"), node("Add", "n,b2", "y"),
    ]  # fmt: skip
    return model(nodes, {"w1": W1, "b1": B1, "w2": W2, "b2": B2}, ["N", 8])


def as_transposed_gemm() -> onnx.ModelProto:
    nodes = [node("Gemm", "x,w1,b1", "h", transB=1), node("Relu", "h", "r"), node("Gemm", "r,w2,b2", "y", transB=1)]
    return model(nodes, {"w1": W1.T.copy(), "b1": B1, "w2": W2.T.copy(), "b2": B2[None]}, [1, 8])


def as_constants() -> onnx.ModelProto:
    constants = [node("Constant", "", name, value=numpy_helper.from_array(v)) for name, v in {"w1": W1, "b1": B1, "w2": W2, "b2": B2}.items()]
    for item in constants:
        del item.input[:]
    return model([*constants, *perceptron().graph.node], {}, [1, 8])


def as_initializers_and_inputs() -> onnx.ModelProto:
    proto = perceptron()
    for tensor in proto.graph.initializer:
        proto.graph.input.append(helper.make_tensor_value_info(tensor.name, TensorProto.FLOAT, tensor.dims))
    return proto


def as_computed_weights() -> onnx.ModelProto:
    nodes = [
        node("Reshape", "flat,shape", "w1"), node("Transpose", "w2t", "w2", perm=[1, 0]), node("Identity", "c1", "b1"), node("Cast", "c2", "b2", to=1),
        *perceptron().graph.node,
    ]  # fmt: skip
    weights = {"flat": W1.reshape(-1), "shape": np.array([8, -1]), "w2t": W2.T.copy(), "c1": B1, "c2": B2.astype(np.float64)}
    return model(nodes, weights, [1, 8])


def as_shuffled_and_renamed() -> onnx.ModelProto:
    proto = as_matmul_add()
    nodes = list(proto.graph.node)
    random.Random(3).shuffle(nodes)
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)
    for k, item in enumerate(proto.graph.node):
        item.name = f"any/{k}"
        item.input[:] = [name if name in ("x", "y") else f"t.{name}" for name in item.input]
        item.output[:] = [name if name in ("x", "y") else f"t.{name}" for name in item.output]
    for tensor in proto.graph.initializer:
        tensor.name = f"t.{tensor.name}"
    return proto


def as_float_lists() -> onnx.ModelProto:
    proto = perceptron()
    for tensor in proto.graph.initializer:
        values = numpy_helper.to_array(tensor).reshape(-1).tolist()
        tensor.ClearField("raw_data")
        tensor.float_data.extend(values)
    return proto


def with_movement() -> onnx.ModelProto:
    """Nothing happens between x and y that the perceptron does not do."""
    nodes = [
        node("Unsqueeze", "x,axes", "u"), node("Transpose", "u", "t", perm=[1, 0, 2]), node("Flatten", "t", "x2"), node("Gemm", "x2,w1,b1", "h"),
        node("Relu", "h", "r"), node("Relu", "r", "r2"), node("Slice", "r2,zero,all,one", "s"), node("Dropout", "s", "d"),
        node("Concat", "d", "c", axis=1), node("Gather", "c,order", "g", axis=1), node("Pad", "g,nothing", "p"), node("Gemm", "p,w2,b2", "y0"),
        node("Identity", "y0", "y"),
    ]  # fmt: skip
    extra = {
        "axes": np.array([1]), "zero": np.array([0]), "all": np.array([2**62]), "one": np.array([1]), "order": np.arange(6), "nothing": np.zeros(4, np.int64),
    }  # fmt: skip
    return model(nodes, {"w1": W1, "b1": B1, "w2": W2, "b2": B2, **extra}, [1, 8])


@pytest.mark.parametrize(
    "build",
    [as_matmul_add, as_transposed_gemm, as_constants, as_initializers_and_inputs, as_computed_weights, as_shuffled_and_renamed, as_float_lists, with_movement],
)
def test_spellings_of_a_perceptron_are_one_network(build) -> None:
    proto = build()
    network = load(proto)
    assert signature(network) == signature(load(perceptron()))
    assert ops(network) == ["MatMul", "Relu", "MatMul"] and network.batched
    run(proto, network)


@pytest.mark.parametrize("kind", [np.float16, "bfloat16", np.float64])
def test_storage_in_another_float_type_keeps_equal_values(kind) -> None:
    proto, other = perceptron(), perceptron()
    for a, b in zip(proto.graph.initializer, other.graph.initializer, strict=True):
        value = numpy_helper.to_array(a).astype(np.float16).astype(np.float32)
        bits = (value.view(np.uint32) & 0xFFFF0000).view(np.float32)  # exact in bfloat16 and, from float16, in float16 too
        a.CopyFrom(numpy_helper.from_array(bits, a.name))
        if kind == "bfloat16":
            b.CopyFrom(TensorProto(name=b.name, dims=bits.shape, data_type=TensorProto.BFLOAT16, raw_data=(bits.view(np.uint32) >> 16).astype("<u2").tobytes()))
        else:
            b.CopyFrom(numpy_helper.from_array(bits.astype(kind), b.name))
    assert signature(load(proto)) == signature(load(other))


def test_constant_of_shape_is_the_constant_it_stands_for() -> None:
    fill = numpy_helper.from_array(np.array([0.25], np.float32))
    nodes = [node("ConstantOfShape", "shape", "w", value=fill), node("MatMul", "x,w", "y")]
    lazy = load(model(nodes, {"shape": np.array([8, 4])}, [1, 8]))
    plain = load(model([node("MatMul", "x,w", "y")], {"w": np.full((8, 4), 0.25, np.float32)}, [1, 8]))
    assert signature(lazy) == signature(plain)
    assert lazy.nodes[0].weight.base.strides == (0, 0)


# --- BatchNormalization, biases, scales -------------------------------------------------------------------------------

K, KB = normal(5, 3, 3, 3), normal(5)
BN = {"g": normal(5), "beta": normal(5), "mu": normal(5), "var": np.abs(normal(5)) + 0.5}


def fold() -> tuple[np.ndarray, np.ndarray]:
    factor = BN["g"].astype(float) / np.sqrt(BN["var"].astype(float) + 1e-5)
    return factor, BN["beta"].astype(float) - BN["mu"].astype(float) * factor


@pytest.mark.parametrize("bias", [False, True])
def test_batchnorm_after_convolution_folds(bias: bool) -> None:
    inputs = "x,k,kb" if bias else "x,k"
    nodes = [node("Conv", inputs, "c", pads=[1, 1, 1, 1]), node("BatchNormalization", "c,g,beta,mu,var", "y")]
    weights = {"k": K, **BN} | ({"kb": KB} if bias else {})
    proto = model(nodes, weights, [1, 3, 7, 7])
    network = load(proto)
    run(proto, network)
    factor, shift = fold()
    assert ops(network) == ["Conv"] and network.folded == ("y",) and "1 BatchNormalization" in network.notes[0]
    conv = network.nodes[0]
    np.testing.assert_allclose(conv.weight.array(), K * factor[:, None, None, None], rtol=1e-14)
    np.testing.assert_allclose(conv.bias.array(), shift + (KB * factor if bias else 0), rtol=1e-13, atol=1e-14)
    assert conv.weight.sources[0] == "k" and conv.bias.sources[0] == ("kb" if bias else "beta")
    assert ops(load(proto, keep_batchnorm=True)) == ["Conv", "Scale"]


@pytest.mark.parametrize("group", [1, 2])
def test_batchnorm_after_transposed_convolution_folds(group: int) -> None:
    kernel = normal(4, 6 // group, 3, 3)
    bn = {key: np.resize(value, 6) for key, value in BN.items()}
    nodes = [node("ConvTranspose", "x,k", "c", strides=[2, 2], group=group), node("BatchNormalization", "c,g,beta,mu,var", "y")]
    proto = model(nodes, {"k": kernel, **bn}, [1, 4, 5, 5])
    network = load(proto)
    assert ops(network) == ["ConvTranspose"]
    run(proto, network)


def test_batchnorm_stays_where_something_else_reads_the_convolution() -> None:
    nodes = [node("Conv", "x,k", "c", pads=[1] * 4), node("BatchNormalization", "c,g,beta,mu,var", "b"), node("Add", "b,c", "y")]
    proto = model(nodes, {"k": K, **BN}, [1, 3, 7, 7])
    network = load(proto)
    assert ops(network) == ["Conv", "Scale", "Add"]
    run(proto, network)
    assert ops(load(model(nodes[:2], {"k": K, **BN}, [1, 3, 7, 7], results="b,c"))) == ["Scale", "Conv"][::-1]


@pytest.mark.parametrize("bias_shape", [(5, 1, 1), (1, 5, 1, 1), (1,)])
def test_bias_as_a_separate_add_after_convolution(bias_shape: tuple[int, ...]) -> None:
    value = normal(*bias_shape)
    proto = model([node("Conv", "x,k", "c"), node("Add", "c,b", "y")], {"k": K, "b": value}, [1, 3, 7, 7])
    whole = model([node("Conv", "x,k,b", "y")], {"k": K, "b": np.broadcast_to(value.reshape(-1), (5,)).copy()}, [1, 3, 7, 7])
    assert signature(load(proto)) == signature(load(whole))


def test_a_bias_per_pixel_stays_a_scale() -> None:
    proto = model([node("Conv", "x,k", "c"), node("Add", "c,b", "y")], {"k": K, "b": normal(5, 5, 5)}, [1, 3, 7, 7])
    network = load(proto)
    assert ops(network) == ["Conv", "Scale"]
    run(proto, network)


def test_normalizer_of_the_input_is_one_scale() -> None:
    weights = {"m": normal(3, 1, 1), "s": np.abs(normal(3, 1, 1)) + 0.5, "k": K}
    proto = model([node("Sub", "x,m", "a"), node("Div", "a,s", "b"), node("Conv", "b,k", "y")], weights, [1, 3, 7, 7])
    network = load(proto)
    assert ops(network) == ["Scale", "Conv"]
    assert network.nodes[0].weight.sources == ("s",) and set(network.nodes[0].bias.sources) == {"m", "s"}
    run(proto, network)


def test_averages_stay_apart_from_learned_weights() -> None:
    nodes = [node("AveragePool", "x", "a", kernel_shape=[2, 2], strides=[2, 2]), node("Mul", "a,g", "y")]
    proto = model(nodes, {"g": normal(3, 1, 1)}, [1, 3, 6, 6])
    network = load(proto)
    assert ops(network) == ["SumPool", "Scale", "Scale"]
    assert [item.weight.fixed for item in network.nodes[1:]] == [True, False]
    run(proto, network)


def test_scales_of_a_matmul_fold_along_its_output_axis_only() -> None:
    weights = {"w": normal(8, 4), "columns": normal(4), "rows": normal(3, 1), "b": normal(3, 4)}
    along = [node("MatMul", "x,w", "m"), node("Mul", "m,columns", "s"), node("Add", "s,b", "y")]
    across = [node("MatMul", "x,w", "m"), node("Mul", "m,rows", "y")]
    for nodes, expected in ((along, ["MatMul"]), (across, ["MatMul", "Scale"])):
        proto = model(nodes, weights, [3, 8])
        network = load(proto)
        assert ops(network) == expected
        run(proto, network)


def test_matmul_from_the_left() -> None:
    weights = {"w": normal(4, 8), "rows": normal(4, 1), "b": normal(4, 1)}
    proto = model([node("MatMul", "w,x", "m"), node("Mul", "m,rows", "s"), node("Add", "s,b", "y")], weights, [1, 8, 5])
    network = load(proto)
    assert ops(network) == ["MatMul"] and network.nodes[0].attributes["side"] == "left"
    run(proto, network)


def test_neg_folds_into_the_layer_before() -> None:
    proto = model([node("Conv", "x,k,kb", "c"), node("Neg", "c", "y")], {"k": K, "kb": KB}, [1, 3, 7, 7])
    network = load(proto)
    assert ops(network) == ["Conv"] and not network.nodes[0].weight.fixed
    run(proto, network)


# --- movement ---------------------------------------------------------------------------------------------------------


def test_zero_padding_is_absorbed() -> None:
    weights = {"k": K, "p": np.array([0, 0, 1, 2, 0, 0, 3, 0])}
    proto = model([node("Pad", "x,p", "q"), node("Conv", "q,k", "y", pads=[1, 0, 0, 1])], weights, [1, 3, 7, 7])
    network = load(proto)
    assert ops(network) == ["Conv"] and network.nodes[0].attributes["pads"] == (2, 2, 3, 1)
    run(proto, network)
    weights["p"] = np.array([0, 1, 0, 0, 0, 0, 0, 0])
    network = load(model([node("Pad", "x,p", "q"), node("Conv", "q,k", "y")], weights, [1, 2, 7, 7]))
    assert ops(network) == ["Pad", "Conv"]


def test_transposes_compose_and_cancel() -> None:
    there, back = node("Transpose", "x", "a", perm=[0, 2, 3, 1]), node("Transpose", "a", "b", perm=[0, 3, 1, 2])
    network = load(model([there, back, node("Relu", "b", "y")], {}, [1, 3, 4, 5]))
    assert ops(network) == ["Relu"]
    again = node("Transpose", "a", "b", perm=[0, 2, 1, 3])
    proto = model([there, again, node("Relu", "b", "y")], {}, [1, 3, 4, 5])
    network = load(proto)
    assert ops(network) == ["Transpose", "Relu"] and network.nodes[0].attributes["perm"] == (0, 3, 2, 1)
    run(proto, network)
    network = load(model([there, node("Flatten", "a", "y")], {}, [1, 3, 1, 1]))
    assert ops(network) == ["Reshape"]


def test_a_global_window_is_a_reduction() -> None:
    for window, whole in (("AveragePool", "GlobalAveragePool"), ("MaxPool", "GlobalMaxPool")):
        one = load(model([node(window, "x", "y", kernel_shape=[4, 5])], {}, [1, 3, 4, 5]))
        two = load(model([node(whole, "x", "y")], {}, [1, 3, 4, 5]))
        assert signature(one) == signature(two)


def test_sums_are_flat() -> None:
    nodes = [node("Relu", "x", "a"), node("Neg", "x", "n"), node("Relu", "n", "b"), node("Add", "a,b", "s"), node("Add", "s,x", "y")]
    one = load(model(nodes, {}, [1, 4]))
    two = load(model([*nodes[:3], node("Sum", "a,b,x", "y")], {}, [1, 4]))
    assert signature(one) == signature(two) and ops(one)[-1] == "Add" and len(one.nodes[-1].inputs) == 3
    shared = load(model([*nodes[:4], node("Add", "s,x", "y"), node("Relu", "s", "z")], {}, [1, 4], results="y,z"))
    assert ops(shared).count("Add") == 2


def test_an_output_of_the_network_is_not_merged_away() -> None:
    nodes = [node("Conv", "x,k", "c"), node("Add", "c,b", "y"), node("Relu", "y", "z")]
    network = load(model(nodes, {"k": K, "b": normal(5, 1, 1)}, [1, 3, 7, 7], results="c,y,z"))
    assert ops(network) == ["Conv", "Scale", "Relu"] and len(set(network.outputs)) == 3 and network.output_names == ("c", "y", "z")


def test_outputs_that_are_one_tensor_are_one_output() -> None:
    nodes = [node("Gemm", "x,w1", "y"), node("Softmax", "y", "p"), node("ArgMax", "p", "label")]
    network = load(model(nodes, {"w1": W1}, [1, 8], results="y,p,label"))
    assert network.output_names == ("y",) and len(network.cut) == 2
    assert sum("left off" in note for note in network.notes) == 2 and sum("equals the output 'y'" in note for note in network.notes) == 2


def test_tail_in_the_middle_is_refused_and_at_another_output_ignored() -> None:
    nodes = [node("Relu", "x", "y"), node("Tanh", "y", "z")]
    assert ops(load(model(nodes, {}, [1, 8], results="y,z"), output_names=["y"])) == ["Relu"]
    with pytest.raises(Exception, match=r"\(Tanh\)"):
        load(model(nodes, {}, [1, 8], results="y,z"))
    with pytest.raises(Exception, match=r"\(Softmax\)"):
        load(model([node("Softmax", "x", "s"), node("Gemm", "s,w1", "y")], {"w1": W1}, [1, 8]))


# --- batch axis, size -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("nodes", "shape", "expected"),
    [
        ([node("Relu", "x", "y")], [1, 8], True),
        ([node("Relu", "x", "y")], [4, 8], True),
        ([node("Transpose", "x", "y", perm=[1, 0])], [3, 8], False),
        ([node("Concat", "x,x", "y", axis=0)], [1, 8], False),
        ([node("Reshape", "x,tall", "y")], [1, 16, 10], False),
        ([node("Flatten", "x", "y")], [1, 4, 8, 8], True),
        ([node("MatMul", "x,w1", "y")], [1, 8], True),
        ([node("MatMul", "w1,x", "y")], [6, 2], False),
        ([node("MatMul", "w1,x", "y")], [1, 6, 2], True),
        ([node("Mul", "x,rows", "y")], [3, 8], False),
    ],
)
def test_batched(nodes: list[onnx.NodeProto], shape: list[int], expected: bool) -> None:
    weights = {"tall": np.array([16, 10]), "w1": W1, "rows": normal(3, 1)}
    used = {name for item in nodes for name in item.input}
    assert load(model(nodes, {key: value for key, value in weights.items() if key in used}, shape)).batched is expected


@pytest.mark.parametrize("order", ["forward", "reverse", "shuffled"])
def test_long_chains_take_seconds(order: str) -> None:
    count = 20_000
    nodes = [node("Relu" if k % 2 else "Neg", f"t{k}", f"t{k + 1}") for k in range(count)]
    nodes[0].input[0], nodes[-1].output[0] = "x", "y"
    if order != "forward":
        nodes.reverse()
    if order == "shuffled":
        random.Random(0).shuffle(nodes)
    proto = model(nodes, {}, [1, 2])
    start = time.perf_counter()
    network = load(proto)
    assert time.perf_counter() - start < 20  # quadratic work would take minutes
    assert len(network.nodes) == count and ops(network)[:2] == ["Scale", "Relu"]
