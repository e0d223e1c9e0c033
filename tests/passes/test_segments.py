"""Passes over boxes are made of segments: one graph for every structure, each with its own parameters, and
walks from every border."""

from dataclasses import replace

import numpy as np
import pytest
from oracle.sketch import Sketch

from onnxpath.boxes.local_bounds import LocalBounds
from onnxpath.boxes.refinement import Refinement
from onnxpath.engine.session import Device
from onnxpath.evaluate.forward import Forward, counterpart
from onnxpath.model.matching import Pairing, match
from onnxpath.model.network import Network

DEVICE = Device("cpu", "float32", 1)
SHAPE = (1, 3, 6, 6)


def residual(blocks: int, noise: float = 0.0) -> Network:
    """Convolutions with weights of their own in every block, and one that only the second network changes."""
    rng, other = np.random.default_rng(0), np.random.default_rng(1)

    def array(*shape: int, scale: float) -> np.ndarray:
        value = scale * rng.normal(size=shape)
        return (value * (1 + noise * other.normal(size=shape))).astype(np.float32)

    def conv(s: Sketch, x: str) -> str:
        return s.conv(x, array(3, 3, 3, 3, scale=0.15), array(3, scale=0.1), pads=(1, 1, 1, 1))

    s = Sketch(x=SHAPE)
    y = s.relu(conv(s, "x"))
    for _ in range(blocks):
        y = s.relu(s.add(conv(s, s.relu(conv(s, y))), y))
    y = s.flatten(y)
    return s.network(s.matmul(y, array(s.shapes[y][1], 4, scale=0.1), array(4, scale=0.1)))


def pair(blocks: int) -> Pairing:
    return match(residual(blocks), residual(blocks, 0.01), quantizers=True)


def bounds_of(blocks: int, epsilon: float) -> tuple[LocalBounds, dict[str, np.ndarray], dict]:
    """With a state of two boxes, refined."""
    local = LocalBounds(pair(blocks), DEVICE)
    centers = np.random.default_rng(2).normal(size=(2, *SHAPE[1:])).astype(np.float32).astype(np.float64)
    state = local.start({"x": centers - epsilon}, {"x": centers + epsilon})
    Refinement(local).run(state)
    return local, centers, state


def test_a_deep_network_of_equal_blocks_has_the_graphs_of_a_shallow_one() -> None:
    counts = [
        (local.backward.graphs, local.intervals.graphs)
        for local, _, _ in (bounds_of(blocks, 0.01) for blocks in (3, 6))
        if local.backward is not None
    ]
    assert counts[0] == counts[1]
    assert sum(counts[0]) < 60


@pytest.mark.parametrize("of", ["a", "b", "d"])
def test_walks_from_every_border_are_exact_at_points(of: str) -> None:
    """In a box of one point the bounds are the values, so that every segment has its own parameters."""
    local, centers, state = bounds_of(3, 0.0)
    pairing = replace(pair(3), a=local.network, twin=local.twin)
    for tensor in (*(node.inputs[0] for node in local.nonlinear_nodes), *local.network.outputs):
        networks = [replace(n, outputs=(tensor,)) for n in (local.network, counterpart(pairing))]
        a, b = (
            y[tensor].reshape(2, -1) for y in Forward(networks, Device("cpu", "float64")).run({"x": centers})
        )
        values = {"a": a, "b": b, "d": b - a}[of]
        size, shape = values.shape[1], local.network.shapes[tensor][1:]
        rows = np.concatenate([np.eye(size), -np.eye(size)]).astype(np.float32).reshape(1, 2 * size, *shape)

        def seeds(part: slice, chosen: slice, rows=rows) -> np.ndarray:
            return np.repeat(rows[:, chosen], part.stop - part.start, axis=0)

        upper = local.upper(state, tensor, of, 2 * size, seeds)
        assert (upper >= np.concatenate([values, -values], axis=1) - 1e-12).all(), tensor
        # what float32 rounds; values are some 0.5, and differences 0.01
        assert np.abs(upper[:, :size] - values).max() < (1e-4 if of == "d" else 1e-3), tensor


def test_no_walk_begins_inside_a_segment() -> None:
    local, _, state = bounds_of(1, 0.01)
    total = next(node for node in local.network.nodes if node.op == "Add")
    node = next(node for node in local.network.nodes if node.op == "Conv" and node.output in total.inputs)
    with pytest.raises(ValueError, match="no segment ends in"):
        local.upper(state, node.output, "a", 1, lambda part, rows: np.ones((2, 1, *SHAPE[1:]), np.float32))
