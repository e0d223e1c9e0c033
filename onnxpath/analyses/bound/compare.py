"""Every known bound on Σ_v |R_A(x)_v - R_B(x)_v| for one pair and domain, tightest first (docs/theory.md,
section 4).

    sharp difference pass        Σ_v D_v                                  the domain, any pair
    intervals                    Σ_v of what they reach, where finite     the domain, any pair
    triangle through m           Σ_v (F_P - F_m)(r) + (F_Q - F_m)(r)      the domain, any pair
    paper difference pass        Σ_v E_v, one-sided, maxima as sums       the domain, any pair
    max minus min                F_max(r) - F_min(r)                      the domain, equal signs
    Theorem 3.1                  B · U_I + U_H, U = F_P + F_Q - 2 F_m     ‖x‖_∞ <= B, any pair (Appendix F's
                                                                          trick)

and the Lipschitz bounds of `lipschitz` for ‖x‖_∞ <= B. r is the box's radius (past common normalizers), B the
largest |x_i|.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from onnxpath.analyses.bound.difference_bounds import Bounds, chunk, prepare, together
from onnxpath.analyses.bound.intervals import Boxed
from onnxpath.analyses.metric.metric import path_metric
from onnxpath.analyses.theory import lipschitz
from onnxpath.engine.plan import Output
from onnxpath.engine.scaled import Scaled
from onnxpath.engine.session import Device
from onnxpath.lanes import absolute, difference, settle, telescoped
from onnxpath.lanes.lanes import Calibration, Lane
from onnxpath.lanes.tracer import Tracer
from onnxpath.model.domain import Region
from onnxpath.model.matching import Pairing, Parameters
from onnxpath.model.network import Network, Parameter, either
from onnxpath.ops import OPERATORS
from onnxpath.records import Compared

Twin = Mapping[str, Parameters]
_PAPER = "paper, Theorem C.1 and Appendix F"


def compare(pairing: Pairing, region: Region, found: Bounds, device: Device) -> tuple[Compared, ...]:
    """Every bound, the applicable ones by value; those that were left out last, with the reason as their
    condition."""
    rows = [_sharp(found)] + ([_intervals(found.boxed)] if found.boxed is not None else [])
    missing = lipschitz.outside(pairing.a)
    limit = max(float(np.abs(side[name]).max()) for side in (region.low, region.high) for name in side)
    if missing is None:
        rows += _paper(pairing, region, device)
        theorem = path_metric(pairing.a, pairing.b, device, limit)
        exact = (
            "exact path-metric"
            if theorem.path_metric.exact
            else "upper end of the path-metric; any signs by Appendix F"
        )
        rows.append(
            Compared("Theorem 3.1", "paper, Theorem 3.1", theorem.bound, f"‖x‖∞ ≤ {limit:g}; {exact}")
        )
    else:
        names = ("triangle through the minimum", "paper difference pass", "max minus min", "Theorem 3.1")
        rows += [Compared(name, _PAPER, None, missing.reason) for name in names]
    rows += [
        replace(row, condition=f"‖x‖∞ ≤ {limit:g}; {row.condition}") if row.value else row
        for row in lipschitz.all_bounds(pairing, limit, device)
    ]
    return tuple(sorted(rows, key=lambda row: np.inf if row.value is None else row.value.log2))


def _sharp(found: Bounds) -> Compared:
    arrays = found.outputs if found.passed is None else found.passed
    largest = max(together(arrays).norms("1"), key=lambda value: value.log2)
    return Compared("sharp difference pass", "docs/theory.md, section 4", largest, "any pair; this domain")


def _intervals(boxed: Boxed) -> Compared:
    source = "docs/theory.md, section 4; docs/certify.md"
    if not all(np.isfinite(values).all() for values in boxed.reach.values()):
        return Compared("intervals", source, None, "some numbers of the intervals overflowed")
    largest = max(together(boxed.outputs()).norms("1"), key=lambda value: value.log2)
    return Compared("intervals", source, largest, "any pair; this domain")


def _paper(pairing: Pairing, region: Region, device: Device) -> list[Compared]:
    network, radius = prepare(pairing, region)

    def triangle(calibration: Calibration) -> tuple[Tracer, list[Lane | None]]:
        traced = difference.trace(network, pairing.twin, device, log2, calibration)
        return traced.tracer, [getattr(traced.lanes[name], side) for name in network.outputs for side in "pq"]

    def one_sided(of: Network, twin: Twin) -> Callable[[Calibration], tuple[Tracer, list[Lane | None]]]:
        def trace(calibration: Calibration) -> tuple[Tracer, list[Lane | None]]:
            tracer, lanes = telescoped.trace(of, twin, device, log2, calibration)
            return tracer, [lanes[name] for name in of.outputs]

        return trace

    def gap(calibration: Calibration) -> tuple[Tracer, list[Lane | None]]:
        traced = difference.trace(top, low, device, log2, calibration)
        return traced.tracer, [traced.lanes[name].p for name in network.outputs]

    log2 = absolute.input_log2(network, radius)
    (swapped, back), (top, low) = _exchanged(network, pairing.twin), _extremes(network, pairing.twin)
    sides = [
        _largest(network, one_sided(*side), radius, device)
        for side in ((network, pairing.twin), (swapped, back))
    ]
    through = _largest(network, triangle, radius, device)
    disagree = _disagreement(network, pairing.twin)
    return [
        Compared("triangle through the minimum", _PAPER, through, "any pair; this domain"),
        Compared(
            "paper difference pass", _PAPER, min(sides, key=lambda value: value.log2), "any pair; this domain"
        ),
        (
            Compared("max minus min", "docs/theory.md, section 3.2", None, f"needs equal signs: {disagree}")
            if disagree
            else Compared(
                "max minus min",
                "docs/theory.md, section 3.2",
                _largest(network, gap, radius, device),
                "equal signs; this domain",
            )
        ),
    ]


def _largest(
    network: Network,
    trace: Callable[[Calibration], tuple[Tracer, list[Lane | None]]],
    radius: Mapping[str, np.ndarray],
    device: Device,
) -> Scaled:
    """The largest sum over all outputs that a box of the domain has, as a certified upper bound."""

    def build(calibration: Calibration) -> tuple[Tracer, dict[int, Output], None]:
        tracer, lanes = trace(calibration)
        return (
            tracer,
            {k: absolute.read(tracer, lane) for k, lane in enumerate(lanes) if lane is not None},
            None,
        )

    readings, _ = settle.evaluate(build, radius, device, chunk=chunk(network))
    boxes = len(next(iter(radius.values()))) if network.batched else 1
    sums = [Scaled(0.0)] * boxes
    for reading in readings.values():
        uppers = reading.uppers()
        rows = replace(
            uppers,
            mantissa=uppers.normal()[0].reshape(boxes, -1),
            exponent=uppers.normal()[1].reshape(boxes, -1),
        )
        sums = [total + part for total, part in zip(sums, rows.norms("1"), strict=True)]
    return max(sums, key=lambda value: value.log2)


def _weighted(
    network: Network, make: Callable[[Parameter | None, Parameter | None, float], tuple], twin: Twin
) -> tuple[Network, Twin]:
    """The pair with its parameters replaced by make(p, q, value of a missing one), tensor by tensor."""
    nodes, other = [], {}
    for node in network.nodes:
        if OPERATORS[node.op].kind == "weighted":
            fill = OPERATORS[node.op].missing_weight
            made = [
                make(p, q, value)
                for p, q, value in zip((node.weight, node.bias), twin[node.output], (fill, 0.0), strict=True)
            ]
            other[node.output] = made[0][1], made[1][1]
            node = replace(node, weight=made[0][0], bias=made[1][0])
        nodes.append(node)
    return replace(network, nodes=tuple(nodes)), other


def _exchanged(network: Network, twin: Twin) -> tuple[Network, Twin]:
    return _weighted(network, lambda p, q, fill: _present(q, p, fill), twin)


def _present(
    p: Parameter | None, q: Parameter | None, fill: float
) -> tuple[Parameter | None, Parameter | None]:
    """Both, where one of them is there: the missing one is `fill` everywhere."""
    if p is None and q is None:
        return None, None
    constant = Parameter("", np.full(either(p, q).shape, fill, np.float32))
    return p if p is not None else constant, q if q is not None else constant


def _extremes(network: Network, twin: Twin) -> tuple[Network, Twin]:
    """The pair (max(|p|, |q|), min(|p|, |q|))."""

    def made(
        p: Parameter | None, q: Parameter | None, fill: float
    ) -> tuple[Parameter | None, Parameter | None]:
        p, q = _present(p, q, fill)
        if p is None or q is None:
            return None, None
        a, b = np.abs(p.array()), np.abs(q.array())
        return Parameter("", np.maximum(a, b)), Parameter("", np.minimum(a, b))

    return _weighted(network, made, twin)


def _disagreement(network: Network, twin: Twin) -> str:
    """How many coordinates have opposite signs, and in which node first; empty where none has."""
    count, first = 0, ""
    for node in network.nodes:
        if OPERATORS[node.op].kind == "weighted":
            for p, q, fill in zip(
                (node.weight, node.bias),
                twin[node.output],
                (OPERATORS[node.op].missing_weight, 0.0),
                strict=True,
            ):
                a, b = _present(p, q, fill)
                if a is not None and b is not None:
                    found = int((np.sign(a.array()) * np.sign(b.array()) < 0).sum())
                    first = first or (node.name if found else "")
                    count += found
    return f"{count:,} coordinates disagree, the first in node '{first}'" if count else ""
