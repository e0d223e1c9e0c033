"""Rescaling groups: any free group may be multiplied by any positive factor, and alignment finds the factors
again."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from oracle import paths
from oracle.networks import random_network
from oracle.sketch import Sketch
from reference import evaluate

from onnxpath.analyses.metric.metric import path_metric
from onnxpath.engine.session import Device
from onnxpath.model.matching import match
from onnxpath.model.network import Network, Parameter
from onnxpath.ops import OPERATORS
from onnxpath.rewrites.rescaling import alignment
from onnxpath.rewrites.rescaling import groups as rescaling

RNG = np.random.default_rng(11)


def w(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape)


def same(s: Sketch, x: str, out: int, **kw) -> str:
    """A 3x3 convolution that keeps the image's size."""
    return s.conv(x, w(out, s.shapes[x][1] // kw.get("group", 1), 3, 3), w(out), pads=(1, 1, 1, 1), **kw)


def image(make: Callable[[Sketch], str], channels: int = 2) -> Network:
    s = Sketch(x=(1, channels, 4, 4))
    return s.network(make(s))


def head(s: Sketch, x: str) -> str:
    flat = s.flatten(x)
    return s.matmul(flat, w(s.shapes[flat][1], 3), w(3))


def _sequence(s: Sketch) -> str:
    return head(s, s.max_pool(s.relu(same(s, s.relu(same(s, "x", 3)), 4)), (2, 2)))


def _residual(s: Sketch) -> str:
    x = s.relu(same(s, "x", 3))
    for _ in range(2):
        x = s.relu(s.add(x, same(s, s.relu(same(s, x, 5)), 3)))
    return head(s, x)


def _concat(s: Sketch) -> str:
    a, b = s.relu(same(s, "x", 2)), s.relu(same(s, "x", 3))
    return head(s, s.relu(same(s, s.concat(a, b, a), 2)))


def _grouped(s: Sketch) -> str:
    return head(s, s.relu(same(s, s.relu(same(s, "x", 4)), 6, group=2)))


def _depthwise(s: Sketch) -> str:
    return head(s, s.relu(same(s, s.relu(same(s, s.relu(same(s, "x", 4)), 4, group=4)), 3)))


def _transposed(s: Sketch) -> str:
    x = s.relu(s.conv_transpose(s.relu(same(s, "x", 4)), w(4, 3, 2, 2), w(6), strides=(2, 2), group=2))
    return head(s, s.conv_transpose(x, w(6, 2, 3, 3), None, pads=(1, 1, 1, 1)))


def _normalized(s: Sketch) -> str:
    x = s.relu(s.scale(s.concat(same(s, "x", 2), same(s, "x", 2)), w(1, 4, 1, 1), w(1, 4, 1, 1)))
    return head(s, s.scale(s.max_pool(x, (2, 2)), None, w(1, 4, 1, 1)))


def _averaged(s: Sketch) -> str:
    return head(s, s.average_pool(s.relu(same(s, "x", 4)), (2, 2)))


def _averaged_then_shifted(s: Sketch) -> str:
    """Fixed coefficients and a learned bias in one node."""
    x = s.sum_pool(s.relu(same(s, "x", 4)), (2, 2))
    x = s.node("Scale", [x], s.shapes[x], np.full((1, 1, 1, 1), 0.25), w(1, 4, 1, 1), fixed=True)
    return head(s, s.relu(x))


def _interpolated_then_shifted(s: Sketch) -> str:
    x = s.matmul(s.relu(same(s, "x", 3)), np.abs(w(4, 5)), w(3, 1, 1), fixed=True)
    return head(s, s.relu(x))


def _shuffled(s: Sketch) -> str:
    x = s.relu(same(s, "x", 4))
    x = s.reshape(s.transpose(s.reshape(x, 1, 2, 2, 4, 4), 0, 2, 1, 3, 4), 1, 4, 4, 4)
    return head(s, same(s, s.gather(x, 1, (3, 1, 1, 0)), 2))


def _split(s: Sketch) -> str:
    x = s.relu(same(s, "x", 4))
    return head(
        s, s.maximum(s.slice(x, (1,), (0,), (2,), (1,)), same(s, s.slice(x, (1,), (2,), (4,), (1,)), 2))
    )


def _channels_last(s: Sketch) -> str:
    x = s.transpose(s.relu(same(s, "x", 3)), 0, 2, 3, 1)
    x = s.relu(s.matmul(x, w(3, 5), w(5)))
    return head(s, s.reduce("ReduceMax", s.transpose(x, 0, 3, 1, 2), (2, 3)))


def _across_channels(s: Sketch) -> str:
    return head(s, s.reduce("ReduceSum", s.relu(same(s, "x", 3)), (1,)))


def _left(s: Sketch) -> str:
    x = s.matmul(s.reshape("x", 1, 2, 16), w(3, 2), w(3, 1), side="left")
    x = s.matmul(s.relu(x), w(4, 3), w(16), side="left")
    return head(s, s.relu(x))


def _batched(s: Sketch) -> str:
    x = s.relu(s.matmul("x", w(2, 4, 5), w(2, 1, 5)))
    return head(s, s.matmul(x, w(1, 2, 5, 3), w(4, 1)))


def _moved(s: Sketch) -> str:
    x = s.pad(s.relu(same(s, "x", 3)), (0, 0, 1, 0, 0, 0, 0, 2))
    x = s.expand(s.reshape(s.reduce("ReduceMax", x, (2, 3)), 1, 3, 1, 1), 1, 3, 2, 2)
    return head(s, same(s, x, 2))


def _shared(s: Sketch) -> str:
    """One weight in two nodes keeps the channels around it as they are."""
    x = s.relu(same(s, s.relu(same(s, "x", 3)), 3))
    s._nodes[2] = replace(s._nodes[2], weight=replace(s._nodes[2].weight, sources=("shared",)))
    weight = s._nodes[2].weight
    return head(s, s.relu(same(s, s.conv(x, weight, pads=(1, 1, 1, 1)), 4)))


# the network, and how many channels are free (None: fewer would do)
NETWORKS: dict[str, tuple[Callable[[Sketch], str], int | None]] = {
    "sequence": (_sequence, 7),
    "residual": (_residual, 3 + 5 + 5),
    "concat": (_concat, 2 + 3 + 2),
    "grouped": (_grouped, 4 + 6),
    "depthwise": (_depthwise, 4 + 4 + 3),
    "ConvTranspose": (_transposed, 4 + 6 + 2),
    "normalized": (_normalized, 4 + 4),
    "average": (_averaged, 4),
    "average, then bias": (_averaged_then_shifted, 4),
    "interpolated, then bias": (_interpolated_then_shifted, None),
    "shuffled": (_shuffled, 4 + 2),
    "split": (_split, 4),
    "channels last": (_channels_last, 3 + 5),
    "sum over channels": (_across_channels, 1),
    "left": (_left, 3 + 1),
    "batched": (_batched, 5 + 1),
    "moved": (_moved, 3 + 2),
    "shared": (_shared, 4),
}
EACH = pytest.mark.parametrize("name", NETWORKS)


def build(name: str) -> Network:
    return image(NETWORKS[name][0])


def stored(parameter: Parameter | None) -> Parameter | None:
    """As a file would hold it: one float64 array."""
    return (
        None
        if parameter is None
        else replace(parameter, base=np.array(parameter.array(), np.float64), scale=None)
    )


def rescaled(
    network: Network, rng: np.random.Generator, size: float, powers: bool = False, keep=stored
) -> Network:
    """Every free group times its own random factor, through `onnxpath.rewrites.rescaling.groups.rescaled`."""
    found = rescaling.groups(network)
    log2 = np.zeros(found.count)
    free = sorted(found.free())
    log2[free] = rng.uniform(-size, size, len(free))
    log2 = np.rint(log2) if powers else log2
    nodes = []
    for node in network.nodes:
        if OPERATORS[node.op].kind == "weighted":
            weight, bias = rescaling.rescaled(network, node, node.weight, node.bias, found, log2)
            node = replace(node, weight=keep(weight), bias=keep(bias))
        nodes.append(node)
    return replace(network, nodes=tuple(nodes))


def outputs(network: Network, seed: int) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    values = evaluate(network, {name: rng.standard_normal(network.shapes[name]) for name in network.inputs})
    return [values[name] for name in network.outputs]


def same_function(a: Network, b: Network, tolerance: float = 1e-10) -> None:
    for seed in range(3):
        for x, y in zip(outputs(a, seed), outputs(b, seed), strict=True):
            assert np.abs(x - y).max() <= tolerance * np.abs(x).max()


@EACH
def test_free_groups(name: str) -> None:
    free, right = len(rescaling.groups(build(name)).free()), NETWORKS[name][1]
    assert right is None or free == right


@EACH
def test_rescaling_keeps_the_function(name: str) -> None:
    network, rng = build(name), np.random.default_rng(1)
    twin = rescaled(network, rng, 8)
    pairs = zip(network.nodes, twin.nodes, strict=True)
    assert any(x.weight is not y.weight for x, y in pairs), "nothing was rescaled"
    same_function(network, twin)


@examples(15)
@given(seed=st.integers(0, 2**32 - 1))
def test_rescaling_keeps_the_path_lifting(seed: int) -> None:
    network = random_network(seed, "sparse")
    twin = rescaled(network, np.random.default_rng(seed), 8)
    lifted, again = paths.lift(network), paths.lift(twin)
    for name in network.outputs:
        np.testing.assert_allclose(again[name].p, lifted[name].p, rtol=1e-11)


@EACH
def test_pinned_channels_have_no_freedom(name: str) -> None:
    """Inputs and outputs keep λ = 1."""
    network = build(name)
    found = rescaling.groups(network)
    for tensor in (*network.inputs, *network.outputs):
        assert not found.ids[tensor].any()


@EACH
@pytest.mark.parametrize("powers", [True, False])
def test_alignment_recovers_the_rescaling(name: str, powers: bool) -> None:
    """Aligned to its original, a rescaled copy has the original's parameters again."""
    network = build(name)
    twin = rescaled(network, np.random.default_rng(2), 10, powers)
    found = path_metric(network, twin, Device("cpu", "float64", 1))
    assert found.relative < 1e-9
    if powers:
        assert found.path_metric.exact and found.path_metric.upper.value == 0


def test_a_rescaled_copy_that_shares_its_arrays_is_not_the_same_network() -> None:
    """`Parameter.scale` alone makes the difference, as `rescaled` returns it."""
    network = build("sequence")
    twin = rescaled(network, np.random.default_rng(2), 10, True, keep=lambda parameter: parameter)
    assert path_metric(network, twin, Device("cpu", "float64", 1)).relative < 1e-9


@EACH
def test_alignment_never_changes_the_function(name: str) -> None:
    """Whatever factors alignment chooses for a network of other weights, the aligned one computes what it
    did."""
    network = build(name)
    rng = np.random.default_rng(3)
    other = rescaled(
        paths.combine(network, network, lambda k, p, q: p * (1 + 0.3 * rng.standard_normal(p.shape))), rng, 12
    )
    pairing = match(network, other)
    aligned = alignment.align(pairing, 0.0)
    if aligned is None:
        assert not rescaling.groups(network, pairing.twin).free()
        return
    nodes = [
        (
            replace(n, weight=aligned.twin[n.output][0], bias=aligned.twin[n.output][1])
            if n.output in aligned.twin
            else n
        )
        for n in network.nodes
    ]
    twin = replace(network, nodes=tuple(nodes))
    assert any(
        x.weight is not y.weight for x, y in zip(nodes, other.nodes, strict=True) if x.weight is not None
    )
    same_function(other, twin)


@pytest.mark.parametrize("dead", ["row", "row and column"])
def test_dead_channels_do_not_disturb_alignment(dead: str) -> None:
    """A channel that structured pruning emptied in both networks says nothing about λ: the others are found
    all the same."""
    rng = np.random.default_rng(4)
    network = build("sequence")

    def prune(k: int, p: np.ndarray, q: np.ndarray) -> np.ndarray:
        p = p.copy()
        if k == 0:
            p[1] = 0
        if k == 1 and p.ndim == 4 and dead == "row and column":
            p[:, 1] = 0
        return p

    network = paths.combine(network, network, prune)
    for powers in (True, False):
        found = path_metric(network, rescaled(network, rng, 8, powers), Device("cpu", "float64", 1))
        assert found.relative < 1e-9
