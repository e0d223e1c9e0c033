"""The signed forward pass computes what the network computes: against float64 PyTorch and against ONNX
Runtime on the files."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from oracle.networks import KINDS, perturb, random_network
from oracle.sketch import Sketch
from reference import evaluate

import onnxpath
from onnxpath.engine.session import Device
from onnxpath.evaluate.forward import Forward, counterpart
from onnxpath.model.matching import match
from onnxpath.model.network import Network

MODELS = Path(__file__).resolve().parents[2] / "models"
DEVICES = {precision: Device("cpu", precision, 1) for precision in ("float32", "float64")}
# float64: the order of a sum differs from PyTorch's; float32: a few dozen roundings of 6e-8 along a chain
TOLERANCE = {"float64": 1e-12, "float32": 2e-5}


def draw(network: Network, batch: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Samples that float32 holds exactly."""
    rows = batch if network.batched else 1
    shapes = {
        name: (rows, *network.shapes[name][1:]) if network.batched else network.shapes[name]
        for name in network.inputs
    }
    return {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}


def by_sample(network: Network, inputs: dict[str, np.ndarray]) -> list[dict[str, np.ndarray]]:
    return (
        [{name: x[k : k + 1] for name, x in inputs.items()} for k in range(len(inputs["x"]))]
        if network.batched
        else [inputs]
    )


def scale(network: Network, values: dict[str, np.ndarray]) -> float:
    """The largest value anywhere in the network: what roundings are relative to."""
    return max(float(np.abs(value).max()) for value in values.values())


@pytest.mark.parametrize("precision", list(DEVICES))
@pytest.mark.parametrize("flavour", ["plain", "sparse"])
@examples(7)
@given(seed=st.integers(0, 2**32 - 1), kind=st.sampled_from(KINDS))
def test_both_networks_of_a_pair(precision: str, flavour: str, seed: int, kind: str) -> None:
    rng = np.random.default_rng(seed)
    a = random_network(seed, flavour)
    b = perturb(a, kind, rng)
    pairing = match(a, b)
    inputs = draw(a, 3, rng)
    found = Forward([pairing.a, counterpart(pairing)], DEVICES[precision]).run(inputs)
    for network, result in zip((a, b), found, strict=True):
        for k, sample in enumerate(by_sample(a, inputs)):
            values = evaluate(network, sample)
            for name, other in zip(a.outputs, network.outputs, strict=True):
                ours = result[name][k : k + 1] if a.batched else result[name]
                assert np.abs(ours - values[other]).max() <= TOLERANCE[precision] * scale(network, values)


def test_a_network_without_a_batch_axis() -> None:
    rng = np.random.default_rng(0)
    s = Sketch(x=(3, 4))
    x = s.relu(s.matmul("x", rng.standard_normal((4, 5)).astype(np.float32)))
    network = s.network(s.transpose(x, 1, 0), batched=False)
    inputs = draw(network, 1, rng)
    (found,) = Forward([network], DEVICES["float64"]).run(inputs)
    np.testing.assert_allclose(
        found[network.outputs[0]], evaluate(network, inputs)[network.outputs[0]], rtol=1e-13
    )


def test_parameters_beyond_float32_become_infinite_without_a_warning() -> None:
    s = Sketch(x=(1, 1))
    network = s.network(s.matmul("x", np.array([[1e300]])))
    (found,) = Forward([network], DEVICES["float32"]).run({"x": np.ones((1, 1))})
    assert np.isinf(found[network.outputs[0]]).all()


@pytest.mark.parametrize("path", sorted(MODELS.glob("*.onnx")), ids=lambda path: path.stem)
def test_the_models_in_onnx_runtime(path: Path) -> None:
    with np.load(MODELS / "digits_test.npz") as data:
        x = data["x"][:7]
    network = onnxpath.load(path)
    (found,) = Forward([network], DEVICES["float32"]).run({network.inputs[0]: x.astype(np.float32)})
    (expected,) = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(
        ["logits"], {"x": x}
    )
    assert np.abs(found[network.outputs[0]] - expected).max() <= 1e-5 * np.abs(expected).max()


@pytest.mark.parametrize(
    "name", ["cifar_deep_kw", "cora_mnist_trades", "mnist_cntk", "resnet20_cifar_bn", "unet_small_sedgen"]
)
def test_real_models_in_onnx_runtime(real_models: Path, name: str) -> None:
    """In both precisions; these files have no tail that the importer leaves off."""
    path = real_models / f"{name}.onnx"
    network = onnxpath.load(path)
    assert not network.cut
    inputs = {key: np.random.default_rng(0).random(network.shapes[key], np.float32) for key in network.inputs}
    expected = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(
        list(network.output_names), inputs
    )
    for precision in ("float32", "float64") if name != "unet_small_sedgen" else ("float32",):
        (found,) = Forward([network], DEVICES[precision]).run(inputs)
        for output, right in zip(network.outputs, expected, strict=True):
            assert np.abs(found[output] - right).max() <= 1e-4 * np.abs(right).max()
