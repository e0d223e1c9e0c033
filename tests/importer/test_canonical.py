"""Encoding invariance: however a network is written down, the importer arrives at the same nodes and the same
values."""

import random

import numpy as np
import onnx
import pytest
from comparing import model, node, normal, ops, run, signature
from onnx import TensorProto, helper, numpy_helper

from onnxpath.importer import load

W1, B1, W2, B2 = normal(8, 6), normal(6), normal(6, 3), normal(3)


def perceptron() -> onnx.ModelProto:
    nodes = [node("Gemm", "x,w1,b1", "h"), node("Relu", "h", "r"), node("Gemm", "r,w2,b2", "y")]
    return model(nodes, {"w1": W1, "b1": B1, "w2": W2, "b2": B2}, [1, 8])


def as_matmul_add() -> onnx.ModelProto:
    nodes = [
        node("MatMul", "x,w1", "m"), node("Add", "b1,m", "h"), node("Relu", "h", "r"),
        node("MatMul", "r,w2", "n"),
        node("Add", "n,b2", "y"),
    ]  # fmt: skip
    return model(nodes, {"w1": W1, "b1": B1, "w2": W2, "b2": B2}, ["N", 8])


def as_transposed_gemm() -> onnx.ModelProto:
    nodes = [
        node("Gemm", "x,w1,b1", "h", transB=1),
        node("Relu", "h", "r"),
        node("Gemm", "r,w2,b2", "y", transB=1),
    ]
    return model(nodes, {"w1": W1.T.copy(), "b1": B1, "w2": W2.T.copy(), "b2": B2[None]}, [1, 8])


def as_constants() -> onnx.ModelProto:
    constants = [
        node("Constant", "", name, value=numpy_helper.from_array(v))
        for name, v in {"w1": W1, "b1": B1, "w2": W2, "b2": B2}.items()
    ]
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
        node("Reshape", "flat,shape", "w1"), node("Transpose", "w2t", "w2", perm=[1, 0]),
        node("Identity", "c1", "b1"),
        node("Cast", "c2", "b2", to=1),
        *perceptron().graph.node,
    ]  # fmt: skip
    weights = {
        "flat": W1.reshape(-1),
        "shape": np.array([8, -1]),
        "w2t": W2.T.copy(),
        "c1": B1,
        "c2": B2.astype(np.float64),
    }
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
        node("Unsqueeze", "x,axes", "u"), node("Transpose", "u", "t", perm=[1, 0, 2]),
        node("Flatten", "t", "x2"),
        node("Gemm", "x2,w1,b1", "h"),
        node("Relu", "h", "r"), node("Relu", "r", "r2"), node("Slice", "r2,zero,all,one", "s"),
        node("Dropout", "s", "d"),
        node("Concat", "d", "c", axis=1), node("Gather", "c,order", "g", axis=1),
        node("Pad", "g,nothing", "p"),
        node("Gemm", "p,w2,b2", "y0"),
        node("Identity", "y0", "y"),
    ]  # fmt: skip
    extra = {
        "axes": np.array([1]), "zero": np.array([0]), "all": np.array([2**62]), "one": np.array([1]),
        "order": np.arange(6),
        "nothing": np.zeros(4, np.int64),
    }  # fmt: skip
    return model(nodes, {"w1": W1, "b1": B1, "w2": W2, "b2": B2, **extra}, [1, 8])


@pytest.mark.parametrize(
    "build",
    [
        as_matmul_add,
        as_transposed_gemm,
        as_constants,
        as_initializers_and_inputs,
        as_computed_weights,
        as_shuffled_and_renamed,
        as_float_lists,
        with_movement,
    ],
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
        bits = (value.view(np.uint32) & 0xFFFF0000).view(
            np.float32
        )  # exact in bfloat16 and, from float16, in float16 too
        a.CopyFrom(numpy_helper.from_array(bits, a.name))
        if kind == "bfloat16":
            b.CopyFrom(
                TensorProto(
                    name=b.name,
                    dims=bits.shape,
                    data_type=TensorProto.BFLOAT16,
                    raw_data=(bits.view(np.uint32) >> 16).astype("<u2").tobytes(),
                )
            )
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
    assert (
        ops(network) == ["Conv"] and network.folded == ("y",) and "1 BatchNormalization" in network.notes[0]
    )
    conv = network.nodes[0]
    np.testing.assert_allclose(conv.weight.array(), K * factor[:, None, None, None], rtol=1e-14)
    np.testing.assert_allclose(
        conv.bias.array(), shift + (KB * factor if bias else 0), rtol=1e-13, atol=1e-14
    )
    assert conv.weight.sources[0] == "k" and conv.bias.sources[0] == ("kb" if bias else "beta")
    assert ops(load(proto, keep_batchnorm=True)) == ["Conv", "Scale"]


@pytest.mark.parametrize("group", [1, 2])
def test_batchnorm_after_transposed_convolution_folds(group: int) -> None:
    kernel = normal(4, 6 // group, 3, 3)
    bn = {key: np.resize(value, 6) for key, value in BN.items()}
    nodes = [
        node("ConvTranspose", "x,k", "c", strides=[2, 2], group=group),
        node("BatchNormalization", "c,g,beta,mu,var", "y"),
    ]
    proto = model(nodes, {"k": kernel, **bn}, [1, 4, 5, 5])
    network = load(proto)
    assert ops(network) == ["ConvTranspose"]
    run(proto, network)


def test_batchnorm_stays_where_something_else_reads_the_convolution() -> None:
    nodes = [
        node("Conv", "x,k", "c", pads=[1] * 4),
        node("BatchNormalization", "c,g,beta,mu,var", "b"),
        node("Add", "b,c", "y"),
    ]
    proto = model(nodes, {"k": K, **BN}, [1, 3, 7, 7])
    network = load(proto)
    assert ops(network) == ["Conv", "Scale", "Add"]
    run(proto, network)
    assert ops(load(model(nodes[:2], {"k": K, **BN}, [1, 3, 7, 7], results="b,c"))) == ["Scale", "Conv"][::-1]


@pytest.mark.parametrize("bias_shape", [(5, 1, 1), (1, 5, 1, 1), (1,)])
def test_bias_as_a_separate_add_after_convolution(bias_shape: tuple[int, ...]) -> None:
    value = normal(*bias_shape)
    proto = model([node("Conv", "x,k", "c"), node("Add", "c,b", "y")], {"k": K, "b": value}, [1, 3, 7, 7])
    whole = model(
        [node("Conv", "x,k,b", "y")],
        {"k": K, "b": np.broadcast_to(value.reshape(-1), (5,)).copy()},
        [1, 3, 7, 7],
    )
    assert signature(load(proto)) == signature(load(whole))


def test_a_bias_per_pixel_stays_a_scale() -> None:
    proto = model(
        [node("Conv", "x,k", "c"), node("Add", "c,b", "y")], {"k": K, "b": normal(5, 5, 5)}, [1, 3, 7, 7]
    )
    network = load(proto)
    assert ops(network) == ["Conv", "Scale"]
    run(proto, network)


def test_normalizer_of_the_input_is_one_scale() -> None:
    weights = {"m": normal(3, 1, 1), "s": np.abs(normal(3, 1, 1)) + 0.5, "k": K}
    proto = model(
        [node("Sub", "x,m", "a"), node("Div", "a,s", "b"), node("Conv", "b,k", "y")], weights, [1, 3, 7, 7]
    )
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
    proto = model(
        [node("MatMul", "w,x", "m"), node("Mul", "m,rows", "s"), node("Add", "s,b", "y")], weights, [1, 8, 5]
    )
    network = load(proto)
    assert ops(network) == ["MatMul"] and network.nodes[0].attributes["side"] == "left"
    run(proto, network)


def test_neg_folds_into_the_layer_before() -> None:
    proto = model([node("Conv", "x,k,kb", "c"), node("Neg", "c", "y")], {"k": K, "kb": KB}, [1, 3, 7, 7])
    network = load(proto)
    assert ops(network) == ["Conv"] and not network.nodes[0].weight.fixed
    run(proto, network)
