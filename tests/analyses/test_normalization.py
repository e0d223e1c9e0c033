"""Algorithm 1: what normalized networks are, at neuron level and at channel level."""

from dataclasses import replace

import numpy as np
import pytest
from oracle.networks import FLAVOURS, random_network, rescale
from oracle.sketch import Sketch
from reference import evaluate, evaluate_absolute, ones, path_norm

from onnxpath.analyses.theory import lifting, neuron_bounds
from onnxpath.analyses.theory.neurons import INPUT, Graph, graph
from onnxpath.model.network import Network
from onnxpath.rewrites.rescaling.groups import Groups, groups, learned, rescaled
from onnxpath.rewrites.rescaling.normalization import normalize


def sums(g: Graph, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """‖Φ^{→v}‖₁ of every neuron, by a pass of float64 sums."""
    found = np.where(g.kind == INPUT, 1.0, np.abs(bias))
    for neurons, edges in g.layers():
        found[neurons] += np.bincount(
            g.target[edges] - neurons.start,
            np.abs(weight[edges]) * found[g.source[edges]],
            minlength=neurons.stop - neurons.start,
        )
    return found


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_neuron_level(flavour: str) -> None:
    """‖Φ^{→v}‖₁ of a hidden neuron is 1, or 0 where it was 0; Φ and R are unchanged; the norm is in the
    output rows."""
    for seed in range(100):
        network = random_network(seed, flavour, 2000)
        g = graph(network)
        made = neuron_bounds.normalize(g)
        before, after = sums(g, g.weight, g.bias), sums(g, made.weight, made.bias)
        np.testing.assert_allclose(
            after[g.hidden], before[g.hidden] > 0, atol=1e-6
        )  # factors are rounded up by 1e-9 a layer
        assert (after[g.hidden] <= 1 + 1e-12).all()
        np.testing.assert_allclose(2.0 ** made.factor[g.hidden], before[g.hidden], rtol=1e-6)
        paths = lifting.enumerate_paths(g)
        phi = paths.coordinates()
        np.testing.assert_allclose(paths.coordinates(made.weight, made.bias), phi, rtol=1e-12)
        x = {
            name: np.random.default_rng(seed).standard_normal(network.shapes[name]) for name in network.inputs
        }
        ends = g.ends[g.ends >= 0]
        left, right = g.values(x)[ends], replace(g, weight=made.weight, bias=made.bias).values(x)[ends]
        size = max(float(np.abs(x[name]).max()) for name in x) + 1
        np.testing.assert_allclose(left, right, atol=1e-12 * size * np.abs(phi).sum(), rtol=1e-12)
        rows = np.abs(made.bias[ends]) + np.array([np.abs(made.weight[g.target == v]).sum() for v in ends])
        inner = np.isin(ends, g.source)  # an output that other neurons read keeps what comes before it
        if not inner.any():
            assert rows.sum() == pytest.approx(np.abs(phi).sum(), rel=1e-6)


def test_neuron_level_forgets_rescalings() -> None:
    """Two networks that are rescalings of each other have one normalized form, weight by weight."""
    changed = 0
    for seed in range(40):
        network = random_network(seed, "plain", 2000)
        other = rescale(network, np.random.default_rng(seed), True, dtype=np.float64)
        a, b = graph(network), graph(other)
        changed += not np.array_equal(a.weight, b.weight)
        left, right = neuron_bounds.normalize(a), neuron_bounds.normalize(b)
        np.testing.assert_allclose(left.weight, right.weight, rtol=1e-10)
        np.testing.assert_allclose(left.bias, right.bias, rtol=1e-10)
    assert changed > 10


def channel_log2(network: Network, found: Groups | None = None) -> np.ndarray:
    """log2 of what every group is multiplied by; 0 for dead ones, whose weights may keep any factor."""
    up, _ = normalize(network, groups(network) if found is None else found)
    return np.log2(up)


def channel_normalized(network: Network) -> Network:
    found = groups(network)
    log2, changed = channel_log2(network, found), {node.output for node in learned(network)}
    nodes = []
    for node in network.nodes:
        if node.output in changed:
            weight, bias = rescaled(network, node, node.weight, node.bias, found, log2)
            node = replace(node, weight=weight, bias=bias)
        nodes.append(node)
    return replace(network, nodes=tuple(nodes))


@pytest.mark.parametrize("flavour", FLAVOURS[:2])
def test_channel_level(flavour: str) -> None:
    """R and ‖Φ‖₁ are unchanged. Without residual sums, whose channel may be dead in the first branch only and
    get its factor from a later one, normalizing again changes nothing."""
    again = 0
    for seed in range(60):
        network = random_network(seed, flavour, 5000)
        made = channel_normalized(network)
        assert path_norm(made) == pytest.approx(path_norm(network), rel=1e-12, abs=0)
        x = {
            name: np.random.default_rng(seed).standard_normal(network.shapes[name]) for name in network.inputs
        }
        left, right = evaluate(network, x), evaluate(made, x)
        for name in network.outputs:
            np.testing.assert_allclose(left[name], right[name], rtol=1e-9, atol=1e-12 * path_norm(network))
        if not any(node.op in ("Add", "Max") for node in network.nodes):
            np.testing.assert_allclose(channel_log2(made), 0.0, atol=3e-6)  # float32 sums of kernels
            again += 1
    assert again > 15


def test_channel_level_at_a_padded_border() -> None:
    """Inside, ‖Φ^{→v}‖₁ is 1; a border neuron misses part of the kernel and stays below."""
    s, rng = Sketch(x=(1, 2, 5, 5)), np.random.default_rng(0)
    hidden = s.relu(s.conv("x", rng.standard_normal((3, 2, 3, 3)), rng.standard_normal(3), pads=(1, 1, 1, 1)))
    made = channel_normalized(s.network(s.conv(hidden, rng.standard_normal((1, 3, 1, 1)))))
    values = evaluate_absolute(made, ones(made), 1)[hidden][0]
    np.testing.assert_allclose(values[:, 1:-1, 1:-1], 1.0, rtol=1e-8)
    assert (values[:, 0] < 1).all() and (values[:, :, -1] < 1).all()


def test_dead_channels_keep_their_factor() -> None:
    s = Sketch(x=(1, 2))
    network = s.network(s.matmul(s.relu(s.matmul("x", np.array([[1.0, 0.0], [3.0, 0.0]]))), np.ones((2, 1))))
    log2 = channel_log2(network)
    assert sorted(log2[log2 != 0]) == pytest.approx([-2.0], abs=1e-7)
    made = neuron_bounds.normalize(graph(network))
    # the dead neuron's outgoing weight is 0
    np.testing.assert_allclose(made.weight, [0.25, 0.75, 0, 0, 4, 0], rtol=1e-8)
