"""`onnxpath.quantize` on real small models: certificates hold for the files as they are read again, and every
found error stays below its bound."""

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from definition import meant
from onnx import helper, numpy_helper

import onnxpath
from onnxpath.errors import UsageError
from onnxpath.model.domain import Domain
from onnxpath.records import QuantizationCertificate, Quantized

MODELS = Path(__file__).resolve().parents[2] / "models"
DIGITS = ("digits_resnet", "digits_resnet_bn", "digits_maxpool_cnn", "digits_mlp")
CPU = {"provider": "cpu", "threads": 1}
X = np.load(MODELS / "digits_test.npz")["x"]


def logits(path: Path | str, x: np.ndarray) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    (name,) = [info.name for info in session.get_inputs()]
    return np.concatenate([session.run(None, {name: x[k : k + 1]})[0] for k in range(len(x))]).astype(
        np.float64
    )


def held(result: Quantized) -> QuantizationCertificate:
    """The certificate of a file, the same in the result, in the file and beside it."""
    assert result.file is not None and result.file.path is not None
    path, certificate = Path(result.file.path), result.file.certificate
    document = certificate.to_dict()
    assert json.loads(path.with_suffix(".certificate.json").read_text()) == document
    model = onnx.load(path)
    assert (
        json.loads({entry.key: entry.value for entry in model.metadata_props}["onnxpath.quantization"])
        == document
    )
    onnx.checker.check_model(path)
    assert onnxpath.load(path, quantizers=True).sha256 == result.file.sha256
    assert document["source"]["sha256"] == result.sha256
    assert (
        sum(layer.share for layer in certificate.layers) == pytest.approx(1, abs=1e-6)
        or certificate.mode == "static"
    )
    return certificate


@pytest.mark.parametrize("rounding", ["nearest", "zero"])
@pytest.mark.parametrize("name", DIGITS)
def test_weights(name: str, rounding: str, tmp_path: Path) -> None:
    source, out = MODELS / f"{name}.onnx", tmp_path / "q.onnx"
    result = onnxpath.quantize(
        source, out, bits=8, rounding=rounding, domain=Domain.box(0, 1), inputs=X[:40], **CPU
    )
    found = held(result)
    metric = onnxpath.path_metric(source, out, **CPU)
    assert (
        metric.path_metric == found.path_metric
        and metric.bound == found.bound
        and metric.relative == found.relative
    )
    assert found.path_metric.exact == (rounding == "zero")
    assert 0.6 < found.saved < 0.75 and [layer.bits for layer in found.layers] == [8] * len(found.layers)
    gap = np.abs(logits(source, X[:40]) - logits(out, X[:40]))
    assert result.file.outputs.difference == pytest.approx(gap.max(), rel=1e-3) and gap.max() > 0
    domain, bound = found.domain, onnxpath.bound(source, out, Domain.box(0, 1), search=0, **CPU)
    assert domain.certified == bound.largest.certified and gap.max() <= domain.certified.value
    assert 0 < domain.found <= domain.certified.value and domain.files <= domain.certified.value
    assert gap.sum(1).max() <= found.bound.value
    assert not any("does not compute" in note for note in result.notes)


@pytest.mark.parametrize("granularity", ["channel", "tensor"])
@pytest.mark.parametrize("name", ["digits_resnet_bn", "digits_maxpool_cnn"])
def test_static(name: str, granularity: str, tmp_path: Path) -> None:
    source, out = MODELS / f"{name}.onnx", tmp_path / "q.onnx"
    result = onnxpath.quantize(
        source, out, granularity=granularity, calibrate=X[:30], exclude=["*Gemm*"], **CPU
    )
    found = held(result)
    assert found.mode == "static" and found.bound is None and found.calibration == 30
    assert found.domain.parts["rounding"] > 0 and sum(found.domain.parts.values()) == pytest.approx(1)
    ops = [node.op_type for node in onnx.load(out).graph.node]
    assert ops.count("QuantizeLinear") >= 3 and all(layer.bits == 8 for layer in found.layers)
    gap = np.abs(meant(str(source), X[:30]) - meant(str(out), X[:30])).max()
    assert 0 < gap <= found.domain.certified.value
    assert result.file.outputs.difference == pytest.approx(
        np.abs(logits(source, X[:30]) - logits(out, X[:30])).max(), rel=1e-3
    )
    assert found.path_metric == onnxpath.path_metric(source, out, **CPU).path_metric


@pytest.mark.parametrize("bits", [4, 16])
def test_static_of_other_widths(bits: int, tmp_path: Path) -> None:
    source, out = MODELS / "digits_mlp.onnx", tmp_path / "q.onnx"
    found = held(
        onnxpath.quantize(
            source, out, bits=bits, calibrate={"x": X[:20]}, domain=Domain.samples(X[:20]), **CPU
        )
    )
    gap = np.abs(meant(str(source), X[:20]) - meant(str(out), X[:20])).max()
    assert 0 < gap <= found.domain.certified.value and {layer.bits for layer in found.layers} == {bits}


@pytest.mark.parametrize("name", DIGITS)
def test_equalizing_undoes_a_random_rescaling(name: str, tmp_path: Path) -> None:
    """The int8 per-tensor metric of a network with random rescaling falls by at least 10 times, and the error
    found with it."""
    source = tmp_path / "rescaled.onnx"
    onnxpath.rescale(MODELS / f"{name}.onnx", source, seed=2, **CPU)
    plain, better = (
        onnxpath.quantize(
            source,
            tmp_path / f"{equalize}.onnx",
            granularity="tensor",
            equalize=equalize,
            inputs=X[:40],
            **CPU,
        )
        for equalize in (False, True)
    )
    assert held(better).equalized and not held(plain).equalized
    one, other = (result.file.certificate.path_metric.upper for result in (plain, better))
    assert one.over(other) >= 10
    assert plain.file.outputs.difference >= 10 * better.file.outputs.difference
    # against the file that was given, whose scales are others: Φ is the same, and the certificate holds
    metric = onnxpath.path_metric(source, tmp_path / "True.onnx", **CPU).path_metric
    assert metric.lower <= other.times(1 + 1e-3)
    gap = np.abs(logits(source, X[:40]) - logits(tmp_path / "True.onnx", X[:40]))
    assert gap.sum(1).max() <= better.file.certificate.bound.value


@pytest.mark.parametrize("name", DIGITS)
def test_equalizing_does_no_harm(name: str) -> None:
    """A network that needs none keeps its metric, up to what the choice between candidates cannot see."""
    plain, better = (
        onnxpath.quantize(MODELS / f"{name}.onnx", granularity="tensor", equalize=equalize, **CPU)
        for equalize in (False, True)
    )
    assert better.file.certificate.path_metric.upper <= plain.file.certificate.path_metric.upper.times(
        1 + 1e-6
    )


@pytest.mark.parametrize("budget", ["metric=1%", "metric=5e6", "metric=0.02%"])
def test_budgets_of_the_metric(budget: str, tmp_path: Path) -> None:
    source, out = MODELS / "digits_resnet.onnx", tmp_path / "q.onnx"
    found = held(onnxpath.quantize(source, out, bits=[4, 8, 16], budget=budget, **CPU))
    norm = onnxpath.path_norm(source, **CPU).norms[0].value
    limit = norm.times(float(budget[7:-1]) / 100) if budget.endswith("%") else None
    metric = onnxpath.path_metric(source, out, **CPU)
    assert metric.bound == found.budget.reached <= found.budget.limit
    assert found.budget.limit.value == pytest.approx(limit.value if limit else 5e6, rel=1e-6)
    widths = {layer.bits for layer in found.layers}
    assert widths <= {4, 8, 16, None} and 0 < found.saved < 0.87
    if budget == "metric=1%":  # mixed, and smaller than the best that one width allows
        assert len(widths) > 1
        assert found.bytes_after < onnxpath.quantize(source, bits=16, **CPU).file.certificate.bytes_after


def test_a_budget_of_the_bound(tmp_path: Path) -> None:
    source, out, domain = MODELS / "digits_mlp.onnx", tmp_path / "q.onnx", Domain.box(0, 1)
    found = held(onnxpath.quantize(source, out, bits=[4, 8, 16], budget="bound=1.5", domain=domain, **CPU))
    bound = onnxpath.bound(source, out, domain, search=None, **CPU)
    assert found.budget.reached == bound.largest.certified and bound.largest.certified.value <= 1.5
    assert found.budget.reached.value > 0.5  # and uses it
    assert np.abs(logits(source, X) - logits(out, X)).max() <= 1.5


def test_budgets_that_nothing_keeps() -> None:
    with pytest.raises(
        UsageError, match="no layer can be quantized to 4 bits within the budget metric=1e-07%"
    ):
        onnxpath.quantize(MODELS / "digits_mlp.onnx", bits=4, budget="metric=0.0000001%", **CPU)


def test_the_sweep() -> None:
    result = onnxpath.quantize(
        MODELS / "digits_mlp.onnx", sweep=True, bits=[2, 4, 8], inputs=X[:50], domain=Domain.box(0, 1), **CPU
    )
    assert result.file is None and result.blame is None
    for k in range(3):
        assert sum(layer.widths[k].share for layer in result.sweep.layers) == pytest.approx(1)
    for layer in result.sweep.layers:
        metrics = [width.metric.value for width in layer.widths]
        assert metrics == sorted(metrics, reverse=True) and all(width.exact for width in layer.widths)
        for width in layer.widths:
            assert (
                0 < width.mean <= width.found <= width.bound.value and width.bound.over(width.metric) < 1.01
            )
        only = onnxpath.quantize(
            MODELS / "digits_mlp.onnx", bits=4, include=[layer.tensor], inputs=X[:50], **CPU
        ).file
        assert only.certificate.path_metric.upper.over(layer.widths[1].metric) == pytest.approx(1, rel=1e-5)
        assert only.outputs.difference == pytest.approx(layer.widths[1].found, rel=1e-3)
        assert (
            only.certificate.bytes_before - only.certificate.bytes_after
            == layer.bytes - layer.widths[1].bytes
        )


def test_the_blame() -> None:
    source = MODELS / "digits_maxpool_cnn.onnx"
    blame = onnxpath.quantize(source, bits=4, blame=True, inputs=X[:50], **CPU).blame
    assert (
        [layer.rank for layer in blame.layers]
        == [1, 2, 3, 4]
        == sorted(layer.found_rank for layer in blame.layers)
    )
    assert [layer.left.value for layer in blame.layers] == sorted(layer.left.value for layer in blame.layers)
    assert -1 <= blame.correlation <= 1 and -1 <= blame.correlation_alone <= 1
    assert all(
        layer.found_alone <= layer.local.value * (1 + 1e-4) for layer in blame.layers
    )  # up to float32 rounding
    whole = onnxpath.quantize(source, bits=4, inputs=X[:50], **CPU).file
    assert blame.metric == whole.certificate.bound and blame.found == pytest.approx(
        whole.outputs.difference, rel=1e-3
    )
    for layer in blame.layers:
        without = onnxpath.quantize(source, bits=4, exclude=[layer.tensor], inputs=X[:50], **CPU).file
        assert layer.left == without.certificate.bound
        assert (layer.bought + layer.left).value == pytest.approx(blame.metric.value)
        assert layer.found_left == pytest.approx(without.outputs.difference, rel=1e-3)


def test_a_quantized_network_is_on_its_grid_already(tmp_path: Path) -> None:
    """Quantizing again with the same grid changes nothing."""
    first = tmp_path / "first.onnx"
    onnxpath.quantize(MODELS / "digits_mlp.onnx", first, bits=8, **CPU)
    with pytest.raises(UsageError, match="nothing can be quantized"):  # no floats are left
        onnxpath.quantize(first, **CPU)


def test_the_model_may_be_bytes_or_a_message(tmp_path: Path) -> None:
    path = MODELS / "digits_mlp.onnx"
    expected = onnxpath.quantize(path, tmp_path / "a.onnx", **CPU).file.certificate
    for source in (path.read_bytes(), onnx.load(path)):
        found = onnxpath.quantize(source, tmp_path / "b.onnx", **CPU).file.certificate
        assert found.path_metric == expected.path_metric and found.bytes_after == expected.bytes_after


@pytest.mark.parametrize("batch", [1, 2, "n"])
def test_two_inputs_and_fixed_batches(batch: int | str, tmp_path: Path) -> None:
    """Samples are fed in batches of the file's length; bounds and errors belong to single samples."""
    rng = np.random.default_rng(0)
    weights = {
        name: rng.standard_normal(shape).astype(np.float32)
        for name, shape in (("a", (4, 5)), ("b", (3, 5)), ("c", (5, 2)))
    }
    steps = (
        ("MatMul", "x a", "p"),
        ("MatMul", "z b", "q"),
        ("Add", "p q", "s"),
        ("Relu", "s", "r"),
        ("MatMul", "r c", "y"),
    )
    nodes = [helper.make_node(op, inputs.split(), [output], output) for op, inputs, output in steps]
    ends = [
        helper.make_tensor_value_info(name, 1, [batch, size]) for name, size in (("x", 4), ("z", 3), ("y", 2))
    ]
    tensors = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    graph = helper.make_graph(nodes, "g", ends[:2], ends[2:], tensors)
    model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
    samples = {"x": rng.standard_normal((5, 4)), "z": rng.standard_normal((5, 3))}
    static = onnxpath.quantize(model, tmp_path / "static.onnx", calibrate=samples, **CPU).file
    assert static.outputs.samples == 5 and static.outputs.difference > 0
    given = {
        name: array[[0, 1, 2, 3, 4, 4]].astype(np.float32).reshape(-1, 2 if batch == 2 else 1, array.shape[1])
        for name, array in samples.items()
    }
    first, second = (meant(file, given) for file in (model, str(tmp_path / "static.onnx")))
    assert 0 < np.abs(first - second).max() <= static.certificate.domain.certified.value
    found = onnxpath.quantize(model, bits=4, sweep=True, blame=True, inputs=samples, **CPU)
    for layer, swept in zip(
        sorted(found.blame.layers, key=lambda layer: layer.tensor), found.sweep.layers, strict=True
    ):
        (one,) = swept.widths
        assert layer.tensor == swept.tensor and layer.found_alone == pytest.approx(one.found, rel=1e-6)
        assert one.found <= layer.local.value * (1 + 1e-5)
    with pytest.raises(UsageError, match="no samples for input 'z'"):
        onnxpath.quantize(model, calibrate={"x": samples["x"]}, **CPU)
    with pytest.raises(UsageError, match="different numbers of samples"):
        onnxpath.quantize(model, inputs={"x": samples["x"], "z": samples["z"][:2]}, **CPU)
