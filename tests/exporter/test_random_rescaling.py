"""Random files, rescaled in every way: what they compute, their path-norm and their Φ-costs, in float64, and
everything else in the file."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from random_files import random_file
from reference import costs, evaluate, evaluate_absolute, outputs

import onnxpath
from onnxpath.errors import UnsupportedError
from onnxpath.model.network import Network

FACTORS = ((1.0, 128.0, 4096.0), (0.5, 2.0), (0.3, 7.0))


def total(network: Network) -> float:
    ones = {name: np.ones(network.shapes[name]) for name in network.inputs}
    return float(sum(value.sum() for value in outputs(network, evaluate_absolute(network, ones))))


def without_values(model: onnx.ModelProto) -> bytes:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    constants = [node.attribute[0].t for node in copy.graph.node if node.op_type == "Constant"]
    for tensor in (*copy.graph.initializer, *constants):
        for field in ("raw_data", "float_data", "double_data", "int32_data"):
            tensor.ClearField(field)
    return copy.SerializeToString(deterministic=True)


# 2051 and 3000: one tensor read by nodes whose channels are laid out differently; 11080 to 11135: channels
# with factors of 0
SEEDS = [(seed, ("random", "normalize", "equalize")[seed % 3]) for seed in (*range(16), 2051, 3000)]


@pytest.mark.parametrize(
    ("seed", "mode"), [*SEEDS, (11080, "normalize"), (11125, "random"), (11135, "random")]
)
def test_random_files(seed: int, mode: str, tmp_path: Path) -> None:
    out = tmp_path / "out.onnx"
    model = random_file(seed, np.float64)  # rounding then leaves no doubt
    try:
        found = onnxpath.rescale(
            model, out, mode, factors=FACTORS[seed // 3 % 3], seed=seed, provider="cpu", threads=1
        )
    except UnsupportedError as error:
        assert "nothing to rescale" in str(error) and not list(tmp_path.iterdir())
        return
    assert without_values(model) == without_values(onnx.load(out))
    a, b = onnxpath.load(model), onnxpath.load(out)
    exact = found.factors.powers_of_two
    assert found.relative <= 1e-12
    norm = total(a)
    assert total(b) == pytest.approx(norm, rel=1e-13)
    x = {name: np.random.default_rng(seed).standard_normal(a.shapes[name]) for name in a.inputs}
    for p, q in zip(outputs(a, evaluate(a, x)), outputs(b, evaluate(b, x)), strict=True):
        # powers of two rescale every product and every sum without rounding
        np.testing.assert_allclose(q, p, rtol=0, atol=0 if exact and not a.folded else 1e-14 * norm)
    before, after = costs(a), costs(b)
    for key, cost in before.items():
        np.testing.assert_allclose(after[key], cost, rtol=1e-11, atol=1e-14 * norm)
