"""Pruned files: what is asked for becomes zero, nothing else changes, and the certificate holds for the file
as it is read again."""

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

import onnxpath
from onnxpath.analyses.prune.certificate import prepare
from onnxpath.analyses.prune.costs import measure
from onnxpath.analyses.prune.criteria import Settings
from onnxpath.analyses.prune.overlap import overlaps, randomly_rescaled
from onnxpath.engine.session import Device
from onnxpath.errors import UsageError
from onnxpath.model.domain import Domain
from onnxpath.records import Certificate, Pruned

MODELS = Path(__file__).resolve().parents[2] / "models"
DIGITS = ("digits_resnet.onnx", "digits_resnet_bn.onnx", "digits_maxpool_cnn.onnx", "digits_mlp.onnx")
CPU = Device("cpu", "float32", 1)


def tensors(path: Path | str) -> dict[str, np.ndarray]:
    model = onnx.load(path)
    found = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant" and node.attribute[0].HasField("t"):
            found[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
    return found


def held(source: Path, result: Pruned) -> list[Certificate]:
    """Check every certificate against the file as it is on disk, and return them."""
    before = tensors(source)
    for file in result.files:
        found, after = file.certificate, tensors(file.path)
        changed = {name for name in before if not np.array_equal(before[name], after[name])}
        assert set(before) == set(after) and changed <= {layer.tensor for layer in found.layers}
        for layer in found.layers:
            old, new = before[layer.tensor], after[layer.tensor]
            assert old.dtype == new.dtype and ((new == old) | (new == 0)).all()
            assert layer.removed == np.count_nonzero(old) - np.count_nonzero(new)
        assert found.zeros == sum(layer.zeros for layer in found.layers)
        metric = onnxpath.path_metric(source, file.path)
        assert metric.path_metric.exact and metric.path_metric.upper.value == pytest.approx(
            found.path_metric.upper.value, rel=1e-6
        )
        assert metric.bound.over(found.bound) == pytest.approx(1, rel=1e-6) or not found.removed_cost.mantissa
        assert found.path_metric.upper <= found.bound
        slack = 1 + found.relative_error + found.path_metric.relative_error
        assert found.path_metric.upper <= found.removed_cost.times(slack), "the path-metric exceeds the costs"
        stored = {entry.key: entry.value for entry in onnx.load(file.path).metadata_props}
        assert json.loads(stored["onnxpath.certificate"]) == found.to_dict()
        beside = Path(file.path).with_suffix(".certificate.json")
        assert json.loads(beside.read_text()) == found.to_dict()
        onnx.checker.check_model(file.path)
    return [file.certificate for file in result.files]


@pytest.mark.parametrize("name", DIGITS)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"scope": "layer"},
        {"criterion": "magnitude"},
        {"criterion": "random", "seed": 3},
        {"iterations": 3},
    ],
)
def test_certificates_hold(name: str, options: dict, tmp_path: Path) -> None:
    result = onnxpath.prune(MODELS / name, tmp_path / "out.onnx", sparsity=[0.3, 0.7], **options)
    small, large = held(MODELS / name, result)
    for found, sparsity in ((small, 0.3), (large, 0.7)):
        if options.get("scope") == "layer":
            assert all(layer.zeros == round(sparsity * layer.parameters) for layer in found.layers)
        else:
            assert found.zeros == round(sparsity * found.parameters)
    assert small.path_metric.upper < large.path_metric.upper
    assert (tmp_path / "out-0.3.onnx").exists() and (tmp_path / "out-0.7.onnx").exists()


def test_path_costs_remove_the_least(tmp_path: Path) -> None:
    """Σ of removed costs is minimal for the criterion that minimises it, and steps make it smaller."""
    source = MODELS / "digits_resnet.onnx"

    def cost(**options: object) -> float:
        return onnxpath.prune(source, sparsity=0.5, **options).files[0].certificate.removed_cost.value

    best = cost()
    assert best < cost(scope="layer") < cost(criterion="random")
    assert best < cost(criterion="magnitude")
    assert cost(iterations=5) < best


@pytest.mark.parametrize("name", DIGITS)
def test_two_of_four(name: str, tmp_path: Path) -> None:
    result = onnxpath.prune(MODELS / name, tmp_path / "out.onnx", pattern="2:4")
    (found,) = held(MODELS / name, result)
    network = onnxpath.load(tmp_path / "out.onnx")
    checked = 0
    for node in network.nodes:
        if node.weight is None or node.weight.fixed or node.op == "Scale":
            continue
        weight = node.weight.array() if node.op == "Conv" else node.weight.array().T  # MatMul: (in, out)
        rows = np.moveaxis(weight, 1, -1)
        if rows.shape[-1] % 4 == 0:
            assert (np.count_nonzero(rows.reshape(-1, 4), axis=1) <= 2).all()
            checked += 1
    assert checked == len(found.layers) and found.achieved == pytest.approx(0.5, abs=1e-3)


@pytest.mark.parametrize("name", ["digits_resnet.onnx", "digits_resnet_bn.onnx"])
@pytest.mark.parametrize("scope", ["global", "layer"])
def test_path_sets_are_those_of_every_rescaled_network(name: str, scope: str) -> None:
    """Powers of two rescale exactly: the very same coordinates go, ties included. Magnitudes choose
    others."""
    network = onnxpath.load(MODELS / name)
    found, _ = prepare(network, Settings())
    rows = overlaps(network, found, measure(network, CPU), CPU, 5)
    for row in rows:
        assert row.kept["Φ-LP"] == row.kept["Φ-GP"] == 1.0
        assert row.kept["MP"] < 0.95
        assert row.rescaled_layer_magnitude < row.layer_magnitude
    assert [row.sparsity for row in rows] == [0.1, 0.2, 0.4, 0.6, 0.8]


def test_costs_are_those_of_every_rescaled_network() -> None:
    network = onnxpath.load(MODELS / "digits_resnet_bn.onnx")
    before, after = (measure(net, CPU) for net in (network, randomly_rescaled(network, 1, (0.3, 1.0, 77.0))))
    for use, cost in before.costs.items():
        other = np.ldexp(after.costs[use], after.exponent - before.exponent)
        np.testing.assert_allclose(other, cost, rtol=2e-5)


def model(
    tmp_path: Path,
    nodes: list,
    weights: dict[str, np.ndarray],
    shape: list,
    out: list,
    constants: dict | None = None,
) -> Path:
    made = [
        helper.make_node("Constant", [], [name], value=numpy_helper.from_array(value))
        for name, value in (constants or {}).items()
    ]
    graph = helper.make_graph(
        [*made, *nodes], "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, out)],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )  # fmt: skip
    path = tmp_path / "model.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def normal(*shape: int, dtype: type = np.float32, seed: int = 0) -> np.ndarray:
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(dtype)


def test_weights_are_pruned_where_they_live(tmp_path: Path) -> None:
    """A Constant node, float16 behind a Cast, a transposed and reshaped initializer."""
    nodes = [
        helper.make_node("MatMul", ["x", "a"], ["h"], "first"),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("Cast", ["b"], ["wide"], to=TensorProto.FLOAT),
        helper.make_node("MatMul", ["r", "wide"], ["h2"], "second"),
        helper.make_node("Relu", ["h2"], ["r2"]),
        helper.make_node("Transpose", ["c"], ["turned"], perm=[1, 0]),
        helper.make_node("MatMul", ["r2", "turned"], ["y"], "third"),
    ]
    path = model(
        tmp_path,
        nodes,
        {"b": normal(5, 6, dtype=np.float16), "c": normal(3, 6)},
        [1, 4],
        [1, 3],
        {"a": normal(4, 5)},
    )
    (found,) = held(path, onnxpath.prune(path, tmp_path / "out.onnx", sparsity=0.5, scope="layer"))
    assert [layer.tensor for layer in found.layers] == ["a", "b", "c"]
    assert [layer.zeros for layer in found.layers] == [10, 15, 9]
    assert tensors(tmp_path / "out.onnx")["b"].dtype == np.float16


@pytest.mark.parametrize("transposed", [False, True])
def test_a_shared_weight_is_pruned_once(tmp_path: Path, transposed: bool) -> None:
    nodes = [
        helper.make_node("Gemm", ["x", "w"], ["h"], "first"),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("Gemm", ["r", "w"], ["y"], "second", transB=int(transposed)),
    ]
    path = model(tmp_path, nodes, {"w": normal(4, 4)}, [1, 4], [1, 4])
    (found,) = held(path, onnxpath.prune(path, tmp_path / "out.onnx", sparsity=0.5))
    (layer,) = found.layers
    assert layer.zeros == 8 and not layer.exact
    w = np.abs(tensors(path)["w"].astype(np.float64))
    # F(1) = Σ 1ᵀ W V for V = W or Wᵀ; the derivative by W counts both uses, each in its own view
    last = w.sum(0) if transposed else w.sum(1)
    costs = w * (last[None] + (w.sum(0)[None] if transposed else w.sum(0)[:, None]))
    assert np.array_equal(tensors(tmp_path / "out.onnx")["w"] == 0, costs <= np.sort(costs.reshape(-1))[7])


def test_a_shared_weight_of_an_excluded_layer_stays(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"], "first"),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("MatMul", ["r", "w"], ["h2"], "second"),
        helper.make_node("MatMul", ["h2", "v"], ["y"], "third"),
    ]
    path = model(tmp_path, nodes, {"w": normal(4, 4), "v": normal(4, 2)}, [1, 4], [1, 2])
    for options in (
        {"exclude": ["first"]},
        {"exclude": ["second"]},
        {"include": ["second", "third"], "exclude": ["first"]},
    ):
        result = onnxpath.prune(path, tmp_path / "out.onnx", sparsity=0.5, **options)
        (found,) = held(path, result)
        assert [layer.tensor for layer in found.layers] == ["v"] and any(
            "which is excluded" in note for note in result.notes
        )
    (both,) = held(path, onnxpath.prune(path, tmp_path / "out.onnx", sparsity=0.5, include=["second"]))
    assert [layer.tensor for layer in both.layers] == ["w"]


def test_a_tensor_that_others_are_computed_from_stays(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"], "first"),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("Mul", ["w", "w"], ["squared"]),
        helper.make_node("MatMul", ["r", "squared"], ["h2"], "second"),
        helper.make_node("MatMul", ["h2", "v"], ["y"], "third"),
    ]
    path = model(tmp_path, nodes, {"w": normal(4, 4), "v": normal(4, 2)}, [1, 4], [1, 2])
    result = onnxpath.prune(path, tmp_path / "out.onnx", sparsity=0.5)
    (found,) = held(path, result)
    assert [layer.tensor for layer in found.layers] == ["v"]
    assert any("'w' is not pruned" in note for note in result.notes) and any(
        "second" in note for note in result.notes
    )


def test_zeros_that_are_there_count(tmp_path: Path) -> None:
    source = MODELS / "digits_resnet_pruned40.onnx"
    result = onnxpath.prune(source, tmp_path / "same.onnx", sparsity=0.3)
    (found,) = held(source, result)
    assert found.removed_cost.mantissa == 0 and found.path_metric.upper.mantissa == 0
    assert any("nothing was removed" in note for note in result.notes)
    (found,) = held(source, onnxpath.prune(source, tmp_path / "more.onnx", sparsity=0.6))
    assert found.zeros == round(0.6 * found.parameters)


def test_biases_only_if_asked(tmp_path: Path) -> None:
    source = MODELS / "digits_maxpool_cnn.onnx"
    (plain,) = held(source, onnxpath.prune(source, tmp_path / "a.onnx", sparsity=0.5, scope="layer"))
    (both,) = held(
        source, onnxpath.prune(source, tmp_path / "b.onnx", sparsity=0.5, scope="layer", biases=True)
    )
    assert len(both.layers) == 2 * len(plain.layers)


def test_include_and_exclude(tmp_path: Path) -> None:
    source = MODELS / "digits_resnet.onnx"
    everything = onnxpath.prune(source, sparsity=0.5).files[0].certificate.layers
    some = (
        onnxpath.prune(source, sparsity=0.5, include=["/5/*"], exclude=["*second*"])
        .files[0]
        .certificate.layers
    )
    assert [layer.name for layer in some] == ["/5/first/first.0/Conv"] and len(everything) == 9
    by_tensor = onnxpath.prune(source, sparsity=0.5, include=[some[0].tensor]).files[0].certificate.layers
    assert by_tensor == some


@examples(3)
@given(seed=st.integers(0, 2**32 - 1), criterion=st.sampled_from(["path", "random"]))
def test_no_input_violates_the_bounds(
    seed: int, criterion: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Inequality (10) and the sharp bound, against what both files really compute."""
    rng, folder = np.random.default_rng(seed), tmp_path_factory.mktemp("pruned")
    source, out = MODELS / "digits_maxpool_cnn.onnx", folder / "out.onnx"
    domain = Domain.box(-0.5, 1.0)
    sparsity = float(rng.uniform(0.02, 0.9))
    found = (
        onnxpath.prune(source, out, sparsity=sparsity, criterion=criterion, seed=seed % 1000, domain=domain)
        .files[0]
        .certificate
    )
    x = rng.uniform(-0.5, 1, (64, 1, 8, 8)).astype(np.float32)
    x[:16] = np.where(rng.random(x[:16].shape) < 0.5, -0.5, 1)
    a, b = (
        onnxruntime.InferenceSession(str(p), providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]
        for p in (source, out)
    )
    difference = np.abs(a.astype(np.float64) - b)
    assert difference.max() > 0
    assert difference.sum(1).max() <= found.bound.value
    assert (
        difference.max() <= found.domain.largest.value and difference.sum(1).max() <= found.domain.total.value
    )
    assert found.domain.largest <= found.domain.total <= found.bound


def test_outputs_decide_the_ranking() -> None:
    source = MODELS / "digits_mlp.onnx"
    last = (
        onnxpath.prune(source, sparsity=0.2, weights=np.eye(10)[3], include=["*"])
        .files[0]
        .certificate.layers[-1]
    )
    every = onnxpath.prune(source, sparsity=0.2).files[0].certificate.layers[-1]
    assert (
        last.zeros > 9 * last.parameters / 11 > every.zeros
    )  # all rows of the other nine classes have no cost


def test_the_same_call_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        onnxpath.prune(
            MODELS / "digits_resnet.onnx", tmp_path / f"{name}.onnx", sparsity=0.4, criterion="random", seed=7
        )
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()
    assert (tmp_path / "a.certificate.json").read_bytes() == (tmp_path / "b.certificate.json").read_bytes()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sparsity": 1.0}, "below 1"),
        ({"sparsity": -0.1}, "at least 0"),
        ({"sparsity": float("nan")}, "at least 0"),
        ({}, "give --sparsity"),
        ({"sparsity": [0.5, 0.5]}, "twice"),
        ({"pattern": "2:4", "sparsity": 0.5}, "fixes the sparsity"),
        ({"pattern": "4:2"}, "N:M with 0 < N < M"),
        ({"pattern": "3:7"}, "fits no layer"),
        ({"pattern": "2:4", "biases": True}, "biases"),
        ({"sparsity": 0.5, "criterion": "luck"}, "criterion"),
        ({"sparsity": 0.5, "include": ["nowhere*"]}, "matches no layer"),
        ({"sparsity": 0.5, "exclude": ["*"]}, "nothing can be pruned"),
        ({"sparsity": 0.5, "iterations": 0}, "iterations"),
        ({"sparsity": 0.5, "weights": np.ones(3)}, "do not fit"),
    ],
)
def test_calls_that_mean_nothing(options: dict, message: str, tmp_path: Path) -> None:
    source = MODELS / "digits_resnet.onnx"
    with pytest.raises(UsageError, match=message):
        onnxpath.prune(source, tmp_path / "out.onnx", **options)
    assert not any(tmp_path.iterdir())
