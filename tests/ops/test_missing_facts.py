"""A fact that nobody wrote down is an error that names the operator and the fact: when a record is made, and
in every pass that asks."""

from dataclasses import replace

import numpy as np
import pytest
from oracle.sketch import Sketch

from onnxpath.analyses.bound import difference_bounds
from onnxpath.analyses.certify.certify import Options, certify
from onnxpath.analyses.theory import lipschitz
from onnxpath.boxes import relaxation
from onnxpath.boxes.backward import Backward
from onnxpath.boxes.ranges import ranges
from onnxpath.engine.session import Device
from onnxpath.errors import MissingFactError, OnnxPathError
from onnxpath.evaluate.displacement import Displacement
from onnxpath.evaluate.weights import pairs, roundings
from onnxpath.model.domain import Domain
from onnxpath.model.matching import match
from onnxpath.model.network import Network, Site
from onnxpath.ops import OPERATORS
from onnxpath.ops.operator import ADJOINTS, REQUIRED, Operator
from onnxpath.rewrites.maxima import without_maxima

DEVICE = Device("cpu", "float32", 1)
LIKE = {
    "weighted": "Conv",
    "movement": "Gather",
    "sum": "ReduceSum",
    "max": "MaxPool",
    "relu": "Relu",
    "activation": "PRelu",
    "quantizer": "Quantizer",
}


@pytest.mark.parametrize(
    ("kind", "fact"), [(kind, fact) for kind in REQUIRED for fact in (*REQUIRED[kind], "adjoints")]
)
def test_a_record_without_a_fact_cannot_be_made(kind: str, fact: str) -> None:
    with pytest.raises(MissingFactError, match=f"operator Mystery.*{fact}"):
        replace(OPERATORS[LIKE[kind]], name="Mystery", **{fact: {} if fact == "adjoints" else None})


def test_every_kind_is_known() -> None:
    assert set(REQUIRED) == set(ADJOINTS) == {operator.kind for operator in OPERATORS.values()}
    with pytest.raises(MissingFactError, match="Mystery.*kind.*'other'"):
        replace(OPERATORS["Add"], name="Mystery", kind="other")


def test_it_is_an_error_of_the_call_that_says_what_to_do() -> None:
    error = MissingFactError("Mystery", "'norm'")
    assert isinstance(error, OnnxPathError)
    assert all(word in str(error) for word in ("Mystery", "'norm'", "docs/operators.md"))


@pytest.fixture
def mystery(monkeypatch: pytest.MonkeyPatch):
    """Registers an operator that is another one under a name that no pass knows."""

    def register(like: str, **facts: object) -> Operator:
        record = replace(OPERATORS[like], name="Mystery", **facts)
        monkeypatch.setitem(OPERATORS, "Mystery", record)
        return record

    return register


def network(
    op: str, shape: tuple[int, ...] = (1, 2, 4), factor: float = 1.0, **attributes: object
) -> Network:
    """x -> Scale -> Mystery -> MatMul."""
    s = Sketch(x=shape)
    x = s.scale("x", np.full(shape, factor, np.float32))
    y = s.node("Mystery", [x], attributes.pop("to", shape), **attributes)
    s._nodes[-1] = replace(s._nodes[-1], name=op)
    return s.network(s.matmul(y, np.eye(s.shapes[y][-1], dtype=np.float32)))


def test_an_activation_without_constants_has_no_bounds(mystery) -> None:
    """PRelu under another name: no pass takes it for a ReLU, or for something that does not enlarge
    differences."""
    mystery("PRelu", norm=None, edges=None)
    a, b = network("f"), network("f", factor=1.5)
    a, b = (
        replace(
            n, nodes=tuple(replace(node, weight=None) if node.op == "Mystery" else node for node in n.nodes)
        )
        for n in (a, b)
    )
    pairing = match(a, b, quantizers=True)
    region = Domain.radius(1.0).resolve(pairing.a)
    node = next(node for node in a.nodes if node.op == "Mystery")
    box = np.zeros((1, 1)), np.ones((1, 1))
    asks = (
        lambda: difference_bounds.bounds(pairing, region, DEVICE, spectral=False),
        lambda: certify(a, b, Domain.around(np.zeros((1, 2, 4)), 0.1), DEVICE, Options(effort=0)),
        lambda: ranges(a, region, 0),
        lambda: relaxation.lines(node, None, *box, np.dtype(np.float32)),
        lambda: relaxation.slopes_of(node, *box, None),
        lambda: roundings(Site.of(a, node)),
        lambda: OPERATORS["Mystery"].norm(Site.of(a, node), "inf", [0.0]),
        lambda: OPERATORS["Mystery"].edges(Site.of(a, node), np.arange(2)),
    )
    for ask in asks:
        with pytest.raises(MissingFactError, match="Mystery"):
            ask()


WINDOW = {"kernel": (2,), "strides": (2,), "dilations": (1,), "pads": (0, 0)}


def test_a_maximum_without_a_spelling_has_no_slopes(mystery) -> None:
    """MaxPool under another name: what only a pass knows is an error."""
    mystery("MaxPool")
    a, b = network("m", to=(1, 2, 2), **WINDOW), network("m", factor=1.5, to=(1, 2, 2), **WINDOW)
    pairing = match(a, b, quantizers=True)
    region = Domain.radius(1.0).resolve(pairing.a)
    coefficients = pairs(pairing.a, dict(pairing.twin))
    for ask in (
        lambda: difference_bounds.bounds(pairing, region, DEVICE),
        lambda: without_maxima(pairing.a, dict(pairing.twin)),
        lambda: Displacement(pairing.a, coefficients, DEVICE),
        lambda: Backward(pairing.a, coefficients, DEVICE),
        lambda: certify(a, b, Domain.around(np.zeros((1, 2, 4)), 0.1), DEVICE, Options(effort=0)),
    ):
        with pytest.raises(MissingFactError, match="Mystery"):
            ask()


@pytest.mark.parametrize("like", ["SumPool", "MaxPool"])
def test_what_a_record_states_is_what_bounds_use(mystery, like: str) -> None:
    """The norms of a pool under another name are those of the pool, and not 1."""
    mystery(like)
    overlapping = {**WINDOW, "strides": (1,)}
    a, b = (network("p", factor=f, to=(1, 2, 3), **overlapping) for f in (1.0, 1.5))
    pairing = match(a, b)
    own = {kind: lipschitz.operator_norm_product(pairing, 1.0, kind).value for kind in ("inf", "spectral")}
    known = replace(
        pairing, a=replace(a, nodes=tuple(replace(n, op=like) if n.op == "Mystery" else n for n in a.nodes))
    )
    for kind, value in own.items():
        assert value == lipschitz.operator_norm_product(known, 1.0, kind).value
        assert value >= (6.0 if like == "SumPool" else 3.0), (
            "Σ over 6 outputs of a difference of 0.5 in each cell"
        )


def test_a_contraction_without_a_spectral_norm_is_refused(mystery) -> None:
    mystery("MatMul", overlap=None)
    s = Sketch(x=(1, 4))
    net = s.network(s.node("Mystery", ["x"], (1, 3), np.ones((4, 3), np.float32), side="right"))
    other = replace(
        net, nodes=tuple(replace(n, weight=replace(n.weight, base=2 * n.weight.base)) for n in net.nodes)
    )
    pairing = match(net, other)
    assert lipschitz.operator_norm_product(pairing, 1.0, "inf").value == pytest.approx(12.0)
    with pytest.raises(MissingFactError, match="Mystery.*overlap"):
        lipschitz.operator_norm_product(pairing, 1.0, "spectral")
