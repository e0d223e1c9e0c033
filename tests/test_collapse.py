"""Leaving out equal cells changes no number: norms, metrics and shares of the collapsed network are those of
the network."""

import numpy as np
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from oracle.stacks import Builder, random_pair

import onnxpath
from onnxpath.analyses.metric import metric as metric_module
from onnxpath.engine.session import Device
from onnxpath.lanes import absolute
from onnxpath.model.network import Network
from onnxpath.rewrites.collapse import Axis, collapse

DOUBLE = Device("cpu", "float64", 1)


def values(network: Network) -> list[np.ndarray]:
    found = absolute.evaluate(network, 1.0, DOUBLE, absolute.ones(network))
    return [
        np.ldexp(
            found[name].values.mantissa,
            np.broadcast_to(found[name].values.exponent, found[name].values.mantissa.shape),
        )
        for name in network.outputs
    ]


@examples(50)
@given(seed=st.integers(0, 2**32 - 1))
def test_every_output_keeps_its_value(seed: int) -> None:
    pair = random_pair(seed)
    if pair is None:
        return
    for full, small in zip(values(pair[0]), values(collapse(pair[0])), strict=True):
        assert full.shape == small.shape
        np.testing.assert_allclose(small, full, rtol=1e-12)


@examples(14)
@given(seed=st.integers(0, 2**32 - 1))
def test_metrics_and_shares_are_kept(seed: int) -> None:
    pair = random_pair(seed)
    if pair is None:
        return
    small = metric_module.path_metric(*pair, DOUBLE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(metric_module, "collapse", lambda network: network)
        full = metric_module.path_metric(*pair, DOUBLE)
    for end in ("lower", "upper"):
        assert getattr(small.path_metric, end).value == pytest.approx(
            getattr(full.path_metric, end).value, rel=1e-9
        )
    assert small.path_metric.exact == full.path_metric.exact
    assert [layer.name for layer in small.layers] == [layer.name for layer in full.layers]
    assert [layer.share for layer in small.layers] == pytest.approx(
        [layer.share for layer in full.layers], abs=1e-9
    )


def test_a_large_image_costs_what_its_borders_cost() -> None:
    builder = Builder(np.random.default_rng(0), 2)
    for _ in range(3):
        weight = builder.weight(2, 2, 3, 3)
        builder.add("Conv", [builder.tensor, weight], kernel_shape=[3, 3], pads=[1] * 4)
    small = collapse(onnxpath.load(builder.model([500, 700])))
    windows = [node for node in small.nodes if node.op == "Conv"]
    assert [small.shapes[node.output][2:] for node in windows] == [(3, 3), (5, 5), (7, 7)]
    assert small.shapes[small.outputs[0]][2:] == (500, 700)


def test_indices_repeat_the_cell_between() -> None:
    axis = Axis(length=10, front=2, back=1, left_out=6)  # cells 0 1 | 2 | 9, the cells 3 to 8 left out
    assert axis.repeat(6) == [0, 1, 2, 3]
    assert axis.repeat(0) == [0, 1, 2, 2, 2, 2, 2, 2, 2, 3]
    assert axis.repeat(4) == [0, 1, 2, 2, 2, 3]
