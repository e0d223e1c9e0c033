"""What ONNX Runtime runs is what is analysed, or the node is refused: random nodes whose geometry the
runtime, onnx's shape inference and the specification may understand differently (`random_nodes`)."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from onnxpath.errors import OnnxPathError, UnsupportedError
from onnxpath.importer import load
from tests.importer.one_node import build, run
from tests.importer.random_nodes import FAMILIES, models
from tests.reference import evaluate, outputs

CASES = Path(__file__).resolve().parents[1] / "data" / "cases" / "attack"
COUNTS = {"pool": 150, "resize": 150, "transposed": 80, "convolution": 60, "pad": 80, "upsample": 60}


def same(model: onnx.ModelProto) -> bool | None:
    """Whether network and file compute the same; None where one of them is refused."""
    x = {
        info.name: (
            np.random.default_rng(1).standard_normal([d.dim_value for d in info.type.tensor_type.shape.dim])
        )
        for info in model.graph.input
    }
    x = {name: value.astype(np.float32) for name, value in x.items()}
    try:
        network = load(model, extended=True)
    except OnnxPathError:
        return None
    try:
        theirs = run(model, x)
    except Exception:  # what ONNX Runtime raises has no common class
        return None
    mine = outputs(network, evaluate(network, {name: x[name] for name in network.inputs}))
    return all(
        a.shape == b.shape and np.allclose(a, b, rtol=1e-4, atol=1e-5)
        for a, b in zip(mine, theirs, strict=True)
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_random_nodes(family: str) -> None:
    read = 0
    for made, model in models(family, 20, COUNTS.get(family, 50)):
        found = same(model)
        assert found is not False, made
        read += found is True
    assert read >= 10, "most are read"


@pytest.mark.parametrize("op", ["MaxPool", "AveragePool"])
def test_pools_that_onnx_runtime_pads_otherwise_are_refused(op: str) -> None:
    """SAME with dilations, and SAME with negative pads; the same windows with their pads written out are
    read."""
    for changed, words in (
        ({"dilations": [2]}, "with dilations"),
        ({"kernel_shape": [1], "strides": [3]}, "negative pads"),
    ):
        attributes = {"kernel_shape": [3], "auto_pad": "SAME_UPPER", **changed}
        with pytest.raises(UnsupportedError, match=rf"'node' \({op}\).*{words}.*auto_pad NOTSET"):
            load(build(op, [(1, 1, 8)], 22, **attributes))
    assert same(build(op, [(1, 1, 8)], 22, kernel_shape=[3], dilations=[2], pads=[2, 2]))
    assert same(build(op, [(1, 1, 8)], 22, kernel_shape=[1], strides=[3]))
    assert same(build(op, [(1, 1, 8)], 22, kernel_shape=[1], dilations=[2], auto_pad="SAME_UPPER")), (
        "one cell has no dilation"
    )


@pytest.mark.parametrize("op", ["Resize", "Upsample"])
@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_an_output_of_the_shape_of_the_input_is_the_input(op: str, mode: str) -> None:
    """Whatever the scale says; the result says so. Where one axis changes, the others are resized by their
    scales."""
    for scales in ([1, 1, 1.2, 1.1], [1, 1, 1.2, 1], [1, 1, 2, 1.1]):
        operands = [(1, 1, 4, 5), *([None] if op == "Resize" else []), np.array(scales, np.float32)]
        more = (
            {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
            if op == "Resize"
            else {}
        )
        model = build(op, operands, 13 if op == "Resize" else 9, mode=mode, **more)
        assert same(model)
        network = load(model)
        assert (
            any("scales other than 1" in note for note in network.notes)
            == (not network.nodes)
            == (scales[2] != 2)
        )


def test_files_that_were_read_otherwise() -> None:
    with pytest.raises(
        UnsupportedError, match=r"\(MaxPool\): ONNX Runtime pads auto_pad SAME with dilations"
    ):
        load(CASES / "n_norm1_1055_a.onnx")
    for name in ("t5_certified_diff_5132_a", "t5_certified_diff_5132_b", "resize_same_shape"):
        assert same(onnx.load(CASES / f"{name}.onnx"))


def test_a_cell_at_the_edge_of_two_is_refused_where_its_rounding_is_not_known() -> None:
    for mode, rounding, n, m in (
        ("half_pixel_symmetric", "floor", 5, 3),
        ("asymmetric", "round_prefer_ceil", 7, 8),
    ):
        sizes, more = np.array([1, 1, m]), {"coordinate_transformation_mode": mode, "nearest_mode": rounding}
        with pytest.raises(UnsupportedError, match="at the edge of two cells"):
            load(build("Resize", [(1, 1, n), None, None, sizes], 19, mode="nearest", **more))
        assert same(
            build("Resize", [(1, 1, n), None, None, np.array([1, 1, 2 * n])], 19, mode="nearest", **more)
        )


def test_antialiasing_at_the_ends_is_refused() -> None:
    scales = np.array([1, 1, 1.1], np.float32)
    with pytest.raises(UnsupportedError, match="antialias=1"):
        load(build("Resize", [(1, 1, 6), None, scales * np.float32(2)], 18, mode="linear", antialias=1))
    assert same(
        build("Resize", [(1, 1, 6), None, np.array([1, 1, 2], np.float32)], 18, mode="linear", antialias=1)
    )
