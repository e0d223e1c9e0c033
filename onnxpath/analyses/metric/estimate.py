"""An unbiased estimate of the ℓ1 path-metric by sampling paths, with a rigorous interval at a given
confidence (docs/theory.md, section 3.7).

With M = max(|p|, |q|), coordinate by coordinate, and F the values of the absolute pass of M, draw an output
neuron with probability F_v / Σ F, then walk backwards: from v to its antecedent u (or to its bias) with
probability M_uv F_u / S_v, S_v = Σ_u M_uv F_u + M_b. A path drawn so has probability π_p = Φ_p(M) / (Σ F ·
Π_v S_v / F_v), so that

    X_p = |Φ_p(P) - Φ_p(Q)| / π_p = Σ F · Π_v (S_v / F_v) · |Π (p_i / M_i) - Π (q_i / M_i)|

has the path-metric for its mean whatever rounding did to F: π_p is made of the probabilities that were used.
0 <= X <= 2 Σ F (1 + η) with η from the certificate of F (<= 1 (1 + η) where no signs disagree): empirical
Bernstein and Hoeffding bounds hold for every number of samples.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import log, sqrt

import numpy as np

from onnxpath.engine.plan import Output
from onnxpath.engine.scaled import Scaled, ldexp
from onnxpath.engine.session import Device
from onnxpath.errors import UnsupportedError, UsageError
from onnxpath.lanes import absolute, settle
from onnxpath.lanes.lanes import Calibration
from onnxpath.lanes.tracer import Tracer
from onnxpath.model.matching import Parameters
from onnxpath.model.network import Network, Node, Parameter, Site
from onnxpath.ops import OPERATORS
from onnxpath.records import Estimate

CONFIDENCE = 0.99
# Edges looked at in one step: few enough for the processor's cache.
_CELLS = 1 << 18


@dataclass(frozen=True, eq=False)
class _Values:
    """F at one tensor: array (flat) · 2**exponent."""

    array: np.ndarray
    exponent: int


class _Node:
    """A node with the parameters of both networks and their moduli's maximum."""

    def __init__(self, network: Network, node: Node, twin: Mapping[str, Parameters]):
        self.fill = OPERATORS[node.op].missing_weight
        weight, bias = twin.get(node.output, (None, None))
        self.weights, self.biases = (node.weight, weight), (node.bias, bias)
        made = {
            key: _largest(pair, fill)
            for key, pair, fill in (("weight", self.weights, self.fill), ("bias", self.biases, 0.0))
        }
        self.node = replace(node, **made)
        self.site = Site.of(network, self.node)

    def opposed(self) -> bool:
        """Whether some coordinates have opposite signs."""
        return any(
            p is not None and q is not None and bool((np.sign(p.array()) * np.sign(q.array()) < 0).any())
            for p, q in (self.weights, self.biases)
        )

    def bias(self, parameter: Parameter | None, v: np.ndarray) -> np.ndarray:
        """A bias at output neurons v."""
        if parameter is None:
            return np.zeros(v.size)
        array = OPERATORS[self.node.op].wide_bias(self.site, parameter.array())
        shape = self.site.output_shape
        return np.broadcast_to(array, shape)[np.unravel_index(v, shape)].astype(np.float64)


def _largest(pair: Parameters, fill: float) -> Parameter | None:
    present = next((r for r in pair if r is not None), None)
    if present is None:
        return None
    p, q = (np.full((1,) * len(present.shape), fill) if r is None else np.abs(r.array()) for r in pair)
    return replace(present, base=np.ascontiguousarray(np.maximum(p, q)), scale=None)


def _values(network: Network, device: Device) -> tuple[dict[str, _Values], float]:
    """F of every tensor, and the largest certified relative error."""

    def build(calibration: Calibration) -> tuple[Tracer, dict[str, Output], None]:
        tracer, lanes = absolute.trace(network, 1.0, device, dict.fromkeys(network.inputs, 0.0), calibration)
        return tracer, {name: absolute.read(tracer, lane) for name, lane in lanes.items()}, None

    found, _ = settle.evaluate(build, absolute.ones(network), device)
    made = {}
    for name, reading in found.items():
        mantissa = reading.values.mantissa
        exponent = np.broadcast_to(reading.values.exponent, mantissa.shape)
        top = int(exponent[mantissa > 0].max(initial=-(1 << 40)))
        top = 0 if top == -(1 << 40) else top
        array = ldexp(mantissa, exponent - top).reshape(-1)
        if ((array < 1e-300) & (mantissa.reshape(-1) > 0)).any():
            raise UnsupportedError(
                f"{network.path}: channels of tensor '{name}' differ by more than float64 holds; no estimate"
                " by sampling"
            )
        made[name] = _Values(array, top)
    return made, max(reading.rho for reading in found.values())


class _Walk:
    """Paths on their way from the outputs to the inputs."""

    def __init__(self, count: int, random: np.random.Generator):
        self.random = random
        self.at = np.full(count, -1)  # the neuron where it is
        self.growth = np.ones(count)  # Π S_v / F_v
        self.q = np.ones(count)  # Π q_i / M_i
        self.delta = np.zeros(count)  # Π p_i / M_i - Π q_i / M_i

    def extend(self, chosen: np.ndarray, p: np.ndarray, q: np.ndarray) -> None:
        """Edges with weights p and q; a path that has died (M = 0) stays at 0."""
        m = np.maximum(np.abs(p), np.abs(q))
        with np.errstate(divide="ignore", invalid="ignore"):
            p, q, d = (np.where(m > 0, x / m, 0.0) for x in (p, q, p - q))
        self.delta[chosen] = self.delta[chosen] * p + d * self.q[chosen]
        self.q[chosen] *= q


def _draw(
    random: np.random.Generator, scores: np.ndarray, count: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """For every row of scores (S, K) one column, and its score divided by the probability it was drawn with;
    or, from a single row, `count` columns.

    Drawn with probability q / Σ q, q = ceil(2**50 score / Σ score): integers, whose sums are exact. The
    quotient is at most Σ score (1 + (K + 1) 2**-50), whichever column it is.
    """
    total = scores.sum(1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        whole = np.where(total > 0, np.ceil(scores * (2.0**50 / total)), 0.0)
    running = np.cumsum(whole, axis=1)
    last = running[:, -1]
    if count is None:
        target = random.integers(0, np.maximum(last, 1).astype(np.int64))
        column, row = (running <= target[:, None]).sum(1), np.arange(len(scores))
    else:
        target = random.integers(0, max(int(last[0]), 1), count)
        column, row = np.searchsorted(running[0], target, side="right"), np.zeros(count, np.int64)
    column = np.minimum(column, scores.shape[1] - 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return column, np.where(last[row] > 0, scores[row, column] * (last[row] / whole[row, column]), 0.0)


def _step(
    item: _Node, walk: _Walk, chosen: np.ndarray, values: Mapping[str, _Values]
) -> tuple[np.ndarray, np.ndarray]:
    """One step back from the node's output for the walks `chosen`: (number of the input tensor, -1 at a bias;
    neuron there)."""
    node, site, v = item.node, item.site, walk.at[chosen]
    here = values[node.output]
    reference = max([0, *(values[name].exponent for name in node.inputs)])
    tensors = [ldexp(values[name].array, values[name].exponent - reference) for name in node.inputs]
    u, w, valid = OPERATORS[node.op].edges(site, v)
    score = (np.concatenate(tensors) if len(tensors) > 1 else tensors[0])[u]
    if w is not None:
        score = score * node.coefficients.base.reshape(-1)[w]
    if valid is not None:
        score = score * valid
    bias = ldexp(item.bias(node.bias, v), -reference)
    places, factor = _draw(walk.random, np.concatenate([bias[:, None], score], 1))
    column = places - 1  # -1: the bias
    with np.errstate(divide="ignore", invalid="ignore"):
        step = ldexp(factor, reference - here.exponent) / here.array[v]
    walk.growth[chosen] *= np.where(factor > 0, step, 0.0)
    at = np.maximum(column, 0)
    source = u[np.arange(v.size), at]
    ends = np.cumsum([tensor.size for tensor in tensors])
    which = np.searchsorted(ends, source, side="right")
    source = source - np.concatenate([[0], ends[:-1]])[which]
    which = np.where(column < 0, -1, which)
    _multiply(item, walk, chosen, v, column, w)
    return which, source


def _multiply(
    item: _Node, walk: _Walk, chosen: np.ndarray, v: np.ndarray, column: np.ndarray, w: np.ndarray | None
) -> None:
    """The coefficients of the edges and biases that were drawn."""
    if w is None and item.node.bias is None:
        return
    p, q = (np.ones(v.size) for _ in range(2))
    if w is not None:
        edge = w[np.arange(v.size), np.maximum(column, 0)]
        shape = item.node.coefficients.shape
        place = np.unravel_index(edge, shape)
        p, q = (
            (
                np.full(v.size, item.fill)
                if r is None
                else np.broadcast_to(r.array() if r.scale is not None else r.base, shape)[place].astype(
                    np.float64
                )
            )
            for r in item.weights
        )
    if item.node.bias is not None:
        p, q = (np.where(column < 0, item.bias(b, v), x) for b, x in zip(item.biases, (p, q), strict=True))
    walk.extend(chosen, p, q)


def _sample(
    network: Network,
    items: list[_Node],
    values: Mapping[str, _Values],
    count: int,
    random: np.random.Generator,
) -> np.ndarray:
    """X / Σ F of `count` independent paths."""
    walk = _Walk(count, random)
    top = max(values[name].exponent for name in network.outputs)
    weights = np.concatenate(
        [ldexp(values[name].array, values[name].exponent - top) for name in network.outputs]
    )
    start, walk.growth = _draw(random, np.broadcast_to(weights, (1, weights.size)), count)
    walk.growth = walk.growth / weights.sum()
    ends = np.cumsum([values[name].array.size for name in network.outputs])
    which = np.searchsorted(ends, start, side="right")
    waiting: dict[str, list[np.ndarray]] = {}
    for k, name in enumerate(network.outputs):
        chosen = np.flatnonzero(which == k)
        walk.at[chosen] = start[chosen] - (ends[k - 1] if k else 0)
        waiting.setdefault(name, []).append(chosen)
    for item in reversed(items):
        parts = waiting.pop(item.node.output, [])
        here = np.concatenate(parts) if parts else np.zeros(0, np.int64)
        if not here.size:
            continue
        fan = _fan_in(item.site)
        for chosen in np.array_split(here, max(1, -(-here.size * fan // _CELLS))):
            which, source = _step(item, walk, chosen, values)
            walk.at[chosen] = source
            for k, name in enumerate(item.node.inputs):
                waiting.setdefault(name, []).append(chosen[which == k])
    return np.abs(walk.delta) * walk.growth


def _fan_in(site: Site) -> int:
    """About how many antecedents a neuron has."""
    operator = OPERATORS[site.node.op]
    return max(1, operator.terms(site)) if operator.kind in ("weighted", "sum", "max") else 1


def interval(values: np.ndarray, largest: float, confidence: float) -> tuple[float, float]:
    """Bounds on the mean of independent variables in [0, largest] that hold with this probability for any
    number of them.

    Empirical Bernstein (Maurer & Pontil 2009, Theorem 4) and Hoeffding, half of the risk each, two sides
    each.
    """
    n, risk = values.size, (1 - confidence) / 4
    mean = float(values.mean())
    width = largest * sqrt(log(1 / risk) / (2 * n))
    if n > 1:
        spread = float(values.var(ddof=1))
        width = min(width, sqrt(2 * spread * log(2 / risk) / n) + 7 * largest * log(2 / risk) / (3 * (n - 1)))
    return max(0.0, mean - width), min(largest, mean + width)


def estimate(
    network: Network, twin: Mapping[str, Parameters], device: Device, samples: int, seed: int = 0,
    ends: tuple[Scaled, Scaled] | None = None, slack: float = 0.0,
) -> Estimate:  # fmt: skip
    """The ℓ1 path-metric from `samples` paths. ends: a certified interval to intersect with. slack: by which
    part of its modulus every path of the twin may differ from what is meant."""
    if samples < 2:
        raise UsageError(f"the estimate needs at least 2 samples, not {samples}")
    items = [_Node(network, node, twin) for node in network.nodes]
    largest = replace(network, nodes=tuple(item.node for item in items))
    values, rho = _values(largest, device.double)
    top = max(values[name].exponent for name in network.outputs)
    total = float(
        sum(ldexp(values[name].array, values[name].exponent - top).sum() for name in network.outputs)
    )
    drawn = (
        _sample(network, items, values, samples, np.random.default_rng(seed))
        if total > 0
        else np.zeros(samples)
    )
    eta = (1 + 16 * rho + 1e-12) ** (len(items) + 1)
    low, high = interval(drawn, (2.0 if any(item.opposed() for item in items) else 1.0) * eta, CONFIDENCE)
    value, lower, upper = (
        Scaled(x * total, top) for x in (float(drawn.mean()), max(0.0, low - slack), high + slack)
    )
    if ends is not None:
        lower, upper = (ends[0] if lower < ends[0] else lower), (ends[1] if ends[1] < upper else upper)
    return Estimate(value, lower, upper, CONFIDENCE, samples, seed)
