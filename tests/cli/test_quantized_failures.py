"""Broken and mismatched quantized files: named in one line, exit 2."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

RNG = np.random.default_rng(2)
W = RNG.standard_normal((4, 6)).astype(np.float32)


def save(
    path: Path,
    quantized: bool = True,
    scale: object = 0.01,
    zero: object = 3,
    kind: type = np.uint8,
    axis: int | None = None,
    width: int = 4,
) -> str:
    """A Gemm, with its input and output quantized; the first quantizer has this scale and zero point."""
    tensors = {"w": W[:width], "s": np.asarray(scale, np.float32), "t": np.float32(0.05), "u": np.uint8(128)}
    nodes, x, y = [], "x", "y"
    zeros = zero if isinstance(zero, TensorProto) else numpy_helper.from_array(np.asarray(zero, kind), "z")
    zeros.name = "z"
    if quantized:
        along = {} if axis is None else {"axis": axis}
        nodes = [
            helper.make_node("QuantizeLinear", ["x", "s", "z"], ["xq"], "first", **along),
            helper.make_node("DequantizeLinear", ["xq", "s", "z"], ["xd"], **along),
        ]
        x, y = "xd", "g"
    nodes.append(helper.make_node("Gemm", [x, "w"], [y], "fc", transB=1))
    if quantized:
        nodes += [
            helper.make_node("QuantizeLinear", ["g", "t", "u"], ["yq"]),
            helper.make_node("DequantizeLinear", ["yq", "t", "u"], ["y"]),
        ]
    used = {name for node in nodes for name in node.input}
    stored = [numpy_helper.from_array(array, name) for name, array in tensors.items() if name in used] + (
        [zeros] if quantized else []
    )
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes, "g", [info("x", TensorProto.FLOAT, ["n", 6])], [info("y", TensorProto.FLOAT, None)], stored
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return str(path)


@pytest.fixture
def twin(tmp_path: Path) -> str:
    return save(tmp_path / "float.onnx", quantized=False)


BROKEN = {
    "scale 0": ({"scale": 0}, ("'first'", "'s' is 0", "positive")),
    "scale NaN": ({"scale": np.nan}, ("'first'", "'s' is nan", "positive")),
    "negative scale": ({"scale": -1}, ("'first'", "'s' is -1", "positive")),
    "one scale of some": ({"scale": [1, 1, 0, 1, 1, 1], "zero": [0] * 6},
    ("'first'", "'s' is 0 at index [2]")),
    "zero point out of range": ({"zero": TensorProto(dims=[], data_type=TensorProto.UINT8, int32_data=[300])},
    ("'z'", "300", "out of range")),
    "zero point of another type": ({"kind": np.float32}, ("'first'", "zero_point", "tensor(float)")),
    "axis out of range": ({"scale": [0.1] * 6, "zero": [0] * 6, "axis": 5},
    ("'first'", "axis 5 is out of range")),
    "length": ({"scale": [0.1] * 5, "zero": [0] * 5}, ("'first'", "5 entries", "has 6")),
    "activations of 32 bits": ({"kind": np.int32}, ("'first'", "zero_point", "tensor(int32)")),
}  # fmt: skip


@pytest.mark.parametrize("name", list(BROKEN))
def test_broken_quantizers(name: str, twin: str, tmp_path: Path, refused: Callable[..., str]) -> None:
    change, words = BROKEN[name]
    path = save(tmp_path / "broken.onnx", **change)
    for arguments in (("bound", twin, path, "--radius", "1"), ("metric", twin, path)):
        message = refused(*arguments)
        assert "broken.onnx" in message and all(word in message for word in words), message


def test_other_architectures_and_inputs(twin: str, tmp_path: Path, refused: Callable[..., str]) -> None:
    narrow, good = save(tmp_path / "narrow.onnx", width=3), save(tmp_path / "good.onnx")
    message = refused("bound", twin, narrow, "--radius", "1")
    assert "float.onnx has node 'fc'" in message and "narrow.onnx has node 'fc'" in message
    for array, words in (
        (np.ones((2, 5)), ("[2, 5]", "6")),
        (np.full((2, 6), np.nan), ("NaN",)),
        (np.ones((0, 6)), ("[0, 6]",)),
    ):
        np.savez(tmp_path / "x.npz", x=array.astype(np.float32))
        message = refused("bound", twin, good, "--inputs", tmp_path / "x.npz")
        assert "'x'" in message and all(word in message for word in words), message
    np.savez(tmp_path / "x.npz", other=np.ones((2, 6)), more=np.ones((2, 6)))
    assert "no samples for input 'x'" in refused("bound", twin, good, "--inputs", tmp_path / "x.npz")


def test_a_good_pair_is_reported(twin: str, tmp_path: Path, program: Callable) -> None:
    """Per channel, with every entry of --compare."""
    good = save(tmp_path / "good.onnx", scale=[0.02, 0.03, 0.01, 0.05, 0.02, 0.04], zero=[128] * 6)
    found = program("bound", twin, good, "--radius", "1", "--compare")
    assert found.code == 0, found
    assert (
        "not applicable: node" in found.out
        and "saturation" in found.out
        and "rounding of activations" in found.out
    )
