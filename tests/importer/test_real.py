"""Files written by other people: the canonical network computes what ONNX Runtime computes, or the refusal
names its reason."""

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from reference import evaluate, outputs

from onnxpath.errors import ModelError, UnsupportedError
from onnxpath.importer import load
from onnxpath.model.network import Network

RUNNABLE = [
    "cifar_deep_kw", "cifar_deep_kw_simp", "collins_rul_w20", "convnet_avgpool", "cora_mnist_point",
    "cora_mnist_trades", "ece_cnn_fp32",
    "factorio_mlp_fp32", "light_resnet50", "mnist_cntk", "resnet20_cifar_bn", "resnet56_c100_simdoc_p50",
    "slim320_bn", "slim320_folded",
    "unet_small_sedgen",
]  # fmt: skip


def structure(network: Network) -> list[tuple]:
    """Operators, attributes, wiring and parameter shapes, without any name."""
    number = {name: k for k, name in enumerate(network.inputs)}
    found = []
    for node in network.nodes:
        attributes = {key: np.asarray(value).tolist() for key, value in node.attributes.items()}
        operands = tuple(number[name] for name in node.inputs)
        found.append(
            (
                node.op,
                attributes,
                operands,
                tuple(p.shape for p in node.parameters()),
                network.shapes[node.output],
            )
        )
        number[node.output] = len(number)
    return found


def before_the_tail(path: Path, network: Network) -> onnx.ModelProto:
    """The file with its outputs moved before the nodes that the importer left off."""
    model = onnx.load(path)
    del model.graph.output[:]
    model.graph.output.extend(onnx.ValueInfoProto(name=network.tails[name]) for name in network.output_names)
    return model


@pytest.mark.parametrize("name", RUNNABLE)
def test_canonical_network_computes_what_onnx_runtime_computes(real_models: Path, name: str) -> None:
    path = real_models / f"{name}.onnx"
    network = load(path)
    rng = np.random.default_rng(0)
    inputs = {key: rng.standard_normal(network.shapes[key]).astype(np.float32) for key in network.inputs}
    session = onnxruntime.InferenceSession(
        before_the_tail(path, network).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    expected = session.run(None, inputs)
    found = outputs(network, evaluate(network, inputs))
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected, strict=True):
        # float32 against float64: rounding grows with depth, measured against the largest output
        assert ours.shape == theirs.shape
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=5e-5 * max(np.abs(ours).max(), 1e-3))
    assert network.batched


@pytest.mark.parametrize("pair", [("cifar_deep_kw", "cifar_deep_kw_simp"), ("slim320_bn", "slim320_folded")])
def test_two_encodings_of_one_network_have_one_structure(real_models: Path, pair: tuple[str, str]) -> None:
    first, second = (load(real_models / f"{name}.onnx") for name in pair)
    assert structure(first) == structure(second)
    for a, b in zip(first.nodes, second.nodes, strict=True):
        for p, q in zip(a.parameters(), b.parameters(), strict=True):
            # PAIR E2 was folded in float32 by the simplifier
            np.testing.assert_allclose(p.array(), q.array(), rtol=1e-4, atol=1e-4 * np.abs(q.array()).max())


def test_float64_declarations_around_float32_weights_are_read(real_models: Path) -> None:
    network = load(real_models / "drones_ac4_double.onnx")
    assert [node.op for node in network.nodes] == ["MatMul", "Relu", "MatMul", "Relu", "MatMul"]
    assert network.shapes[network.inputs[0]] == (1, 12)


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        ("qkeras_jettagging_qonnx", UnsupportedError, ["Quant_8", "Quant rounds activations"]),
        ("resnet18_extdata_missing", ModelError, ["conv1.weight", "resnet18_cifar10.onnx.data"]),
        ("factorio_mlp_dynquant", UnsupportedError, ["DynamicQuantizeLinear"]),
        ("ece_cnn_int8_qdq", UnsupportedError, ["QuantizeLinear", "input_QuantizeLinear"]),
    ],
)
def test_refusals_name_what_is_refused(
    real_models: Path, name: str, kind: type[Exception], words: list[str]
) -> None:
    with pytest.raises(kind) as caught:
        load(real_models / f"{name}.onnx")
    assert "\n" not in str(caught.value)
    assert all(word in str(caught.value) for word in words)


def test_batchnorms_fold_or_stay(real_models: Path) -> None:
    path = real_models / "resnet20_cifar_bn.onnx"
    folded, kept = load(path), load(path, keep_batchnorm=True)
    assert Counter(node.op for node in folded.nodes) == {
        "Conv": 21,
        "Relu": 19,
        "Add": 9,
        "ReduceSum": 1,
        "Scale": 1,
        "Reshape": 1,
        "MatMul": 1,
    }
    assert Counter(node.op for node in kept.nodes)["Scale"] == 22
    assert len(folded.folded) == 21 and any("21 BatchNormalization" in note for note in folded.notes)
    rng = np.random.default_rng(1)
    inputs = {folded.inputs[0]: rng.standard_normal((1, 3, 32, 32))}
    one, two = (outputs(network, evaluate(network, inputs))[0] for network in (folded, kept))
    np.testing.assert_allclose(one, two, rtol=1e-11)


def test_selecting_outputs(real_models: Path) -> None:
    path = real_models / "slim320_bn.onnx"
    both = load(path)
    boxes = load(path, output_names=["boxes"])
    assert both.output_names == ("scores", "boxes") and boxes.output_names == ("boxes",)
    assert len(boxes.nodes) < len(both.nodes) and not boxes.cut


def test_weights_are_not_copied(real_models: Path) -> None:
    """Each weight is the file's float32 array under a float64 factor, however it was folded."""
    network = load(real_models / "resnet20_cifar_bn.onnx")
    for node in network.nodes:
        if node.op == "Conv":
            assert node.weight.base.dtype == np.float32 and node.weight.scale.size == node.weight.shape[0]
