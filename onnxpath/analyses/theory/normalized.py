"""Theorem E.1 at channel level: two networks, each normalized by Algorithm 1 (docs/lipschitz.md, section 3).

With one factor Λ_c per channel such that every hidden row, biases included, has an ℓ1 norm of at most 1, and
hence every hidden ‖Φ^{→u}‖₁ <= 1,

    hidden v:   E_v = ‖θ^{→v} - θ'^{→v}‖₁ + max_u E_u,           output v: E_v = ‖θ^{→v} - θ'^{→v}‖₁ +
                                                                 ‖θ^{→v}‖₁ max_u E_u,

rows with their biases in the first terms. Σ_{v out} ‖θ^{→v}‖₁ <= ‖Φ‖₁ where the factors are the norms of the
neurons themselves. With Λ = B at the inputs, the sum over all paths counts those that start at an input B
times.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import log2

import numpy as np

from onnxpath.engine.scaled import Scaled
from onnxpath.lanes import rows
from onnxpath.lanes.magnitude import add_log2, largest_along
from onnxpath.model.matching import Pairing, Parameters
from onnxpath.model.network import Network, Parameter, Site
from onnxpath.ops import OPERATORS


def total(network: Network, bounds: Mapping[str, np.ndarray]) -> Scaled:
    """Σ over all output neurons of 2^bounds, for arrays that broadcast to the outputs."""
    found = [-np.inf]
    for name in network.outputs:
        array = bounds[name]
        if array.size:
            found.append(
                float(np.logaddexp2.reduce(array.reshape(-1))) + log2(network.size_of(name) / array.size)
            )
    return Scaled.power(float(np.logaddexp2.reduce(found)) + rows.SLACK)


def terms_log2(site: Site) -> float:
    """log2 of the sum of the edges of a sum or pool: of its number of antecedents where all edges are 1."""
    operator = OPERATORS[site.node.op]
    return log2(operator.gain(site) if operator.kind == "sum" else operator.terms(site))


@dataclass(frozen=True, eq=False)
class Normalized:
    """One tensor of a pair of normalized networks, per channel.

    p, q: log2 of the factors Λ_v by which Φ^{→v} of either network was divided; e: E_v of the normalized pair
        (float64).
    """

    p: np.ndarray
    q: np.ndarray
    e: np.ndarray


def final(network: Network) -> set[str]:
    """Tensors of output neurons: nothing but views and ReLUs between them and an output."""
    found: set[str] = set()
    for name in [node.output for node in reversed(network.nodes)]:
        readers = network.consumers.get(name, ())
        if all(OPERATORS[r.op].kind in ("movement", "relu") and r.output in found for r in readers) and (
            readers or name in network.outputs
        ):
            found.add(name)
    return found


@dataclass(frozen=True, eq=False)
class Ends:
    """Of output neurons, per channel, log2 of: ‖θ^{→v} - θ'^{→v}‖₁ with its bias, the smaller ‖θ^{→v}‖₁, the
    largest E_u before it, and the norm of whole kernels, at least ‖Φ^{→v}‖₁, in either network."""

    moved: np.ndarray
    row: np.ndarray
    carried: np.ndarray
    p: np.ndarray
    q: np.ndarray

    def bound(self) -> np.ndarray:
        return add_log2(self.moved, self.row + self.carried)


_KEYS = ("moved", "row", "carried", "p", "q")


def _nothing(array: np.ndarray) -> np.ndarray:
    """-inf, the log2 of nothing, where two of them were subtracted."""
    return np.where(np.isnan(array), -np.inf, array)


def _level(site: Site, x: Normalized, axes: tuple[int, ...]) -> Normalized:
    """One factor along some axes: an identity neuron in between, with weight Λ_u / max Λ <= 1."""
    p, q = (array.max(axis=axes, keepdims=True) for array in (x.p, x.q))
    if all(np.array_equal(np.broadcast_to(top, a.shape), a) for top, a in ((p, x.p), (q, x.q))):
        return x
    with np.errstate(invalid="ignore"):
        first, second = np.exp2(_nothing(x.p - p)), np.exp2(_nothing(x.q - q))
    return Normalized(p, q, x.e + _gap(first, second))


def _gap(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """|a - b| of numbers in [0, 1] with a few roundings each."""
    return np.where(a == b, 0.0, np.abs(a - b) + 2.0**-48)


def theorem_e1(pairing: Pairing, radius: float = 0.0) -> tuple[dict[str, np.ndarray], Scaled]:
    """Theorem E.1 at channel level: log2 bounds of ‖Φ^{→v}(θ_A) - Φ^{→v}(θ_B)‖₁ for every output, and their
    sum.

    Each network is normalized by Algorithm 1 with one factor per channel (docs/lipschitz.md, section 3). The
    sum is Σ_{v out} ‖θ^{→v} - θ'^{→v}‖₁ + Σ_{v out} min(‖θ^{→v}‖₁, ‖θ'^{→v}‖₁) · max over paths Σ_{hidden}
    ‖Δθ^{→p_l}‖₁, biases among the weights of the first terms; where every factor is exactly the norm of its
    neuron, Σ_{v out} ‖θ^{→v}‖₁ is ‖Φ‖₁, at most. radius: log2 of what paths that start at an input count.
    """
    found = {name: ends.bound() for name, ends in _theorem(pairing, radius).items()}
    return found, total(pairing.a, found)


def papers_theorem_e1(pairing: Pairing) -> Scaled:
    """The formula of the paper: Σ_{v out} ‖Δθ^{→v}‖₁ + min(‖Φ‖₁, ‖Φ'‖₁) · max over paths Σ_{hidden}
    ‖Δθ^{→p_l}‖₁, with norms of whole kernels for ‖Φ‖₁."""
    ends = _theorem(pairing, 0.0)

    def summed(key: str) -> Scaled:
        return total(pairing.a, {name: getattr(one, key) for name, one in ends.items()})

    smaller = min(summed("p"), summed("q"), key=lambda value: value.log2)
    carried = max((float(one.carried.max(initial=-np.inf)) for one in ends.values()), default=-np.inf)
    return summed("moved") + Scaled.power(smaller.log2 + carried + rows.SLACK)


def _theorem(pairing: Pairing, radius: float) -> dict[str, Ends]:
    network = pairing.a
    outputs = final(network)
    state: dict[str, Normalized] = {}
    done: dict[str, Ends] = {}
    for name in network.inputs:
        one = np.zeros((1,) * len(network.shapes[name]))
        state[name] = Normalized(one + radius, one + radius, one)
    for node in network.nodes:
        site = Site.of(network, node)
        if node.output in outputs and OPERATORS[node.op].kind in (
            "movement",
            "relu",
        ):  # views and ReLUs behind the output neurons
            ends = [done[name] if name in done else _copied(state[name]) for name in node.inputs]
            done[node.output] = Ends(
                *(OPERATORS[node.op].image(site, [getattr(end, key) for end in ends]) for key in _KEYS)
            )
            continue
        before = [state[name] for name in node.inputs]
        kind = OPERATORS[node.op].kind
        made = (
            _normalized_weighted(site, pairing.twin[node.output], before[0], node.output in outputs)
            if kind == "weighted"
            else _normalized_passed(site, before)
        )
        if isinstance(made, Normalized):
            state[node.output] = made
            if node.output in outputs:
                done[node.output] = _copied(made)
        else:
            done[node.output] = made
    for name in network.outputs:
        if name not in done:  # hidden neurons that are outputs too: copies of them
            done[name] = _copied(state[name])
    return {name: done[name] for name in network.outputs}


def _copied(x: Normalized) -> Ends:
    """An output neuron behind each of these: one edge, of weight Λ_v."""
    top, low = np.maximum(x.p, x.q), np.minimum(x.p, x.q)
    with np.errstate(invalid="ignore", divide="ignore"):
        part = np.where(top == low, 0.0, -np.expm1((low - top) * np.log(2.0)) + 2.0**-48)
        return _ends(top + np.log2(part), low, np.log2(x.e), x.p, x.q)


def _ends(*arrays: np.ndarray) -> Ends:
    return Ends(*np.broadcast_arrays(*arrays))


def _normalized_weighted(site: Site, twin: Parameters, x: Normalized, last: bool) -> Normalized | Ends:
    node, (weight, bias) = site.node, twin
    axes = OPERATORS[node.op].axes(site)
    if axes is not None:
        x = _level(site, x, tuple(k for k in range(x.p.ndim) if k != axes[0]))
    x = Normalized(*np.broadcast_arrays(x.p, x.q, x.e))
    biases = [rows.bias_log2(site, b) for b in (node.bias, bias)]
    through = [rows.weighted_sum(site, w, before) for w, before in ((node.weight, x.p), (weight, x.q))]
    if last:
        zeros = np.zeros((1,) * len(site.output_shape))
        factors = [zeros, zeros]
    else:
        factors = [
            _raised(site, rows.grid(add_log2(t, b)), before)
            for t, b, before in zip(through, biases, (x.p, x.q), strict=True)
        ]
        if axes is not None:  # one factor per channel, wherever the bias of a neuron lies
            factors = [largest_along(factor, axes[1]) for factor in factors]
    even = bool(np.all(factors[0] == factors[1]))
    equal = even and np.array_equal(x.p, x.q) and rows.same(node.weight, weight)
    change = np.full((1,) * len(site.output_shape), -np.inf)
    if not equal:
        change = rows.normalized_gap(site, node.weight, weight, (x.p, x.q), (factors[0], factors[1]))
        # what rounding the factors and products may hide
        with np.errstate(invalid="ignore"):
            scale = [_nothing(t - f) for t, f in zip(through, factors, strict=True)]
        change = np.logaddexp2(change, np.logaddexp2(*scale) - 48.0)
    if not (even and rows.same(node.bias, bias)):
        change = np.logaddexp2(change, _bias_change(site, node.bias, bias, factors))
    carried = rows.largest(site, x.e)
    if last:
        with np.errstate(divide="ignore"):
            return _ends(
                change,
                np.minimum(*through),
                np.log2(carried),
                *(add_log2(t, b) for t, b in zip(through, biases, strict=True)),
            )
    return Normalized(factors[0], factors[1], (np.exp2(change) + carried) * (1 + rows.SLACK))


def _raised(site: Site, factor: np.ndarray, before: np.ndarray) -> np.ndarray:
    """A factor no smaller than 2^-900 of the largest one before: any factor that is large enough will do."""
    return np.where(np.isfinite(factor), np.maximum(factor, rows.largest(site, before) - 900.0), factor)


def _bias_change(
    site: Site, p: Parameter | None, q: Parameter | None, factors: list[np.ndarray]
) -> np.ndarray:
    sides = []
    for bias, factor in zip((p, q), factors, strict=True):
        wide = OPERATORS[site.node.op].wide_bias(site, np.atleast_1d(rows.value(bias, 0.0)))
        scale = np.where(np.isfinite(factor), np.exp2(-np.maximum(factor, -1000.0)), 0.0)
        sides.append(wide * scale)
    with np.errstate(divide="ignore"):
        return (
            np.log2(np.abs(sides[0] - sides[1]) + 2.0**-48 * (np.abs(sides[0]) + np.abs(sides[1])))
            + rows.SLACK
        )


def _normalized_passed(site: Site, before: list[Normalized]) -> Normalized:
    operator = OPERATORS[site.node.op]
    if operator.kind in ("movement", "relu"):
        return Normalized(*(operator.image(site, [getattr(x, key) for x in before]) for key in "pqe"))
    if not operator.merges:
        level = _level(site, before[0], operator.mixes(site))
        p, q = (rows.grid(operator.image(site, [array]) + terms_log2(site)) for array in (level.p, level.q))
        return Normalized(p, q, operator.image(site, [level.e]))
    sides = [[x.p for x in before], [x.q for x in before]]
    factors = [rows.grid(add_log2(*side)) for side in sides]
    change = 0.0
    with np.errstate(invalid="ignore"):
        for a, b in zip(*sides, strict=True):
            parts = [np.exp2(_nothing(array - factor)) for array, factor in zip((a, b), factors, strict=True)]
            change = change + _gap(parts[0], parts[1])
    e = change + np.maximum.reduce(np.broadcast_arrays(*(x.e for x in before)))
    return Normalized(factors[0], factors[1], e * (1 + rows.SLACK))


def _shared(site: Site, array: np.ndarray) -> np.ndarray:
    """The largest factor among neurons that share weights: one per output channel, or per number of an
    elementwise weight."""
    axes = OPERATORS[site.node.op].axes(site)
    if axes is not None:
        return largest_along(array, axes[1])
    alike = tuple(k for k, n in enumerate(site.node.coefficients.shape) if n == 1)
    return array.max(axis=alike, keepdims=True)


def channel_norm(network: Network) -> Scaled:
    """The norm of whole kernels: ‖Φ‖₁ if every neuron of a channel had all antecedents that its kernel has
    entries for.

    It is Σ over the outputs of Σ_u |w_uv| Λ_u + |b_v|, with one factor Λ for all neurons that share weights:
    never below ‖Φ‖₁, and equal to it where nothing is padded and no bias varies over space.
    """
    outputs = final(network)
    state = {name: np.zeros((1,) * len(network.shapes[name])) for name in network.inputs}
    for node in network.nodes:
        site, before, operator = (
            Site.of(network, node),
            [state[name] for name in node.inputs],
            OPERATORS[node.op],
        )
        if operator.kind == "weighted":
            learned = node.weight is not None and not node.weight.fixed
            x = _shared(site, before[0]) if learned and operator.diagonal else before[0]
            made = add_log2(rows.weighted_sum(site, node.weight, x), rows.bias_log2(site, node.bias))
            made = _shared(site, made) if learned and node.output not in outputs else made
        elif operator.merges:
            made = add_log2(*before)
        else:
            made = operator.image(site, before) + (
                terms_log2(site) if operator.kind in ("sum", "max") else 0.0
            )
        state[node.output] = made
    return total(network, state)
