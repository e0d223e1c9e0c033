"""Local certificates of pairs that quantize activations: no point of a box is above its certificate, nor
disagrees where it agrees."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from definition import meant
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from quantized_files import calibrated

import onnxpath
from analyses.quantized_support import GRIDS, build
from onnxpath.analyses.certify.certifier import Options
from onnxpath.analyses.certify.certify import certify
from onnxpath.boxes.local_bounds import LocalBounds
from onnxpath.boxes.refinement import Refinement
from onnxpath.engine.session import Device
from onnxpath.evaluate.forward import Forward, counterpart
from onnxpath.model.domain import Domain
from onnxpath.model.matching import match

MODELS = Path(__file__).resolve().parents[2] / "models"
PAIRS = (
    st.lists(GRIDS, min_size=6, max_size=6),
    st.lists(GRIDS, min_size=6, max_size=6),
    st.booleans(),
    st.integers(0, 10**6),
    st.sampled_from([0.0, 0.01, 0.3]),
    st.sampled_from([0.0, 1e-3, 0.05, 0.5]),
    st.sampled_from(["float32", "float64"]),
)


def boxes(rng: np.random.Generator, epsilon: float, count: int) -> tuple[Domain, np.ndarray]:
    """Some boxes, and points of each: corners and others."""
    centers = (rng.normal(size=(count, 2, 4, 4)) * rng.choice([0.1, 1, 5])).astype(np.float32)
    steps = np.where(
        rng.random((count, 1, 1, 1, 1)) < 0.5,
        rng.choice([-1, 0, 1], (count, 20, 2, 4, 4)),
        rng.uniform(-1, 1, (count, 20, 2, 4, 4)),
    )
    return Domain.around(centers, epsilon), centers.astype(np.float64)[:, None] + epsilon * steps


@examples(14)
@given(*PAIRS, st.integers(0, 3))
def test_certificates_hold(
    p: list, q: list, alike: bool, seed: int, spread: float, epsilon: float, precision: str, effort: int
) -> None:
    a, b = build(p, 0, spread), build(p if alike else q, seed, spread)
    rng = np.random.default_rng(seed)
    domain, points = boxes(rng, epsilon, 8)
    result = certify(
        a, b, domain, Device("cpu", precision, 1), Options(effort=effort, search=1, tighten=True)
    )
    pairing = match(a, b, quantizers=True)
    forward = Forward([pairing.a, counterpart(pairing)], Device("cpu", "float64"))
    for item, inputs in zip(result.inputs, points, strict=True):
        first, second = (
            values[pairing.a.outputs[0]] for values in forward.run({pairing.a.inputs[0]: inputs})
        )
        (limits,) = item.outputs.values()
        assert (np.abs(first - second) <= np.array(limits) * (1 + 1e-9) + 1e-12).all()
        if item.verdict == "agree":
            assert (first.argmax(1) == item.predicted).all() and (second.argmax(1) == item.predicted).all()


@examples(9)
@given(*PAIRS)
def test_intervals_hold_what_quantizers_read(
    p: list, q: list, alike: bool, seed: int, spread: float, epsilon: float, precision: str
) -> None:
    """Of A, of B and of B - A, before and after refinement, at the input of every quantizer and
    activation."""
    a, b = build(p, 0, spread), build(p if alike else q, seed, spread)
    rng = np.random.default_rng(seed)
    domain, points = boxes(rng, epsilon, 4)
    pairing = match(a, b, quantizers=True)
    region = domain.resolve(pairing.a)
    local = LocalBounds(pairing, Device("cpu", precision, 1))
    state = local.start(region.low, region.high)
    tensors = [name for name in state.known if name in pairing.a.shapes and name not in pairing.a.inputs]
    sides = [
        Forward([replace(network, outputs=tuple(tensors))], Device("cpu", "float64"))
        for network in (pairing.a, counterpart(pairing))
    ]
    for refined in (False, True):
        if refined:
            Refinement(local).run(state)
        for k, inputs in enumerate(points):
            values = [side.run({pairing.a.inputs[0]: inputs})[0] for side in sides]
            for name in tensors:
                known, spare = (
                    state.known[name],
                    1e-9 * (1 + max(np.abs(found[name]).max() for found in values)),
                )
                one, other = (found[name] for found in values)
                for value, low, high in (
                    (one, known.al, known.au),
                    (other, known.bl, known.bu),
                    (other - one, known.dl, known.du),
                ):
                    assert (value >= low[k] - spare).all() and (value <= high[k] + spare).all(), (
                        name,
                        refined,
                    )


@pytest.mark.parametrize("name", ["digits_mlp", "digits_maxpool_cnn"])
def test_int8_activations(name: str, tmp_path: Path) -> None:
    """Calibrated files: most images agree at a small radius, and what the files mean keeps every
    certificate."""
    source = onnx.load(MODELS / f"{name}.onnx")
    images = np.load(MODELS / "digits_test.npz")["x"].astype(np.float32)
    file = calibrated(source, images[200:260], tmp_path)
    written = {"graph_optimization_level": "disable_all"}  # evaluated as it is written, on every processor
    result = onnxpath.certify(
        str(MODELS / f"{name}.onnx"), file, images[:12], 0.001, low=0, high=1, file_options=written
    )
    assert result.share("agree") > 0.8 and result.files is not None and result.files.faithful
    rng = np.random.default_rng(0)
    for item, image in zip(result.inputs, images, strict=False):
        inside = np.clip(image + 0.001 * rng.choice([-1, 0, 1], (6, *image.shape)), 0, 1).astype(np.float32)
        first, second = meant(source, inside), meant(file, inside)
        (limits,) = item.outputs.values()
        assert (np.abs(first - second).max(0) <= np.array(limits) + 1e-5).all()
        if item.verdict == "agree":
            assert (first.argmax(1) == item.predicted).all() and (second.argmax(1) == item.predicted).all()
