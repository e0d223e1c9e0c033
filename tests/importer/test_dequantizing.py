"""Quantized constants: every bit pattern as ONNX Runtime reads it, weight-only files matched with their float
twins, broken files named."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from importer.building import refused
from onnx import TensorProto, helper, numpy_helper
from quantized_files import BITS, integers, weight_only

import onnxpath
from onnxpath.errors import ModelError, UsageError
from onnxpath.model.network import Network

MODELS = Path(__file__).resolve().parents[2] / "models"
RNG = np.random.default_rng(3)


def tensor(name: str, value: object) -> TensorProto:
    if isinstance(value, TensorProto):
        value.name = name
        return value
    return numpy_helper.from_array(np.asarray(value), name)


def product(
    op: str,
    x: object,
    scale: object,
    zero: object = None,
    half: int = TensorProto.FLOAT,
    **attributes: object,
) -> onnx.ModelProto:
    """y = input · (x, dequantized); for QuantizeLinear what is quantized is dequantized again."""
    parts = [tensor("q", x), tensor("s", scale)] + ([] if zero is None else [tensor("z", zero)])
    names = [part.name for part in parts]
    nodes = [helper.make_node(op, names, ["w"], name="the_quantizer", **attributes)]
    if op == "QuantizeLinear":
        nodes[0].output[0] = "n"
        attributes.pop("output_dtype", None)
        nodes.append(helper.make_node("DequantizeLinear", ["n", *names[1:]], ["w"], **attributes))
    nodes.append(helper.make_node("Mul", ["x", "w"], ["y"], name="the_product"))
    shape = [1] * len(parts[0].dims)
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", half, shape)],
        [helper.make_tensor_value_info("y", half, None)],
        parts,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


def theirs(model: onnx.ModelProto) -> np.ndarray:
    """What ONNX Runtime computes for the input 1, without optimization."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    (item,) = session.get_inputs()
    dtype = np.float16 if item.type == "tensor(float16)" else np.float32
    return session.run(None, {"x": np.ones(item.shape, dtype)})[0].astype(np.float32)


def ours(model: onnx.ModelProto) -> np.ndarray:
    network = onnxpath.load(model)
    (node,) = [node for node in network.nodes if node.weight is not None]
    assert node.weight is not None
    return node.weight.array()


def steps(*shape: int) -> np.ndarray:
    return RNG.lognormal(-2, 1, shape).astype(np.float32)


@pytest.mark.parametrize("kind", list(BITS))
def test_every_bit_pattern(kind: int) -> None:
    low, high = BITS[kind]
    x = integers("q", kind, np.arange(low, high + 1)[None])
    zeros = (
        range(low, high + 1)
        if high - low < 256 and kind in (TensorProto.INT4, TensorProto.UINT4)
        else (low, low + 1, high // 3, high)
    )
    for zero in zeros:
        model = product("DequantizeLinear", x, steps(), integers("z", kind, np.array(zero)))
        assert np.array_equal(ours(model), theirs(model)), zero
    model = product("DequantizeLinear", x, steps())
    assert np.array_equal(ours(model), theirs(model))


def test_an_odd_number_of_numbers_of_four_bits() -> None:
    x = TensorProto(
        dims=[3, 5],
        data_type=TensorProto.INT4,
        raw_data=bytes([0x1F, 0xE2, 0x80, 0x7F, 0x9A, 0x34, 0x56, 0x08]),
    )
    model = product("DequantizeLinear", x, np.float32(1))
    assert np.array_equal(ours(model), theirs(model))
    assert ours(model)[0].tolist() == [-1, 1, 2, -2, 0] and ours(model)[2, 4] == -8


def test_biases_of_32_bits_round_as_in_onnx_runtime() -> None:
    x = RNG.integers(-(2**31), 2**31, (1, 5000)).astype(np.int32)
    for scale in (steps(), steps(5000)):
        model = product("DequantizeLinear", x, scale)
        assert np.array_equal(ours(model), theirs(model))


@pytest.mark.parametrize("axis", [0, 1, 2, -1, -3])
def test_channels_and_blocks(axis: int) -> None:
    x = RNG.integers(-128, 128, (3, 10, 4)).astype(np.int8)
    length = x.shape[axis]
    model = product(
        "DequantizeLinear", x, steps(length), RNG.integers(-128, 128, length).astype(np.int8), axis=axis
    )
    assert np.array_equal(ours(model), theirs(model))
    for block in (2, 3, length):
        shape = list(x.shape)
        shape[axis] = -(-length // block)
        zero = RNG.integers(-128, 128, shape).astype(np.int8)
        model = product("DequantizeLinear", x, steps(*shape), zero, axis=axis, block_size=block)
        assert np.array_equal(ours(model), theirs(model))


def test_half_precision_scales_give_half_precision_weights() -> None:
    x = np.arange(-128, 128, dtype=np.int8)[None]
    model = product("DequantizeLinear", x, np.float16(0.0371), half=TensorProto.FLOAT16)
    assert np.array_equal(ours(model), theirs(model))
    assert not np.array_equal(ours(model), x.astype(np.float32) * np.float32(np.float16(0.0371)))


@pytest.mark.parametrize("kind", list(BITS))
def test_constants_that_are_quantized_in_the_file(kind: int) -> None:
    """QuantizeLinear of a constant: ties to even, saturation at both ends."""
    x = np.concatenate([np.arange(-40, 40) / 2, RNG.normal(0, 1e5, 100)]).astype(np.float32)[None]
    model = product("QuantizeLinear", x, np.float32(1), integers("z", kind, np.array(BITS[kind][0] + 3)))
    assert np.array_equal(ours(model), theirs(model))


def parameters(network: Network) -> list[np.ndarray]:
    return [np.asarray(p.array(), np.float64) for node in network.nodes for p in node.parameters()]


@pytest.mark.parametrize("kind", list(BITS))
@pytest.mark.parametrize("granularity", ["tensor", "channel", "block"])
def test_weight_only_files_equal_their_dequantized_twins(kind: int, granularity: str) -> None:
    for name in ("digits_maxpool_cnn", "digits_mlp"):
        source = onnx.load(MODELS / f"{name}.onnx")
        for constants in (False, True):
            file, plain = weight_only(source, kind, granularity, constants=constants)
            network, twin = onnxpath.load(file), onnxpath.load(plain)
            assert [node.op for node in network.nodes] == [node.op for node in twin.nodes]
            assert all(
                np.array_equal(p, q) for p, q in zip(parameters(network), parameters(twin), strict=True)
            )
    session = onnxruntime.InferenceSession(file.SerializeToString(), providers=["CPUExecutionProvider"])
    x = RNG.random((2, *(n if isinstance(n, int) else 1 for n in session.get_inputs()[0].shape[1:]))).astype(
        np.float32
    )
    float_session = onnxruntime.InferenceSession(
        plain.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    name = session.get_inputs()[0].name
    np.testing.assert_allclose(
        session.run(None, {name: x})[0], float_session.run(None, {name: x})[0], rtol=1e-4, atol=1e-4
    )


def test_a_weight_only_file_is_compared_with_the_float_file() -> None:
    """Names, transposed storage and bias types differ; the metric falls with the step, and is that of the
    dequantized numbers."""
    path = MODELS / "digits_resnet.onnx"
    source = onnx.load(path)
    found = []
    for kind in (TensorProto.INT4, TensorProto.INT8, TensorProto.INT16):
        file, plain = weight_only(source, kind)
        metric = onnxpath.path_metric(str(path), file)
        assert (
            metric.path_metric.upper.value == onnxpath.path_metric(str(path), plain).path_metric.upper.value
        )
        assert onnxpath.path_metric(file, plain).path_metric.upper.value == 0
        found.append(metric.relative)
    # 16 times and 256 times as many steps; errors of paths add up with random signs
    assert found[0] > 4 * found[1] > 4 * 4 * found[2] > 0


def test_weights_behind_a_dequantizer_are_not_pruned(tmp_path: Path) -> None:
    file, _ = weight_only(onnx.load(MODELS / "digits_mlp.onnx"))
    with pytest.raises(UsageError, match="nothing can be pruned: .*: no tensor of the file holds its value"):
        onnxpath.prune(file, tmp_path / "out.onnx", sparsity=0.5)


@pytest.mark.parametrize("kind", [TensorProto.FLOAT16, TensorProto.BFLOAT16])
def test_half_precision_weights_behind_casts(kind: int) -> None:
    """A file that stores halves and casts them for its float32 operators is the network with those
    numbers."""
    source = onnx.load(MODELS / "digits_mlp.onnx")
    mixed, plain = onnx.ModelProto(), onnx.ModelProto()
    mixed.CopyFrom(source)
    plain.CopyFrom(source)
    dtype = helper.tensor_dtype_to_np_dtype(kind)
    for k, stored in enumerate(source.graph.initializer):
        half = numpy_helper.to_array(stored).astype(dtype)
        if numpy_helper.to_array(stored).dtype != np.float32:
            continue
        raw = TensorProto(
            name=f"{stored.name}_half", dims=half.shape, data_type=kind, raw_data=half.tobytes()
        )
        mixed.graph.initializer[k].CopyFrom(raw)
        mixed.graph.node.insert(0, helper.make_node("Cast", [raw.name], [stored.name], to=TensorProto.FLOAT))
        plain.graph.initializer[k].CopyFrom(numpy_helper.from_array(half.astype(np.float32), stored.name))
    assert onnxpath.path_metric(mixed, plain).path_metric.upper.value == 0
    assert onnxpath.path_metric(mixed, source).path_metric.upper.log2 > -20


X = np.ones((2, 6), np.int8)
BROKEN = {
    "scale 0": (product("DequantizeLinear", X, np.float32(0)), ("'s' is 0", "positive")),
    "scale NaN": (product("DequantizeLinear", X, np.float32(np.nan)), ("'s' is nan", "positive")),
    "scale infinite": (product("DequantizeLinear", X, np.float32(np.inf)), ("'s' is inf", "positive")),
    "one scale 0": (product("DequantizeLinear", X, np.array([1, 1, 1, 0, 1, 1], np.float32)),
    ("'s' is 0 at index [3]",)),
    "axis": (product("DequantizeLinear", X, np.ones(6, np.float32), axis=2), ("axis 2", "rank 2")),
    "length": (product("DequantizeLinear", X, np.ones(4, np.float32), axis=1), ("4 entries", "has 6")),
    "rank": (product("DequantizeLinear", X, np.ones((2, 3), np.float32)), ("[2, 3]", "block_size")),
    "blocks": (product("DequantizeLinear", X, np.ones((2, 3), np.float32), block_size=4),
    ("[2, 3]", "[2, 2]")),
    "zero point's type": (product("DequantizeLinear", X, np.float32(1), np.uint8(3)), ("uint8", "int8")),
    "zero point's shape": (product("DequantizeLinear", X, np.ones(6, np.float32), np.zeros(5, np.int8)),
    ("[5]", "[6]")),
    "zero point of int32": (product("DequantizeLinear", X.astype(np.int32), np.float32(1), np.int32(2)),
    ("not 0", "int32")),
    "zero point out of range": (
        product("DequantizeLinear", X, np.float32(1),
        TensorProto(dims=[], data_type=TensorProto.INT8, int32_data=[200])),
        ("200", "out of range", "int8"),
    ),
    "NaN quantized": (product("QuantizeLinear", np.full((1, 2), np.nan, np.float32), np.float32(1),
    np.int8(0)), ("NaN",)),
}  # fmt: skip


@pytest.mark.parametrize("name", list(BROKEN))
def test_broken_quantizers_are_named(name: str) -> None:
    model, words = BROKEN[name]
    message = refused(model, *words, kind=ModelError)
    assert "out of range for int8" in message or "'the_quantizer'" in message


def halved(source: onnx.ModelProto, kind: int, mixed: bool) -> onnx.ModelProto:
    """A file that computes in half precision, whole or between two Casts."""
    model, dtype = onnx.ModelProto(), helper.tensor_dtype_to_np_dtype(kind)
    model.CopyFrom(source)
    for k, stored in enumerate(source.graph.initializer):
        if numpy_helper.to_array(stored).dtype == np.float32:
            half = numpy_helper.to_array(stored).astype(dtype)
            model.graph.initializer[k].CopyFrom(
                TensorProto(name=stored.name, dims=half.shape, data_type=kind, raw_data=half.tobytes())
            )
    (x,), (y,) = model.graph.input, model.graph.output
    if not mixed:
        for info in (x, y):
            info.type.tensor_type.elem_type = kind
        return model
    for node in model.graph.node:
        node.input[:] = ["half input" if name == x.name else name for name in node.input]
        node.output[:] = ["half output" if name == y.name else name for name in node.output]
    model.graph.node.insert(0, helper.make_node("Cast", [x.name], ["half input"], to=kind))
    model.graph.node.append(helper.make_node("Cast", ["half output"], [y.name], to=TensorProto.FLOAT))
    return model


@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("kind", [TensorProto.FLOAT16, TensorProto.BFLOAT16])
def test_files_that_compute_in_half_precision_say_so(kind: int, mixed: bool, tmp_path: Path) -> None:
    """Their weights are compared; the rounding of their arithmetic is no part of the bound, which a
    difference of the files may exceed."""
    path = str(MODELS / "digits_maxpool_cnn.onnx")
    source = onnx.load(path)
    half = halved(source, kind, mixed)
    onnx.save(half, tmp_path / "half.onnx")
    metric = onnxpath.path_metric(path, half)
    assert 0 < metric.relative < 0.02
    assert any("compute in half precision" in note for note in metric.notes)
    assert not any("half precision" in note for note in onnxpath.load(path).notes)
    x = np.round(RNG.random((2, 1, 8, 8)) * 16).astype(np.float32) / 16
    found = onnxpath.bound(path, str(tmp_path / "half.onnx"), onnxpath.Domain.samples(x), search=0)
    assert 0 < found.largest.found <= found.largest.certified.value
    if kind == TensorProto.FLOAT16:
        assert found.largest.files is not None
    # the same numbers in float32: the bound is 0, and the difference of the files is that of the arithmetic
    twin = onnx.ModelProto()
    twin.CopyFrom(source)
    for k, stored in enumerate(half.graph.initializer):
        if stored.data_type == kind:
            array = (
                np.frombuffer(stored.raw_data, helper.tensor_dtype_to_np_dtype(kind))
                .astype(np.float32)
                .reshape(tuple(stored.dims))
            )
            twin.graph.initializer[k].CopyFrom(numpy_helper.from_array(array, stored.name))
    onnx.save(twin, tmp_path / "twin.onnx")
    same = onnxpath.bound(
        str(tmp_path / "twin.onnx"), str(tmp_path / "half.onnx"), onnxpath.Domain.samples(x), search=0
    )
    assert same.largest.certified.value == 0
    if kind == TensorProto.FLOAT16:
        # where every half is cast from and to float32, ONNX Runtime computes in float32 on the CPU
        assert (same.largest.files > 0) == any(
            "which the bound does not count" in note for note in same.notes
        )
        assert mixed or same.largest.files > 0
