"""The figures of the paper authors' PyTorch implementation, in float64, for ResNet-18 and VGG-16: reproduced
in float32.

See conftest.reference_figures for where they are.
"""

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

import onnxpath
from onnxpath.analyses.metric.norm import path_norms
from onnxpath.engine.session import Device


@pytest.fixture(scope="module")
def reference(reference_figures: Path) -> dict:
    return json.loads((reference_figures / "pathnorm_pytorch.json").read_text())["models"]


@pytest.fixture(scope="module")
def models(reference_figures: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("reference_models", reference_figures / "models.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def export(model: torch.nn.Module, path: Path, keep_batchnorm: bool = False) -> Path:
    kept = (
        {"training": torch.onnx.TrainingMode.PRESERVE, "do_constant_folding": False} if keep_batchnorm else {}
    )
    torch.onnx.export(model.eval(), torch.zeros(1, 3, 224, 224), path, opset_version=17, dynamo=False, **kept)
    return path


@pytest.fixture(scope="module")
def resnet18(models: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("resnet18")
    model = models.build("resnet18")
    return {
        "folded": export(model, folder / "folded.onnx"),
        "bn": export(model, folder / "bn.onnx", keep_batchnorm=True),
    }


def check(path: Path, expected: dict, **options: object) -> None:
    result = path_norms(onnxpath.load(path, **options), [1.0, 2.0, 4.0], Device(), per_output=True)
    for norm in result.norms:
        assert norm.value.value == pytest.approx(expected[f"path_norm_q{norm.q:g}_f64"], rel=2e-6, abs=0)
        assert norm.relative_error < 0.01
    per_output = [value.value for value in result.outputs[0].values[0]]
    assert per_output[:5] == pytest.approx(expected["path_norm_q1_f64_per_output_first5"], rel=2e-6, abs=0)
    assert max(per_output) == pytest.approx(expected["path_norm_q1_f64_per_output_max"], rel=2e-6, abs=0)


@pytest.mark.parametrize("kind", ["folded", "bn"])
@pytest.mark.parametrize("keep", [False, True])
def test_resnet18_path_norms(resnet18: dict[str, Path], reference: dict, kind: str, keep: bool) -> None:
    network = onnxpath.load(resnet18[kind], keep_batchnorm=keep)
    scales = sum(node.op == "Scale" and not node.weight.fixed for node in network.nodes)
    assert scales == (20 if kind == "bn" and keep else 0)
    check(resnet18[kind], reference["resnet18"], keep_batchnorm=keep)


@pytest.mark.parametrize("kind", ["folded", "bn"])
def test_resnet18_in_the_paper_s_numbers(resnet18: dict[str, Path], kind: str) -> None:
    """D, K, P, d_in, d_out and #params: 11,689,512 of PyTorch, less one of the two numbers of each of 4,800
    normalized channels."""
    found = onnxpath.inspect(resnet18[kind]).to_dict()
    assert found["dimensions"] == {
        "depth": 20,
        "kernel": 9,
        "pools": 1,
        "input": 3 * 224 * 224,
        "output": 1000,
    }
    assert found["parameters"]["count"] == 11_684_712


def test_resnet18_one_pruned_weight(
    resnet18: dict[str, Path], models: ModuleType, reference: dict, tmp_path: Path
) -> None:
    expected = reference["resnet18"]["prune_one_weight"]
    model = models.build("resnet18")
    with torch.no_grad():
        model.get_parameter(expected["param"]).view(-1)[expected["index"]] = 0
    pruned = export(model, tmp_path / "pruned.onnx")
    result = onnxpath.path_metric(resnet18["folded"], pruned)
    assert result.path_metric.exact
    assert result.path_metric.upper.value == pytest.approx(expected["f64"], rel=1e-4, abs=0)
    (layer,) = (layer for layer in result.layers if layer.share)
    assert "layer4.1/conv2" in layer.name and layer.share == pytest.approx(1, abs=1e-9)


def test_resnet18_equal_files_are_at_distance_zero(resnet18: dict[str, Path]) -> None:
    for path in resnet18.values():
        result = onnxpath.path_metric(path, path)
        assert result.path_metric.exact and result.path_metric.upper.value == 0.0 and result.relative == 0.0
    assert onnxpath.path_metric(resnet18["folded"], resnet18["bn"]).relative < 1e-5


@pytest.mark.parametrize("factors", ["powers of two", "any"])
def test_resnet18_rescaled_copy_is_recognised(
    resnet18: dict[str, Path], models: ModuleType, tmp_path: Path, factors: str
) -> None:
    """Appendix D: λ in {1, 128, 4096} per channel between the two convolutions of a block, BatchNormalization
    included."""
    model = models.build("resnet18")
    rng = np.random.default_rng(0)
    with torch.no_grad():
        for stage in (model.layer1, model.layer2, model.layer3, model.layer4):
            for block in stage:
                channels = block.bn1.weight.numel()
                drawn = (
                    rng.choice([1, 128, 4096], channels)
                    if factors == "powers of two"
                    else np.exp(rng.normal(0, 3, channels))
                )
                scale = torch.tensor(drawn, dtype=torch.float32)
                block.bn1.weight *= scale
                block.bn1.bias *= scale
                block.conv2.weight /= scale[None, :, None, None]
    result = onnxpath.path_metric(resnet18["folded"], export(model, tmp_path / "rescaled.onnx"))
    assert result.relative < 1e-5
    assert result.path_metric.lower <= result.path_metric.upper
    if factors == "powers of two":
        assert result.relative == 0.0 and result.path_metric.exact


def check_scores(path: Path, expected: dict) -> None:
    """Shapes, sums, maxima, their places and samples of the path-magnitude scores, which are the Φ-costs."""
    result = onnxpath.path_costs(path)
    kernels = [item for item in result.parameters if item.kind == "weight"]
    assert len(kernels) == len(expected)
    left = list(expected.items())
    for item in kernels:
        cost = item.mantissa if item.mantissa.ndim == 4 else item.mantissa.T  # MatMul: (in, out)
        total = float(np.ldexp(cost.sum(dtype=np.float64), result.exponent))
        # the branches of a block come in another order than the modules: shape and largest score tell which
        # one it is
        flat = cost.reshape(-1)
        largest = float(np.ldexp(float(flat.max()), result.exponent))
        entry = min(
            left,
            key=lambda entry: abs(entry[1]["max"] / largest - 1) + (entry[1]["shape"] != list(cost.shape)),
        )
        left.remove(entry)
        name, scores = entry
        assert list(cost.shape) == scores["shape"] and total == pytest.approx(
            scores["sum"], rel=1e-5, abs=0
        ), name
        assert int(flat.argmax()) == scores["argmax"]
        assert np.ldexp(float(flat.max()), result.exponent) == pytest.approx(scores["max"], rel=1e-5, abs=0)
        for index, value in scores["samples"].items():
            assert np.ldexp(float(flat[int(index)]), result.exponent) == pytest.approx(
                value, rel=1e-5, abs=0
            ), (name, index)


@pytest.mark.parametrize("kind", ["folded", "bn"])
def test_resnet18_costs(resnet18: dict[str, Path], reference: dict, kind: str) -> None:
    check_scores(resnet18[kind], reference["resnet18"]["path_magnitude_scores_q1_f64"])


def test_resnet18_cost_of_one_weight(resnet18: dict[str, Path], reference: dict) -> None:
    """The authors' path-metric of one pruned weight, in float64, is its Φ-cost."""
    expected = reference["resnet18"]["prune_one_weight"]
    result = onnxpath.path_costs(resnet18["folded"])
    (item,) = [item for item in result.parameters if item.kind == "weight" and "layer4.1/conv2" in item.layer]
    cost = float(item.mantissa.reshape(-1)[expected["index"]])
    assert np.ldexp(cost, result.exponent) == pytest.approx(expected["f64"], rel=1e-5, abs=0)


def test_vgg16_path_norms_and_costs(models: ModuleType, reference: dict, tmp_path: Path) -> None:
    path = export(models.build("vgg16"), tmp_path / "vgg16.onnx")
    check(path, reference["vgg16"])
    check_scores(path, reference["vgg16"]["path_magnitude_scores_q1_f64"])


@pytest.mark.parametrize("bits", [8, 4])
def test_resnet18_rounded_to_a_grid_is_inside_the_authors_interval(
    resnet18: dict[str, Path], models: ModuleType, reference: dict, tmp_path: Path, bits: int
) -> None:
    """Per-channel symmetric rounding of the weights: max - min of the authors is an upper bound that ours
    must not exceed."""
    expected = reference["resnet18"]["fake_quant_per_output_channel_symmetric_weights_only"][f"int{bits}"]
    model = models.build("resnet18")
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, torch.nn.Conv2d | torch.nn.Linear):
                flat = module.weight.reshape(module.weight.shape[0], -1)
                step = flat.abs().amax(1, keepdim=True) / (2 ** (bits - 1) - 1)
                module.weight.copy_((torch.round(flat / step) * step).reshape(module.weight.shape))
    result = onnxpath.path_metric(resnet18["folded"], export(model, tmp_path / "grid.onnx"))
    assert result.b.path_norm.value == pytest.approx(expected["path_norm_quantized"], rel=2e-6, abs=0)
    gap = abs(expected["path_norm_quantized"] - reference["resnet18"]["path_norm_q1_f64"])
    assert gap * 0.99 <= result.path_metric.upper.value <= expected["upper_bound_on_path_metric"] * 1.003
    assert result.path_metric.lower <= result.path_metric.upper


@pytest.mark.parametrize("name", ["resnet50"])
def test_resnet50_is_finite_beyond_float32(models: ModuleType, tmp_path: Path, name: str) -> None:
    model = models.randomize(models.ResNet(models.Bottleneck, (3, 4, 6, 3)), 1)
    result = path_norms(onnxpath.load(export(model, tmp_path / f"{name}.onnx")), [1.0], Device())
    assert result.norms[0].value.value == pytest.approx(1.2371790e76, rel=2e-6, abs=0)
