"""Every operator record, found in OPERATORS by itself: ⟨Aᵀc, z⟩ = ⟨c, Az⟩ for every operand that has an
adjoint, the same values as the float64 reference in both spellings, and channel bounds that are bounds.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from reference import OPERATIONS

from onnxpath.engine.graph import GraphBuilder
from onnxpath.engine.session import Device, Session
from onnxpath.model.network import Site
from onnxpath.ops import OPERATORS, unfold
from ops.cases import ALL, CASES

TOLERANCE = {"float64": 1e-12, "float32": 1e-5}
_MAXIMA = {"MaxPool": "SumPool", "ReduceMax": "ReduceSum", "Max": "Add"}


def operands(site: Site) -> list[tuple[str, int]]:
    """Every operand of a case with an adjoint: ("input", index), ("weight", 0), ("bias", 0)."""
    found = []
    for kind in OPERATORS[site.node.op].adjoints:
        if kind in ("routed", "slope"):  # not linear: see test_routed and tests/ops/test_activations.py
            continue
        if kind == "input":
            found += [(kind, k) for k in range(len(site.input_shapes))]
        elif getattr(site.node, kind) is not None:
            found.append((kind, 0))
    return found


PROBES = [
    pytest.param(op, label, kind, index, id=f"{op}-{label}-{kind}{index}")
    for op, label in ALL
    if op in OPERATORS
    for kind, index in operands(CASES[op][label])
]
BOTH = pytest.mark.parametrize("precision", ["float64", "float32"])
SITES = pytest.mark.parametrize(("op", "label"), ALL, ids=[f"{op}-{label}" for op, label in ALL])


@dataclass
class Bench:
    """A graph under construction whose tensors are arrays."""

    precision: str

    def __post_init__(self) -> None:
        self.device = Device("cpu", self.precision, 1)
        self.graph = GraphBuilder(self.device.dtype, self.device.native_conv)
        self._outputs: list[str] = []

    def bind(self, array: np.ndarray) -> str:
        return self.graph.bind(np.ascontiguousarray(array, self.device.dtype))

    def weight(self, site: Site, array: np.ndarray) -> tuple[str, dict]:
        """A weight as passes bind it: a matrix that is the transpose of what is stored stays as it is
        stored."""
        stored = (
            site.node.op == "MatMul"
            and site["side"] == "right"
            and array.ndim == 2
            and not site.node.weight.base.flags.c_contiguous
        )
        return (self.bind(array.T), {"transposed": True}) if stored else (self.bind(array), {})

    def emit(
        self,
        site: Site,
        inputs: list[np.ndarray],
        weight: np.ndarray | None = None,
        bias: np.ndarray | None = None,
    ) -> str:
        """The operator, with the sum over the window for maxima."""
        operator = OPERATORS[site.node.op]
        names = [self.bind(x) for x in inputs]
        if operator.kind != "weighted" and weight is None:
            return (operator.total or operator.emit)(self.graph, site, names)
        name, extra = self.weight(site, weight) if weight is not None else (None, {})
        return operator.emit(
            self.graph, site, names, name, None if bias is None else self.bind(bias), **extra
        )

    def read(self, *tensors: str) -> list[np.ndarray]:
        names = [self.graph.output(tensor) for tensor in tensors]
        found = Session(self.graph.model().SerializeToString(), self.graph.feeds, self.device).run({})
        return [found[name].astype(np.float64) for name in names]


def several(site: Site, shape: tuple[int, ...]) -> tuple[int, ...]:
    """A batch of three where the operator treats axis 0 as a batch."""
    return (3, *shape[1:]) if site.batched else shape


def draw(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Numbers that float32 holds exactly."""
    return rng.standard_normal(shape).astype(np.float32).astype(np.float64)


def values(site: Site, kind: str) -> np.ndarray | None:
    parameter = getattr(site.node, kind)
    return None if parameter is None else parameter.base.astype(np.float64)


@BOTH
@pytest.mark.parametrize(("op", "label", "kind", "index"), PROBES)
def test_adjoint(op: str, label: str, kind: str, index: int, precision: str) -> None:
    """⟨Aᵀc, z⟩ = ⟨c, Az⟩, where A is the operator as a function of one operand, the others fixed."""
    site, rng, bench = CASES[op][label], np.random.default_rng(1), Bench(precision)
    adjoint = OPERATORS[op].adjoints[kind]
    c = draw(rng, several(site, site.output_shape))
    inputs = [draw(rng, several(site, shape)) for shape in site.input_shapes]
    weight = values(site, "weight")
    cotangent = bench.bind(c)
    if kind == "input":
        z = inputs[index]
        image = bench.emit(site, [x if k == index else 0 * x for k, x in enumerate(inputs)], weight)
        name, extra = bench.weight(site, weight) if weight is not None else (None, {})
        back = adjoint(bench.graph, site, cotangent, index, name, **extra)
    elif kind == "weight":
        z = draw(rng, weight.shape)
        image = bench.emit(site, inputs, z)
        _, extra = bench.weight(site, z)
        back = adjoint(bench.graph, site, cotangent, [bench.bind(x) for x in inputs], **extra)
        back = bench.graph.op("Transpose", [back], perm=[1, 0]) if extra else back
    else:
        z = draw(rng, site.node.bias.shape)
        image = bench.emit(site, [0 * x for x in inputs], weight, z)
        back = adjoint(bench.graph, site, cotangent)
    az, atc = bench.read(image, back)
    assert az.shape == c.shape
    assert atc.shape == z.shape
    terms = c * az
    assert np.abs(terms).max() > 1e-3, "the case checks nothing"
    assert abs(terms.sum() - (atc * z).sum()) <= TOLERANCE[precision] * np.abs(terms).sum()


def torch_value(
    site: Site, inputs: list[np.ndarray], weight: np.ndarray | None, bias: np.ndarray | None, sums: bool
) -> np.ndarray:
    op = _MAXIMA.get(site.node.op, site.node.op) if sums else site.node.op
    tensors = [torch.from_numpy(x) for x in inputs]
    if op == "Relu":
        return torch.relu(tensors[0]).numpy()
    w, b = (None if p is None else torch.from_numpy(p) for p in (weight, bias))
    shape = (len(inputs[0]), *site.output_shape[1:]) if site.batched else site.output_shape
    return OPERATIONS[op](site.node, tensors, w, b, shape).numpy()


@BOTH
@SITES
def test_value(op: str, label: str, precision: str) -> None:
    """Both spellings compute what PyTorch computes; maxima also as the sum over the window."""
    site, rng = CASES[op][label], np.random.default_rng(2)
    inputs = [draw(rng, several(site, shape)) for shape in site.input_shapes]
    weight, bias = values(site, "weight"), values(site, "bias")
    bench = Bench(precision)
    tensors, expected = (
        [bench.emit(site, inputs, weight, bias)],
        [torch_value(site, inputs, weight, bias, True)],
    )
    if OPERATORS[op].kind == "max":
        tensors.append(OPERATORS[op].emit(bench.graph, site, [bench.bind(x) for x in inputs]))
        expected.append(torch_value(site, inputs, None, None, False))
    for found, right in zip(bench.read(*tensors), expected, strict=True):
        assert found.shape == right.shape
        assert np.abs(found - right).max() <= TOLERANCE[precision] * np.abs(right).max()


ROUTED = [
    (op, label, index)
    for op, label in ALL
    if "routed" in OPERATORS[op].adjoints
    for index in range(len(CASES[op][label].input_shapes))
]


@BOTH
@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize(("op", "label", "index"), ROUTED)
def test_routed(op: str, label: str, index: int, ties: bool, precision: str) -> None:
    """What reaches a ReLU or a maximum goes back to where its value came from, as PyTorch's autograd has it:
    of several that attain a maximum each gets an equal share (a convex combination), and a ReLU at 0 passes
    nothing on."""
    site, rng, bench = CASES[op][label], np.random.default_rng(6), Bench(precision)
    inputs = [draw(rng, several(site, shape)) for shape in site.input_shapes]
    if ties:
        inputs = [rng.integers(-1, 2, x.shape).astype(np.float64) for x in inputs]
    tensors = [torch.from_numpy(x).requires_grad_() for x in inputs]
    shape = several(site, site.output_shape)
    y = torch.relu(tensors[0]) if op == "Relu" else OPERATIONS[op](site.node, tensors, None, None, shape)
    c = draw(rng, shape)
    (expected,) = torch.autograd.grad(y, [tensors[index]], torch.from_numpy(c))
    names = [bench.bind(x) for x in inputs]
    output = OPERATORS[op].emit(bench.graph, site, names)
    (found,) = bench.read(
        OPERATORS[op].adjoints["routed"](bench.graph, site, bench.bind(c), index, names, output)
    )
    assert found.shape == tuple(expected.shape)
    assert np.abs(found - expected.numpy()).max() <= TOLERANCE[precision] * np.abs(c).max()


def test_every_operator_has_cases() -> None:
    assert set(CASES) == set(OPERATORS)
    assert all(cases for cases in CASES.values())
    for name, cases in CASES.items():
        assert all(site.node.op == name for site in cases.values())


@pytest.mark.parametrize("op", sorted(OPERATORS))
def test_every_operand_has_an_adjoint_and_a_case(op: str) -> None:
    operator = OPERATORS[op]
    needed = {
        "weighted": {"input", "weight", "bias"},
        "relu": set(),
        "activation": set(),
        "quantizer": set(),
    }.get(operator.kind, {"input"})
    nonlinear = {"relu": {"routed"}, "max": {"routed"}, "activation": {"slope"}, "quantizer": {"slope"}}.get(
        operator.kind, set()
    )
    assert set(operator.adjoints) == needed | nonlinear
    assert {kind for site in CASES[op].values() for kind, _ in operands(site)} == needed, (
        "an operand without a case"
    )
    assert (operator.total is not None) == (operator.kind == "max")


WEIGHTED = [
    (op, label)
    for op, label in ALL
    if OPERATORS[op].kind == "weighted" and OPERATORS[op].axes(CASES[op][label]) is not None
]


@pytest.mark.parametrize(("op", "label"), WEIGHTED, ids=[f"{op}-{label}" for op, label in WEIGHTED])
def test_matrix_bounds_what_a_channel_sends(op: str, label: str) -> None:
    """Ones in one input channel give at most matrix[o, i] in output channel o, for non-negative weights."""
    site, operator = CASES[op][label], OPERATORS[op]
    source, target = operator.axes(site)
    weight = np.abs(values(site, "weight"))
    matrix = operator.matrix(site, weight)
    groups, out, inner = matrix.shape
    assert (groups * out, groups * inner) == (site.output_shape[target], site.input_shapes[0][source])
    for channel in range(groups * inner):
        x = np.zeros(site.input_shapes[0])
        x[(slice(None),) * source + (channel,)] = 1
        found = torch_value(site, [x], weight, None, False)
        largest = np.moveaxis(found, target, 0).reshape(groups * out, -1).max(1).reshape(groups, out)
        group = channel // inner
        assert (largest[group] <= matrix[group, :, channel % inner] * (1 + 1e-12)).all()
        assert largest[np.arange(groups) != group].size == 0 or largest[np.arange(groups) != group].max() == 0
        assert (largest[group] > 0).all() or weight.size != matrix.size, "a bound that is needlessly loose"


SUMMED = [
    (op, label) for op, label in ALL if op in OPERATORS and OPERATORS[op].kind in ("weighted", "sum", "max")
]


@pytest.mark.parametrize(("op", "label"), SUMMED, ids=[f"{op}-{label}" for op, label in SUMMED])
def test_terms_is_the_length_of_the_longest_sum(op: str, label: str) -> None:
    """Counted with ones; a bound, and not a loose one where a whole window lies inside the input."""
    site = CASES[op][label]
    if op == "Unfold":
        site = replace(site, node=replace(site.node, attributes={"matrix": (site["matrix"] != 0) * 1.0}))
    weight = values(site, "weight")
    inputs = [np.ones(shape) for shape in site.input_shapes]
    longest = torch_value(site, inputs, None if weight is None else np.ones(weight.shape), None, True).max()
    terms = OPERATORS[op].terms(site)
    assert longest <= terms
    assert terms <= longest * (4 if op == "ConvTranspose" or "pad" in label else 1)


@pytest.mark.parametrize(("op", "label"), WEIGHTED, ids=[f"{op}-{label}" for op, label in WEIGHTED])
def test_shift_places_channel_exponents(op: str, label: str) -> None:
    """weight · 2**(source - target) on inputs times 2**-source gives the output times 2**-target, exactly."""
    site, operator, rng = CASES[op][label], OPERATORS[op], np.random.default_rng(3)
    axis_in, axis_out = operator.axes(site)
    x, weight = draw(rng, site.input_shapes[0]), values(site, "weight")
    source = rng.integers(-9, 9, site.input_shapes[0][axis_in])
    target = rng.integers(-9, 9, site.output_shape[axis_out])
    shifts = operator.shift(site, source, target)
    assert np.broadcast_shapes(*(s.shape for s in shifts), weight.shape) == weight.shape

    def spread(exponents: np.ndarray, axis: int, rank: int) -> np.ndarray:
        return exponents.reshape([-1 if k == axis else 1 for k in range(rank)])

    found = torch_value(
        site,
        [np.ldexp(x, -spread(source, axis_in, x.ndim))],
        np.ldexp(weight, shifts[0] - shifts[1]),
        None,
        False,
    )
    expected = np.ldexp(
        torch_value(site, [x], weight, None, False), -spread(target, axis_out, len(site.output_shape))
    )
    assert np.abs(found - expected).max() <= 1e-13 * np.abs(expected).max()


def _compressed(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Distinct integers that vary along some axes only."""
    kept = [n if k and rng.random() < 0.6 else 1 for k, n in enumerate(shape)]
    return rng.permutation(int(np.prod(kept))).reshape(kept) + 1


def _image_of(op: str, label: str, emit: Callable, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    site, rng, bench = CASES[op][label], np.random.default_rng(seed), Bench("float64")
    arrays = [_compressed(rng, shape) for shape in site.input_shapes]
    full = [np.broadcast_to(a, s) for a, s in zip(arrays, site.input_shapes, strict=True)]
    moved, there = (
        emit(bench.graph, site, [bench.bind(x) for x in xs])
        for xs in (full, [np.ones(x.shape) for x in full])
    )
    moved, there = bench.read(moved, there)
    image = OPERATORS[op].image(site, arrays)
    assert image.ndim == len(site.output_shape)
    return moved, np.broadcast_to(image, site.output_shape), there


MOVES = [(op, label) for op, label in ALL if op in OPERATORS and OPERATORS[op].kind in ("movement", "relu")]
GATHERS = [
    (op, label)
    for op, label in ALL
    if op in OPERATORS and OPERATORS[op].kind in ("sum", "max") and op != "Unfold"
]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("op", "label"), MOVES, ids=[f"{op}-{label}" for op, label in MOVES])
def test_image_of_a_movement_is_what_it_moves(op: str, label: str, seed: int) -> None:
    moved, image, there = _image_of(op, label, OPERATORS[op].emit, seed)
    assert np.array_equal(np.where(there, image, 0), moved)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("op", "label"), GATHERS, ids=[f"{op}-{label}" for op, label in GATHERS])
def test_image_of_a_sum_or_maximum_is_at_least_every_antecedent(op: str, label: str, seed: int) -> None:
    twin = {total: maximum for maximum, total in _MAXIMA.items()}.get(op, op)
    moved, image, there = _image_of(op, label, OPERATORS[twin].emit, seed)
    assert (image >= moved).all()
    assert there.max() == 1


@pytest.mark.parametrize("label", sorted(CASES["Unfold"]))
def test_unfold_knows_its_matrix(label: str) -> None:
    """A result is at most `gain` times the largest antecedent; a cell goes to `spread` results at most."""
    site, rng = CASES["Unfold"][label], np.random.default_rng(0)
    (x,) = (rng.integers(1, 100, shape).astype(np.float64) for shape in site.input_shapes)
    y = torch_value(site, [x], None, None, False)
    assert (y <= unfold.gain(site) * OPERATORS["Unfold"].image(site, [x]) + 1e-9).all()
    assert unfold.spread(site) == (site["matrix"] != 0).sum(axis=1).max()
