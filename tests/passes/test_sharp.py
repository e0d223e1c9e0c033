"""The sharp difference pass is above every difference that a search finds, below the paper's bound, and tight
where it can be."""

import numpy as np
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from oracle.networks import KINDS, perturb, random_network
from reference import evaluate

from onnxpath.analyses.bound.bound import output_difference
from onnxpath.analyses.metric.metric import path_metric
from onnxpath.engine.plan import Reading
from onnxpath.engine.session import Device
from onnxpath.errors import UsageError
from onnxpath.model.matching import match
from onnxpath.model.network import Network, Node, Parameter

DEVICES = {precision: Device("cpu", precision, 1) for precision in ("float32", "float64")}
PRECISIONS = pytest.mark.parametrize("precision", list(DEVICES))


def certified(reading: Reading | None, shape: tuple[int, ...]) -> np.ndarray:
    """Upper bounds of every entry, infinite where float64 cannot hold one."""
    if reading is None:
        return np.zeros(shape)
    values = [reading.upper(value).value for value in reading.values.flatten()]
    return np.array([np.inf if value is None else value for value in values]).reshape(shape)


def samples(
    network: Network, radius: dict[str, np.ndarray], rng: np.random.Generator
) -> list[dict[str, np.ndarray]]:
    """Corners of the box, uniform points, and the centre."""
    found = [{name: 0 * r for name, r in radius.items()}]
    for _ in range(6):
        found.append({name: r * rng.choice([-1.0, 1.0], r.shape) for name, r in radius.items()})
        found.append({name: r * rng.uniform(-1, 1, r.shape) for name, r in radius.items()})
    found.append(dict(radius))
    return found


@PRECISIONS
@pytest.mark.parametrize("flavour", ["plain", "sparse", "extreme"])
@pytest.mark.parametrize("kind", KINDS)
@examples(4)
@given(seed=st.integers(0, 2**32 - 1))
def test_no_difference_is_above_the_bound(precision: str, flavour: str, kind: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    a = random_network(seed, flavour)
    b = perturb(a, kind, rng)
    radius = {
        name: np.abs(rng.normal(size=a.shapes[name])) * rng.integers(0, 2, a.shapes[name])
        for name in a.inputs
    }
    bounds = output_difference(match(a, b), radius, DEVICES[precision])
    for inputs in samples(a, radius, rng):
        values = [evaluate(network, inputs) for network in (a, b)]
        for name, other in zip(a.outputs, b.outputs, strict=True):
            p, q = (np.asarray(found[output]) for found, output in zip(values, (name, other), strict=True))
            # the forward passes that are compared round in float64 themselves
            noise = 1e-12 * (np.abs(p).max() + np.abs(q).max()) + 1e-12 * certified(bounds[name], p.shape)
            assert (np.abs(p - q) <= certified(bounds[name], p.shape) + noise).all()


@PRECISIONS
@examples(14)
@given(seed=st.integers(0, 2**32 - 1), kind=st.sampled_from(KINDS))
def test_sharp_is_never_above_paper(precision: str, seed: int, kind: str) -> None:
    a = random_network(seed)
    b = perturb(a, kind, np.random.default_rng(seed))
    sharp = output_difference(
        match(a, b), {name: np.ones(a.shapes[name]) for name in a.inputs}, DEVICES[precision]
    )
    total = sum(reading.total().value for reading in sharp.values() if reading is not None)
    paper = path_metric(a, b, DEVICES[precision])
    if not paper.notes:  # not aligned: the same pair
        assert total <= paper.path_metric.upper.value * (1 + 1e-4)


@examples(9)
@given(seed=st.integers(0, 2**32 - 1))
def test_a_batch_is_its_samples_one_by_one(seed: int) -> None:
    rng = np.random.default_rng(seed)
    a = random_network(seed)
    b = perturb(a, "retrained", rng)
    if not a.batched:
        return
    boxes = [{name: rng.uniform(0, 2, a.shapes[name]) for name in a.inputs} for _ in range(3)]
    together = {name: np.concatenate([box[name] for box in boxes]) for name in a.inputs}
    pairing, device = match(a, b), DEVICES["float64"]
    whole = output_difference(pairing, together, device)
    for k, box in enumerate(boxes):
        alone = output_difference(pairing, box, device)
        for name in a.outputs:
            if alone[name] is None:
                assert whole[name] is None
                continue
            shape = a.shapes[name][1:]
            np.testing.assert_allclose(
                certified(whole[name], (3, *shape))[k], certified(alone[name], shape), rtol=1e-9, atol=1e-250
            )


def chain(weights: list[float]) -> Network:
    """x -> w1 -> relu -> w2 -> ...: one path."""
    nodes, tensor = [], "x"
    for k, w in enumerate(weights):
        nodes.append(
            Node(
                f"m{k}",
                "MatMul",
                (tensor,),
                f"m{k}",
                {"side": "right"},
                Parameter(f"w{k}", np.array([[w]], np.float32)),
            )
        )
        nodes.append(Node(f"r{k}", "Relu", (f"m{k}",), f"r{k}"))
        tensor = f"r{k}"
    names = ["x", *(node.output for node in nodes)]
    return Network(
        "chain", "", ("x",), (tensor,), tuple(nodes), dict.fromkeys(names, (1, 1)), output_names=(tensor,)
    )


def test_equality_case_of_the_theorem() -> None:
    """Theorem C.1 is an equality on one path of positive weights: the bound is the difference itself."""
    p, q = [0.5, 2.0, 3.0, 0.25], [0.75, 2.5, 3.5, 0.5]
    bounds = output_difference(match(chain(p), chain(q)), {"x": np.array([[1.5]])}, DEVICES["float32"])
    assert certified(bounds["r3"], (1,))[0] == pytest.approx(1.5 * (np.prod(q) - np.prod(p)), rel=1e-6)


@pytest.mark.parametrize(
    "p, q", [((2**-17, 1, 1), (2**96, 2**-126, 1)), ((2**-56, 2**56, 1), (2**56, 2**-56, 2))]
)
def test_bounds_of_very_different_size_meet_in_a_minimum(p: tuple[float, ...], q: tuple[float, ...]) -> None:
    bounds = output_difference(
        match(chain(list(p)), chain(list(q))), {"x": np.ones((1, 1))}, DEVICES["float32"]
    )
    found = certified(bounds["r2"], (1,))[0]
    assert abs(np.prod(p) - np.prod(q)) <= found <= 4 * (np.prod(p) + np.prod(q))


@pytest.mark.parametrize("radius", [{}, {"x": np.array([[-1.0]])}, {"x": np.array([[np.nan]])}])
def test_radii_that_make_no_sense(radius: dict) -> None:
    with pytest.raises(UsageError, match="input 'x'"):
        output_difference(match(chain([1.0]), chain([2.0])), radius, DEVICES["float32"])
