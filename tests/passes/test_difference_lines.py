"""Lines at activations lie beyond the function, and beyond the difference of two networks, on the whole of
their intervals."""

import numpy as np
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from reference_activations import FUNCTIONS

from onnxpath.boxes.difference_lines import pair_lines
from onnxpath.boxes.pair_intervals import PairIntervals
from onnxpath.model.network import Node, Parameter
from passes.test_sharp_activations import ONE_OF_EACH

COUNT = 200


def known(rng: np.random.Generator, spread: float) -> tuple[PairIntervals, np.ndarray, np.ndarray]:
    """Intervals of pairs (a, b) that hold the points [COUNT, 40] of a and of b, tight or not, and those of b
    - a likewise."""
    size = rng.choice([0.01, 1.0, 20.0], (COUNT, 1))
    a = rng.normal(size=(COUNT, 1)) * 2 + size * rng.uniform(-1, 1, (COUNT, 40))
    b = a + spread * (
        rng.normal(size=(COUNT, 1)) + rng.choice([0.01, 1.0], (COUNT, 1)) * rng.uniform(-1, 1, (COUNT, 40))
    )

    def ends(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        room = rng.choice([0.0, 0.3], (2, COUNT)) * (1e-3 + x.max(axis=1) - x.min(axis=1))
        return x.min(axis=1) - room[0], x.max(axis=1) + room[1]

    return PairIntervals(*(end[None] for x in (a, b, b - a) for end in ends(x))), a, b


@examples(40)
@given(
    seed=st.integers(0, 2**32 - 1), spread=st.sampled_from([0.0, 1e-6, 1e-2, 1.0, 10.0]),
    dtype=st.sampled_from([np.float32, np.float64]),
    kind=st.sampled_from(["Relu", "PRelu", "other slopes", *ONE_OF_EACH]),
)  # fmt: skip
def test_lines_hold(seed: int, spread: float, dtype: type, kind) -> None:
    rng = np.random.default_rng(seed)
    intervals, a, b = known(rng, spread)
    slopes = [None, None]
    if kind in ("PRelu", "other slopes"):
        alpha = rng.choice([-0.5, 0.0, 0.1, 1.0, 1.7], (2, 1, COUNT)).astype(np.float32)
        slopes = [Parameter("slope", alpha[0]), Parameter("slope", alpha[0 if kind == "PRelu" else 1])]
        node = Node("n", "PRelu", ("x",), "y", {}, slopes[0])
        values = [np.where(x > 0, x, s.base[0][:, None] * x) for s, x in zip(slopes, (a, b), strict=True)]
    elif kind == "Relu":
        node, values = Node("n", "Relu", ("x",), "y"), [np.maximum(x, 0) for x in (a, b)]
    else:
        name, parameters = kind
        node = Node("n", "Activation", ("x",), "y", {"function": name, "parameters": parameters})
        values = [evaluated(name, parameters, x) for x in (a, b)]
    joint = pair_lines(node, slopes[1], intervals, np.dtype(dtype))
    spare = 1e-12 * (1 + np.abs(a) + np.abs(b)) + 1e-12 * np.abs(values[0])
    for lines, x, y in ((joint.a, a, values[0]), (joint.b, b, values[1])):
        low, high = (lines.below(x.T[:, None])[:, 0].T, lines.above(x.T[:, None])[:, 0].T)
        assert (low <= y + spare).all() and (y <= high + spare).all()
    found = {
        key: array.astype(np.float64).reshape(COUNT, 1) for key, array in joint.difference.feeds(True).items()
    }
    d = b - a
    for end, sign in (("up", 1), ("low", -1)):
        line = found[f"c_{end}"] * d + found[f"k_{end}"] * a + found[f"g_{end}"]
        assert (sign * (line - (values[1] - values[0])) >= -spare).all()


def evaluated(name: str, parameters: tuple[float, ...], x: np.ndarray) -> np.ndarray:
    import torch

    return FUNCTIONS[name](torch.from_numpy(x), *parameters).numpy()


def test_networks_that_are_far_apart_get_their_own_lines() -> None:
    """Of a ReLU that is unstable in both, where b - a says nothing: the difference of the lines of both, and
    not 0 and b - a."""
    ends = np.array([[-1.0]]), np.array([[1.0]])
    joint = pair_lines(
        Node("n", "Relu", ("x",), "y"),
        None,
        PairIntervals(*ends, *ends, *(50 * end for end in ends)),
        np.dtype(np.float32),
    )
    assert joint.separate is not None and joint.separate[0] == 1
    assert joint.difference.k_up is not None and abs(joint.difference.c_up[0, 0] - 0.5) < 1e-6
