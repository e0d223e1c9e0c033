"""Lipschitz bounds in the parameters and in the input (paper, Appendices E and F; docs/lipschitz.md).

For two networks of one structure, ‖x‖_∞ <= B and any signs, each of these bounds Σ_v |R_A(x)_v - R_B(x)_v|
over all outputs:

    Lemma E.1         max(B, 1) Σ_v E_v, E_v = |Δb_v| + ‖Δθ^{→v}‖₁ max_u ‖Φ^{→u}‖₁ + ‖θ^{→v}‖₁ max_u E_u a
                      (max,+) pass
    Theorem E.1       max(B, 1) (Σ_{v out} ‖Δθ^{→v}‖₁ + min ‖Φ‖₁ · max over paths Σ_{hidden} ‖Δθ^{→p_l}‖₁),
                      both normalized by Algorithm 1
    ... at radius B   either of them with B instead of 1 for what starts at an input, and every output's own
                      row: never larger
    Corollary F.1     max(B, 1) · 2 L W² R^(L-1) ‖Δθ‖_∞ layered networks without biases only
    Equation (1)      (W B + 1) · W L² R^(L-1) ‖Δθ‖_∞ layered networks without biases only
    operator norms    the telescoped product, in ℓ∞ or ℓ2

u runs over the antecedents of v. For one network ‖Φ‖₁, over the paths that start at an input, is a Lipschitz
constant from ℓ∞ to ℓ1. Quantities are kept per channel in log2, rounded up, so that nothing overflows and
every result is an upper bound.
"""

from dataclasses import dataclass, replace
from math import frexp, isfinite

import numpy as np

from onnxpath.analyses import tool
from onnxpath.analyses.metric.metric import path_metric
from onnxpath.analyses.metric.norm import evaluate
from onnxpath.analyses.theory import neuron_bounds, operator_norms
from onnxpath.analyses.theory.layered import Condition, corollary_f1, equation_1
from onnxpath.analyses.theory.normalized import papers_theorem_e1, terms_log2, theorem_e1, total
from onnxpath.engine.scaled import Scaled
from onnxpath.engine.session import Device
from onnxpath.errors import UsageError
from onnxpath.lanes import rows
from onnxpath.lanes.magnitude import add_log2
from onnxpath.model.matching import Pairing, Parameters, match
from onnxpath.model.network import Network, Site
from onnxpath.model.paths import require_paths
from onnxpath.ops import OPERATORS
from onnxpath.records import Compared, InputLipschitz, Lipschitz

# Networks whose graph has at most this many edges are evaluated neuron by neuron too.
_SMALL = 500_000


def outside(network: Network) -> Condition | None:
    """The first node that is not part of the paper's model."""
    for node in network.nodes:
        operator = OPERATORS[node.op]
        if not operator.in_model:
            if operator.kind == "quantizer":
                return Condition(
                    f"not applicable: node '{node.name}' quantizes activations, which this bound does not"
                    " count"
                )
            return Condition(f"node '{node.name}' ({node.op}) is outside the paper's model")
    return None


@dataclass(frozen=True, eq=False)
class _Pair:
    """log2 bounds of one tensor, per channel: ‖Φ^{→v}‖₁ in either network, and E_v."""

    p: np.ndarray
    q: np.ndarray
    e: np.ndarray


def lemma_e1(pairing: Pairing, radius: float = 0.0) -> dict[str, np.ndarray]:
    """Lemma E.1 for every output: log2 of E_v >= ‖Φ^{→v}(θ_A) - Φ^{→v}(θ_B)‖₁, broadcastable to the output.

    The lemma holds with either network as the first: the smaller of the two is taken at every neuron. E_v is
    also at least the triangle bound U of docs/theory.md, section 3, so that max(B, 1) Σ_v E_v bounds the
    outputs' difference without a sign condition. radius: log2 of B, for ‖Φ‖₁ in which paths from inputs count
    B times: then Σ_v E_v bounds it.
    """
    network = pairing.a
    state: dict[str, _Pair] = {}
    for name in network.inputs:
        one = (1,) * len(network.shapes[name])
        state[name] = _Pair(np.full(one, radius), np.full(one, radius), np.full(one, -np.inf))
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
    return image + terms_log2(site) if operator.kind in ("sum", "max") else image


def _lemma_weighted(site: Site, twin: Parameters, x: _Pair) -> _Pair:
    node, (weight, bias) = site.node, twin
    gap, bias_gap = rows.gap(site, node.weight, weight), rows.bias_gap(site, node.bias, bias)
    biases = [rows.bias_log2(site, b) for b in (node.bias, bias)]
    sums = [rows.weighted_sum(site, w) for w in (node.weight, weight)]
    carried = rows.largest(site, x.e)
    e = np.minimum(
        *(
            add_log2(bias_gap, gap + rows.largest(site, other), row + carried)
            for row, other in zip(sums, (x.q, x.p), strict=True)
        )
    )
    p, q = (
        add_log2(rows.weighted_sum(site, w, before), b)
        for w, before, b in zip((node.weight, weight), (x.p, x.q), biases, strict=True)
    )
    return _Pair(p, q, e)


# Operator norms


def operator_norm_product(pairing: Pairing, input_bound: float, kind: operator_norms.Kind) -> Scaled:
    """The product-of-operator-norms bound on Σ_v |R_A(x)_v - R_B(x)_v| for ‖x‖_∞ <= input_bound; kind "inf"
    or "spectral"."""
    network = pairing.a
    inputs = {
        name: operator_norms.of_input(network.size_of(name), input_bound, kind) for name in network.inputs
    }
    state = operator_norms.norms(network, pairing.twin, inputs, kind)
    found = Scaled(0.0)
    for name in network.outputs:
        found = found + operator_norms.summed(state[name].d, network.size_of(name), kind)
    return found


# The input


def _unbiased(network: Network) -> Network:
    return replace(
        network,
        nodes=tuple(replace(node, bias=None) if node.bias is not None else node for node in network.nodes),
    )


def input_lipschitz(network: Network, device: Device | None = None) -> InputLipschitz:
    """‖Φ‖₁ over the paths that start at an input, as a bound on the Lipschitz constant from ℓ∞ to ℓ1 (and ℓ∞
    to ℓ∞)."""
    require_paths(network)
    summed, largest = Scaled(0.0), Scaled(0.0)
    for reading in evaluate(_unbiased(network), 1.0, device or Device()).values():
        summed = summed + reading.upper(reading.total(), reading.values.mantissa.size)
        for entry in reading.values.flatten():
            upper = reading.upper(entry)
            largest = upper if largest < upper else largest
    return InputLipschitz(network.path, network.sha256, summed, largest)


# All of them


def check_input_bound(input_bound: float) -> None:
    if not (isfinite(input_bound) and input_bound >= 0):
        raise UsageError(f"the input bound must be a finite number >= 0, not {input_bound}")


@dataclass(frozen=True)
class _AppendixE:
    """Bounds on Σ_v |R_A(x)_v - R_B(x)_v| for ‖x‖_∞ <= B: the formulas of the paper, and what they are when
    inputs count B; why there are none, in their place."""

    lemma: Scaled | Condition
    theorem: Scaled | Condition
    lemma_at: Scaled | Condition
    theorem_at: Scaled | Condition


def log2_up(value: float) -> float:
    """log2 of a number >= 0, exact for powers of two, else rounded up to few bits."""
    mantissa, exponent = frexp(value)
    if mantissa in (0.0, 0.5):
        return exponent - 1.0 if mantissa else -np.inf
    return exponent + float(rows.grid(np.log2(mantissa) + 2.0**-45))


def _least(*values: Scaled | None) -> Scaled:
    return min((value for value in values if value is not None), key=lambda value: value.log2)


def _appendix_e(pairing: Pairing, input_bound: float) -> _AppendixE:
    """At channel level and, for small networks, at neuron level, whichever is smaller."""
    try:
        pair = neuron_bounds.graph_pair(pairing, _SMALL)
    except UsageError:
        pair = None

    def both(radius: float) -> tuple[Scaled, Scaled]:
        lemma, theorem = total(pairing.a, lemma_e1(pairing, radius)), theorem_e1(pairing, radius)[1]
        if pair is None:
            return lemma, theorem
        fine = neuron_bounds.theorem_e1(pair, radius)
        lemma = _least(lemma, neuron_bounds.summed(neuron_bounds.lemma_e1(pair, radius)))
        return lemma, _least(theorem, None if fine is None else neuron_bounds.summed(fine))

    factor = max(input_bound, 1.0)
    lemma, by_output = (value.times(factor) for value in both(0.0))
    printed = _least(
        papers_theorem_e1(pairing), None if pair is None else neuron_bounds.papers_theorem_e1(pair)
    ).times(factor)
    if input_bound == 1:
        return _AppendixE(lemma, printed, lemma, by_output)
    lemma_at, theorem_at = both(log2_up(input_bound))
    return _AppendixE(lemma, printed, _least(lemma, lemma_at), _least(by_output, theorem_at))


def all_bounds(pairing: Pairing, input_bound: float, device: Device | None = None) -> list[Compared]:
    """Every bound of this module on Σ_v |R_A(x)_v - R_B(x)_v| for ‖x‖_∞ <= input_bound; those that do not
    apply say why.

    Raises UsageError for a negative or non-finite input_bound.
    """
    check_input_bound(input_bound)
    missing = outside(pairing.a)
    any_pair, norms, plain = (
        "any pair of one structure",
        "both networks normalized (Algorithm 1)",
        "layered, no biases",
    )
    own = _AppendixE(missing, missing, missing, missing) if missing else _appendix_e(pairing, input_bound)
    found: list[tuple[str, str, Scaled | Condition, str]] = [
        ("Lemma E.1", "paper, Lemma E.1", own.lemma, any_pair),
        ("Lemma E.1 at radius B", "docs/lipschitz.md, section 3", own.lemma_at, any_pair),
        ("Theorem E.1", "paper, Theorem E.1", own.theorem, norms),
        ("Theorem E.1 at radius B, by output", "docs/lipschitz.md, section 3", own.theorem_at, norms),
        ("Corollary F.1", "paper, Corollary F.1", missing or corollary_f1(pairing, input_bound), plain),
        (
            "Equation (1)",
            "paper, Equation (1); Gonon et al. 2023, Theorem III.1",
            missing or equation_1(pairing, input_bound),
            plain,
        ),
    ]
    labels: dict[operator_norms.Kind, str] = {"inf": "ℓ∞", "spectral": "spectral"}
    for kind, label in labels.items():
        value = missing or operator_norm_product(pairing, input_bound, kind)
        found.append(
            (f"product of {label} operator norms", "Neyshabur et al. 2018, Lemma 2", value, any_pair)
        )
    return [
        (
            Compared(name, source, None, value.reason)
            if isinstance(value, Condition)
            else Compared(name, source, value, condition)
        )
        for name, source, value, condition in found
    ]


def lipschitz(
    a: Network, b: Network | None = None, *, input_bound: float = 1.0, device: Device | None = None
) -> Lipschitz:
    """Lipschitz constants of one network in its input and, for two, every bound on their outputs' difference,
    tightest first.

    Raises MismatchError when the structures differ, UnsupportedError for activations outside the paper's
    model, UsageError for a negative or non-finite input_bound.
    """
    device = device or Device()
    check_input_bound(input_bound)
    sides = [input_lipschitz(network, device) for network in (a, b) if network is not None]
    if b is None:
        return Lipschitz(sides[0], None, input_bound, (), tool.describe(device), a.notes)
    metric = path_metric(a, b, device, input_bound)
    found = [
        Compared(
            "Theorem 3.1, path-metric",
            "paper, Theorem 3.1 and Appendix F",
            metric.bound,
            metric.path_metric.method,
        )
    ]
    found += all_bounds(match(a, b), input_bound, device)
    found.sort(key=lambda item: (item.value is None, item.value.log2 if item.value is not None else 0.0))
    return Lipschitz(
        sides[0], sides[1], input_bound, tuple(found), tool.describe(device), metric.notes, metric.interface
    )
