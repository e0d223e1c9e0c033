"""Quantized activations: matched with the float twin, what they mean bounded soundly, saturation counted."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from definition import meant
from examples import cases
from quantized_files import calibrated
from torch import nn

import onnxpath
from analyses.quantized_support import RNG, Mobile, check, export, run, samples
from onnxpath.engine.session import Device
from onnxpath.errors import UnsupportedError
from onnxpath.evaluate.forward import Forward
from onnxpath.model.domain import Domain
from onnxpath.model.matching import match
from onnxpath.rewrites.quantizers import plain, quantizes

NAMES = ("digits_maxpool_cnn", "digits_mlp", "digits_resnet", "unet", "mobilenet")
# of networks; one step per channel of the weights, or one for all of a tensor
STATIC = [(name, True) for name in NAMES] + [("digits_maxpool_cnn", False), ("mobilenet", False)]


@pytest.mark.parametrize(
    ("name", "channel"), cases(STATIC, lambda name, channel: name in ("digits_mlp", "unet") or not channel)
)
def test_static_quantization_is_matched_and_bounded(
    name: str, channel: bool, sources: dict, tmp_path: Path
) -> None:
    source = sources[name]
    x = samples(source, 6)
    file = calibrated(source, x, tmp_path, channel=channel)
    inside, difference = check(source, file, x)
    assert difference.max() > 0
    assert {item.side for item in inside.quantizers} == {"b"}
    shares = inside.parts()
    assert abs(sum(shares.values()) - 1) < 1e-6 and shares["weights"] > 0 and shares["rounding"] > 0
    # uniform noise, and inputs beyond the calibrated range
    check(source, file, (RNG.random((3, *x.shape[1:])) * 2 - 0.5).astype(np.float32))


@pytest.mark.parametrize(
    ("name", "channel"), cases(STATIC, lambda name, channel: channel != (name == "digits_maxpool_cnn"))
)
def test_the_qoperator_format(name: str, channel: bool, sources: dict, tmp_path: Path) -> None:
    """QLinearConv, QGemm, QLinearAdd, QLinearConcat, pools on integers: the same as the QDQ form, and
    bounded."""
    source = export(Mobile(nn.ReLU), torch.zeros(1, 1, 8, 8)) if name == "mobilenet" else sources[name]
    x = samples(source, 3)
    file = calibrated(source, x, tmp_path, channel=channel, operator=True)
    assert any("QLinear" in node.op_type or node.op_type == "QGemm" for node in onnx.load(file).graph.node)
    found, _ = check(source, file, x)
    assert any(layer.kind == "weights" and layer.share > 0 for layer in found.layers)


@pytest.mark.parametrize("end", ["Sigmoid", "Softmax", "LeakyRelu"])
def test_activations_in_the_qoperator_format(end: str, tmp_path: Path) -> None:
    """A Sigmoid or Softmax at the end is left off with the quantizers behind it; a LeakyRelu stays."""
    torch.manual_seed(2)
    last = {"Sigmoid": nn.Sigmoid(), "Softmax": nn.Softmax(1), "LeakyRelu": nn.LeakyReLU(0.1)}[end]
    source = export(
        nn.Sequential(
            nn.Conv2d(1, 3, 3), nn.LeakyReLU(0.2), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(27, 4), last
        ),
        torch.zeros(1, 1, 8, 8),
    )
    x = samples(source, 3)
    for operator in (True, False):
        file = calibrated(source, x, tmp_path, operator=operator)
        networks = [onnxpath.load(item, extended=True) for item in (source, file)]
        assert ("left off the end" in " ".join(networks[1].notes)) == (end != "LeakyRelu")
        pairing = match(*networks, quantizers=True)
        found = onnxpath.bound(*networks, Domain.samples(x), search=0)
        assert 0 < found.largest.found <= found.largest.certified.value
        (values,) = Forward([networks[1]], Device("cpu", "float64")).run({networks[1].inputs[0]: x})
        y = values[networks[1].outputs[0]]
        y = {
            "Sigmoid": 1 / (1 + np.exp(-y)),
            "Softmax": np.exp(y) / np.exp(y).sum(1, keepdims=True),
            "LeakyRelu": y,
        }[end]
        assert np.abs(y - meant(file, x)).max() < 0.05 * max(1.0, np.abs(y).max()) and pairing.twin


@pytest.mark.parametrize(
    "options",
    [
        {"signed": True},
        {"removed": False},
        {"wide": True},
        {"signed": True, "ActivationSymmetric": True},
        {"op_types_to_quantize": ["Conv"]},
    ],
    ids=["signed", "relus kept", "16 bits", "symmetric", "convolutions only"],
)
@pytest.mark.parametrize(
    "name", ["digits_maxpool_cnn", pytest.param("mobilenet", marks=pytest.mark.thorough)]
)
def test_other_spellings(name: str, options: dict, sources: dict, tmp_path: Path) -> None:
    source = sources[name]
    x = samples(source, 4)
    if "op_types_to_quantize" in options:
        options = {"OpTypesToExcludeOutputQuantization": ["Conv"]}
    check(source, calibrated(source, x, tmp_path, **options), x)


def test_the_metric_leaves_quantizers_out(sources: dict, tmp_path: Path) -> None:
    source = sources["digits_maxpool_cnn"]
    file = calibrated(source, samples(source, 4), tmp_path, reduce=True)
    found = onnxpath.path_metric(source, file)
    assert 0 < found.relative < 0.05
    assert any("quantizers of activations are left out" in note for note in found.notes)
    network = onnxpath.load(file, quantizers=True)
    assert quantizes(network) and not quantizes(plain(network))
    passed = onnxpath.check(
        source, file, max_relative=found.relative * 1.01, max_path_norm_increase=0.1, max_bound=1e6,
        domain=Domain.box(0, 1), max_flip_rate=0.999,
        inputs=samples(source, 3),
    )  # fmt: skip
    assert passed.passed and any(
        "quantizers of activations are left out" in note for note in passed.pairs[0].notes
    )
    margin = onnxpath.bound(source, file, Domain.samples(samples(source, 2)), search=None, margin=True).margin
    assert margin is not None and all(change > 0 for change in margin.changes)
    for refused in (onnxpath.path_norm, onnxpath.inspect):
        with pytest.raises(UnsupportedError, match="QuantizeLinear"):
            refused(file)
        with pytest.raises(UnsupportedError, match="quantizes activations"):
            refused(network)
    with pytest.raises(UnsupportedError, match="quantizes activations"):
        match(onnxpath.load(source), network)


def test_bounds_that_do_not_count_quantizers_are_not_applicable(sources: dict, tmp_path: Path) -> None:
    source = sources["digits_mlp"]
    file = calibrated(source, samples(source, 4), tmp_path)
    found = onnxpath.bound(source, file, Domain.radius(1), search=0, compare=True)
    shown = [row for row in found.compared if row.value is not None]
    assert {row.name for row in shown} == {"sharp difference pass", "intervals"} and found.compared[
        0
    ] is shown[0]
    assert not shown[0].value < found.largest.certified
    others = [row for row in found.compared if row.value is None]
    assert {"Theorem 3.1", "Lemma E.1", "product of spectral operator norms"} <= {row.name for row in others}
    assert all("not applicable" in row.condition and "QuantizeLinear" in row.condition for row in others)


def test_a_bound_of_weights_alone_is_violated_where_activations_saturate(
    sources: dict, tmp_path: Path
) -> None:
    """Calibrated on dim images and run on bright ones: the files differ by more than weights explain, and by
    less than the bound."""
    source = sources["digits_mlp"]
    x = samples(source, 4)
    file = calibrated(source, x / 20, tmp_path)
    difference = np.abs(meant(source, x) - meant(file, x)).max()
    weights = onnxpath.bound(
        onnxpath.load(source), plain(onnxpath.load(file, quantizers=True)), Domain.samples(x), search=None
    )
    found = onnxpath.bound(source, file, Domain.samples(x), search=None)
    assert weights.largest.certified.value < difference <= found.largest.certified.value
    assert found.parts()["saturation"] > 0.5
    assert found.quantizers[0].saturation == "certain" and found.quantizers[0].certain == len(x)
    # inside the range of calibration nothing saturates
    small = onnxpath.bound(source, calibrated(source, x * 2, tmp_path), Domain.samples(x / 2), search=None)
    assert {item.saturation for item in small.quantizers} == {"impossible"} and small.parts()[
        "saturation"
    ] == 0


@pytest.mark.parametrize(
    ("name", "channel"),
    [
        ("digits_mlp", True),
        ("digits_mlp", False),
        ("digits_maxpool_cnn", False),
        ("unet", False),
        ("mobilenet", False),
    ],
)
def test_dynamic_quantization(name: str, channel: bool, sources: dict, tmp_path: Path) -> None:
    """MatMulInteger and ConvInteger with a step of their own for every input; 16 times the input has 16 times
    the rounding."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    path, file = tmp_path / "float.onnx", str(tmp_path / "dynamic.onnx")
    onnx.save(sources[name], path)
    quantize_dynamic(
        path,
        file,
        per_channel=channel,
        weight_type=QuantType.QInt8 if name == "digits_mlp" else QuantType.QUInt8,
    )
    assert any(node.op_type == "DynamicQuantizeLinear" for node in onnx.load(file).graph.node)
    x = samples(sources[name], 3)
    found, difference = check(sources[name], file, x)
    assert difference.max() > 0
    assert {item.saturation for item in found.quantizers} == {"impossible"} and found.parts()[
        "saturation"
    ] == 0
    assert found.parts()["rounding"] > 0
    if name != "mobilenet":  # ReLU6 has no path-metric
        assert 0 < onnxpath.path_metric(sources[name], file).relative < 0.2


def test_a_dynamic_step_of_a_whole_batch_is_refused(sources: dict, tmp_path: Path) -> None:
    from onnxruntime.quantization import quantize_dynamic

    source = onnx.ModelProto()
    source.CopyFrom(sources["digits_mlp"])
    source.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 4
    for output in source.graph.output:
        output.type.tensor_type.shape.dim[0].dim_value = 4
    onnx.save(source, tmp_path / "float.onnx")
    quantize_dynamic(tmp_path / "float.onnx", tmp_path / "dynamic.onnx")
    with pytest.raises(UnsupportedError, match="DynamicQuantizeLinear.*a batch of 1 is supported"):
        onnxpath.load(tmp_path / "dynamic.onnx", extended=True)
    with pytest.raises(UnsupportedError, match="dynamic.onnx: node .*DynamicQuantizeLinear"):
        onnxpath.load(tmp_path / "dynamic.onnx")


def test_a_quantizer_that_starts_at_0_is_no_relu_where_the_float_network_has_none(tmp_path: Path) -> None:
    """Outputs and inner neurons that are positive on all calibration inputs."""
    torch.manual_seed(4)
    net = nn.Sequential(nn.Conv2d(1, 3, 3), nn.Conv2d(3, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(48, 4))
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.abs_()
    source = export(net, torch.zeros(1, 1, 8, 8))
    x = samples(source, 3)
    for operator in (False, True):
        file = calibrated(source, x, tmp_path, operator=operator, reduce=True)
        assert {
            item.low for item in onnxpath.bound(source, file, Domain.samples(x), search=0).quantizers
        } == {0.0}
        check(source, file, x)
        check(source, file, -x)
        metric = onnxpath.path_metric(source, file)
        assert 0 < metric.relative < 0.1
        assert onnxpath.check(source, file, max_relative=metric.relative * 1.01).passed


def test_two_quantized_files_of_one_network(sources: dict, tmp_path: Path) -> None:
    source = sources["digits_maxpool_cnn"]
    x = samples(source, 4)
    first, second = calibrated(source, x, tmp_path), calibrated(source, x * 1.3, tmp_path, channel=False)
    check(first, second, x)  # type: ignore[arg-type]
    same = onnxpath.bound(first, first, Domain.samples(x), search=None)
    assert same.largest.certified.value == 0
    assert {item.side for item in same.quantizers} == {"a", "b"}


@pytest.mark.parametrize(
    ("name", "operator"), [("digits_maxpool_cnn", True), ("digits_resnet", False), ("mobilenet", False)]
)
def test_kernels_compute_what_files_of_seven_bits_mean(
    name: str, operator: bool, sources: dict, tmp_path: Path
) -> None:
    """Two products of 255 · 64 fit 16 bits, so that no processor's kernels saturate; an argument at the edge
    of a cell may be rounded otherwise."""
    source = sources[name]
    x = samples(source, 6)
    file = calibrated(source, x, tmp_path, operator=operator, reduce=True)
    difference, step = np.abs(run(file, x) - meant(file, x)), np.abs(run(source, x)).max() / 255
    assert np.median(difference) <= 1e-5 * step and difference.max() <= 8 * step
    found = onnxpath.bound(source, file, Domain.samples(x), search=0)
    assert found.largest.files == pytest.approx(np.abs(run(source, x) - run(file, x)).max(), rel=1e-3)
    assert found.largest.files <= found.largest.certified.value


def test_real_pairs(real_models: Path) -> None:
    a, b = (str(real_models / f"{name}.onnx") for name in ("ece_cnn_fp32", "ece_cnn_int8_qdq"))
    x = RNG.random((3, 1, 96, 96)).astype(np.float32)
    difference = np.abs(meant(a, x) - meant(b, x)).max(0)
    found = onnxpath.bound(a, b, Domain.samples(x), search=None)
    assert (difference <= np.asarray(found.outputs[0].bounds)).all()
    # saturation: what weights alone can do is less than what is found
    weights = onnxpath.bound(
        onnxpath.load(a), plain(onnxpath.load(b, quantizers=True)), Domain.samples(x), search=None
    )
    assert weights.largest.certified.value < difference.max()
    assert found.largest.certified.value < 3 * difference.max()
    wide = onnxpath.bound(a, b, Domain.box(0, 1), search=3)
    # of 8 bits, so that the kernels of some processors saturate: then the result says so
    assert wide.largest.files <= wide.largest.certified.value or any("kernels" in note for note in wide.notes)
    assert weights.largest.certified.value < wide.largest.found <= wide.largest.certified.value


def test_a_real_dynamically_quantized_pair(real_models: Path) -> None:
    a, b = (str(real_models / f"{name}.onnx") for name in ("factorio_mlp_fp32", "factorio_mlp_dynquant"))
    for x in (RNG.random((4, 25)), RNG.standard_normal((4, 25)) * 30):
        x = x.astype(np.float32)
        found = onnxpath.bound(a, b, Domain.samples(x), search=0)
        assert (np.abs(meant(a, x) - meant(b, x)).max(0) <= np.asarray(found.outputs[0].bounds)).all()
        assert found.largest.files == pytest.approx(
            np.abs(run(a, x) - run(b, x)).max(), rel=1e-6
        )  # whatever the kernels do
