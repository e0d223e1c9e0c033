"""The difference of two networks at a point, followed beside one of them, is that of their values."""

from dataclasses import replace

import numpy as np
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from oracle.networks import KINDS, perturb, random_network
from reference import evaluate

import onnxpath
from onnxpath.engine.session import Device
from onnxpath.evaluate.displacement import Displacement
from onnxpath.evaluate.forward import counterpart
from onnxpath.evaluate.weights import pairs
from onnxpath.model.matching import Pairing, match
from onnxpath.rewrites.maxima import without_maxima
from passes.test_sharp_activations import activated


def displaced(pairing: Pairing, precision: str, x: dict[str, np.ndarray]):
    network, twin = without_maxima(pairing.a, dict(pairing.twin))
    found = Displacement(network, pairs(network, twin), Device("cpu", precision, 1)).run(x)
    both = (network, counterpart(replace(pairing, a=network, twin=twin)))
    rows = [{name: array[k : k + 1] for name, array in x.items()} for k in range(len(next(iter(x.values()))))]
    values = [[evaluate(side, row) for row in rows] for side in both]
    largest = max(np.abs(array).max() for side in values for row in side for array in row.values())
    return (
        found,
        [{name: np.concatenate([row[name] for row in side]) for name in network.outputs} for side in values],
        largest,
    )


@examples(20)
@given(seed=st.integers(0, 2**32 - 1), kind=st.sampled_from(KINDS), extended=st.booleans())
def test_it_is_the_difference_of_the_values(seed: int, kind: str, extended: bool) -> None:
    rng = np.random.default_rng(seed)
    a = random_network(seed)
    a = activated(a, rng) if extended else a
    if not a.batched:
        return
    x = {name: rng.normal(size=(3, *a.shapes[name][1:])) for name in a.inputs}
    (values, shifts), (p, q), largest = displaced(match(a, perturb(a, kind, rng)), "float64", x)
    for name in a.outputs:
        spare = 1e-11 * (1 + largest)
        assert np.abs(values[name] - p[name]).max() <= spare
        assert np.abs(shifts[name] - (q[name] - p[name])).max() <= spare


@pytest.mark.parametrize(
    "name, other",
    [("maxpool_cnn", "maxpool_cnn_int8grid"), ("resnet", "resnet_finetuned"), ("resnet", "resnet_bn")],
)
def test_single_precision_keeps_small_differences(name: str, other: str) -> None:
    """Relative to the difference itself, where subtracting float32 outputs would leave little of it: those of
    the two spellings of a network are 1e-7 of the outputs."""
    pairing = match(*(onnxpath.load(f"models/digits_{file}.onnx") for file in (name, other)))
    x = {"x": np.load("models/digits_test.npz")["x"][:20].astype(np.float64)}
    (_, shifts), (p, q), _ = displaced(pairing, "float32", x)
    for output in pairing.a.outputs:
        true = q[output] - p[output]
        assert np.abs(shifts[output] - true).max() <= 1e-3 * np.abs(true).max()
