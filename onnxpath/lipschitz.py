"""Lipschitz bounds in the parameters and in the input (paper, Appendices E and F; docs/lipschitz.md).

For two networks of one structure, ‖x‖_∞ <= B and any signs, each of these bounds Σ_v |R_A(x)_v - R_B(x)_v| over all outputs:

    Lemma E.1         max(B, 1) Σ_v E_v,   E_v = |Δb_v| + ‖Δθ^{→v}‖₁ max_u ‖Φ^{→u}‖₁ + ‖θ^{→v}‖₁ max_u E_u        a (max,+) pass
    Theorem E.1       the same on parameters normalized by Algorithm 1, where every hidden ‖θ^{→v}‖₁ and ‖Φ^{→u}‖₁ is at most 1
    Corollary F.1     max(B, 1) · 2 L W² R^(L-1) ‖Δθ‖_∞                     layered networks without biases only
    Equation (1)      (W B + 1) · W L² R^(L-1) ‖Δθ‖_∞                       layered networks without biases only
    operator norms    the telescoped product, in ℓ∞ or ℓ2

u runs over the antecedents of v. For one network ‖Φ‖₁, over the paths that start at an input, is a Lipschitz constant from ℓ∞ to ℓ1.
Quantities are kept per channel in log2, rounded up, so that nothing overflows and every result is an upper bound.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import isfinite, log2

import numpy as np

from onnxpath import operator_norms
from onnxpath.engine.scaled import Scaled
from onnxpath.engine.session import Device
from onnxpath.errors import UsageError
from onnxpath.matching import Pairing, Parameters
from onnxpath.network import Network, Node, Parameter, Site
from onnxpath.norm import evaluate
from onnxpath.ops import OPERATORS
from onnxpath.passes import rows
from onnxpath.passes.magnitude import add_log2
from onnxpath.results import Compared

KINDS = ("weighted", "movement", "sum", "relu", "max")
_SUM = "sum over all outputs"


@dataclass(frozen=True, eq=False)
class Condition:
    """Why a bound does not hold for these networks."""

    reason: str


def outside(network: Network) -> Condition | None:
    """The first node that is not part of the paper's model."""
    for node in network.nodes:
        if OPERATORS[node.op].kind not in KINDS:
            return Condition(f"node '{node.name}' ({node.op}) is outside the paper's model")
    return None


def total(network: Network, bounds: Mapping[str, np.ndarray]) -> Scaled:
    """Σ over all output neurons of 2^bounds, for arrays that broadcast to the outputs."""
    found = [-np.inf]
    for name in network.outputs:
        array = bounds[name]
        if array.size:
            found.append(float(np.logaddexp2.reduce(array.reshape(-1))) + log2(network.size_of(name) / array.size))
    return Scaled.power(float(np.logaddexp2.reduce(found)) + rows.SLACK)


def _terms(site: Site) -> float:
    return log2(OPERATORS[site.node.op].terms(site))


# Lemma E.1


@dataclass(frozen=True, eq=False)
class _Pair:
    """log2 bounds of one tensor, per channel: ‖Φ^{→v}‖₁ in either network, and E_v."""

    p: np.ndarray
    q: np.ndarray
    e: np.ndarray


def lemma_e1(pairing: Pairing) -> dict[str, np.ndarray]:
    """Lemma E.1 for every output: log2 of E_v >= ‖Φ^{→v}(θ_A) - Φ^{→v}(θ_B)‖₁, broadcastable to the output.

    The lemma holds with either network as the first: the smaller of the two is taken at every neuron. E_v is also at least the
    triangle bound U of docs/theory.md, section 3, so that max(B, 1) Σ_v E_v bounds the outputs' difference without a sign condition.
    """
    network = pairing.a
    state: dict[str, _Pair] = {}
    for name in network.inputs:
        one = (1,) * len(network.shapes[name])
        state[name] = _Pair(np.zeros(one), np.zeros(one), np.full(one, -np.inf))
    for node in network.nodes:
        site, before = Site.of(network, node), [state[name] for name in node.inputs]
        if OPERATORS[node.op].kind == "weighted":
            state[node.output] = _lemma_weighted(site, pairing.twin[node.output], before[0])
        else:
            state[node.output] = _Pair(*(_passed(site, [getattr(x, key) for x in before]) for key in "pqe"))
    return {name: state[name].e for name in network.outputs}


def _passed(site: Site, arrays: list[np.ndarray]) -> np.ndarray:
    """‖θ^{→v}‖₁ times the largest antecedent, for nodes whose edges all have weight 1."""
    operator = OPERATORS[site.node.op]
    image = operator.image(site, arrays)
    return image + _terms(site) if operator.kind in ("sum", "max") else image


def _lemma_weighted(site: Site, twin: Parameters, x: _Pair) -> _Pair:
    node, (weight, bias) = site.node, twin
    gap, bias_gap = rows.gap(site, node.weight, weight), rows.bias_gap(site, node.bias, bias)
    biases = [rows.bias_log2(site, b) for b in (node.bias, bias)]
    sums = [rows.weighted_sum(site, w) for w in (node.weight, weight)]
    carried = rows.largest(site, x.e)
    e = np.minimum(
        *(add_log2(bias_gap, gap + rows.largest(site, other), row + carried) for row, other in zip(sums, (x.q, x.p), strict=True))
    )
    p, q = (add_log2(rows.weighted_sum(site, w, before), b) for w, before, b in zip((node.weight, weight), (x.p, x.q), biases, strict=True))
    return _Pair(p, q, e)


# Theorem E.1


@dataclass(frozen=True, eq=False)
class Normalized:
    """One tensor of a pair of normalized networks, per channel.

    p, q: log2 of the factors Λ_v by which Φ^{→v} of either network was divided; e: E_v of the normalized pair (float64).
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


def _ceil(array: np.ndarray) -> np.ndarray:
    """Rounded up to a multiple of 2^-30, so that differences of factors are exact."""
    return np.ceil(array * 2.0**30) * 2.0**-30


def _nothing(array: np.ndarray) -> np.ndarray:
    """-inf, the log2 of nothing, where two of them were subtracted."""
    return np.where(np.isnan(array), -np.inf, array)


def _level(site: Site, x: Normalized, axes: tuple[int, ...]) -> Normalized:
    """One factor along some axes: an identity neuron in between, with weight Λ_u / max Λ <= 1."""
    tops = [array.max(axis=axes, keepdims=True) for array in (x.p, x.q)]
    if all(np.array_equal(np.broadcast_to(top, array.shape), array) for top, array in zip(tops, (x.p, x.q), strict=True)):
        return x
    with np.errstate(invalid="ignore"):
        parts = [np.exp2(_nothing(array - top)) for top, array in zip(tops, (x.p, x.q), strict=True)]
    return Normalized(*tops, x.e + _gap(parts[0], parts[1]))


def _gap(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """|a - b| of numbers in [0, 1] with a few roundings each."""
    return np.where(a == b, 0.0, np.abs(a - b) + 2.0**-48)


def theorem_e1(pairing: Pairing) -> tuple[dict[str, np.ndarray], Scaled]:
    """Theorem E.1 at channel level: log2 bounds of ‖Φ^{→v}(θ_A) - Φ^{→v}(θ_B)‖₁ for every output, and their sum.

    Each network is normalized by Algorithm 1 with one factor per channel (docs/lipschitz.md, section 3). The sum is
    Σ_{v out} ‖θ^{→v} - θ'^{→v}‖₁ + Σ_{v out} min(‖θ^{→v}‖₁, ‖θ'^{→v}‖₁) · max over paths Σ_{hidden} ‖Δθ^{→p_l}‖₁, biases among the weights of the
    first terms; where every factor is exactly the norm of its neuron, Σ_{v out} ‖θ^{→v}‖₁ is ‖Φ‖₁, at most.
    """
    network = pairing.a
    outputs = final(network)
    state: dict[str, Normalized] = {}
    done: dict[str, np.ndarray] = {}
    for name in network.inputs:
        one = np.zeros((1,) * len(network.shapes[name]))
        state[name] = Normalized(one, one, one)
    for node in network.nodes:
        site = Site.of(network, node)
        if node.output in outputs and OPERATORS[node.op].kind in ("movement", "relu"):  # views and ReLUs behind the output neurons
            ends = [done[name] if name in done else _copied(state[name]) for name in node.inputs]
            done[node.output] = OPERATORS[node.op].image(site, ends)
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
    return {name: done[name] for name in network.outputs}, total(network, done)


def _copied(x: Normalized) -> np.ndarray:
    """An output neuron behind each of these: one edge, of weight Λ_v."""
    top, low = np.maximum(x.p, x.q), np.minimum(x.p, x.q)
    with np.errstate(invalid="ignore", divide="ignore"):
        part = np.where(top == low, 0.0, -np.expm1((low - top) * np.log(2.0)) + 2.0**-48)
        return add_log2(top + np.log2(part), low + np.log2(x.e))


def _normalized_weighted(site: Site, twin: Parameters, x: Normalized, last: bool) -> Normalized | np.ndarray:
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
        factors = [_raised(site, _ceil(add_log2(t, b)), before) for t, b, before in zip(through, biases, (x.p, x.q), strict=True)]
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
            return add_log2(change, np.minimum(*through) + np.log2(carried))
    return Normalized(factors[0], factors[1], (np.exp2(change) + carried) * (1 + rows.SLACK))


def _raised(site: Site, factor: np.ndarray, before: np.ndarray) -> np.ndarray:
    """A factor no smaller than 2^-900 of the largest one before: any factor that is large enough will do."""
    return np.where(np.isfinite(factor), np.maximum(factor, rows.largest(site, before) - 900.0), factor)


def _bias_change(site: Site, p: Parameter | None, q: Parameter | None, factors: list[np.ndarray]) -> np.ndarray:
    sides = []
    for bias, factor in zip((p, q), factors, strict=True):
        wide = rows.wide_bias(site, np.atleast_1d(rows.value(bias, 0.0)))
        scale = np.where(np.isfinite(factor), np.exp2(-np.maximum(factor, -1000.0)), 0.0)
        sides.append(wide * scale)
    with np.errstate(divide="ignore"):
        return np.log2(np.abs(sides[0] - sides[1]) + 2.0**-48 * (np.abs(sides[0]) + np.abs(sides[1]))) + rows.SLACK


def _normalized_passed(site: Site, before: list[Normalized]) -> Normalized:
    operator = OPERATORS[site.node.op]
    if operator.kind in ("movement", "relu"):
        return Normalized(*(operator.image(site, [getattr(x, key) for x in before]) for key in "pqe"))
    if len(before) == 1:
        axes = site.node.attributes.get("axes") or tuple(range(2, before[0].p.ndim))
        level = _level(site, before[0], tuple(axes))
        p, q = (_ceil(operator.image(site, [array]) + _terms(site)) for array in (level.p, level.q))
        return Normalized(p, q, operator.image(site, [level.e]))
    sides = [[x.p for x in before], [x.q for x in before]]
    factors = [_ceil(add_log2(*side)) for side in sides]
    change = 0.0
    with np.errstate(invalid="ignore"):
        for a, b in zip(*sides, strict=True):
            parts = [np.exp2(_nothing(array - factor)) for array, factor in zip((a, b), factors, strict=True)]
            change = change + _gap(parts[0], parts[1])
    e = change + np.maximum.reduce(np.broadcast_arrays(*(x.e for x in before)))
    return Normalized(factors[0], factors[1], e * (1 + rows.SLACK))


# Layered networks without biases


@dataclass(frozen=True, eq=False)
class Layered:
    """What Corollary F.1 and Equation (1) need: depth L, width W, R >= 1 bounding every row, and ‖θ - θ'‖_∞."""

    depth: int
    width: int
    row: float
    change: float


def layered(pairing: Pairing) -> Layered | Condition:
    """The constants of Appendix F, or why these networks are not of its kind."""
    network, widths, tensor = pairing.a, [], pairing.a.inputs[0]
    if len(network.inputs) != 1 or len(network.outputs) != 1:
        return Condition("holds for networks with one input and one output")
    linear = True  # whether the next weighted node starts a layer
    row, change = 1.0, 0.0
    for node in network.nodes:
        if node.inputs != (tensor,) or len(network.consumers.get(tensor, ())) != 1 or tensor in network.outputs:
            return Condition("holds for layered networks x -> W_L relu(... relu(W_1 x)), and this one has branches")
        tensor = node.output
        if node.op == "Reshape" and network.shapes[tensor][0] == 1:
            continue
        if node.op == "Relu" and widths and not linear:
            linear = True
            continue
        reason = _layer(network, node, pairing.twin.get(node.output))
        if isinstance(reason, Condition):
            return reason
        if not linear:
            return Condition(f"holds for layers with a ReLU between them; node '{node.name}' follows another linear layer")
        linear = False
        row, change = max(row, reason[0]), max(change, reason[1])
        widths += list(node.weight.shape)
    if linear or not widths:
        return Condition("holds for networks whose last layer is linear")
    return Layered(len(widths) // 2, max(widths), row * (1 + 1e-12), change * (1 + 1e-12))


def _layer(network: Network, node: Node, twin: Parameters | None) -> tuple[float, float] | Condition:
    """The largest row norm of a layer in either network, and its largest change."""
    if node.op != "MatMul" or len(node.weight.shape) != 2 or len(network.shapes[node.output]) != 2 or network.shapes[node.output][0] != 1:
        return Condition(f"holds for fully connected layers and ReLUs; node '{node.name}' is {node.op}")
    if any(bias is not None and np.any(bias.array()) for bias in (node.bias, twin[1])):
        return Condition(f"holds for networks without biases; node '{node.name}' has one")
    p, q = (weight.array().astype(np.float64) for weight in (node.weight, twin[0]))
    axis = 0 if node.attributes["side"] == "right" else 1
    return max(float(np.abs(w).sum(axis).max()) for w in (p, q)), float(np.abs(p - q).max())


def corollary_f1(pairing: Pairing, input_bound: float) -> Scaled | Condition:
    """max(B, 1) · 2 L W² R^(L-1) ‖θ - θ'‖_∞ (Corollary F.1)."""
    found = layered(pairing)
    if isinstance(found, Condition):
        return found
    return _appendix_f(found, max(input_bound, 1.0) * 2 * found.depth * found.width**2)


def equation_1(pairing: Pairing, input_bound: float) -> Scaled | Condition:
    """(W B + 1) · W L² R^(L-1) ‖θ - θ'‖_∞ (Equation (1); Gonon et al., 2023, Theorem III.1)."""
    found = layered(pairing)
    if isinstance(found, Condition):
        return found
    return _appendix_f(found, (found.width * input_bound + 1) * found.width * found.depth**2)


def _appendix_f(found: Layered, factor: float) -> Scaled:
    if found.change == 0:
        return Scaled(0.0)
    return Scaled.power(log2(factor) + (found.depth - 1) * log2(found.row) + log2(found.change) + rows.SLACK)


# Operator norms


def operator_norm_product(pairing: Pairing, input_bound: float, kind: operator_norms.Kind) -> Scaled:
    """The product-of-operator-norms bound on Σ_v |R_A(x)_v - R_B(x)_v| for ‖x‖_∞ <= input_bound; kind "inf" or "spectral"."""
    network = pairing.a
    state = {name: operator_norms.of_input(network.size_of(name), input_bound, kind) for name in network.inputs}
    for node in network.nodes:
        state[node.output] = operator_norms.through(
            Site.of(network, node), pairing.twin.get(node.output), [state[name] for name in node.inputs], kind
        )
    found = Scaled(0.0)
    for name in network.outputs:
        found = found + operator_norms.summed(state[name].d, network.size_of(name), kind)
    return found


# The input


def _unbiased(network: Network) -> Network:
    return replace(network, nodes=tuple(replace(node, bias=None) if node.bias is not None else node for node in network.nodes))


@dataclass(frozen=True)
class InputLipschitz:
    """Certified upper bounds: Σ_v |R(x)_v - R(y)_v| <= `summed` ‖x - y‖_∞ and max_v <= `largest` ‖x - y‖_∞."""

    summed: Scaled
    largest: Scaled


def input_lipschitz(network: Network, device: Device | None = None) -> InputLipschitz:
    """‖Φ‖₁ over the paths that start at an input, as a bound on the Lipschitz constant from ℓ∞ to ℓ1 (and ℓ∞ to ℓ∞)."""
    reason = outside(network)
    if reason is not None:
        raise UsageError(f"{network.path}: {reason.reason}")
    summed, largest = Scaled(0.0), Scaled(0.0)
    for reading in evaluate(_unbiased(network), 1.0, device or Device()).values():
        summed = summed + reading.upper(reading.total(), reading.values.mantissa.size)
        for entry in reading.values.flatten():
            upper = reading.upper(entry)
            largest = upper if largest < upper else largest
    return InputLipschitz(summed, largest)


# All of them


def check_input_bound(input_bound: float) -> None:
    if not (isfinite(input_bound) and input_bound >= 0):
        raise UsageError(f"the input bound must be a finite number >= 0, not {input_bound}")


def all_bounds(pairing: Pairing, input_bound: float, device: Device | None = None) -> list[Compared]:
    """Every bound of this module on Σ_v |R_A(x)_v - R_B(x)_v| for ‖x‖_∞ <= input_bound; those that do not apply say why.

    Raises UsageError for a negative or non-finite input_bound.
    """
    check_input_bound(input_bound)
    network, factor = pairing.a, max(input_bound, 1.0)
    missing = outside(network)
    found: list[tuple[str, str, Scaled | Condition, str]] = [
        ("Lemma E.1", "paper, Lemma E.1", missing or total(network, lemma_e1(pairing)).times(factor), "any pair of one structure"),
        ("Theorem E.1", "paper, Theorem E.1", missing or theorem_e1(pairing)[1].times(factor), "both networks normalized (Algorithm 1)"),
        ("Corollary F.1", "paper, Corollary F.1", missing or corollary_f1(pairing, input_bound), "layered, no biases"),
        ("Equation (1)", "paper, Equation (1); Gonon et al. 2023, Thm III.1", missing or equation_1(pairing, input_bound), "layered, no biases"),
    ]  # fmt: skip
    labels: dict[operator_norms.Kind, str] = {"inf": "ℓ∞", "spectral": "spectral"}
    for kind, label in labels.items():
        value = missing or operator_norm_product(pairing, input_bound, kind)
        found.append((f"product of {label} operator norms", "Neyshabur et al. 2018, Lemma 2", value, "any pair of one structure"))
    return [
        Compared(name, source, None, value.reason) if isinstance(value, Condition) else Compared(name, source, value, condition)
        for name, source, value, condition in found
    ]
