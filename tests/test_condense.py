"""The condensed network computes what the absolute network computes, and has its derivatives."""

from collections.abc import Iterator

import numpy as np
import pytest
from examples import examples
from hypothesis import HealthCheck, given
from hypothesis import strategies as st
from oracle.stacks import Builder, random_pair
from reference import costs
from test_collapse import DOUBLE, values

import onnxpath
from onnxpath.analyses.prune.costs import path_costs
from onnxpath.engine.session import Device
from onnxpath.lanes import absolute
from onnxpath.rewrites import condense as module
from onnxpath.rewrites.condense import condense
from onnxpath.rewrites.symmetry import equal_cotangents, equal_values


@pytest.fixture(scope="module")
def always() -> Iterator[None]:
    """Networks are condensed whatever it costs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_DEARER", float("inf"))
        patch.setattr(module, "_LARGEST", 1 << 24)
        yield


@examples(50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32 - 1))
def test_every_output_keeps_its_value(always: None, seed: int) -> None:
    pair = random_pair(seed)
    if pair is None:
        return
    small = condense(pair[0])
    for full, found in zip(values(pair[0]), values(small), strict=True):
        assert full.shape == found.shape
        np.testing.assert_allclose(found, full, rtol=1e-12)


@examples(20)
@given(seed=st.integers(0, 2**32 - 1))
def test_costs_count_every_cell(always: None, seed: int) -> None:
    """The pass on the condensed network against autograd on the whole one, for every single coordinate and
    channel."""
    pair = random_pair(seed)
    if pair is None or not pair[0].parameters():
        return
    network = pair[0]
    result, expected = path_costs(network, DOUBLE), costs(network)
    for item in result.parameters:
        np.testing.assert_allclose(
            np.ldexp(item.mantissa, result.exponent), expected[item.node, item.kind], rtol=1e-10, atol=1e-290
        )
    names = [node.name for node in network.nodes]
    for layer in result.layers:
        value = expected[network.nodes[names.index(layer.name)].output, "value"]
        through = value.sum(tuple(k for k in range(value.ndim) if k != 1))
        np.testing.assert_allclose(np.ldexp(layer.neurons, result.exponent), through, rtol=1e-10, atol=1e-290)


def test_most_of_these_stacks_are_condensed(always: None) -> None:
    pairs = [pair for pair in map(random_pair, range(60)) if pair is not None]
    condensed = [pair for pair in pairs if any(node.op == "Unfold" for node in condense(pair[0]).nodes)]
    assert 2 * len(condensed) > len(pairs) > 20


def averaged(size: list[int]) -> onnxpath.model.network.Network:
    """Six padded convolutions, and the mean of every channel."""
    builder = Builder(np.random.default_rng(0), 2)
    for _ in range(6):
        weight = builder.weight(2, 2, 3, 3)
        builder.add("Conv", [builder.tensor, weight], kernel_shape=[3, 3], pads=[1] * 4)
    builder.add("GlobalAveragePool", [builder.tensor])
    return onnxpath.load(builder.model(size))


def test_cells_are_alike_from_both_ends() -> None:
    network = averaged([40, 50])
    convolutions = [node.output for node in network.nodes if node.op == "Conv"]
    kinds = equal_values(network), equal_cotangents(network)
    counts = [[tuple(max(labels) + 1 for labels in found[name]) for name in convolutions] for found in kinds]
    assert counts == [[(2 * k + 1,) * 2 for k in range(1, 7)], [(2 * k + 1,) * 2 for k in range(5, -1, -1)]]
    small = condense(network)
    assert [small.shapes[node.output][2:] for node in small.nodes if node.op == "Conv"] == [
        (1, n * n) for n in (3, 5, 7, 5, 3, 1)
    ]


def test_float32_keeps_its_certificate() -> None:
    network = averaged([224, 224])
    exact = values(network)[0]
    small = condense(network)
    assert any(node.op == "Unfold" for node in small.nodes)
    (reading,) = absolute.evaluate(small, 1.0, Device("cpu", "float32", 1), absolute.ones(small)).values()
    found = np.ldexp(
        reading.values.mantissa, np.broadcast_to(reading.values.exponent, reading.values.mantissa.shape)
    )
    assert np.abs(found / exact - 1).max() <= reading.rho < 1e-4


def test_what_is_not_worth_it_is_collapsed() -> None:
    """Unfolding a whole image that is told apart cell by cell, or a network without an image."""
    builder = Builder(np.random.default_rng(0), 2)
    for _ in range(40):
        builder.add("Conv", [builder.tensor, builder.weight(2, 2, 3, 3)], kernel_shape=[3, 3], pads=[1] * 4)
    assert not any(node.op == "Unfold" for node in condense(onnxpath.load(builder.model([60, 60]))).nodes)
