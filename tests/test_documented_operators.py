"""The worked examples of docs/operators.md, run as they are written there: their code is read out of the
page.

CumSum is a canonical operator that the package does not have. With the record and the rule of the page every
number is right, against float64 matrices: norm, costs, metric, bound, check, certify, lipschitz. A fact that
is left out of the record is an error that names it. Asinh is an activation that it does not have. The tests
of every operator find both.
"""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import reference_activations
import torch
from onnx import TensorProto, helper, numpy_helper
from ops import test_activations
from ops.cases import CASES
from passes import test_every_operator

import onnxpath
from onnxpath.errors import MissingFactError, UnsupportedError
from onnxpath.importer.lower import context
from onnxpath.ops import OPERATORS
from onnxpath.ops.activation import FUNCTIONS
from onnxpath.ops.operator import REQUIRED, Operator

PAGE = Path(__file__).resolve().parents[1] / "docs" / "operators.md"
CHANNELS, LENGTH, CLASSES = 3, 6, 4


def block(start: str) -> str:
    """The code of the page that opens with these words."""
    (found,) = [
        code
        for code in re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
        if code.startswith(start)
    ]
    return found


@pytest.fixture(autouse=True)
def written() -> Iterator[None]:
    """What the page says to do."""
    namespace: dict = {}
    exec(compile(block('"""CumSum: the running sum'), "ops/cum_sum.py", "exec"), namespace)
    for start, name in (
        ('"""CumSum along', "importer/rules/running.py"),
        ('"""Trilu', "importer/rules/triangle.py"),
    ):
        exec(compile(block(start), name, "exec"), {})
    OPERATORS["CumSum"] = namespace["OPERATOR"]
    exec(compile(block('"""Asinh'), "ops/asinh.py", "exec"), namespace)
    (FUNCTIONS["Asinh"],) = namespace["FUNCTIONS"]
    assert not FUNCTIONS["Asinh"].parameters, "or it would have a rule of its own"
    context.EXTENDED["Asinh"] = context.EXTENDED["Tanh"]
    yield
    del OPERATORS["CumSum"], context.RULES["CumSum"], context.RULES["Trilu"]
    del FUNCTIONS["Asinh"], context.EXTENDED["Asinh"]


def model(nodes: list, weights: dict[str, np.ndarray], shape: list[int], out: list[int]) -> bytes:
    tensors = [numpy_helper.from_array(np.asarray(array), name) for name, array in weights.items()]
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, size)
        for name, size in (("x", shape), ("y", out))
    ]
    graph = helper.make_graph(nodes, "example", ends[:1], ends[1:], tensors)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(made)
    return made.SerializeToString()


class Chain:
    """y = W₂ flat(cumsum(relu(W₁ x + b₁))) + b₂, W₁ applied to the channels of x [1, 3, 6]: a file, and its
    matrices in float64."""

    def __init__(self, factor: float = 1.0, noise: float = 0.0):
        rng, other = np.random.default_rng(3), np.random.default_rng(4)
        shapes = {
            "w1": (CHANNELS, CHANNELS, 1),
            "b1": (CHANNELS,),
            "w2": (CHANNELS * LENGTH, CLASSES),
            "b2": (CLASSES,),
        }
        self.weights = {
            name: (
                (rng.standard_normal(shape) * factor * (1 + noise * other.standard_normal(shape))).astype(
                    np.float32
                )
            )
            for name, shape in shapes.items()
        }
        nodes = [
            helper.make_node("Conv", ["x", "w1", "b1"], ["h"], kernel_shape=[1]),
            helper.make_node("Relu", ["h"], ["r"]),
            helper.make_node("CumSum", ["r", "axis"], ["s"], name="running"),
            helper.make_node("Flatten", ["s"], ["f"]),
            helper.make_node("Gemm", ["f", "w2", "b2"], ["y"]),
        ]
        self.file = model(
            nodes, self.weights | {"axis": np.array(2, np.int64)}, ["n", CHANNELS, LENGTH], ["n", CLASSES]
        )
        w1, self.b1, self.w2, self.b2 = (
            self.weights[name].astype(np.float64) for name in ("w1", "b1", "w2", "b2")
        )
        self.first = np.kron(w1[:, :, 0].T, np.eye(LENGTH))  # [cells of x, cells of h]
        self.running = np.kron(np.eye(CHANNELS), np.triu(np.ones((LENGTH, LENGTH))))

    def __call__(self, x: np.ndarray) -> np.ndarray:
        h = np.maximum(x.reshape(len(x), -1) @ self.first + np.repeat(self.b1, LENGTH), 0)
        return h @ self.running @ self.w2 + self.b2

    def paths(self) -> np.ndarray:
        """The weights of all paths: from every cell of x, from every bias of h and from every bias of y, one
        after the other."""
        behind = np.einsum("hs,so->hso", self.running, self.w2)
        ends = (
            np.einsum("xh,hso->xhso", self.first, behind),
            np.repeat(self.b1, LENGTH)[:, None, None] * behind,
            self.b2,
        )
        return np.concatenate([part.reshape(-1) for part in ends])


A, B, SMALLER = Chain(), Chain(noise=0.2), Chain(0.75)
X = np.random.default_rng(0).uniform(-1, 1, (500, CHANNELS, LENGTH)).astype(np.float32)
X[:200] = np.sign(X[:200])


@pytest.mark.parametrize("q", [1.0, 2.0])
def test_norm(q: float) -> None:
    found = onnxpath.path_norm(A.file, q).norms[0]
    assert found.value.value == pytest.approx((np.abs(A.paths()) ** q).sum() ** (1 / q), rel=1e-5)


def test_costs() -> None:
    """Σ over the paths that a weight is part of."""
    found = onnxpath.path_costs(A.file)
    behind = np.abs(A.running) @ np.abs(A.w2).sum(1)
    inside = np.abs(A.first).sum(0) + np.abs(np.repeat(A.b1, LENGTH))
    costs = {
        part.kind: np.ldexp(part.mantissa.astype(np.float64), found.exponent)
        for part in found.parameters
        if part.name == "w2"
    }
    np.testing.assert_allclose(costs["weight"], np.abs(A.w2) * (inside @ A.running)[:, None], rtol=1e-5)
    (first,) = [part for part in found.parameters if part.name == "w1"]
    right = np.abs(A.weights["w1"][:, :, 0]) * behind.reshape(CHANNELS, LENGTH).sum(1)[:, None]
    np.testing.assert_allclose(
        np.ldexp(first.mantissa.astype(np.float64), found.exponent)[:, :, 0], right, rtol=1e-5
    )


def test_metric() -> None:
    found = onnxpath.path_metric(A.file, SMALLER.file).path_metric
    assert found.exact
    assert found.upper.value == pytest.approx(np.abs(A.paths() - SMALLER.paths()).sum(), rel=1e-5)
    found = onnxpath.path_metric(A.file, B.file, l2=True, samples=20000)
    apart = np.abs(A.paths() - B.paths())
    assert found.path_metric.lower.value <= apart.sum() <= found.path_metric.upper.value
    assert found.l2.value.value == pytest.approx(np.linalg.norm(apart), rel=1e-5)
    assert found.estimate.lower.value <= apart.sum() <= found.estimate.upper.value


@pytest.mark.parametrize("norm", ["inf", "1", "2"])
@pytest.mark.parametrize("twin", [B, SMALLER], ids=["any", "smaller"])
def test_bound(twin: Chain, norm: str) -> None:
    found = onnxpath.bound(A.file, twin.file, onnxpath.Domain.radius(1.0), norm=norm, compare=True)
    apart = np.abs(A(X) - twin(X))
    largest = np.linalg.norm(apart, ord=float(norm), axis=1).max()
    assert found.largest.certified.value >= largest
    assert found.largest.found == pytest.approx(largest, rel=0.5), "the search runs the operator"
    assert all(row.value is None or row.value.value >= apart.sum(1).max() for row in found.compared)
    assert (np.array(found.outputs[0].bounds) >= apart.max(0)).all()


def test_check_of_the_example_fails_as_it_must() -> None:
    """A factor of 1.8 instead of 1 in front of a running sum over 8 ones: the last cell moves by 6.4."""

    def file(factor: float) -> bytes:
        nodes = [
            helper.make_node("Mul", ["x", "s"], ["h"]),
            helper.make_node("CumSum", ["h", "axis"], ["c"]),
            helper.make_node("MatMul", ["c", "w"], ["y"]),
        ]
        weights = {
            "s": np.full((1, 8), factor, np.float32),
            "axis": np.array(1, np.int64),
            "w": np.eye(8, dtype=np.float32),
        }
        return model(nodes, weights, ["n", 8], ["n", 8])

    ones = onnxpath.Domain.radius(1.0)
    (pair,) = onnxpath.check(file(1.0), file(1.8), max_bound=1, domain=ones).pairs
    (budget,) = pair.budgets
    assert not budget.passed
    assert budget.value.value == pytest.approx(6.4, rel=1e-4)
    assert onnxpath.check(file(1.0), file(1.8), max_bound=6.41, domain=ones).passed


def test_certify() -> None:
    """Boxes around some inputs: no bound is below what points of the box show, and no agreement where one of
    them disagrees."""
    centers, epsilon, rng = X[200:208], 0.05, np.random.default_rng(1)
    found = onnxpath.certify(A.file, B.file, centers, epsilon)
    assert {item.verdict for item in found.inputs} & {"agree", "disagree"}
    for center, item in zip(centers, found.inputs, strict=True):
        points = center + epsilon * np.sign(rng.standard_normal((300, *center.shape))).astype(np.float32)
        a, b = A(np.concatenate([center[None], points])), B(np.concatenate([center[None], points]))
        assert item.certified >= np.abs(a - b).max()
        assert item.certified <= 20 * np.abs(a - b).max(), "the sum is followed, and not bounded by sizes"
        assert item.verdict != "agree" or (a.argmax(1) == b.argmax(1)).all()


def test_lipschitz_bounds() -> None:
    found = onnxpath.lipschitz_bounds(A.file, B.file)
    apart = np.abs(A(X) - B(X)).sum(1).max()
    known = [row for row in found.bounds if row.value is not None]
    assert len(known) >= 4, [row.condition for row in found.bounds]
    assert all(row.value.value >= apart for row in known), [(row.name, row.value.value) for row in known]
    step = np.abs(X[1:] - X[:-1]).reshape(len(X) - 1, -1).max(1)
    assert found.a.summed.value >= (np.abs(A(X[1:]) - A(X[:-1])).sum(1) / step).max()


def test_generalization_knows_that_a_running_sum_is_not_regular() -> None:
    found = onnxpath.generalization_bounds(A.file, 60_000)
    assert "running" in str(found.to_dict())


@pytest.mark.parametrize("mode", ["random", "normalize"])
def test_rescaling_ties_the_cells_of_a_sum(tmp_path: Path, mode: str) -> None:
    source, target = tmp_path / "a.onnx", tmp_path / "b.onnx"
    source.write_bytes(A.file)
    onnxpath.rescale(source, target, mode)
    assert onnxpath.path_metric(source, target).relative < 1e-5


def test_a_batch_axis_is_lost_along_the_sum() -> None:
    nodes = [helper.make_node("CumSum", ["x", "axis"], ["y"])]
    assert not onnxpath.load(model(nodes, {"axis": np.array(0, np.int64)}, [3, 2], [3, 2])).batched
    assert onnxpath.load(model(nodes, {"axis": np.array(-1, np.int64)}, [3, 2], [3, 2])).batched


@pytest.mark.parametrize("fact", [*REQUIRED["sum"], "adjoints"])
def test_an_example_without_a_fact_is_refused(fact: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def without(**facts: object) -> Operator:
        del facts[fact]
        return Operator(**facts)

    monkeypatch.setattr("onnxpath.ops.operator.Operator", without)
    with pytest.raises(MissingFactError, match=rf"CumSum.*{fact}"):
        exec(compile(block('"""CumSum: the running sum'), "ops/cum_sum.py", "exec"), {})


def test_the_example_of_a_rule() -> None:
    """Trilu keeps the upper triangle, counted from a diagonal: a matrix of 0 and 1."""
    nodes = [helper.make_node("Trilu", ["x", "k"], ["y"])]
    found = onnxpath.path_norm(model(nodes, {"k": np.array(1, np.int64)}, ["n", 4, 4], ["n", 4, 4]))
    assert found.norms[0].value.value == pytest.approx(6)


def arcsinh(w1: np.ndarray, w2: np.ndarray) -> bytes:
    """asinh(x w1) w2."""
    nodes = [
        helper.make_node("MatMul", ["x", "w1"], ["h"]),
        helper.make_node("Asinh", ["h"], ["a"], name="bent"),
        helper.make_node("MatMul", ["a", "w2"], ["y"]),
    ]
    return model(nodes, {"w1": w1, "w2": w2}, ["n", 4], ["n", 2])


def test_the_example_of_an_activation() -> None:
    rng = np.random.default_rng(6)
    w1, w2 = (rng.standard_normal(shape).astype(np.float32) for shape in ((4, 5), (5, 2)))
    moved = (w1 * (1 + 0.1 * rng.standard_normal(w1.shape))).astype(np.float32)
    a, b = arcsinh(w1, w2), arcsinh(moved, w2)
    x = np.concatenate([rng.uniform(-1, 1, (500, 4)), np.sign(rng.standard_normal((500, 4)))])
    apart = np.abs(np.arcsinh(x @ w1) @ w2 - np.arcsinh(x @ moved) @ w2)
    found = onnxpath.bound(a, b, onnxpath.Domain.radius(1.0))
    assert found.extensions == ("bent",)
    assert (np.array(found.outputs[0].bounds) >= apart.max(0)).all()
    assert found.largest.certified.value >= found.largest.found >= apart.max(), "the search runs it"
    centers = x[:3].astype(np.float32)
    certified = onnxpath.certify(a, b, centers, 0.05)
    for center, item in zip(centers, certified.inputs, strict=True):
        points = center + 0.05 * np.sign(rng.standard_normal((300, 4)))
        ends = [np.arcsinh(points @ w) @ w2 for w in (w1, moved)]
        assert np.abs(ends[0] - ends[1]).max() <= item.certified <= 20 * np.abs(ends[0] - ends[1]).max()
    with pytest.raises(UnsupportedError, match="'bent'.*Asinh"):
        onnxpath.path_norm(a)


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_with_its_oracle_the_activation_is_tested_as_all_are(
    precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(reference_activations.FUNCTIONS, "Asinh", torch.asinh)
    like = CASES["Activation"]["Tanh[]"]
    node = replace(like.node, attributes={"function": "Asinh", "parameters": ()})
    monkeypatch.setitem(CASES["Activation"], "Asinh[]", replace(like, node=node))
    test_activations.test_every_record_has_an_oracle()
    test_activations.test_constants_by_dense_search("Asinh", ())
    test_activations.test_graph_of_value_and_slope("Asinh", (), precision)


def test_the_tests_of_every_operator_find_the_examples() -> None:
    """Neither has a case there: an operator cannot be added without one."""
    with pytest.raises(AssertionError, match="without a case"):
        test_every_operator.test_every_operator_has_a_case_of_every_kind()
    with pytest.raises(AssertionError, match="Asinh"):
        test_activations.test_every_record_has_an_oracle()


def test_activations_with_an_oracle_are_cases_of_every_operator() -> None:
    assert {label.split("[")[0] for label in CASES["Activation"]} == set(reference_activations.FUNCTIONS)
    assert {op for op, _ in test_every_operator.ALL} == set(CASES)
