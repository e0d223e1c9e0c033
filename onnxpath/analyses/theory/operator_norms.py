"""Products of operator norms: the classical bound on how far apart two networks are (docs/lipschitz.md,
section 5).

With ‖·‖ the ℓ∞ norm or the ℓ2 norm of whole tensors, every operator T has a Lipschitz constant ‖T‖, and one
pass carries

    a_P >= ‖h^P‖,   a_Q >= ‖h^Q‖,   D >= ‖h^P - h^Q‖,
    a' = ‖W‖ a + ‖b‖,      D' = min(‖W_P‖ D + ‖W_P - W_Q‖ a_Q, ‖W_Q‖ D + ‖W_P - W_Q‖ a_P) + ‖b_P - b_Q‖.

Unrolled over a chain of layers this is Σ_l (Π_{k>l} ‖P_k‖) ‖P_l - Q_l‖ (Π_{k<l} ‖Q_k‖) ‖x‖ (Neyshabur et al.,
2018, Lemma 2). The norm of a sum is at most the sum of the norms, that of a concatenation the largest (ℓ∞) or
the root of the sum of squares (ℓ2).

*Spectral norms of convolutions* are bounded, never estimated by power iteration, which approaches them from
below. For a kernel K:

    ‖K‖₂ <= sqrt(‖K‖₁ ‖K‖_∞),        ‖K‖₂ <= sqrt(c) ‖R‖₂,

R is K as a matrix (out, in · k) that maps a patch to a cell, c the largest number of patches a cell lies in.
The smaller is taken. Everything is in log2.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import log2, prod

import numpy as np

from onnxpath.boxes.ranges import Roundings, Static
from onnxpath.engine.scaled import Scaled
from onnxpath.lanes import rows
from onnxpath.lanes.magnitude import add_log2
from onnxpath.lanes.rows import SLACK, value
from onnxpath.model.network import Network, Parameter, Site
from onnxpath.ops import OPERATORS
from onnxpath.ops.norms import NormKind as Kind

NOTHING = -np.inf
# Above this many multiplications the exact spectral norm of a matrix is left out.
_AFFORDABLE = 4e10
# LAPACK's largest eigenvalue is accurate to a small multiple of the matrix size times 1e-16.
_LAPACK = 1 + 1e-8
_BLOCK = 128
# A network whose weights differ by less than this part of their norm (log2) has the other's norm, up to that
# part.
_NEAR = -6.0


def _log2(number: float) -> float:
    return log2(number) if number > 0 else NOTHING


def plus(*values: float) -> float:
    """log2 of a sum, rounded up."""
    return float(np.logaddexp2.reduce(values)) + SLACK


def _interpolated(matrix: np.ndarray) -> float:
    """log2 of √(‖M‖₁ ‖M‖_∞), for a stack of matrices the largest; in blocks of rows."""
    rows, columns = 0.0, np.zeros((len(matrix), matrix.shape[-1]))
    step = max(1, (1 << 16) // max(1, matrix.shape[-1]))
    for start in range(0, matrix.shape[-2], step):
        part = np.abs(matrix[:, start : start + step].astype(np.float64))
        rows = max(rows, float(part.sum(-1).max(initial=0.0)))
        columns += part.sum(-2)
    return 0.5 * (_log2(rows) + _log2(float(columns.max(initial=0.0)))) + SLACK


def _affordable(shape: tuple[int, ...]) -> bool:
    small, large = sorted(shape[-2:])
    return prod(shape[:-2]) * small * small * (large + 10 * small) <= _AFFORDABLE


def spectral(matrix: np.ndarray) -> float:
    """An upper bound of ‖M‖₂ in log2, for M (m, n) or a stack of them (largest)."""
    matrix = matrix.reshape(-1, *matrix.shape[-2:])
    simple = _interpolated(matrix)
    if simple == NOTHING or not _affordable(matrix.shape):
        return simple
    small, large = sorted(matrix.shape[-2:])
    top = max(float(matrix.max()), -float(matrix.min()))
    matrix = (matrix / top).astype(np.float32)
    wide = matrix if matrix.shape[-2] <= matrix.shape[-1] else matrix.swapaxes(-1, -2)
    gram = np.zeros((len(wide), small, small))
    for start in range(0, large, _BLOCK):  # float32 products of few terms, added up in float64
        part = np.ascontiguousarray(wide[..., start : start + _BLOCK])
        gram += part @ part.swapaxes(-1, -2)
    square = float(np.linalg.eigvalsh(gram).max())
    # rounding of the entries and of the Gram matrix: at most (block + 4) u times the Frobenius norm squared,
    # u = 2^-24
    square = square * _LAPACK + (_BLOCK + 5) * 2.0**-24 * float(
        np.square(matrix, dtype=np.float64).sum((-1, -2)).max()
    )
    return min(simple, 0.5 * _log2(square) + SLACK + log2(top))


@dataclass(frozen=True, eq=False)
class Difference:
    """p - q, formed where it is needed; q None: p itself."""

    p: Parameter | None
    q: Parameter | None = None
    single: bool = True

    def array(self, missing: float) -> np.ndarray:
        p = value(self.p, missing)
        return p if self.single else p - value(self.q, missing)

    def stored(self) -> np.ndarray:
        """In the precision of the files: a difference of float32 numbers is rounded once."""
        assert self.p is not None
        if self.single:
            return self.p.array()
        assert self.q is not None
        return self.p.array() - self.q.array()


def _matrix_norm(site: Site, weight: Difference, kind: Kind) -> float:
    """log2 of an upper bound of the norm of the linear part of a weighted node."""
    operator = OPERATORS[site.node.op]
    if kind == "inf" or operator.diagonal:
        found = rows.weighted_sum(site, weight.p) if weight.single else rows.gap(site, weight.p, weight.q)
        return float(found.max(initial=NOTHING))
    meet = operator.overlap(site)
    if operator.dense:
        shape = site.node.coefficients.shape
        small = _affordable(shape)
        found = (
            spectral(weight.array(0.0))
            if small
            else _interpolated(weight.stored().reshape(-1, *shape[-2:])) + 1e-6
        )
        return found + 0.5 * log2(max(1.0, meet)) + SLACK
    parts = operator.patches(site, weight.array(0.0))
    grouped = np.abs(parts)
    simple = 0.5 * (_log2(float(grouped.sum((2, 3)).max())) + _log2(float(grouped.sum((1, 3)).max()))) + SLACK
    patches = spectral(parts.reshape(*parts.shape[:2], -1)) + 0.5 * log2(meet)
    return min(simple, patches) + SLACK


def _bias_norm(site: Site, bias: Difference, kind: Kind) -> float:
    array = np.abs(bias.array(0.0))
    if kind == "inf" or array.size == 0:
        return _log2(float(array.max(initial=0.0))) + SLACK
    top = float(array.max())
    if top == 0:
        return NOTHING
    repeats = prod(site.output_shape) / array.size
    return _log2(top) + 0.5 * _log2(float(np.square(array / top).sum()) * repeats) + SLACK


@dataclass(frozen=True)
class Norms:
    """log2 bounds of one tensor: of its norm in either network, and of the norm of the difference."""

    p: float
    q: float
    d: float = NOTHING


def _weighted(site: Site, twin: tuple[Parameter | None, Parameter | None], x: Norms, kind: Kind) -> Norms:
    node, (other, other_bias) = site.node, twin
    same = rows.same(node.weight, other)
    p = _matrix_norm(site, Difference(node.weight), kind)
    change = NOTHING if same else _matrix_norm(site, Difference(node.weight, other, False), kind)
    q = plus(p, change) if same or change - p < _NEAR else _matrix_norm(site, Difference(other), kind)
    bias_p, bias_q = (
        _bias_norm(site, Difference(b), kind) if b is not None else NOTHING for b in (node.bias, other_bias)
    )
    moved = NOTHING
    if not rows.same(node.bias, other_bias):
        moved = _bias_norm(site, Difference(node.bias, other_bias, False), kind)
    a, b = plus(p + x.p, bias_p), plus(q + x.q, bias_q)
    first, second = plus(p + x.d, change + x.q, moved), plus(q + x.d, change + x.p, moved)
    return Norms(a, b, min(first, second, plus(a, b)))


def _spread(values: object, site: Site) -> float:
    """log2 of the ℓ2 norm of numbers that broadcast to a node's output."""
    array = np.abs(np.asarray(values, np.float64))
    top = float(array.max(initial=0.0))
    if top == 0 or not np.isfinite(top):
        return NOTHING if top == 0 else np.inf
    return (
        _log2(top)
        + 0.5 * _log2(float(np.square(array / top).sum()) * prod(site.output_shape) / array.size)
        + SLACK
    )


def _quantized(site: Site, found: Roundings, x: Norms) -> Norms:
    """Rounding adds at most `half` to every cell; what is cut off is at most what is beyond the range, and at
    most the value, as 0 is in the range."""

    def size(norm: float, grid: Static | None) -> float:
        return (
            norm
            if grid is None
            else min(plus(norm, _spread(grid.half, site)), _spread(grid.size + grid.half, site))
        )

    p, q = size(x.p, found.grid_p), size(x.q, found.grid_q)
    if found.alike and x.d == NOTHING:
        return Norms(p, q)
    shift, both = found.d, found.p is not None and found.q is not None
    cut = min(_spread(shift.saturation, site), plus(x.p, x.q) if both else min(x.p, x.q))
    return Norms(
        p, q, min(plus(x.d, _spread(shift.rounding, site), cut), _spread(found.cap, site), plus(p, q))
    )


def through(
    site: Site,
    twin: tuple[Parameter | None, Parameter | None] | None,
    before: list[Norms],
    kind: Kind,
    rounding: Roundings | None = None,
) -> Norms:
    """The norms after a node; `rounding`: what a quantizer does (spectral norms only)."""
    if rounding is not None:
        return _quantized(site, rounding, before[0])
    if OPERATORS[site.node.op].kind == "weighted":
        return _weighted(site, twin or (site.node.weight, site.node.bias), before[0], kind)
    norm = OPERATORS[site.node.op].norm
    return Norms(*(norm(site, kind, [getattr(x, key) for x in before]) + SLACK for key in "pqd"))


def of_input(size: int, bound: float, kind: Kind) -> Norms:
    """An input of `size` numbers of modulus at most `bound`."""
    norm = _log2(bound) + (0.5 * log2(size) if kind == "spectral" else 0.0)
    return Norms(norm, norm)


def norms(
    network: Network, twin: Mapping[str, tuple[Parameter | None, Parameter | None]],
    inputs: Mapping[str, Norms], kind: Kind,
    roundings: Mapping[str, Roundings] | None = None,
) -> dict[str, Norms]:  # fmt: skip
    """The norms of every tensor; roundings: what the quantizers of a pair do, by their output."""
    state = dict(inputs)
    for node in network.nodes:
        before, rounding = (
            [state[name] for name in node.inputs],
            None if roundings is None else roundings.get(node.output),
        )
        state[node.output] = through(Site.of(network, node), twin.get(node.output), before, kind, rounding)
    return state


@dataclass(frozen=True, eq=False)
class Limits:
    """log2 bounds on |h_v| in either network and on the difference for every neuron v; broadcastable to a
    tensor's shape."""

    p: np.ndarray
    q: np.ndarray
    d: np.ndarray


def _row_norm(
    site: Site, p: Parameter | None, q: Parameter | None = None, change: bool = False
) -> np.ndarray:
    """log2 of ‖w_v‖₂ for every output neuron's row of p, or of p - q where `change`."""
    if OPERATORS[site.node.op].diagonal:
        return rows.gap(site, p, q) if change else rows.weighted_sum(site, p)
    if change and rows.same(p, q):
        return np.full((1,) * len(site.output_shape), NOTHING)
    assert p is not None

    def squares(index: tuple[slice, ...]) -> np.ndarray:
        block = p.block(index).astype(np.float64)
        if change:
            assert q is not None
            return np.square(block - q.block(index))
        return np.square(block)

    with np.errstate(over="ignore"):
        total = (
            rows.collect(site, squares) + p.size * 1e-290
        )  # what squares below the range of float64 may hide
    return 0.5 * rows.to_output(site, np.log2(total)) + SLACK


def limits(
    network: Network,
    twin: Mapping[str, tuple[Parameter | None, Parameter | None]],
    state: Mapping[str, Norms],
) -> dict[str, Limits]:
    """Of every weighted node's neurons, from the ℓ2 norms of its input: |h_v| <= ‖w_v‖₂ ‖h‖₂ + |b_v|, and the
    recursion of D."""
    found = {}
    for node in network.nodes:
        if OPERATORS[node.op].kind != "weighted":
            continue
        site, x, (weight, bias) = Site.of(network, node), state[node.inputs[0]], twin[node.output]
        p, q = (_row_norm(site, w) for w in (node.weight, weight))
        change = _row_norm(site, node.weight, weight, change=True)
        biases, moved = (
            [rows.bias_log2(site, b) for b in (node.bias, bias)],
            rows.bias_gap(site, node.bias, bias),
        )
        first, second = (add_log2(w + x.d, change + h, moved) for w, h in ((p, x.q), (q, x.p)))
        sizes = add_log2(p + x.p, biases[0]), add_log2(q + x.q, biases[1])
        found[node.output] = Limits(sizes[0], sizes[1], np.minimum(first, second))
    return found


def summed(d: float, size: int, kind: Kind) -> Scaled:
    """What a bound of the norm of `size` outputs says of the sum of their moduli."""
    return Scaled.power(d + log2(size) * (1.0 if kind == "inf" else 0.5) + SLACK)
