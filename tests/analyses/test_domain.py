"""Domains become boxes of the right shape, or say what does not fit."""

from dataclasses import replace

import numpy as np
import pytest
from oracle.sketch import Sketch

from onnxpath.errors import UsageError
from onnxpath.model.domain import Domain
from onnxpath.model.network import Network


@pytest.fixture
def network() -> Network:
    s = Sketch(x=(1, 3, 4, 5))
    return s.network(s.relu("x"))


def test_radius_and_box(network: Network) -> None:
    region = Domain.radius(2).resolve(network)
    assert region.size == 1 and region.uniform and region.centers is None
    assert (
        region.low["x"].shape == (1, 3, 4, 5)
        and (region.low["x"] == -2).all()
        and (region.high["x"] == 2).all()
    )
    region = Domain.box([0, -3, 1], [1, 2, 1]).resolve(network)
    assert region.uniform and region.radius()["x"][0, :, 0, 0].tolist() == [1, 3, 1]
    cells = np.arange(20.0).reshape(1, 4, 5)
    region = Domain.box({"x": -cells}, {"x": 2 * cells}).resolve(network)
    assert not region.uniform and (region.radius()["x"] == 2 * cells).all()


def test_samples_and_boxes_around_them(network: Network) -> None:
    x = np.random.default_rng(0).uniform(0, 1, (7, 3, 4, 5))
    for given in (x, {"x": x}, {"pixels": x}):
        region = Domain.samples(given).resolve(network)
        fed = x.astype(np.float32).astype(np.float64)
        assert (
            region.size == 7
            and (region.low["x"] == np.minimum(x, fed)).all()
            and (region.high["x"] == np.maximum(x, fed)).all()
        )
        single = Domain.samples(fed).resolve(network)
        assert (single.low["x"] == fed).all() and (single.high["x"] == fed).all()
    region = Domain.around({"x": x, "labels": np.zeros(7)}, [0.1, 0.2, 0.3], 0, 1).resolve(network)
    assert (region.low["x"] >= 0).all() and (region.high["x"] <= 1).all()
    np.testing.assert_allclose(region.high["x"][:, 2], np.minimum(x[:, 2] + 0.3, 1), rtol=1e-7)
    assert Domain.samples(x[0]).resolve(network).size == 1


def test_networks_without_a_batch_axis(network: Network) -> None:
    fixed = replace(network, batched=False)
    assert Domain.radius(1).resolve(fixed).low["x"].shape == (1, 3, 4, 5)
    with pytest.raises(UsageError, match="expected \\[1, 3, 4, 5\\]"):
        Domain.samples(np.zeros((2, 3, 4, 5))).resolve(fixed)


@pytest.mark.parametrize(
    "domain, message",
    [
        (lambda: Domain.radius(-1), "radius must be >= 0"),
        (lambda: Domain.radius(np.inf), "not finite"),
        (lambda: Domain.box(1, 0), "above the high"),
        (lambda: Domain.box(np.zeros(4), 1), "shape \\[4\\]"),
        (lambda: Domain.box({"y": 0}, 1), "no low limit for input 'x'"),
        (lambda: Domain(), "both a low and a high"),
        (lambda: Domain.samples(np.zeros((2, 3, 4, 4))), "shape \\[2, 3, 4, 4\\]"),
        (lambda: Domain.samples(np.zeros((0, 3, 4, 5))), "shape \\[0, 3, 4, 5\\]"),
        (lambda: Domain.samples(np.full((1, 3, 4, 5), np.nan)), "NaN"),
        (lambda: Domain.samples(np.full((1, 3, 4, 5), 1e300)), "too large"),
        (lambda: Domain.samples({"y": np.zeros((1, 3, 4, 5)), "z": np.zeros(1)}), "no samples for input 'x'"),
        (lambda: Domain.samples(np.full((1, 3, 4, 5), "a")), "not numbers"),
        (lambda: Domain.around(np.zeros((1, 3, 4, 5)), -0.1), "epsilon must be >= 0"),
        (
            lambda: Domain.around(np.zeros((2, 3, 4, 5)), 0.1, 0.5, 1),
            "sample 0 lies below the low limit \\(2 of 2 do\\)",
        ),
        (lambda: Domain.around(np.zeros((2, 3, 4, 5)), 0.1, -2, -1), "above the high limit"),
    ],
)
def test_what_does_not_fit(network: Network, domain, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        domain().resolve(network)


def test_inputs_of_different_length() -> None:
    s = Sketch(x=(1, 2), y=(1, 2))
    network = s.network(s.add("x", "y"))
    with pytest.raises(UsageError, match="different numbers of samples"):
        Domain.samples({"x": np.zeros((2, 2)), "y": np.zeros((3, 2))}).resolve(network)
    with pytest.raises(UsageError, match="no samples for input"):
        Domain.samples(np.zeros((2, 2))).resolve(network)


def test_samples_that_float32_does_not_hold(network: Network) -> None:
    """The box of a sample has the number given and its float32 rounding; limits are compared with the number
    given."""
    x = np.full((1, 3, 4, 5), 0.1)
    region = Domain.samples(x).resolve(network)
    assert (region.low["x"] == 0.1).all() and (region.high["x"] == np.float64(np.float32(0.1))).all()
    assert (region.centers["x"] == np.float64(np.float32(0.1))).all()
    cut = Domain.around(x, 0.01, 0.0, 0.1).resolve(network)
    assert (cut.high["x"] == 0.1).all() and (cut.centers["x"] <= cut.high["x"]).all()
