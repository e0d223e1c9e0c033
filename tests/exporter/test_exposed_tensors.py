"""Tensors that the file shows to its user: outputs that are weights, or that are computed from weights alone,
must not change."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from spellings import model, node, normal

import onnxpath
from onnxpath.analyses.prune.criteria import Settings
from onnxpath.analyses.prune.files import prune
from onnxpath.engine.session import Device
from onnxpath.importer import load

CPU = {"provider": "cpu", "threads": 1}
FORWARD = [
    node("MatMul", "x,w", "h"),
    node("Relu", "h", "r"),
    node("MatMul", "r,v", "s"),
    node("Relu", "s", "t"),
    node("MatMul", "t,u", "y"),
]
SHOWN = {
    "the weight": ([], "w"),
    "a copy of it": ([node("Identity", "w", "z")], "z"),
    "computed from it": ([node("Mul", "w,w", "m"), node("Add", "m,m", "z")], "z"),
}


def shown(name: str) -> onnx.ModelProto:
    more, output = SHOWN[name]
    return model(
        [*FORWARD, *more], {"w": normal(4, 6), "v": normal(6, 6), "u": normal(6, 3)}, results=f"y,{output}"
    )


def run(path: object) -> list[np.ndarray]:
    source = path.SerializeToString() if isinstance(path, onnx.ModelProto) else str(path)
    session = onnxruntime.InferenceSession(source, providers=["CPUExecutionProvider"])
    return session.run(None, {"x": np.linspace(-1, 1, 4, dtype=np.float32)[None]})


@pytest.mark.parametrize("name", SHOWN)
@pytest.mark.parametrize("pattern", ["unstructured", "1:2", "channels"])
def test_pruning_leaves_them(name: str, pattern: str, tmp_path: Path) -> None:
    proto, out = shown(name), tmp_path / "out.onnx"
    found = onnxpath.prune(proto, out, sparsity=None if pattern == "1:2" else 0.5, pattern=pattern, **CPU)
    (y, z), (y_pruned, z_pruned) = run(proto), run(out)
    np.testing.assert_array_equal(z, z_pruned)
    assert 0 < np.abs(y - y_pruned).sum() <= found.files[0].certificate.bound.value
    assert any("'w' is not pruned: an output" in note for note in found.notes) == (pattern != "channels")
    document = found.files[0].certificate.to_dict()
    assert document["outputs"] == [{"name": "y", "shape": [1, 3]}] and document["inputs"] == [
        {"name": "x", "shape": [1, 4]}
    ]


@pytest.mark.parametrize("name", SHOWN)
def test_rescaling_keeps_their_channels(name: str, tmp_path: Path) -> None:
    proto, out = shown(name), tmp_path / "out.onnx"
    found = onnxpath.rescale(proto, out, **CPU)
    assert found.pinned == found.groups == 6 and found.outputs.difference == 0
    assert "w" not in found.tensors
    for a, b in zip(run(proto), run(out), strict=True):
        np.testing.assert_array_equal(a, b)


def test_channels_that_one_output_reads(tmp_path: Path) -> None:
    """Only one of two outputs is asked for: its own channels go, the other output stays what it is, and the
    certificate names one."""
    nodes = [node("MatMul", "x,w", "h"), node("Relu", "h", "r"), node("MatMul", "r,v", "y")]
    nodes += [node("MatMul", "x,u", "g"), node("Relu", "g", "q"), node("MatMul", "q,t", "z")]
    proto = model(
        nodes, {"w": normal(4, 6), "v": normal(6, 3), "u": normal(4, 6), "t": normal(6, 2)}, results="y,z"
    )
    source, out = tmp_path / "model.onnx", tmp_path / "out.onnx"
    onnx.save(proto, source)
    network = load(source, output_names=["y"])
    found = prune(source, network, out, [0.5], Settings(pattern="channels"), Device("cpu", threads=1))
    (y, z), (y_pruned, z_pruned) = run(source), run(out)
    np.testing.assert_array_equal(z, z_pruned)
    certificate = found.files[0].certificate
    assert 0 < np.abs(y - y_pruned).sum() <= certificate.bound.value
    assert list(certificate.outputs) == ["y"]
