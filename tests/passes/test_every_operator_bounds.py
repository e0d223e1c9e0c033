"""Every canonical operator through every pass that computes values or bounds them, against float64 PyTorch
and samples of the true functions.

Forward, gradient and displacement are the reference's numbers. The sharp pass with and without ℓ2 norms,
intervals of both networks and of their difference, the lines and their backward pass, refinement, and what
quantizers add are never below a sample; at a single point (a box of width 0) they hold the float64 value, so
that what float32 rounds is certified. Cases: see every_operator.py.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
import reference
from ops.cases import ALL, CASES, EXTENSIONS

from onnxpath.analyses.bound import difference_bounds, margins
from onnxpath.boxes.certified import Outputs
from onnxpath.boxes.interval import Intervals
from onnxpath.boxes.local_bounds import LocalBounds
from onnxpath.boxes.refinement import Refinement
from onnxpath.engine.session import Device
from onnxpath.errors import UnsupportedError
from onnxpath.evaluate.displacement import Displacement
from onnxpath.evaluate.forward import Forward, counterpart
from onnxpath.evaluate.gradient import Gradient
from onnxpath.evaluate.weights import pairs
from onnxpath.model.domain import Domain, Region
from onnxpath.model.matching import Pairing, match
from onnxpath.model.network import Network, Node
from onnxpath.ops.quantizer import Quantization
from onnxpath.rewrites.maxima import without_maxima
from passes.every_operator import OUTPUTS, Case, case, outputs

FLOAT32, FLOAT64 = (Device("cpu", precision, 1) for precision in ("float32", "float64"))
SITES = pytest.mark.parametrize(("op", "label"), ALL, ids=[f"{op}-{label}" for op, label in ALL])
# The widths of the boxes around the centres.
WIDTHS = (0.0, 0.03, 0.5)
GRID = Quantization(0.07, 3, -60, 60)


def quantized(network: Network) -> Network:
    """With a quantizer behind the node, whose range its values leave."""
    made = Node("grid", "Quantizer", ("node",), "grid", {"quantizer": GRID})
    nodes = []
    for node in network.nodes:
        nodes.append(replace(node, inputs=("grid",)) if node.inputs == ("node",) else node)
        nodes += [made] if node.output == "node" else []
    return replace(network, nodes=tuple(nodes), shapes={**network.shapes, "grid": network.shapes["node"]})


def boxes(network: Network) -> Region:
    """A box of every width around its own centre; the whole batch at once for a network without a batch
    axis."""
    rng = np.random.default_rng(21)
    centers = {}
    for name in network.inputs:
        shape = (len(WIDTHS), *network.shapes[name][1:]) if network.batched else network.shapes[name]
        centers[name] = rng.uniform(-1, 1, shape).astype(np.float32).astype(np.float64)
    width = {
        name: np.reshape(WIDTHS, (-1, *(1,) * (x.ndim - 1))) if network.batched else 0.5
        for name, x in centers.items()
    }
    low, high = ({name: x + side * width[name] for name, x in centers.items()} for side in (-1, 1))
    return Region(low, high, centers, False)


def box(region: Region, k: int) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    return tuple({name: x[k : k + 1] for name, x in side.items()} for side in (region.low, region.high))  # type: ignore[return-value]


def seen(one: Case, region: Region, b: Network, k: int, count: int = 24) -> tuple[np.ndarray, np.ndarray]:
    """f_A and f_B at samples of box k: [samples, outputs]."""
    low, high = box(region, k) if one.a.batched else (dict(region.low), dict(region.high))
    points = one.points(low, high, count)
    return outputs(one.a, points), outputs(b, points)


@SITES
def test_values_and_gradients(op: str, label: str) -> None:
    """In float64, for several samples at once where there is a batch axis."""
    one = case(op, label)
    b, region = one.twins["any"], boxes(one.a)
    x = dict(region.centers or {})
    rows = (
        [{name: array[k : k + 1] for name, array in x.items()} for k in range(len(WIDTHS))]
        if one.a.batched
        else [x]
    )
    p, q = outputs(one.a, rows), outputs(b, rows)
    for found, right in zip(Forward([one.a, b], FLOAT64).run(x), (p, q), strict=True):
        np.testing.assert_allclose(found["y"], right, rtol=1e-12, atol=1e-12)
    cotangent = np.random.default_rng(22).standard_normal(p.shape)
    gradient = Gradient([one.a], FLOAT64).run(x, {"y": cotangent}).gradient
    for k, row in enumerate(rows):
        for name, right in reference.gradient(one.a, row, {"y": cotangent[k : k + 1]}).items():
            found = gradient[name][k : k + 1] if one.a.batched else gradient[name]
            np.testing.assert_allclose(found, right, rtol=1e-11, atol=1e-11)
    pairing = match(one.a, b, quantizers=True)
    network, twin = without_maxima(pairing.a, dict(pairing.twin))
    values, shifts = Displacement(network, pairs(network, twin), FLOAT64).run(x)
    np.testing.assert_allclose(values["y"], p, rtol=1e-11, atol=1e-11)
    np.testing.assert_allclose(shifts["y"], q - p, rtol=1e-11, atol=1e-11)


# A second setting, where passes before it tell the cases of an operator apart already: the first and the last
# of every operator.
FEW = [
    (op, label)
    for op, cases in CASES.items()
    for label in dict.fromkeys([next(iter(cases)), list(cases)[-1]])
]
SHARP = [(op, label, "boxes") for op, label in ALL] + [
    (op, label, how) for op, label in FEW for how in ("all", "quantized")
]


@pytest.mark.parametrize(("op", "label", "how"), SHARP, ids=["-".join(x) for x in SHARP])
def test_sharp_pass_and_ranges(op: str, label: str, how: str) -> None:
    """Box by box; also with all that `bound` tries (rescalings of the twin, ℓ2 norms) on a whole domain; with
    a quantizer behind the node, ranges of what it reads, and intervals."""
    one = case(op, label)
    b = quantized(one.twins["any"]) if how == "quantized" else one.twins["any"]
    pairing = match(one.a, b, quantizers=True)
    region = Domain.radius(1.0).resolve(pairing.a) if how == "all" else boxes(pairing.a)
    if how == "boxes" and op != "Quantizer":
        (reading,) = difference_bounds.output_difference(pairing, region.radius(), FLOAT32).values()
        assert reading is not None
        found = reading.uppers().floats().reshape(-1, OUTPUTS)
    else:
        found = difference_bounds.bounds(pairing, region, FLOAT32).outputs["y"].floats()
    for k in range(len(found)):
        p, q = seen(one, region, b, k)
        assert (np.abs(p - q) <= found[k]).all(), (k, np.abs(p - q).max(0) / found[k])


def _finer(one: Case, behind: str) -> tuple[Pairing, Network, Region]:
    b = one.twins["signs"] if behind == "plain" else quantized(one.twins["signs"])
    pairing = match(one.a, b, quantizers=True)
    return pairing, b, boxes(pairing.a)


@pytest.mark.parametrize(("op", "label"), FEW, ids=["-".join(x) for x in FEW])
def test_intervals(op: str, label: str) -> None:
    """Of both networks and of their difference, followed in all three ways."""
    one = case(op, label)
    if not one.a.batched:
        return
    pairing, b, region = _finer(one, "plain")
    network, twin = without_maxima(pairing.a, dict(pairing.twin))
    for follow in ("both", "each", "difference"):
        found = Intervals(
            network, twin, FLOAT32, magnitudes=follow == "both", arguments=False, follow=follow
        ).run(dict(region.low), dict(region.high), {})
        assert found.finite.all()
        for k in range(len(WIDTHS)):
            p, q = seen(one, region, b, k, 16)
            for lane, values in (("a", p), ("b", q), ("d", q - p)):
                low, high = (found.arrays["y", lane + end][k].reshape(-1).astype(np.float64) for end in "lu")
                assert (low <= values.min(0)).all() and (values.max(0) <= high).all(), (follow, lane, k)


# One case of every activation: what its numbers change is tested in test_difference_lines.py.
_PLAIN = {
    (op, site.node.attributes.get("function", label)): (op, label, "plain")
    for op, cases in CASES.items()
    for label, site in cases.items()
}
LINED = [*_PLAIN.values(), *((op, next(iter(cases)), "quantized") for op, cases in CASES.items())]


@pytest.mark.parametrize(("op", "label", "behind"), LINED, ids=["-".join(x) for x in LINED])
def test_lines_and_refinement(op: str, label: str, behind: str) -> None:
    """Differences, differences of scores and margins, at every stage."""
    one = case(op, label)
    pairing, b, region = _finer(one, behind)
    if not one.a.batched:
        with pytest.raises(UnsupportedError, match="batch axis"):
            LocalBounds(pairing, FLOAT32)
        return
    local = LocalBounds(pairing, FLOAT32)
    state, scores, every = (
        local.start(dict(region.low), dict(region.high)),
        Outputs(local, "y"),
        np.arange(len(WIDTHS)),
    )
    values = [seen(one, region, b, k) for k in every]
    predicted = np.array([p[0].argmax() for p, _ in values])
    found = [scores.intervals(state, predicted), scores.backward(state, predicted)]
    if local.nonlinear_nodes and (op, label) in FEW:  # a pass for every argument
        Refinement(local).run(state)
        found.append(scores.backward(state, predicted))
    for bounded in found:
        for k, (p, q) in enumerate(values):
            i, apart = predicted[k], p - q
            assert (np.abs(apart).max(0) <= bounded.outputs["y"][k]).all(), WIDTHS[k]
            assert (
                bounded.changes is not None and bounded.margin_a is not None and bounded.margin_b is not None
            )
            assert (np.abs(apart - apart[:, i : i + 1]).max(0) <= bounded.changes[k]).all()
            for side, margin in ((p, bounded.margin_a), (q, bounded.margin_b)):
                rest = np.arange(OUTPUTS) != i
                assert ((side[:, i : i + 1] - side)[:, rest].min(0) >= margin[k, rest]).all()
    (p, q), last = values[0], found[-1].outputs["y"][0]
    if behind == "plain" and op != "Quantizer":
        spare = 1e-2 * (1 + np.abs(p).max())
        assert (last <= np.abs(p - q).max(0) + spare + 2 * _jump(one)).all(), (
            "nothing but rounding is left at a point"
        )


def _jump(one: Case) -> float:
    """By how much the node's function may jump."""
    from onnxpath.model.network import Site
    from onnxpath.ops import OPERATORS

    node = one.a.producer["node"]
    constants = OPERATORS[node.op].constants
    return (
        constants(Site.of(one.a, node)).jump * 10
        if node.op == "Activation" and constants is not None
        else 0.0
    )


@SITES
def test_margins(op: str, label: str) -> None:
    """At given inputs: what a float64 pass may err by, and what the sharp pass says of differences of
    scores."""
    one = case(op, label)
    if not one.a.batched or op not in (*EXTENSIONS, "MaxPool", "Conv", "Unfold"):
        return
    b = one.twins["signs"]
    pairing = match(one.a, b, quantizers=True)
    points: Mapping[str, np.ndarray] = boxes(pairing.a).centers or {}
    region = Domain.samples(points).resolve(pairing.a)
    found = margins.logit_pairs(
        pairing, region, difference_bounds.bounds(pairing, region, FLOAT32, spectral=False), FLOAT32
    )
    rows = [{name: array[k : k + 1] for name, array in points.items()} for k in range(len(WIDTHS))]
    p, q = outputs(one.a, rows), outputs(b, rows)
    for k, i in enumerate(found.predicted):
        for j in range(p.shape[1]):
            if j != i:
                assert found.certain[k, j] <= p[k, i] - p[k, j]
                assert abs((p[k, i] - p[k, j]) - (q[k, i] - q[k, j])) <= found.changes[k, j]


def test_a_pair_is_not_one_network_twice() -> None:
    """The twins differ where the operator stands: every bound above has something to bound."""
    for op, label in ALL[::10]:
        one = case(op, label)
        region = boxes(one.a)
        p, q = seen(one, region, one.twins["signs"], 0, 4)
        assert np.abs(p - q).max() > 1e-3
        assert counterpart(match(one.a, one.twins["signs"], quantizers=True)).outputs == one.a.outputs
