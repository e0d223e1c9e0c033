"""Φ-costs against float64 autograd, against enumerated paths, and against the identities that they obey."""

from dataclasses import replace

import numpy as np
import pytest
import reference
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from oracle import networks, paths
from oracle.sketch import Sketch

import onnxpath
from onnxpath.analyses.prune.costs import path_costs
from onnxpath.engine.session import Device
from onnxpath.errors import UsageError
from onnxpath.model.network import Network, Parameter
from onnxpath.records import PathCosts

TOLERANCE = {"float32": 1e-5, "float64": 1e-11}
CPU = {precision: Device("cpu", precision, 1) for precision in TOLERANCE}


def close(found: np.ndarray, expected: np.ndarray, tolerance: float, floor: float = 0.0) -> None:
    """Relative to every single entry; what is below `floor` may be flushed."""
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=floor)


def compare(result: PathCosts, expected: dict, tolerance: float, floor: float = 0.0) -> None:
    for item in result.parameters:
        close(
            np.ldexp(item.mantissa.astype(np.float64), result.exponent),
            expected[item.node, item.kind],
            tolerance,
            floor,
        )


@examples(15)
@given(
    seed=st.integers(0, 2**32 - 1),
    flavour=st.sampled_from(networks.FLAVOURS),
    precision=st.sampled_from(sorted(TOLERANCE)),
)
def test_every_coordinate_agrees_with_autograd(seed: int, flavour: str, precision: str) -> None:
    network = networks.random_network(seed, flavour)
    result, expected = path_costs(network, CPU[precision]), reference.costs(network)
    learned = {key for key in expected if key[1] != "value"}
    assert {(item.node, item.kind) for item in result.parameters} <= learned
    norm = reference.path_norm(network)
    # a float32 pass may flush what is below 2**-60 of the whole; channels of "extreme" networks are 24 orders
    # of magnitude apart
    compare(result, expected, TOLERANCE[precision], norm * (2.0**-60 if precision == "float32" else 1e-200))
    missing = learned - {(item.node, item.kind) for item in result.parameters}
    assert all(not expected[key].any() for key in missing)
    assert (
        result.path_norm.over(onnxpath.path_norm(network).norms[0].value) == pytest.approx(1, rel=1e-5)
        or norm == 0
    )


@examples(7)
@given(seed=st.integers(0, 2**32 - 1))
def test_cost_is_the_path_metric_of_removing_one_coordinate(seed: int) -> None:
    """‖Φ(θ) - Φ(θ - θ_i e_i)‖₁, path by path."""
    network, rng = networks.random_network(seed, limit=1500), np.random.default_rng(seed)
    result = path_costs(network, CPU["float64"])
    for item in rng.permutation(np.array(result.parameters, object))[:4]:
        assert item.exact
        k = int(rng.integers(item.mantissa.size))
        removed = np.zeros(item.mantissa.size)
        removed[k] = 1

        def without(parameter: Parameter, gone: np.ndarray = removed) -> Parameter:
            return replace(parameter, base=np.where(gone.reshape(parameter.shape), 0, parameter.base))

        pruned = _changed(network, item.node, item.kind, without)
        found = sum(float(values.sum()) for values in paths.metric(network, pruned).values())
        cost = float(np.ldexp(item.mantissa.reshape(-1)[k].astype(np.float64), result.exponent))
        assert cost == pytest.approx(found, rel=1e-10, abs=1e-200)


def _changed(network: Network, output: str, kind: str, change) -> Network:
    nodes = tuple(
        replace(node, **{kind: change(getattr(node, kind))}) if node.output == output else node
        for node in network.nodes
    )
    return replace(network, nodes=nodes)


@examples(8)
@given(seed=st.integers(0, 2**32 - 1))
def test_a_layer_costs_what_its_weights_and_biases_cost(seed: int) -> None:
    """Euler: every path through a neuron enters it by one weight, or starts at its bias. And a channel's cost
    is Σ a_v g_v."""
    network = networks.random_network(seed)
    result, expected = path_costs(network, CPU["float64"]), reference.costs(network)
    for layer in result.layers:
        (node,) = (node for node in network.nodes if node.name == layer.name)
        parts = [item.mantissa.sum() for item in result.parameters if item.node == node.output]
        if node.weight is not None and not node.weight.fixed:
            assert layer.neurons.sum() == pytest.approx(sum(parts), rel=1e-9, abs=1e-290)
        value = expected[node.output, "value"]
        axis = value.ndim - (2 if node.attributes.get("side") == "left" else 1) if node.op == "MatMul" else 1
        channels = value.sum(tuple(k for k in range(value.ndim) if k != axis))
        close(np.ldexp(layer.neurons, result.exponent), channels, 1e-10, 1e-290)


def test_costs_at_the_cut_of_a_chain_are_the_path_norm() -> None:
    rng, s = np.random.default_rng(0), Sketch(x=(1, 3, 9, 9))
    x = s.relu(s.conv("x", rng.standard_normal((4, 3, 3, 3)), rng.standard_normal(4), pads=(1,) * 4))
    x = s.relu(s.conv(x, rng.standard_normal((4, 2, 3, 3)), pads=(1,) * 4, strides=(2, 2), group=2))
    network = s.network(s.matmul(s.flatten(x), rng.standard_normal((100, 5))))
    result = path_costs(network, CPU["float64"])
    by_layer = {item.layer: item.mantissa.sum() for item in result.parameters if item.kind == "weight"}
    norm = result.path_norm
    last, middle, first = (
        by_layer[node.name] for node in reversed([n for n in network.nodes if n.weight is not None])
    )
    assert np.ldexp(last, result.exponent) == pytest.approx(norm.value, rel=1e-12)
    assert middle == pytest.approx(last, rel=1e-12)
    (bias,) = (item.mantissa.sum() for item in result.parameters if item.kind == "bias")
    assert first + bias == pytest.approx(last, rel=1e-12)


@pytest.mark.parametrize("precision", sorted(TOLERANCE))
def test_cotangents_choose_outputs(precision: str) -> None:
    network = networks.random_network(11)
    (output, *_), size = network.outputs, network.shapes[network.outputs[0]][1]
    kappa = np.random.default_rng(0).random(size)
    result = path_costs(network, CPU[precision], {network.output_names[0]: kappa})
    weights = {name: np.zeros(network.shapes[name]) for name in network.outputs}
    weights[output] = np.broadcast_to(
        kappa.reshape(1, -1, *(1,) * (len(network.shapes[output]) - 2)), network.shapes[output]
    )
    compare(result, reference.costs(network, weights), TOLERANCE[precision], 1e-30)
    parts = [path_costs(network, CPU["float64"], {label: np.ones(())}) for label in network.output_names]
    whole = path_costs(network, CPU["float64"])
    for k, item in enumerate(whole.parameters):
        total = sum(
            np.ldexp(other.mantissa, part.exponent)
            for part in parts
            for other in part.parameters
            if (other.node, other.kind) == (item.node, item.kind)
        )
        close(np.ldexp(item.mantissa, whole.exponent), total, 1e-12, 1e-200)
        assert k < len(whole.parameters)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([1.0, -1, 1], ">= 0"),
        ([np.nan, 1, 1], "finite"),
        ([0.0, 0, 0], "all weights"),
        ([1.0, 1], "do not fit"),
        ({"z": 1.0}, "no output 'z'"),
    ],
)
def test_cotangents_that_are_none(weights: object, message: str) -> None:
    s = Sketch(x=(1, 2))
    network = s.network(s.matmul("x", np.ones((2, 3))))
    with pytest.raises(UsageError, match=message):
        path_costs(network, cotangent=weights if isinstance(weights, dict) else np.array(weights))


def _twice(apart: bool) -> tuple[Network, Parameter]:
    rng, s = np.random.default_rng(3), Sketch(x=(1, 3))
    shared = Parameter("w", rng.standard_normal((3, 3)), None, ("w",))
    x = s.relu(s.matmul("x", shared))
    y = s.relu(s.matmul("x" if apart else x, shared))
    return s.network(s.add(x, y) if apart else y), shared


def test_a_weight_used_twice_on_one_path_has_an_upper_bound() -> None:
    network, shared = _twice(apart=False)
    result = path_costs(network, CPU["float64"])
    (item,) = result.parameters
    assert not item.exact and any("upper bounds" in note for note in result.notes)
    strict = 0
    for k in range(9):
        gone = replace(shared, base=np.where(np.arange(9).reshape(3, 3) == k, 0, shared.base))
        pruned = replace(
            network, nodes=tuple(replace(n, weight=gone) if n.weight is shared else n for n in network.nodes)
        )
        true = sum(float(values.sum()) for values in paths.metric(network, pruned).values())
        cost = float(np.ldexp(item.mantissa.reshape(-1)[k], result.exponent))
        assert cost >= true * (1 - 1e-12)
        strict += cost > true * (1 + 1e-9)
    assert strict  # a diagonal entry is met twice by a path


def test_a_weight_used_twice_on_different_paths_is_exact() -> None:
    network, shared = _twice(apart=True)
    (item,) = path_costs(network, CPU["float64"]).parameters
    assert item.exact
    removed = replace(shared, base=np.where(np.arange(9).reshape(3, 3) == 4, 0, shared.base))
    pruned = replace(
        network, nodes=tuple(replace(n, weight=removed) if n.weight is shared else n for n in network.nodes)
    )
    true = sum(float(values.sum()) for values in paths.metric(network, pruned).values())
    result = path_costs(network, CPU["float64"])
    assert float(np.ldexp(result.parameters[0].mantissa[1, 1], result.exponent)) == pytest.approx(
        true, rel=1e-12
    )


def test_magnitudes_far_beyond_float32_and_float64() -> None:
    """300 layers whose path-norm is about 10**600: costs of one layer still add up to it."""
    s, x = Sketch(x=(1, 4)), "x"
    rng = np.random.default_rng(5)
    for _ in range(300):
        x = s.relu(s.matmul(x, rng.uniform(10, 50, (4, 4)).astype(np.float32)))
    result = path_costs(s.network(x), CPU["float32"])
    assert result.path_norm.value is None and result.path_norm.log10 > 500
    for layer in result.layers:
        assert layer.cost.over(result.path_norm) == pytest.approx(1, rel=1e-4)
    for item in result.parameters:
        assert np.isfinite(item.mantissa).all() and (item.mantissa > 0).all()


def test_dead_channels_cost_nothing() -> None:
    s, big = Sketch(x=(1, 2)), np.float32(1e38)
    x = s.relu(s.matmul("x", np.array([[1, 0], [1, 0]], np.float32)))
    x = s.relu(s.matmul(x, np.array([[1, 1], [big, big]], np.float32)))
    x = s.relu(s.matmul(x, np.array([[big], [big]], np.float32)))
    result = path_costs(s.network(s.matmul(x, np.array([[1.0]], np.float32))), CPU["float32"])
    first, second, *_ = result.parameters
    assert (first.mantissa[:, 0] > 0).all() and not first.mantissa[:, 1].any()
    assert (second.mantissa[0] > 0).all() and not second.mantissa[1].any()


def test_arrays_have_names_of_the_file() -> None:
    network, _ = _twice(apart=True)
    result = path_costs(network)
    arrays = result.arrays()
    assert set(arrays) == {"exponent", "weight:w", *(f"neurons:{layer.name}" for layer in result.layers)}
    document = result.to_dict()
    assert document["schema"] == "onnxpath.costs/1" and document["parameters"][0]["sum"]["value"] > 0
