"""Norms, metrics and bounds on files that other people wrote (see conftest.real_models for where they
are)."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import reference

import onnxpath
from onnxpath.analyses.bound import difference_bounds
from onnxpath.analyses.bound.bound import output_difference
from onnxpath.engine.scaled import Scaled
from onnxpath.engine.session import Device
from onnxpath.evaluate.search import search
from onnxpath.model.matching import match
from onnxpath.model.network import Parameter

SUPPORTED = [
    "cifar_deep_kw", "cifar_deep_kw_simp", "collins_rul_w20", "convnet_avgpool", "cora_mnist_point",
    "cora_mnist_trades",
    "drones_ac4_double", "ece_cnn_fp32", "factorio_mlp_fp32", "light_resnet50", "mnist_cntk",
    "resnet20_cifar_bn",
    "resnet56_c100_simdoc_p50", "slim320_bn", "slim320_folded", "unet_small_sedgen",
]  # fmt: skip
SAME_FUNCTION = [("cifar_deep_kw", "cifar_deep_kw_simp"), ("slim320_bn", "slim320_folded")]


@pytest.mark.parametrize("name", SUPPORTED)
def test_path_norms_against_float64_pytorch(real_models: Path, name: str) -> None:
    network = onnxpath.load(real_models / f"{name}.onnx")
    for norm in onnxpath.path_norm(network, q=[1.0, 2.0]).norms:
        expected = reference.path_norm(network, norm.q)
        # all weights of a layer of light_resnet50 are equal, so that their roundings all point the same way
        assert norm.value.value == pytest.approx(
            expected, rel=1e-5 if name == "light_resnet50" else 3e-6, abs=0
        )
        assert abs(norm.value.value - expected) <= norm.relative_error * expected
        assert norm.relative_error < 0.01


@pytest.mark.parametrize("name", SUPPORTED)
def test_every_file_is_at_distance_zero_from_itself(real_models: Path, name: str) -> None:
    result = onnxpath.path_metric(real_models / f"{name}.onnx", real_models / f"{name}.onnx")
    assert result.path_metric.exact and result.path_metric.upper.mantissa == 0 and result.relative == 0


@pytest.mark.parametrize("pair", SAME_FUNCTION)
def test_other_encodings_of_one_function_are_recognised(real_models: Path, pair: tuple[str, str]) -> None:
    result = onnxpath.path_metric(*(real_models / f"{name}.onnx" for name in pair))
    assert result.relative < 1e-5
    assert sum(layer.share for layer in result.layers) == pytest.approx(1 if result.relative else 0, abs=1e-6)


def test_two_trainings_of_one_architecture(real_models: Path) -> None:
    """The interval in float32 agrees with the one in float64, and contains the difference of the
    path-norms."""
    paths = [real_models / f"cora_mnist_{kind}.onnx" for kind in ("point", "trades")]
    found = [onnxpath.path_metric(*paths, precision=precision) for precision in ("float32", "float64")]
    for single, double in (("lower", "lower"), ("upper", "upper")):
        assert getattr(found[0].path_metric, single).value == pytest.approx(
            getattr(found[1].path_metric, double).value, rel=1e-3
        )
    for result in found:
        gap = abs(result.a.path_norm.value - result.b.path_norm.value)
        assert (
            gap * 0.999
            <= result.path_metric.upper.value
            <= (result.a.path_norm.value + result.b.path_norm.value) * 1.001
        )
        assert result.path_metric.lower <= result.path_metric.upper
    assert found[0].path_metric.upper.value >= found[1].path_metric.lower.value


def test_l2_metric_and_estimate_of_two_trainings(real_models: Path) -> None:
    """‖·‖₂ <= ‖·‖₁ and the triangle inequality of the path-norms; the sampled interval meets the certified
    one."""
    pair = [real_models / f"cora_mnist_{kind}.onnx" for kind in ("point", "trades")]
    result = onnxpath.path_metric(*pair, l2=True, samples=3_000)
    p, q = (onnxpath.path_norm(path, q=2.0).norms[0].value.value for path in pair)
    assert result.l2.relative_error < 1e-9
    assert abs(p - q) * 0.999 <= result.l2.value.value <= (p + q) * 1.001
    assert result.l2.value <= result.path_metric.upper
    estimate = result.estimate
    assert result.path_metric.lower <= estimate.lower < estimate.upper <= result.path_metric.upper
    again = onnxpath.path_metric(*pair[::-1], samples=3_000, seed=1).estimate
    assert again.lower <= estimate.upper and estimate.lower <= again.upper


@pytest.mark.parametrize("name", ["unet_small_sedgen", "resnet20_cifar_bn", "light_resnet50"])
def test_estimate_of_real_networks_with_one_layer_halved(real_models: Path, name: str) -> None:
    """Every path that crosses the layer has |Φ_p - Φ'_p| = Φ_p(M) / 2: the estimate must agree with the exact
    metric."""
    a = onnxpath.load(real_models / f"{name}.onnx")
    learned = [node for node in a.nodes if node.op == "Conv" and not node.weight.fixed]
    chosen = learned[-1]
    halved = replace(chosen, weight=chosen.weight.scaled(np.full((1,) * len(chosen.weight.shape), 0.5)))
    b = replace(a, nodes=tuple(halved if node is chosen else node for node in a.nodes))
    result = onnxpath.path_metric(a, b, samples=400)
    assert result.path_metric.exact
    # X is Σ F / 2 or 0, with the share of the paths that cross the layer for its rate: five standard
    # deviations
    size = result.a.path_norm.value
    assert (
        abs(result.estimate.value.value - result.path_metric.upper.value)
        <= 5 * size / 4 / np.sqrt(400) + 1e-3 * size
    )


@pytest.mark.parametrize("batch", [1, 64])
def test_bound_holds_for_two_trainings(real_models: Path, batch: int) -> None:
    """|R_A(x) - R_B(x)| <= the sharp bound of the box |x_i| <= |x| around every input that is tried, output
    by output."""
    paths = [real_models / f"cora_mnist_{kind}.onnx" for kind in ("point", "trades")]
    networks = [onnxpath.load(path) for path in paths]
    pairing = match(*networks)
    rng = np.random.default_rng(batch)
    inputs = rng.uniform(0, 1, (batch, 784)).astype(np.float32) * rng.integers(0, 2, (batch, 784))
    bounds = output_difference(pairing, {networks[0].inputs[0]: np.abs(inputs)}, Device())[
        networks[0].outputs[0]
    ]
    values = []
    for path in paths:
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        values.append(session.run(None, {session.get_inputs()[0].name: inputs.astype(np.float32)})[0])
    assert len(bounds.values.flatten()) == batch * 10
    certified = np.array([bounds.upper(value).value for value in bounds.values.flatten()]).reshape(batch, 10)
    found = np.abs(values[0].astype(np.float64) - values[1])
    assert (found <= certified).all()
    metric = onnxpath.path_metric(*paths, input_bound=float(np.abs(inputs).max()))
    assert (found.sum(axis=1) <= metric.bound.value).all()
    assert certified.max() <= metric.bound.value


def test_networks_of_different_structure_name_the_first_difference(real_models: Path) -> None:
    with pytest.raises(onnxpath.MismatchError, match="node '.*' .* where .* node '"):
        onnxpath.path_metric(real_models / "cifar_deep_kw.onnx", real_models / "resnet20_cifar_bn.onnx")


PAIRS = [*SAME_FUNCTION, ("cora_mnist_point", "cora_mnist_trades")]


@pytest.mark.parametrize("pair", PAIRS)
@pytest.mark.parametrize("norm", ["inf", pytest.param("1", marks=pytest.mark.thorough)])
def test_nothing_found_is_above_the_bound_of_real_pairs(
    real_models: Path, pair: tuple[str, str], norm: str
) -> None:
    files = [real_models / f"{name}.onnx" for name in pair]
    result = onnxpath.bound(*files, onnxpath.Domain.box(0, 1), norm=norm, search=5)  # a violation raises
    assert Scaled(result.largest.found) <= result.largest.certified
    if pair == ("cifar_deep_kw", "cifar_deep_kw_simp"):
        assert result.largest.certified.mantissa == 0


# slim320_folded is the same network as slim320_bn
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.thorough] * (name == "slim320_folded"))
        for name in SUPPORTED
        if name not in ("light_resnet50", "drones_ac4_double")
    ],
)
def test_nothing_found_is_above_the_bound_of_real_files_and_noisy_copies(
    real_models: Path, name: str
) -> None:
    """Every weight moves by up to 3 %, one in a hundred changes its sign."""
    a, rng = onnxpath.load(real_models / f"{name}.onnx"), np.random.default_rng(0)
    nodes = []
    for node in a.nodes:
        if node.weight is not None and not node.weight.fixed:
            shape = node.weight.shape
            factor = np.where(rng.random(shape) < 0.01, -1.0, 1.0) * rng.uniform(0.97, 1.03, shape)
            node = replace(
                node,
                weight=Parameter(
                    node.weight.name,
                    (node.weight.array() * factor).astype(np.float32),
                    sources=node.weight.sources,
                ),
            )
        nodes.append(node)
    pairing = match(a, replace(a, nodes=tuple(nodes)))
    region = onnxpath.Domain.box(-1, 1).resolve(a)
    device = Device("cpu")
    found = difference_bounds.bounds(pairing, region, device)
    (box,) = search(pairing, region, device, steps=1, samples=2, norm="inf").boxes
    for output, difference in box.difference.items():
        assert (np.abs(difference).reshape(-1) - box.error <= found.outputs[output].floats()[0]).all()
