"""Every operator case of tests/ops inside the passes: as a network of its own, and between channels of very
different size."""

from dataclasses import replace

import numpy as np
import pytest
from ops.cases import ALL, CASES, EXTENSIONS
from oracle import paths
from oracle.sketch import Sketch
from reference import evaluate_absolute, ones

from onnxpath.analyses.metric.metric import path_metric
from onnxpath.analyses.metric.norm import evaluate
from onnxpath.engine.certificate import gamma
from onnxpath.engine.session import Device
from onnxpath.model.network import Network, Node, Parameter, Site
from onnxpath.ops import OPERATORS

DEVICES = {precision: Device("cpu", precision, 1) for precision in ("float32", "float64")}
PRECISIONS = pytest.mark.parametrize("precision", list(DEVICES))
# what the paper's model holds; activations are in test_sharp_activations.py
MODEL = [(op, label) for op, label in ALL if op not in EXTENSIONS]
SITES = pytest.mark.parametrize(("op", "label"), MODEL, ids=[f"{op}-{label}" for op, label in MODEL])
TOLERANCE = {"float32": 3e-6, "float64": 1e-12}


def network_of(site: Site, factors: dict[str, np.ndarray] | None = None) -> Network:
    """x0, x1, ... -> the node -> y; with `factors`, every input is multiplied element by element first."""
    names = [f"x{k}" for k in range(len(site.input_shapes))]
    shapes = dict(zip(names, site.input_shapes, strict=True))
    nodes, inside = [], names
    if factors:
        inside = [f"s{k}" for k in range(len(names))]
        for name, output in zip(names, inside, strict=True):
            nodes.append(
                Node(output, "Scale", (name,), output, {}, Parameter(output, factors[name], None, (output,)))
            )
            shapes[output] = shapes[name]
    nodes.append(replace(site.node, inputs=tuple(inside), output="y"))
    shapes["y"] = site.output_shape
    return Network("case", "", tuple(names), ("y",), tuple(nodes), shapes, site.batched, output_names=("y",))


@PRECISIONS
@pytest.mark.parametrize("q", [1.0, 2.0])
@SITES
def test_norm_of_one_node(op: str, label: str, q: float, precision: str) -> None:
    network = network_of(CASES[op][label])
    right = evaluate_absolute(network, ones(network), q)["y"]
    reading = evaluate(network, q, DEVICES[precision])["y"]
    found = np.ldexp(reading.values.mantissa, reading.values.exponent)
    np.testing.assert_allclose(found, right, rtol=TOLERANCE[precision])
    assert (np.abs(found - right) <= reading.rho * found + 1e-14 * right).all()
    if OPERATORS[op].kind in ("weighted", "sum", "max"):
        terms = OPERATORS[op].terms(CASES[op][label])
        assert reading.rho >= gamma(terms, DEVICES[precision].dtype), (
            "a certificate for every product and sum"
        )


@PRECISIONS
@pytest.mark.parametrize("by", ["channel", "element"])
@SITES
def test_inputs_of_very_different_size(op: str, label: str, by: str, precision: str) -> None:
    """Inputs that differ by 2**±100: the sum over the outputs, and every output within its certificate."""
    site, rng = CASES[op][label], np.random.default_rng(7)
    factors = {}
    for k, shape in enumerate(site.input_shapes):
        varies = tuple(
            n if by == "element" or axis == 1 or not site.batched else 1 for axis, n in enumerate(shape)
        )
        factors[f"x{k}"] = np.ldexp(1.0 + rng.random(varies), rng.integers(-100, 100, varies))
    network = network_of(site, factors)
    right = evaluate_absolute(network, ones(network), 1)["y"]
    reading = evaluate(network, 1, DEVICES[precision])["y"]
    found = np.ldexp(reading.values.mantissa, reading.values.exponent)
    lost = np.ldexp(reading.lost.mantissa, reading.lost.exponent)
    assert (np.abs(found - right) <= reading.rho * found + lost + 1e-14 * right).all()
    assert found.sum() == pytest.approx(right.sum(), rel=TOLERANCE[precision])


LEARNED = [
    (op, label)
    for op, label in MODEL
    if CASES[op][label].node.weight is not None or CASES[op][label].node.bias is not None
]


@PRECISIONS
@pytest.mark.parametrize("kind", ["monotone", "any"])
@pytest.mark.parametrize(("op", "label"), LEARNED, ids=[f"{op}-{label}" for op, label in LEARNED])
def test_metric_of_one_node(op: str, label: str, kind: str, precision: str) -> None:
    """One layer: |θ - θ'| on the paths through it, exactly, whatever the signs; all of it is that layer's
    share."""
    a, rng = network_of(CASES[op][label]), np.random.default_rng(9)
    factors = [0, 0.5, 1] if kind == "monotone" else [-1, 0, 0.5, 1, 3]
    b = paths.combine(a, a, lambda k, p, q: (p * rng.choice(factors, p.shape)).astype(np.float32))
    gap = paths.combine(a, b, lambda k, p, q: p - q)
    if op == "Scale" and a.nodes[0].weight is None:
        gap = replace(
            gap, nodes=(replace(gap.nodes[0], weight=Parameter("", np.zeros((1,) * len(a.shapes["y"])))),)
        )
    right = float(evaluate_absolute(gap, ones(gap), 1)["y"].sum())
    found = path_metric(a, b, DEVICES[precision])
    assert found.path_metric.exact and not found.notes
    assert found.path_metric.upper.value == pytest.approx(right, rel=TOLERANCE[precision])
    assert [layer.share for layer in found.layers] == [pytest.approx(1, abs=1e-6)]


@PRECISIONS
def test_padding_does_not_hide_small_cells(precision: str) -> None:
    """Cells of 2**-200 each, different from each other, padded, convolved, and brought back."""
    s, rng = Sketch(x=(1, 2, 4)), np.random.default_rng(1)
    x = s.scale("x", np.ldexp(1.0, rng.integers(-200, -190, (1, 2, 4))))
    x = s.conv(s.pad(x, (0, 1, 1, 0, 0, 2)), rng.random((2, 3, 3)), pads=(0, 0))
    network = s.network(s.scale(x, np.full((1, 1, 1), 2.0**195)))
    right = evaluate_absolute(network, ones(network), 1)[network.outputs[0]]
    (reading,) = evaluate(network, 1, DEVICES[precision]).values()
    np.testing.assert_allclose(
        np.ldexp(reading.values.mantissa, reading.values.exponent), right, rtol=TOLERANCE[precision]
    )


@PRECISIONS
@pytest.mark.parametrize("gap", [75, 600])
@pytest.mark.parametrize("product", ["conv", "scale"])
def test_what_underflows_inside_a_product_is_certified(product: str, gap: int, precision: str) -> None:
    """A cell of 2**-gap times a weight of 2**-gap, in channels whose other cells are ordinary, is brought
    back afterwards."""
    s = Sketch(x=(1, 1, 2))
    x = s.scale("x", np.array([[[1.0, 1.5 * 2.0**-gap]]]))
    small = np.array([[[1.0]], [[1.5 * 2.0**-gap]]])
    x = (
        s.conv(x, small)
        if product == "conv"
        else s.scale(s.conv(x, np.ones((2, 1, 1))), small.transpose(1, 0, 2))
    )
    x = s.scale(x, np.array([[[1.0, 1.0], [1.0, 2.0**gap]]]))
    network = s.network(s.scale(x, np.array([[[1.0, 1.0], [1.0, 2.0**gap]]])))
    right = np.array([[[1.0, 1.5 * 2.0**-gap], [1.5 * 2.0**-gap, 2.25]]])
    (reading,) = evaluate(network, 1, DEVICES[precision]).values()
    found = np.ldexp(reading.values.mantissa, reading.values.exponent)
    assert (
        np.abs(found - right) <= reading.rho * found + np.ldexp(reading.lost.mantissa, reading.lost.exponent)
    ).all()
