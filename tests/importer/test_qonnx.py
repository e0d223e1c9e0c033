"""QONNX Quant nodes: constants exactly, activations as quantizers; other modes and nodes refused by name."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from importer.building import info, refused
from onnx import helper, numpy_helper

import onnxpath
from onnxpath.engine.session import Device
from onnxpath.errors import ModelError, UnsupportedError
from onnxpath.evaluate.forward import Forward
from onnxpath.model.domain import Domain

RNG = np.random.default_rng(8)
ROUND = {"ROUND": np.rint, "CEIL": np.ceil, "FLOOR": np.floor, "ROUND_TO_ZERO": np.trunc}


def defined(
    x: np.ndarray, scale: object, zero: int, bits: int, signed: bool, narrow: bool, mode: str = "ROUND"
) -> np.ndarray:
    """The definition of Quant, written out."""
    low, high = (-(2 ** (bits - 1)) + narrow, 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1 - narrow)
    scale = np.asarray(scale, np.float32)
    return ((ROUND[mode](np.clip(x / scale + zero, low, high)) - zero) * scale).astype(np.float32)


def model(
    weight: np.ndarray, scale: object, zero: object = 0, bits: int = 8, signed: int = 1, narrow: int = 0,
    mode: str = "ROUND", op: str = "Quant",
    domain: str = "qonnx.custom_op.general", activation: dict | None = None,
) -> onnx.ModelProto:  # fmt: skip
    """y = x · Quant(W), x behind a Quant of its own where `activation` tells its scale, zero, bits, signed
    and mode."""
    tensors = {
        "w": weight,
        "s": np.asarray(scale, np.float32),
        "z": np.asarray(zero, np.float32),
        "b": np.float32(bits),
    }
    nodes = [
        helper.make_node(
            op,
            ["w", "s", "z", "b"],
            ["v"],
            "of_weights",
            domain=domain,
            signed=signed,
            narrow=narrow,
            rounding_mode=mode,
        )
    ]
    x = "x"
    if activation is not None:
        given = {"scale": 0.1, "zero": 0, "bits": 8, "signed": 1, "mode": "ROUND", **activation}
        tensors |= {
            "xs": np.asarray(given["scale"], np.float32),
            "xz": np.float32(given["zero"]),
            "xb": np.float32(given["bits"]),
        }
        nodes.append(
            helper.make_node(
                "Quant",
                ["x", "xs", "xz", "xb"],
                ["q"],
                "of_x",
                domain=domain,
                signed=given["signed"],
                narrow=0,
                rounding_mode=given["mode"],
            )
        )
        x = "q"
    nodes.append(helper.make_node("MatMul", [x, "v"], ["y"], "product"))
    graph = helper.make_graph(nodes, "g", [info("x", [1, len(weight)])], [info("y", None)],
                              [numpy_helper.from_array(np.asarray(array), name) for name,
                              array in tensors.items()])  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(2, 12),
    st.booleans(),
    st.booleans(),
    st.sampled_from(list(ROUND)),
    st.integers(0, 3),
    st.booleans(),
    st.integers(0, 99),
)
def test_constants_are_what_the_definition_says(
    bits: int, signed: bool, narrow: bool, mode: str, zero: int, channels: bool, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    zero = min(zero, 1) if bits == 2 else zero
    scale = np.exp2(rng.integers(-6, 2, (1, 5) if channels else ())).astype(np.float32)  # ties happen
    weight = np.concatenate([rng.integers(-40, 40, (4, 5)) / 16, rng.standard_normal((2, 5)) * 10]).astype(
        np.float32
    )
    for domain in ("qonnx.custom_op.general", "finn.custom_op.general", "onnx.brevitas"):
        (node,) = onnxpath.load(model(weight, scale, zero, bits, signed, narrow, mode, domain=domain)).nodes
        assert node.weight is not None
        assert np.array_equal(node.weight.array(), defined(weight, scale, zero, bits, signed, narrow, mode))


@pytest.mark.parametrize("scale", [0.0625, [0.0625, 0.5, 0.25, 0.125]])
@pytest.mark.parametrize(("signed", "zero"), [(1, 0), (0, 0), (0, 7)])
def test_activations_are_quantizers(scale: object, signed: int, zero: int) -> None:
    weight = RNG.standard_normal((4, 3)).astype(np.float32)
    file = model(weight, 2.0**-5, activation={"scale": scale, "signed": signed, "zero": zero, "bits": 4})
    network = onnxpath.load(file, extended=True)
    assert [node.op for node in network.nodes] == ["Quantizer", "MatMul"]
    x = (RNG.standard_normal((50, 4)) * 2).astype(np.float32)
    (values,) = Forward([network], Device("cpu", "float64")).run({"x": x})
    expected = defined(x, scale, zero, 4, bool(signed), False).astype(np.float64) @ defined(
        weight, 2.0**-5, 0, 8, True, False
    )
    np.testing.assert_allclose(values[network.outputs[0]], expected, atol=1e-12)
    twin = helper.make_model(
        helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "g", [info("x", [1, 4])],
        [info("y", None)],
                          [numpy_helper.from_array(weight, "w")]),
                          opset_imports=[helper.make_opsetid("", 13)], ir_version=8,
    )  # fmt: skip
    for points in (x, x / 40):
        found = onnxpath.bound(twin, file, Domain.samples(points), search=None)
        exact = defined(points, scale, zero, 4, bool(signed), False).astype(np.float64) @ defined(
            weight, 2.0**-5, 0, 8, True, False
        )
        assert (
            np.abs(points.astype(np.float64) @ weight - exact).max(0) <= np.asarray(found.outputs[0].bounds)
        ).all()


def test_a_real_qonnx_file(real_models: Path) -> None:
    path = str(real_models / "qkeras_jettagging_qonnx.onnx")
    network = onnxpath.load(path, extended=True)
    assert [node.op for node in network.nodes].count("Quantizer") == 3
    tensors = {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(path).graph.initializer}
    weights = [node.weight for node in network.nodes if node.op == "MatMul"]
    for weight, k in zip(weights, (6, 4, 2, 0), strict=True):
        assert weight is not None
        assert np.array_equal(
            weight.array(), defined(tensors[f"Quant_{k}_param0"], 2.0**-5, 0, 6, True, False)
        )
    same = onnxpath.bound(path, path, Domain.radius(1), search=2)
    assert same.largest.certified.value == 0 and same.largest.files is None
    assert same.seen.a.faithful is None and any("not confirmed" in note for note in same.notes)
    assert onnxpath.path_metric(path, path).path_metric.upper.value == 0


W = np.ones((4, 3), np.float32)
REFUSED = {
    "BipolarQuant": (model(W, 1, op="BipolarQuant"), UnsupportedError, ("BipolarQuant", "Quant is read")),
    "Trunc": (model(W, 1, op="Trunc"), UnsupportedError, ("Trunc", "Quant is read")),
    "mode": (model(W, 1, activation={"mode": "FLOOR"}), UnsupportedError, ("'of_x'", "FLOOR")),
    "unknown mode": (model(W, 1, mode="DICE"), UnsupportedError, ("'of_weights'", "DICE")),
    "scale": (model(W, 0), ModelError, ("'s' is 0", "'of_weights'")),
    "zero": (model(W, 1, zero=200), ModelError, ("'z' is 200", "out of range for 8 bits")),
    "half a zero": (model(W, 1, zero=0.5), UnsupportedError, ("whole number",)),
    "width": (model(W, 1, bits=0), UnsupportedError, ("bit width 'b'",)),
    "one bit": (model(W, 1, bits=1), UnsupportedError, ("one bit",)),
    "wide": (model(W, 1, activation={"bits": 20}), UnsupportedError, ("16 bits or less", "'of_x'")),
    "shape": (model(W, np.ones((2, 1))), ModelError, ("does not fit",)),
    "axis": (model(W, 1, activation={"scale": np.ones((4, 1))}), UnsupportedError, ("one per channel",)),
}  # fmt: skip


@pytest.mark.parametrize("name", list(REFUSED))
def test_what_cannot_be_read_is_named(name: str) -> None:
    file, kind, words = REFUSED[name]
    refused(file, *words, kind=kind, extended=True)
