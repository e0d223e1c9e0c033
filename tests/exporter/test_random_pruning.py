"""Random files, pruned in every way: the certificate against float64 evaluations of the file as it is
written."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from random_files import random_file
from reference import costs, evaluate, evaluate_absolute, gradient, outputs

import onnxpath
from onnxpath.errors import UsageError
from onnxpath.model.domain import Domain
from onnxpath.model.network import Network

CPU = {"provider": "cpu", "threads": 1}
LOW, HIGH = -0.5, 1.0


def total(network: Network) -> float:
    """‖Φ‖₁ in float64."""
    ones = {name: np.ones(network.shapes[name]) for name in network.inputs}
    return float(sum(value.sum() for value in outputs(network, evaluate_absolute(network, ones))))


def options(seed: int) -> dict:
    rng = np.random.default_rng([seed, 1])
    pattern = ("unstructured", "channels", "unstructured", "1:2", "unstructured")[seed % 5]
    made: dict = {"pattern": pattern, "criterion": str(rng.choice(["path", "path", "magnitude", "random"]))}
    if pattern != "1:2":
        made |= {
            "sparsity": float(rng.choice([0.05, 0.4, 0.8])),
            "scope": str(rng.choice(["global", "layer"])),
        }
    if pattern == "unstructured":
        made |= {"biases": bool(rng.random() < 0.4), "iterations": int(rng.choice([1, 1, 3]))}
    return made


def apart(a: Network, b: Network, seed: int) -> Iterator[list[np.ndarray]]:
    """Differences of outputs at corners of the box [LOW, HIGH], each found from the one before by the signs
    of its gradient."""
    rng = np.random.default_rng(seed)
    for _ in range(3):
        x = {name: np.where(rng.random(a.shapes[name]) < 0.5, LOW, HIGH) for name in a.inputs}
        for _ in range(3):
            found = [
                p - q for p, q in zip(outputs(a, evaluate(a, x)), outputs(b, evaluate(b, x)), strict=True)
            ]
            yield found
            signs = [np.sign(value) for value in found]
            up, down = (gradient(net, x, dict(zip(net.outputs, signs, strict=True))) for net in (a, b))
            x = {name: np.where(up[name] >= down[name], HIGH, LOW) for name in x}


@pytest.mark.parametrize("seed", range(25))
def test_certificates_of_random_files(seed: int, tmp_path: Path) -> None:
    source, out, asked = tmp_path / "model.onnx", tmp_path / "out.onnx", options(seed)
    onnx.save(random_file(seed), source)
    try:
        result = onnxpath.prune(source, out, domain=Domain.box(LOW, HIGH), **asked, **CPU)
    except UsageError as error:
        assert "no channel can be removed" in str(error)
        assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]
        return
    found, a, b = result.files[0].certificate, onnxpath.load(source), onnxpath.load(out)
    norms = total(a), total(b)
    metric = norms[0] - norms[1]  # the pair is monotone
    cancelled = 1e-12 * norms[0]
    assert found.path_norm.value == pytest.approx(norms[0], rel=1e-5)
    assert found.pruned_path_norm.value == pytest.approx(norms[1], rel=1e-5, abs=1e-300)
    assert found.path_metric.exact and found.path_metric.upper.value == pytest.approx(
        metric, rel=1e-5, abs=cancelled
    )
    assert found.path_metric.upper <= found.removed_cost and found.path_metric.upper <= found.bound
    assert found.bound.value >= metric - cancelled
    if asked["pattern"] != "channels":
        again = onnxpath.path_metric(source, out, **CPU).path_metric
        assert again.exact and again.upper.value == pytest.approx(
            found.path_metric.upper.value, rel=1e-5, abs=cancelled
        )
        if asked.get("iterations", 1) == 1:
            assert found.removed_cost.value == pytest.approx(removed(a, b), rel=1e-5, abs=cancelled)
    for difference in apart(a, b, seed):
        largest, summed = (
            f([np.abs(value).max() if f is max else np.abs(value).sum() for value in difference])
            for f in (max, sum)
        )
        assert summed <= found.bound.value * (1 + 1e-12) and summed <= found.domain.total.value * (1 + 1e-12)
        assert largest <= found.domain.largest.value * (1 + 1e-12)


def removed(a: Network, b: Network) -> float:
    """Σ of float64 costs of the coordinates that are 0 in b alone."""
    found = 0.0
    for (output, kind), cost in costs(a).items():
        if kind != "value":
            before, after = (getattr(net.producer[output], kind) for net in (a, b))
            found += cost[(before.array() != 0) & (after.array() == 0)].sum()
    return float(found)
