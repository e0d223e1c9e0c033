"""Why Theorem 3.1 needs equal signs: the paper's counterexample (Figure 5), and what is reported for it
(docs/theory.md, section 2).

    R_θ(x) = 1 · relu(1 · x) = relu(x)        R_θ'(x) = -1 · relu(-1 · x) = -relu(-x)

There is one path, whose product is 1 in both networks: Φ(θ) = Φ(θ'), d = 0, and yet R_θ(x) - R_θ'(x) = |x|.
"""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from oracle import paths
from oracle.sketch import Sketch
from reference import evaluate

import onnxpath
from onnxpath.analyses.bound.bound import bound
from onnxpath.analyses.metric.metric import path_metric
from onnxpath.analyses.theory import lipschitz
from onnxpath.engine.session import Device
from onnxpath.model.domain import Domain
from onnxpath.model.matching import match
from onnxpath.model.network import Network

DEVICE = Device("cpu", "float32", 1)


def one_path(sign: float, copies: int = 1) -> Network:
    """relu(x), or -relu(-x): one network per copy, side by side."""
    s = Sketch(x=(1, copies))
    return s.network(s.matmul(s.relu(s.matmul("x", sign * np.eye(copies))), sign * np.eye(copies)))


def test_the_metric_is_zero_where_the_functions_differ() -> None:
    a, b = one_path(1), one_path(-1)
    assert sum(float(part.sum()) for part in paths.metric(a, b).values()) == 0
    for x in (-2.0, 0.5, 3.0):
        first, second = (evaluate(n, {"x": np.array([[x]])})[n.outputs[0]] for n in (a, b))
        assert abs(first - second).item() == abs(x)


@pytest.mark.parametrize("copies", [1, 3])
@pytest.mark.parametrize("radius", [0.25, 1.0, 5.0])
def test_the_bound_is_sound_and_the_metric_is_not_called_exact(copies: int, radius: float) -> None:
    """The upper end is F_P + F_Q - 2 F_m with m = 0: 2 for every copy, of which |x| <= B takes at most B."""
    found = path_metric(one_path(1, copies), one_path(-1, copies), DEVICE, radius, l2=True, samples=200)
    assert not found.path_metric.exact
    assert found.path_metric.lower.value == 0
    assert found.path_metric.upper.value == pytest.approx(2 * copies, rel=1e-5)
    assert (
        found.bound.value == pytest.approx(2 * copies * radius, rel=1e-5)
        and found.bound.value >= copies * radius
    )
    # Φ does not see the difference, and what measures Φ alone does not, either
    assert found.estimate.value.value == 0 and found.l2.lower.value == 0


def test_every_other_bound_is_sound() -> None:
    a, b = one_path(1), one_path(-1)
    for row in lipschitz.all_bounds(match(a, b), 5.0, DEVICE):
        assert row.value is not None and row.value.value >= 5.0, row.name
    result = bound(a, b, Domain.radius(5.0), DEVICE, compare=True)
    assert result.largest.found == pytest.approx(5.0)
    assert result.largest.certified.value >= 5.0
    compared = {row.name: row for row in result.compared}
    assert all(row.value.value >= 5.0 for row in result.compared if row.value is not None)
    assert (
        compared["max minus min"].value is None and "needs equal signs" in compared["max minus min"].condition
    )
    assert "any signs" in compared["Theorem 3.1"].condition


def test_a_gate_does_not_take_it_for_the_same_network(tmp_path: Path) -> None:
    """A budget of the metric is held against the upper end, which no sign condition limits."""
    files = []
    for sign in (1.0, -1.0):
        weights = [
            numpy_helper.from_array(np.array([[sign]], np.float32), name) for name in ("first", "second")
        ]
        nodes = [
            helper.make_node("MatMul", ["x", "first"], ["h"]),
            helper.make_node("Relu", ["h"], ["r"]),
            helper.make_node("MatMul", ["r", "second"], ["y"]),
        ]
        ends = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, 1]) for name in "xy"]
        graph = helper.make_graph(nodes, "relu", ends[:1], ends[1:], weights)
        files.append(tmp_path / f"{sign:g}.onnx")
        onnx.save(
            helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), files[-1]
        )
    result = onnxpath.check(*files, max_metric=1.9, max_relative=0.5)
    assert not result.passed
    assert not any(budget.passed for pair in result.pairs for budget in pair.budgets)
