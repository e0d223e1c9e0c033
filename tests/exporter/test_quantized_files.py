"""Files with integers behind DequantizeLinear: the numbers that were meant, in the importer and in ONNX
Runtime; everything else as it was."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from spellings import SPELLINGS, model, node, normal
from structures import STRUCTURES

import onnxpath
from onnxpath.analyses.metric.metric import path_metric
from onnxpath.analyses.quantize import grids
from onnxpath.analyses.quantize.layers import layers, quantized
from onnxpath.analyses.quantize.settings import Settings
from onnxpath.engine.session import Device
from onnxpath.errors import UnsupportedError, UsageError
from onnxpath.exporter.quantizing import Integers, opset_of, stored_kinds, tensor_bytes, write_quantized
from onnxpath.importer import load

CPU = Device("cpu", "float32", 1)


def outputs(source: object, x: np.ndarray) -> list[np.ndarray]:
    given = source.SerializeToString() if isinstance(source, onnx.ModelProto) else str(source)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(given, options, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: x})


def replaced(proto: onnx.ModelProto, edits: dict[str, np.ndarray]) -> onnx.ModelProto:
    """The file with other floats."""
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    for tensor in copy.graph.initializer:
        if tensor.name in edits:
            value = edits[tensor.name]
            if tensor.data_type == TensorProto.FLOAT16:
                value = value.astype(np.float16)
            tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(value), tensor.name))
    return copy


def written(
    proto: onnx.ModelProto, path: Path, settings: Settings
) -> tuple[onnx.ModelProto, dict[str, np.ndarray], onnxpath.model.network.Network]:
    """Quantize all layers with the one width of the settings; the file, the numbers that were meant, and the
    network with them."""
    network = load(proto)
    found, _ = layers(network, stored_kinds(proto), settings)
    (bits,) = settings.bits
    tensors = {}
    for layer in found:
        step = grids.steps(grids.largest(layer.array, layer.axis), bits)
        values = grids.integers(
            layer.array, grids.along(step, layer.axis, layer.array.ndim), bits, settings.rounding
        )
        tensors[layer.tensor] = Integers(values, step, layer.axis, grids.storage(bits))
    write_quantized(proto, tensors, path)
    meant = {layer.tensor: layer.rounded(bits, settings.rounding) for layer in found}
    return onnx.load(path), meant, quantized(network, dict.fromkeys(meant, bits), found, settings.rounding)


@pytest.mark.parametrize("bits", [4, 8, 16])
@pytest.mark.parametrize("granularity", ["channel", "tensor"])
@pytest.mark.parametrize("name", STRUCTURES)
def test_every_structure(name: str, granularity: str, bits: int, tmp_path: Path) -> None:
    proto = STRUCTURES[name][0]()
    before = proto.SerializeToString(deterministic=True)
    rounding = "zero" if bits == 4 else "nearest"
    made, meant, expected = written(proto, tmp_path / "q.onnx", Settings((bits,), granularity, rounding))
    assert proto.SerializeToString(deterministic=True) == before
    again = load(tmp_path / "q.onnx")
    same = path_metric(expected, again, CPU)
    assert same.path_metric.exact and same.path_metric.upper.mantissa == 0
    metric = path_metric(load(proto), again, CPU).path_metric
    assert metric.upper.mantissa > 0 and (metric.exact or rounding == "nearest")
    # ONNX Runtime evaluates DequantizeLinear to the same arrays; opset 21 may choose other kernels
    shape = [d.dim_value for d in proto.graph.input[0].type.tensor_type.shape.dim]
    x = (
        np.random.default_rng(0)
        .standard_normal(shape)
        .astype(np.float16 if name == "float16" else np.float32)
    )
    wide = 2e-2 if name == "float16" else 1e-4
    for y, z in zip(outputs(made, x), outputs(replaced(proto, meant), x), strict=True):
        np.testing.assert_allclose(y, z, rtol=0, atol=wide * np.abs(z).max())
    integers = {4: TensorProto.INT4, 8: TensorProto.INT8, 16: TensorProto.INT16}[bits]
    held = {tensor.name: tensor.data_type for tensor in made.graph.initializer}
    assert all(held[f"{tensor}_quantized"] == integers and tensor not in held for tensor in meant)
    assert [output.name for output in made.graph.output] == [output.name for output in proto.graph.output]
    assert {entry.key: entry.value for entry in made.metadata_props} == {
        "author": "somebody"
    } and made.producer_name == "someone"
    if name != "float16" or bits < 16:
        assert tensor_bytes(tmp_path / "q.onnx") < tensor_bytes(proto)


@pytest.mark.parametrize("name", [key for key in SPELLINGS if key != "ConstantOfShape"])
def test_every_spelling_of_a_weight(name: str, tmp_path: Path) -> None:
    """Initializers in any field and type, Constants, transposes, slices: what can be quantized is, and holds
    what was meant."""
    make, tensor = SPELLINGS[name]
    proto = make()
    try:
        _, meant, expected = written(proto, tmp_path / "q.onnx", Settings((8,)))
    except (UsageError, UnsupportedError) as error:
        assert tensor in str(error) or "nothing can be quantized" in str(error)
        assert not list(tmp_path.iterdir())
        return
    assert meant and (tensor in meant or "Add" in name)
    assert path_metric(expected, load(tmp_path / "q.onnx"), CPU).path_metric.upper.mantissa == 0


def test_old_files_are_converted(tmp_path: Path) -> None:
    """int8 needs opset 13, int4 and int16 need 21; a file that is new enough keeps its opset."""
    for opset, bits, expected in (
        (9, 8, 13),
        (13, 8, 13),
        (17, 8, 17),
        (9, 4, 21),
        (13, 16, 21),
        (21, 4, 21),
    ):
        proto = model(
            [node("Gemm", "x,w,b", "h"), node("Relu", "h", "y")],
            {"w": normal(4, 3), "b": normal(3)},
            opset=opset,
        )
        made, meant, network = written(proto, tmp_path / "q.onnx", Settings((bits,)))
        assert opset_of(made) == expected and len(meant) == 1
        assert path_metric(network, load(tmp_path / "q.onnx"), CPU).path_metric.upper.mantissa == 0


def test_weights_that_are_not_parsed_survive_the_conversion(tmp_path: Path) -> None:
    """Large raw data stays outside of the message that is converted; so does external data."""
    proto = model(
        [node("MatMul", "x,w", "h"), node("Add", "h,b", "y")],
        {"w": normal(400, 300), "b": normal(300)},
        (1, 400),
        opset=13,
    )
    bias = numpy_helper.to_array(proto.graph.initializer[1]).copy()
    onnx.save(proto, tmp_path / "plain.onnx")
    onnx.save(
        proto, tmp_path / "external.onnx", save_as_external_data=True, location="weights", size_threshold=0
    )
    for name in ("plain", "external"):
        found = onnxpath.quantize(
            tmp_path / f"{name}.onnx", tmp_path / f"{name}-4.onnx", bits=4, provider="cpu"
        )
        assert found.file is not None and found.file.path is not None
        assert any("from opset 13 to 21" in note for note in found.notes)
        array = load(tmp_path / f"{name}-4.onnx").origin.tensors["b"]
        np.testing.assert_array_equal(array, bias)


def test_a_file_that_cannot_be_converted_is_refused(tmp_path: Path) -> None:
    """An operator that later opsets no longer have."""
    nodes = [node("MatMul", "x,w", "h"), node("Upsample", "h,s", "y")]
    proto = model(nodes, {"w": normal(4, 3), "s": np.array([1, 1], np.float32)}, opset=9)
    network = load(proto)
    found, _ = layers(network, stored_kinds(proto), Settings())
    step = grids.steps(grids.largest(found[0].array, None), 4)
    values = grids.integers(found[0].array, step, 4, "nearest")
    try:
        write_quantized(proto, {"w": Integers(values, step, None, 4)}, tmp_path / "q.onnx")
    except UnsupportedError as error:
        assert "opset 21" in str(error) and "opset 9" in str(error) and not list(tmp_path.iterdir())
    else:  # a converter that knows how
        assert opset_of(onnx.load(tmp_path / "q.onnx")) == 21


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("granularity", ["channel", "tensor"])
@pytest.mark.parametrize("columns", [1, 3])
def test_activations_are_not_rounded_by_kernels(
    bits: int, granularity: str, columns: int, tmp_path: Path
) -> None:
    """ONNX Runtime turns DequantizeLinear and MatMul into MatMulNBits, which rounds activations to 8 bits:
    not these spellings."""
    for op, count in (("MatMul", 2), ("Gemm", 3)):
        proto = model(
            [node(op, "x,w" if count == 2 else "x,w,b", "y")],
            {"w": normal(64, columns), "b": normal(columns)},
            (1, 64),
        )
        made, meant, _ = written(proto, tmp_path / "q.onnx", Settings((bits,), granularity))
        x = np.random.default_rng(0).standard_normal((1, 64)).astype(np.float32)
        np.testing.assert_allclose(
            outputs(made, x)[0], outputs(replaced(proto, meant), x)[0], rtol=0, atol=1e-5
        )


def test_names_that_are_taken(tmp_path: Path) -> None:
    proto = model(
        [node("MatMul", "x,w", "w_quantized"), node("MatMul", "w_quantized,w_scale", "y")],
        {"w": normal(4, 3), "w_scale": normal(3, 2)},
    )
    made, meant, network = written(proto, tmp_path / "q.onnx", Settings())
    assert (
        len(meant) == 2
        and path_metric(network, load(tmp_path / "q.onnx"), CPU).path_metric.upper.mantissa == 0
    )
    names = [name for item in made.graph.node for name in item.output] + [
        tensor.name for tensor in made.graph.initializer
    ]
    assert len(set(names)) == len(names)


def test_integers_of_four_bits_are_packed(tmp_path: Path) -> None:
    """An odd count, negative numbers included: two in a byte, the first in the low half."""
    weights = np.array([[-7, 7, 1], [0, -1, 3], [2, -2, 5]], np.float32)
    proto = model([node("MatMul", "x,w", "y")], {"w": weights}, (1, 3))
    made, _, _ = written(proto, tmp_path / "q.onnx", Settings((4,), "tensor"))
    (tensor,) = [t for t in made.graph.initializer if t.name == "w_quantized"]
    assert tensor.raw_data == bytes([0x79, 0x01, 0x3F, 0xE2, 0x05])
    np.testing.assert_array_equal(load(tmp_path / "q.onnx").nodes[0].weight.array(), weights)


Tied = Callable[[], onnx.ModelProto]


def _also_a_bias() -> onnx.ModelProto:
    return model([node("MatMul", "x,w", "h"), node("Add", "h,w", "y")], {"w": normal(4, 4)}, (4, 4))


def _computed() -> onnx.ModelProto:
    weights = {"w": normal(4, 3), "two": np.array(2, np.float32)}
    return model([node("Exp", "w", "v"), node("MatMul", "x,v", "y")], weights)


@pytest.mark.parametrize("make", [_also_a_bias, _computed])
def test_tensors_that_are_more_than_a_weight_stay(make: Tied) -> None:
    proto = make()
    with pytest.raises(UsageError, match="nothing can be quantized"):
        layers(load(proto), stored_kinds(proto), Settings())


def test_a_tensor_of_a_layer_that_is_left_out_stays() -> None:
    """One weight in two layers, one of which is excluded by its name."""
    proto = model(
        [node("MatMul", "x,w", "h"), node("MatMul", "h,w", "g"), node("MatMul", "g,v", "y")],
        {"w": normal(4, 4), "v": normal(4, 2)},
    )
    network = load(proto)
    everything, _ = layers(network, stored_kinds(proto), Settings())
    assert [layer.tensor for layer in everything] == ["w", "v"] and len(everything[0].outputs) == 2
    some, notes = layers(network, stored_kinds(proto), Settings(exclude=("MatMul to g",)))
    assert [layer.tensor for layer in some] == ["v"] and any(
        "'w' is not quantized: 'MatMul to g'" in note for note in notes
    )


def test_float64_weights(tmp_path: Path) -> None:
    """DequantizeLinear makes float32, a Cast the file's type."""
    proto = model(
        [node("MatMul", "x,w", "y")], {"w": normal(4, 3).astype(np.float64)}, kind=TensorProto.DOUBLE
    )
    made, meant, network = written(proto, tmp_path / "q.onnx", Settings())
    assert [item.op_type for item in made.graph.node] == ["DequantizeLinear", "Cast", "MatMul"]
    assert path_metric(network, load(tmp_path / "q.onnx"), CPU).path_metric.upper.mantissa == 0
    x = np.random.default_rng(0).standard_normal((1, 4))
    np.testing.assert_allclose(outputs(made, x)[0], x @ meant["w"], rtol=1e-12)
    assert helper.get_attribute_value(made.graph.node[1].attribute[0]) == TensorProto.DOUBLE
