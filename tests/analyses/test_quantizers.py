"""Quantized activations: matched with the float twin, bounded soundly with the integer kernels of ONNX Runtime, saturation counted."""

import io
import logging
import warnings
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle.sketch import Sketch
from quantized_files import calibrated
from torch import nn

import onnxpath
from onnxpath.bounds import difference_bounds
from onnxpath.domain import Domain
from onnxpath.engine.session import Device
from onnxpath.errors import MismatchError, UnsupportedError
from onnxpath.matching import match
from onnxpath.network import Network
from onnxpath.ops.quantizer import Channels, Dynamic, Quantization
from onnxpath.passes.forward import Forward, counterpart
from onnxpath.quantizers import plain, quantizes

logging.getLogger().setLevel(logging.ERROR)
MODELS = Path(__file__).resolve().parents[2] / "models"
RNG = np.random.default_rng(11)


class Unet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.down, self.inner = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 8, 3, padding=1)
        self.up, self.end = nn.ConvTranspose2d(8, 4, 2, stride=2), nn.Conv2d(8, 2, 3, padding=1)
        self.pool = nn.MaxPool2d(2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first = torch.relu(self.down(x))
        return self.end(torch.cat([first, torch.relu(self.up(torch.relu(self.inner(self.pool(first)))))], 1))


class Mobile(nn.Module):
    """Inverted residual blocks: depthwise convolutions, ReLU6, linear bottlenecks."""

    def __init__(self, activation: type[nn.Module] = nn.ReLU6) -> None:
        super().__init__()

        def layer(i: int, o: int, k: int, groups: int = 1) -> list[nn.Module]:
            return [nn.Conv2d(i, o, k, padding=k // 2, groups=groups), nn.BatchNorm2d(o)]

        self.stem = nn.Sequential(*layer(1, 4, 3), activation())
        self.block = nn.Sequential(*layer(4, 8, 1), activation(), *layer(8, 8, 3, 8), activation(), *layer(8, 4, 1))
        self.head = nn.Linear(4, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        x = x + self.block(x)
        return self.head(x.mean((2, 3)))


def export(net: nn.Module, x: torch.Tensor) -> onnx.ModelProto:
    torch.manual_seed(3)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.normal_(module.running_mean, 0, 0.3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        file = io.BytesIO()
        torch.onnx.export(net.eval(), (x,), file, dynamo=False, opset_version=17)
    return onnx.load_from_string(file.getvalue())


@pytest.fixture(scope="module")
def sources() -> dict[str, onnx.ModelProto]:
    found = {name: onnx.load(MODELS / f"{name}.onnx") for name in ("digits_maxpool_cnn", "digits_mlp", "digits_resnet")}
    torch.manual_seed(1)
    found["unet"] = export(Unet(), torch.zeros(1, 1, 8, 8))
    found["mobilenet"] = export(Mobile(), torch.zeros(1, 1, 8, 8))
    return found


NAMES = ("digits_maxpool_cnn", "digits_mlp", "digits_resnet", "unet", "mobilenet")
# of networks; one step per channel of the weights, or one for all of a tensor
STATIC = [(name, True) for name in NAMES] + [("digits_maxpool_cnn", False), ("mobilenet", False)]


def shape_of(model: onnx.ModelProto) -> tuple[int, ...]:
    return tuple(d.dim_value or 1 for d in model.graph.input[0].type.tensor_type.shape.dim)


def samples(model: onnx.ModelProto, count: int) -> np.ndarray:
    """Inputs of the digits' kind: between 0 and 1, many of them 0."""
    shape = (count, *shape_of(model)[1:])
    return (np.maximum(RNG.random(shape) * 1.6 - 0.6, 0)).astype(np.float32)


def run(source: object, x: np.ndarray) -> np.ndarray:
    """The file as ONNX Runtime computes it: fused integer kernels for quantized ones."""
    session = onnxruntime.InferenceSession(
        source if isinstance(source, str) else source.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    name = session.get_inputs()[0].name
    return np.concatenate([session.run(None, {name: x[k : k + 1]})[0].reshape(1, -1) for k in range(len(x))])


def check(source: onnx.ModelProto, file: str, x: np.ndarray) -> tuple[onnxpath.results.Bound, np.ndarray]:
    """The bound holds for every neuron, for the points of `x` as given inputs and as members of the box around them all."""
    difference = np.abs(run(source, x).astype(np.float64) - run(file, x).astype(np.float64))
    one = onnxpath.bound(source, file, Domain.samples(x), search=None)
    wide = onnxpath.bound(source, file, Domain.box(float(x.min()), float(x.max())), search=1)
    for found in (one, wide):
        limits = np.concatenate([np.asarray(output.bounds) for output in found.outputs])
        assert (difference.max(0) <= limits).all()
    assert wide.largest.found is not None and wide.largest.found <= wide.largest.certified.value
    assert [item.certified.value >= difference[item.index].max() for item in one.inputs] == [True] * len(x)
    return one, difference


@pytest.mark.parametrize(("name", "channel"), STATIC)
def test_static_quantization_is_matched_and_bounded(name: str, channel: bool, sources: dict, tmp_path: Path) -> None:
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


@pytest.mark.parametrize(("name", "channel"), STATIC)
def test_the_qoperator_format(name: str, channel: bool, sources: dict, tmp_path: Path) -> None:
    """QLinearConv, QGemm, QLinearAdd, QLinearConcat, pools on integers: the same as the QDQ form, and bounded."""
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
        nn.Sequential(nn.Conv2d(1, 3, 3), nn.LeakyReLU(0.2), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(27, 4), last), torch.zeros(1, 1, 8, 8)
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
        y = {"Sigmoid": 1 / (1 + np.exp(-y)), "Softmax": np.exp(y) / np.exp(y).sum(1, keepdims=True), "LeakyRelu": y}[end]
        assert np.abs(y - run(file, x)).max() < 0.05 * max(1.0, np.abs(y).max()) and pairing.twin


@pytest.mark.parametrize("options", [{"signed": True}, {"removed": False}, {"wide": True}, {"signed": True, "ActivationSymmetric": True}, {"op_types_to_quantize": ["Conv"]}],
                         ids=["signed", "relus kept", "16 bits", "symmetric", "convolutions only"])  # fmt: skip
@pytest.mark.parametrize("name", ["digits_maxpool_cnn", "mobilenet"])
def test_other_spellings(name: str, options: dict, sources: dict, tmp_path: Path) -> None:
    source = sources[name]
    x = samples(source, 4)
    if "op_types_to_quantize" in options:
        options = {"OpTypesToExcludeOutputQuantization": ["Conv"]}
    check(source, calibrated(source, x, tmp_path, **options), x)


def test_the_metric_leaves_quantizers_out(sources: dict, tmp_path: Path) -> None:
    source = sources["digits_maxpool_cnn"]
    file = calibrated(source, samples(source, 4), tmp_path)
    found = onnxpath.path_metric(source, file)
    assert 0 < found.relative < 0.05
    assert any("quantizers of activations are left out" in note for note in found.notes)
    network = onnxpath.load(file, quantizers=True)
    assert quantizes(network) and not quantizes(plain(network))
    passed = onnxpath.check(
        source, file, max_relative=found.relative * 1.01, max_path_norm_increase=0.1, max_bound=1e6, domain=Domain.box(0, 1), max_flip_rate=0.999,
        inputs=samples(source, 3),
    )  # fmt: skip
    assert passed.passed and any("quantizers of activations are left out" in note for note in passed.pairs[0].notes)
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
    assert [row.name for row in shown] == ["sharp difference pass"] and found.compared[0] is shown[0]
    assert not shown[0].value < found.largest.certified
    others = [row for row in found.compared if row.value is None]
    assert {"Theorem 3.1", "Lemma E.1", "product of spectral operator norms"} <= {row.name for row in others}
    assert all("not applicable" in row.condition and "QuantizeLinear" in row.condition for row in others)


def test_a_bound_of_weights_alone_is_violated_where_activations_saturate(sources: dict, tmp_path: Path) -> None:
    """Calibrated on dim images and run on bright ones: the files differ by more than weights explain, and by less than the bound."""
    source = sources["digits_mlp"]
    x = samples(source, 4)
    file = calibrated(source, x / 20, tmp_path)
    difference = np.abs(run(source, x).astype(np.float64) - run(file, x)).max()
    weights = onnxpath.bound(onnxpath.load(source), plain(onnxpath.load(file, quantizers=True)), Domain.samples(x), search=None)
    found = onnxpath.bound(source, file, Domain.samples(x), search=None)
    assert weights.largest.certified.value < difference <= found.largest.certified.value
    assert found.parts()["saturation"] > 0.5
    assert found.quantizers[0].saturation == "certain" and found.quantizers[0].certain == len(x)
    # inside the range of calibration nothing saturates
    small = onnxpath.bound(source, calibrated(source, x * 2, tmp_path), Domain.samples(x / 2), search=None)
    assert {item.saturation for item in small.quantizers} == {"impossible"} and small.parts()["saturation"] == 0


@pytest.mark.parametrize(
    ("name", "channel"), [("digits_mlp", True), ("digits_mlp", False), ("digits_maxpool_cnn", False), ("unet", False), ("mobilenet", False)]
)
def test_dynamic_quantization(name: str, channel: bool, sources: dict, tmp_path: Path) -> None:
    """MatMulInteger and ConvInteger with a step of their own for every input; 16 times the input has 16 times the rounding."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    path, file = tmp_path / "float.onnx", str(tmp_path / "dynamic.onnx")
    onnx.save(sources[name], path)
    quantize_dynamic(path, file, per_channel=channel, weight_type=QuantType.QInt8 if name == "digits_mlp" else QuantType.QUInt8)
    assert any(node.op_type == "DynamicQuantizeLinear" for node in onnx.load(file).graph.node)
    x = samples(sources[name], 3)
    found, difference = check(sources[name], file, x)
    assert difference.max() > 0
    assert {item.saturation for item in found.quantizers} == {"impossible"} and found.parts()["saturation"] == 0
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
        file = calibrated(source, x, tmp_path, operator=operator)
        assert {item.low for item in onnxpath.bound(source, file, Domain.samples(x), search=0).quantizers} == {0.0}
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


def test_real_pairs(real_models: Path) -> None:
    a, b = (str(real_models / f"{name}.onnx") for name in ("ece_cnn_fp32", "ece_cnn_int8_qdq"))
    x = RNG.random((3, 1, 96, 96)).astype(np.float32)
    difference = np.abs(run(a, x).astype(np.float64) - run(b, x)).max(0)
    found = onnxpath.bound(a, b, Domain.samples(x), search=None)
    assert (difference <= np.asarray(found.outputs[0].bounds)).all()
    # saturation: what weights alone can do is less than what is found
    weights = onnxpath.bound(onnxpath.load(a), plain(onnxpath.load(b, quantizers=True)), Domain.samples(x), search=None)
    assert weights.largest.certified.value < difference.max()
    assert found.largest.certified.value < 3 * difference.max()
    wide = onnxpath.bound(a, b, Domain.box(0, 1), search=3)
    assert wide.largest.files is not None and wide.largest.files <= wide.largest.certified.value
    assert weights.largest.certified.value < wide.largest.found <= wide.largest.certified.value


def test_a_real_dynamically_quantized_pair(real_models: Path) -> None:
    a, b = (str(real_models / f"{name}.onnx") for name in ("factorio_mlp_fp32", "factorio_mlp_dynquant"))
    for x in (RNG.random((4, 25)), RNG.standard_normal((4, 25)) * 30):
        x = x.astype(np.float32)
        difference = np.abs(run(a, x).astype(np.float64) - run(b, x))
        found = onnxpath.bound(a, b, Domain.samples(x), search=0)
        assert (difference.max(0) <= np.asarray(found.outputs[0].bounds)).all()
        assert found.largest.files == pytest.approx(difference.max(), rel=1e-6)


GRIDS = st.one_of(st.none(), st.just(Dynamic()), st.builds(
    lambda step, zero, bits: Quantization(float(np.float32(step)), min(zero, 2**bits - 1), 0, 2**bits - 1),
    st.floats(0.01, 1), st.integers(0, 255), st.integers(2, 8),
), st.integers(0, 20))  # fmt: skip
"""A grid; a number stands for random ones, one per channel."""


def per_channel(seed: int, shape: tuple[int, ...]) -> Channels:
    rng = np.random.default_rng(seed)
    grids = [Quantization(float(np.float32(rng.uniform(0.01, 0.5))), int(rng.integers(0, 16)), 0, 15) for _ in range(shape[1])]
    return Channels(tuple(grids), len(shape))


def build(grids: list[Quantization | Dynamic | int | None], seed: int, spread: float) -> Network:
    """Two convolutions with a shortcut, a pool and a matrix, quantized here and there; weights near those of one random network."""
    base, rng = np.random.default_rng(5), np.random.default_rng(seed)
    take = iter(grids)

    def near(*shape: int) -> np.ndarray:
        return (base.standard_normal(shape) * 0.5 + spread * rng.standard_normal(shape)).astype(np.float32)

    s = Sketch(x=(1, 2, 4, 4))

    def q(x: str) -> str:
        grid = next(take)
        grid = per_channel(grid, s.shapes[x]) if isinstance(grid, int) else grid
        return x if grid is None else s.node("Quantizer", [x], s.shapes[x], quantizer=grid)

    x = q("x")
    first = q(s.relu(s.conv(x, near(2, 2, 3, 3), near(2), pads=(1, 1, 1, 1))))
    second = q(s.conv(first, near(2, 2, 3, 3), near(2), pads=(1, 1, 1, 1)))
    total = q(s.relu(s.add(first, second)))
    flat = q(s.reshape(s.max_pool(total, (2, 2), strides=(2, 2)), 1, 8))
    return s.network(q(s.matmul(flat, near(8, 3), near(3))))


@settings(max_examples=15, deadline=None)
@given(st.lists(GRIDS, min_size=6, max_size=6), st.lists(GRIDS, min_size=6, max_size=6), st.booleans(), st.integers(0, 99),
       st.sampled_from([0.0, 0.01, 0.3]), st.floats(0.1, 3), st.floats(0, 0.5))  # fmt: skip
def test_no_input_of_a_domain_violates_the_bound(
    p: list, q: list, alike: bool, seed: int, spread: float, radius: float, epsilon: float
) -> None:
    a, b = build(p, 0, spread), build(p if alike else q, seed, spread)
    pairing = match(a, b, quantizers=True)
    rng = np.random.default_rng(seed)
    centers = rng.uniform(-radius, radius, (3, 2, 4, 4)).astype(np.float32)
    exact = Device("cpu", "float64")
    forward = Forward([pairing.a, counterpart(pairing)], exact)
    for domain, points in (
        (Domain.radius(radius), [rng.uniform(-radius, radius, (40, 2, 4, 4)), radius * rng.choice([-1, 1], (40, 2, 4, 4))]),
        (Domain.around(centers, epsilon), [c + epsilon * rng.choice([-1, 0, 1], (20, 2, 4, 4)) for c in centers.astype(np.float64)]),
    ):
        found = difference_bounds.bounds(pairing, domain.resolve(pairing.a), Device("cpu"))
        (limits,) = (array.floats() for array in found.outputs.values())
        for k, inputs in enumerate(points):
            first, second = (values[pairing.a.outputs[0]] for values in forward.run({pairing.a.inputs[0]: inputs}))
            difference = np.abs(first - second).reshape(len(inputs), -1)
            assert (difference <= limits[k if len(limits) > 1 else 0] * (1 + 1e-9) + 1e-12).all()
        layers = difference_bounds.layers(pairing, domain.resolve(pairing.a), found, 0, Device("cpu"))
        assert sum(layer.share for layer in layers) == pytest.approx(1 if limits[0].any() else 0, abs=1e-4)


def per_channel_file(source: onnx.ModelProto, x: np.ndarray, folder: Path, axis: int = 1, count: int | None = None) -> str:
    """A quantized file in which what the last convolution reads is quantized with a scale for every channel."""
    model = onnx.load(calibrated(source, x, folder))
    made = {name: node for node in model.graph.node for name in node.output}
    values = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    convolutions = [
        node for node in model.graph.node if node.op_type == "Conv" and made[made[node.input[0]].input[0]].op_type == "QuantizeLinear"
    ]
    reader, weight = (made[name] for name in convolutions[-1].input[:2])
    first = made[reader.input[0]]
    channels = count or values[weight.input[0]].shape[1]
    scale = values[first.input[1]] * RNG.uniform(0.3, 1.2, channels)
    for name, array in (("scales", scale.astype(np.float32)), ("zeros", np.full(channels, values[first.input[2]]))):
        model.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    for node in (first, reader):
        node.input[1:3] = ["scales", "zeros"]
        node.attribute.append(onnx.helper.make_attribute("axis", axis))
    path = folder / "channels.onnx"
    onnx.save(model, path)
    return str(path)


def test_one_scale_for_every_channel(sources: dict, tmp_path: Path) -> None:
    source = sources["digits_maxpool_cnn"]
    x = samples(source, 4)
    file = per_channel_file(source, x, tmp_path)
    network = onnxpath.load(file, extended=True)
    assert any(isinstance(node.attributes.get("quantizer"), Channels) for node in network.nodes)
    (values,) = Forward([network], Device("cpu", "float64")).run({network.inputs[0]: x})
    assert np.abs(values[network.outputs[0]].reshape(len(x), -1) - run(file, x)).max() < 0.2
    for points in (x, x * 2 - 0.5):
        check(source, file, points.astype(np.float32))


@pytest.mark.parametrize(("axis", "count", "kind", "words"), [
    (7, None, onnxpath.ModelError, "axis 7 is out of range for a tensor of rank 4"), (1, 3, onnxpath.ModelError, "3 entries"),
    (2, 2, UnsupportedError, "one scale per index of axis 2"),
])  # fmt: skip
def test_channels_that_do_not_fit_are_named(
    axis: int, count: int | None, kind: type[Exception], words: str, sources: dict, tmp_path: Path
) -> None:
    source = sources["digits_maxpool_cnn"]
    with pytest.raises(kind, match=words):
        onnxpath.load(per_channel_file(source, samples(source, 2), tmp_path, axis, count), extended=True)


def broken(change: object, sources: dict, tmp_path: Path) -> str:
    source = sources["digits_mlp"]
    model = onnx.load(calibrated(source, samples(source, 2), tmp_path))
    change(model)  # type: ignore[operator]
    path = tmp_path / "broken.onnx"
    onnx.save(model, path)
    return str(path)


def test_broken_quantizers_of_activations_are_named(sources: dict, tmp_path: Path) -> None:
    def scale(value: np.ndarray) -> object:
        def change(model: onnx.ModelProto) -> None:
            node = next(node for node in model.graph.node if node.op_type == "QuantizeLinear")
            tensor = next(tensor for tensor in model.graph.initializer if tensor.name == node.input[1])
            tensor.CopyFrom(onnx.numpy_helper.from_array(value, tensor.name))

        return change

    def other_scale(model: onnx.ModelProto) -> None:
        node = next(node for node in model.graph.node if node.op_type == "QuantizeLinear")
        reader = next(reader for reader in model.graph.node if reader.input[0] == node.output[0])
        reader.input[1] = "other"
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.array(0.5, np.float32), "other"))

    for change, words in (
        (scale(np.array(0, np.float32)), "is 0; a positive number"),
        (scale(np.array(np.nan, np.float32)), "is nan; a positive number"),
        (scale(np.ones(3, np.float32)), "zero point .* has shape"),
        (other_scale, "scale 0.5 and zero point"),
    ):
        with pytest.raises((UnsupportedError, onnxpath.ModelError), match=words):
            onnxpath.load(broken(change, sources, tmp_path), extended=True)
    with pytest.raises(MismatchError, match="first difference"):
        onnxpath.bound(sources["digits_maxpool_cnn"], broken(lambda model: None, sources, tmp_path), Domain.radius(1))
