"""Quantized files of other structures: a scale for every channel, broken quantizers, sums and normalizations
behind quantizers."""

import io
import warnings
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from definition import meant
from quantized_files import calibrated
from torch import nn

import onnxpath
from analyses.quantized_support import RNG, check, samples
from onnxpath.engine.session import Device
from onnxpath.errors import MismatchError, UnsupportedError
from onnxpath.evaluate.forward import Forward
from onnxpath.model.domain import Domain
from onnxpath.ops.quantizer import Channels


def per_channel_file(
    source: onnx.ModelProto, x: np.ndarray, folder: Path, axis: int = 1, count: int | None = None
) -> str:
    """A quantized file in which what the last convolution reads is quantized with a scale for every
    channel."""
    model = onnx.load(calibrated(source, x, folder))
    made = {name: node for node in model.graph.node for name in node.output}
    values = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    convolutions = [
        node
        for node in model.graph.node
        if node.op_type == "Conv" and made[made[node.input[0]].input[0]].op_type == "QuantizeLinear"
    ]
    reader, weight = (made[name] for name in convolutions[-1].input[:2])
    first = made[reader.input[0]]
    channels = count or values[weight.input[0]].shape[1]
    scale = values[first.input[1]] * RNG.uniform(0.3, 1.2, channels)
    for name, array in (
        ("scales", scale.astype(np.float32)),
        ("zeros", np.full(channels, values[first.input[2]])),
    ):
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
    assert np.abs(values[network.outputs[0]].reshape(len(x), -1) - meant(file, x)).max() < 0.2
    for points in (x, x * 2 - 0.5):
        check(source, file, points.astype(np.float32))


@pytest.mark.parametrize(("axis", "count", "kind", "words"), [
    (7, None, onnxpath.ModelError, "axis 7 is out of range for a tensor of rank 4"),
    (1, 3, onnxpath.ModelError, "3 entries"),
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
        onnxpath.bound(
            sources["digits_maxpool_cnn"], broken(lambda model: None, sources, tmp_path), Domain.radius(1)
        )


def plain_nodes(
    *nodes: onnx.NodeProto, weights: dict[str, np.ndarray], shape: tuple[int, ...]
) -> onnx.ModelProto:
    info = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        list(nodes),
        "g",
        [info("x", 1, shape)],
        [info("y", 1, None)],
        [onnx.numpy_helper.from_array(w.astype(np.float32), k) for k, w in weights.items()],
    )
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize("operator", [False, True])
def test_sums_behind_a_quantizer_and_pads_of_integers(operator: bool, tmp_path: Path) -> None:
    """Conv + Add, MatMul + Add and Pad as nodes of their own, each with a quantizer between."""
    make, rng = onnx.helper.make_node, np.random.default_rng(4)
    source = plain_nodes(
        make("Pad", ["x", "pads"], ["p"], "pad"), make("Conv", ["p", "k"], ["c"], "conv"),
        make("Add", ["c", "cb"], ["d"], "plus"), make("Relu", ["d"], ["r"], "relu"),
        make("Flatten", ["r"], ["f"], "flat"), make("MatMul", ["f", "m"], ["g"], "product"),
        make("Add", ["g", "mb"], ["y"], "sum"), shape=(1, 2, 5, 5),
        weights={"k": rng.standard_normal((3, 2, 3, 3)) / 3, "cb": rng.standard_normal((3, 1, 1)),
        "m": rng.standard_normal((75, 4)) / 6, "mb": rng.standard_normal(4)},
    )  # fmt: skip
    source.graph.initializer.append(onnx.numpy_helper.from_array(np.array([0, 0, 1, 1, 0, 0, 1, 1]), "pads"))
    x = (RNG.random((4, 2, 5, 5)) * 2 - 1).astype(np.float32)
    file = calibrated(source, x, tmp_path, operator=operator, channel=False)
    found, _ = check(source, file, x)
    assert any(layer.kind == "rounding" and layer.share > 0 for layer in found.layers)
    assert 0 < onnxpath.path_metric(source, file).relative < 0.1
    assert 0 < onnxpath.path_metric(file, source).relative < 0.1


def test_a_normalization_behind_a_quantizer_is_explained(tmp_path: Path) -> None:
    net = nn.Sequential(
        nn.Conv2d(1, 3, 3, bias=False), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(108, 2)
    )
    torch.manual_seed(5)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_var, 0.5, 2)
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            net.eval(),
            (torch.zeros(1, 1, 8, 8),),
            file,
            dynamo=False,
            opset_version=17,
            training=torch.onnx.TrainingMode.PRESERVE,
            do_constant_folding=False,
        )
    source = onnx.load_from_string(file.getvalue())
    assert any(node.op_type == "BatchNormalization" for node in source.graph.node)
    x = samples(source, 3)
    quantized = calibrated(source, x, tmp_path)
    with pytest.raises(MismatchError, match="--keep-batchnorm"):
        onnxpath.bound(source, quantized, Domain.samples(x), search=None)
    kept = [onnxpath.load(item, extended=True, keep_batchnorm=True) for item in (source, quantized)]
    difference = np.abs(meant(source, x) - meant(quantized, x))
    found = onnxpath.bound(*kept, Domain.samples(x), search=0)
    assert (difference.max(0) <= np.asarray(found.outputs[0].bounds)).all()
