"""Files that tie and store channels in every way, pruned: the certificate is that of the written file, and
pruning again changes nothing."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper
from reference import evaluate_absolute, outputs
from spellings import model, node, normal
from structures import STRUCTURES, Sketch

import onnxpath
from onnxpath.errors import UsageError
from onnxpath.model.network import Network

CPU = {"provider": "cpu", "threads": 1}


def total(network: Network) -> float:
    """‖Φ‖₁ in float64."""
    ones = {name: np.ones(network.shapes[name]) for name in network.inputs}
    return float(sum(value.sum() for value in outputs(network, evaluate_absolute(network, ones))))


@pytest.mark.parametrize("name", STRUCTURES)
@pytest.mark.parametrize("pattern", ["unstructured", "channels"])
def test_certificates_are_those_of_the_files(name: str, pattern: str, tmp_path: Path) -> None:
    """The file without channels has a path-norm of its own, smaller by just the path-metric that the
    certificate states."""
    proto, out = STRUCTURES[name][0](), tmp_path / "out.onnx"
    found = onnxpath.prune(proto, out, sparsity=0.4, pattern=pattern, **CPU).files[0].certificate
    before, after = total(onnxpath.load(proto)), total(onnxpath.load(out))
    close = 2e-3 if name == "float16" and pattern == "channels" else 1e-5
    assert found.path_norm.value == pytest.approx(before, rel=1e-5)
    assert found.pruned_path_norm.value == pytest.approx(after, rel=close)
    assert 0 < found.path_metric.upper.value == pytest.approx(before - after, rel=close)
    assert found.path_metric.upper <= found.removed_cost and found.path_metric.upper <= found.bound


@pytest.mark.parametrize(
    "options", [{"sparsity": 0.4}, {"sparsity": 0.4, "scope": "layer", "biases": True}, {"pattern": "1:2"}]
)
@pytest.mark.parametrize("name", ["residual", "grouped", "transposed", "channels last", "IR version 3"])
def test_pruning_again_changes_nothing(name: str, options: dict, tmp_path: Path) -> None:
    first, second = tmp_path / "first.onnx", tmp_path / "second.onnx"
    onnxpath.prune(STRUCTURES[name][0](), first, **options, **CPU)
    found = onnxpath.prune(first, second, **options, **CPU).files[0].certificate
    assert not found.removed_cost.mantissa and not any(layer.removed for layer in found.layers)
    a, b = onnx.load(first), onnx.load(second)
    for tensor in (a, b):
        del tensor.metadata_props[:]
    assert a == b


def test_patterns_stay_inside_the_groups_of_a_transposed_convolution(tmp_path: Path) -> None:
    """Its weight lists the input channels of all groups along one axis; four of them in a row belong to two
    groups here."""
    s = Sketch()
    proto = s.file(s.relu(s.transposed(s.conv("x", 3, 4), 4, 6, group=2)))
    found = onnxpath.prune(proto, tmp_path / "out.onnx", pattern="1:2", **CPU).files[0].certificate
    assert [layer.zeros / layer.parameters for layer in found.layers] == [0.5]
    with pytest.raises(UsageError, match="fits no layer"):
        onnxpath.prune(proto, pattern="2:4", **CPU)


def test_halves_of_a_constant_stay_halves(tmp_path: Path) -> None:
    """A Constant node that serves two layers of other channels is stored once per layer, in its own type, and
    goes."""
    bias = numpy_helper.from_array(normal(6).astype(np.float16))
    nodes = [
        node("Constant", "", "b", value=bias),
        node("MatMul", "x,w", "h1"), node("Add", "h1,b", "h"), node("Relu", "h", "r"),
        node("MatMul", "r,v", "s1"), node("Add", "s1,b", "s"), node("Relu", "s", "t"),
        node("MatMul", "t,u", "y"),
    ]  # fmt: skip
    weights = {
        name: normal(*shape).astype(np.float16)
        for name, shape in (("w", (4, 6)), ("v", (6, 6)), ("u", (6, 3)))
    }
    proto, out = model(nodes, dict(weights), kind=TensorProto.FLOAT16), tmp_path / "out.onnx"
    found = onnxpath.prune(proto, out, sparsity=0.5, pattern="channels", **CPU).files[0].certificate
    small = onnx.load(out)
    assert {tensor.data_type for tensor in small.graph.initializer} == {TensorProto.FLOAT16}
    assert "Constant" not in [item.op_type for item in small.graph.node]
    assert len(small.graph.initializer) == 5
    assert total(onnxpath.load(out)) == pytest.approx(found.pruned_path_norm.value, rel=1e-5)
