"""The ℓ1 path-metric d = ‖Φ(θ) - Φ(θ')‖₁ of two networks of one structure (docs/theory.md, sections 2, 3 and
5).

Exact when the pair is monotone (one network's coordinates all shrink towards zero without changing sign) or
when no path meets two changed layers; the difference pass gives it without subtraction. Otherwise the
interval

    Σ_v max(|F_P - F_Q|, F_P - σ_Q, F_Q - σ_P)  <=  d  <=  (F_P - F_m) + (F_Q - F_m), σ: sums with signs,

rounded outwards. Theorem C.1 (Appendix F's trick through m where signs disagree) turns the upper end into a
bound on Σ_v |R_θ(x)_v - R_θ'(x)_v| for all ‖x‖_∞ <= B: B · d_I + d_H, with d_I over the paths that start at
an input and d_H over those that start at a bias. Theorem 3.1's max(B, 1) · d is never smaller.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite

import numpy as np

from onnxpath.analyses import tool
from onnxpath.analyses.metric.estimate import estimate
from onnxpath.analyses.metric.euclidean import l2_metric
from onnxpath.engine.plan import Output, Reading
from onnxpath.engine.scaled import Scaled, ldexp
from onnxpath.engine.session import Device
from onnxpath.errors import UsageError
from onnxpath.lanes import absolute, difference, settle
from onnxpath.lanes.lanes import Calibration
from onnxpath.lanes.tracer import Tracer
from onnxpath.model.interface import changes
from onnxpath.model.matching import Pairing, Parameters, match, unquantized
from onnxpath.model.network import Network
from onnxpath.model.paths import require_paths
from onnxpath.records import Euclidean, Interval, Layer, MetricOutput, PathMetric, Side
from onnxpath.rewrites.collapse import collapse
from onnxpath.rewrites.quantizers import plain
from onnxpath.rewrites.rescaling import alignment

# An alignment of rescalings is used when it makes the parameters this much closer.
_WORTHWHILE = 1.1
# Signs are carried when they may raise the lower end by this part of the upper one.
_NOTICEABLE = 0.02
ZERO = Scaled(0.0)


@dataclass(frozen=True, eq=False)
class _Forward:
    """What the difference pass gave: readings a, dP, dQ, T_P, T_Q per output (None: zero), shares, and the
    pair's kind."""

    a: Mapping[str, Reading]
    p: Mapping[str, Reading | None]
    q: Mapping[str, Reading | None]
    signs: tuple[Mapping[str, Reading | None], Mapping[str, Reading | None]] | None
    shares: Mapping[str, Scaled]
    exact: str | None
    opposed: bool


def _kind(network: Network, traced: difference.Traced) -> str | None:
    """Why the upper bound is the metric itself, or None."""
    grows = any(trio.q is not None for trio in traced.lanes.values())
    shrinks = any(trio.p is not None for trio in traced.lanes.values())
    if not grows and not shrinks:
        return "equal parameters"
    if not (grows and shrinks):
        return "monotone pair"
    return (
        "no path meets two changed layers"
        if apart(network, {output for output, _ in traced.injected})
        else None
    )


def apart(network: Network, changed: Collection[str]) -> bool:
    """Whether no path meets two of these nodes."""
    touched: set[str] = set()
    for node in network.nodes:
        below = any(name in touched for name in node.inputs)
        if node.output in changed and below:
            return False
        if below or node.output in changed:
            touched.add(node.output)
    return True


def _forward(network: Network, twin: Mapping[str, Parameters], device: Device, signed: bool) -> _Forward:
    def build(calibration: Calibration) -> tuple[Tracer, dict[tuple, Output], tuple]:
        traced = difference.trace(
            network, twin, device, dict.fromkeys(network.inputs, 0.0), calibration, signed
        )
        outputs: dict[tuple, Output] = {}
        for name in network.outputs:
            for side in ("a", "p", "q"):
                lane = getattr(traced.lanes[name], side)
                if lane is not None:
                    outputs[name, side] = absolute.read(traced.tracer, lane)
                    if lane.signed:
                        outputs["signed", name, side] = absolute.read(traced.tracer, lane.with_signs())
        emitted = difference.shares(traced, network.outputs)
        for key, (tensor, exponent) in emitted.items():
            outputs["share", *key] = Output(traced.tracer.graph.output(tensor), np.array(exponent))
        return traced.tracer, outputs, (traced, tuple(emitted))

    found, (traced, emitted) = settle.evaluate(
        build, absolute.ones(network), device, lambda label: len(label) == 2
    )
    layers: dict[str, Scaled] = {}
    total = against = ZERO
    for output, side in emitted:
        share = found["share", output, side].total()
        layers[output] = layers.get(output, ZERO) + share
        total, against = total + share, against + share.times(traced.against[output, side])
    a = {name: found[name, "a"] for name in network.outputs}
    p, q = ({name: found.get((name, side)) for name in network.outputs} for side in ("p", "q"))
    t_p, t_q = ({name: found.get(("signed", name, side)) for name in network.outputs} for side in ("p", "q"))
    return _Forward(
        a, p, q, (t_p, t_q) if signed else None, layers, _kind(network, traced),
        total.times(_NOTICEABLE / 2) < against,
    )  # fmt: skip


def _best(network: Network, twin: Mapping[str, Parameters], device: Device) -> _Forward:
    """The difference pass; where an output, or the shares, lost what matters to underflow, in float64."""
    forward = _forward(network, twin, device, alignment.opposed_on_sample(network, twin, _NOTICEABLE / 2))
    if forward.exact is None and forward.opposed and forward.signs is None:
        forward = _forward(network, twin, device, True)
    forward = _without_nothing(network, twin, device, forward)
    if device.precision == "float64" or _known(forward):
        return forward
    wide = Device("cpu", "float64", device.threads)
    return _without_nothing(network, twin, wide, _forward(network, twin, wide, forward.signs is not None))


def _known(forward: _Forward) -> bool:
    """Whether underflow cost no output anything that matters, and the shares are of what differs."""
    found = [
        reading
        for side in (forward.a, forward.p, forward.q)
        for reading in side.values()
        if reading is not None
    ]
    differ = any(side[name] is not None for side in (forward.p, forward.q) for name in side)
    return all(settle.fits(reading) for reading in found) and (
        not differ or any(part.mantissa for part in forward.shares.values())
    )


def _without_nothing(
    network: Network, twin: Mapping[str, Parameters], device: Device, forward: _Forward
) -> _Forward:
    """Differences that came out as 0 are 0, and not what underflow may have lost, where no path with a
    changed coordinate ends."""
    sides = {"p": dict(forward.p), "q": dict(forward.q)}
    doubtful = {
        (name, side) for side, found in sides.items() for name, reading in found.items()
        if reading is not None and not reading.total().mantissa and reading.lost.mantissa
    }  # fmt: skip
    if not doubtful:
        return forward
    ends = difference.reached(network, twin, device)
    for name, side in doubtful:
        if not ends[name, side]:
            sides[side][name] = None
    nothing = all(reading is None for found in sides.values() for reading in found.values())
    exact = "no changed coordinate is on a path to an output" if nothing else forward.exact
    return replace(forward, p=sides["p"], q=sides["q"], exact=exact)


def _bounds(values: Reading | None, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Certified lower and upper bounds of every entry: mantissas, and their common exponent per entry."""
    if values is None:
        return np.zeros(size), np.zeros(size), np.zeros(size, np.int64)
    mantissa = values.values.mantissa.reshape(-1)
    exponent = np.broadcast_to(values.values.exponent, values.values.mantissa.shape).reshape(-1)
    with np.errstate(over="ignore"):
        lost = ldexp(values.lost.mantissa, np.maximum(values.lost.exponent - exponent, -1000))
    low = np.maximum(0.0, mantissa * (1 - values.rho) * (1 - 1e-12) - lost)
    return low, mantissa * (1 + values.rho) * (1 + 1e-12) + lost, exponent


def _lower(
    p: Reading | None, q: Reading | None, t_p: Reading | None, t_q: Reading | None, size: int
) -> Scaled:
    """Σ_v max(0, dP - dQ, dQ - dP, dP - T_Q, dQ - T_P), every term rounded against itself. T is d where it is
    None."""
    parts = [_bounds(reading, size) for reading in (p, q)]
    used = [exponent[high > 0] for _, high, exponent in parts]
    top = max((int(e.max()) for e in used if e.size), default=0)
    ends = []
    for (low, high, exponent), whole, reading in zip(parts, (p, q), (t_p, t_q), strict=True):
        signed = high
        if reading is not None:  # the certified error of d is that of T
            assert whole is not None
            error = high - whole.values.mantissa.reshape(-1)
            signed = np.minimum(high, reading.values.mantissa.reshape(-1) + error)
        ends.append([ldexp(side, np.maximum(exponent - top, -1100)) for side in (low, signed)])
    (p_low, p_signed), (q_low, q_signed) = ends
    best = np.maximum(p_low - q_signed, q_low - p_signed)
    return Scaled(float(np.maximum(best, 0.0).sum() * (1 - 1e-12)), top)


def _sum(readings: Iterable[Reading | None], value: Callable[[Reading], Scaled]) -> Scaled:
    total = ZERO
    for reading in readings:
        if reading is not None:
            total = total + value(reading)
    return total


def _plus(*readings: Reading | None) -> Scaled:
    """The sum as computed."""
    return _sum(readings, lambda reading: reading.total())


def _upper(*readings: Reading | None) -> Scaled:
    """A certified upper bound of the sum."""
    return _sum(readings, lambda reading: reading.upper(reading.total(), reading.values.mantissa.size))


def _certain(*readings: Reading | None) -> Scaled:
    """A certified lower bound of the sum."""
    return _sum(readings, lambda reading: reading.lower(reading.total(), reading.values.mantissa.size))


def _aligned(pairing: Pairing) -> tuple[dict[str, Parameters], bool, list[str]]:
    """The twin to compare with, whether it equals the second network's Φ exactly, and a note if it was
    rescaled."""
    if alignment.monotone_on_sample(pairing) or apart(pairing.a, alignment.changed(pairing)):
        return pairing.twin, True, []  # exact as it is
    found = alignment.align(pairing, _WORTHWHILE)
    if found is None:
        return pairing.twin, True, []
    kind = "powers of two" if found.exact else "real factors"
    return (
        found.twin,
        found.exact,
        [
            f"{pairing.b.path} was rescaled neuron-wise ({kind}) to align it with {pairing.a.path}; Φ is"
            " unchanged"
        ],
    )


def _unbiased(network: Network, twin: Mapping[str, Parameters]) -> tuple[Network, dict[str, Parameters]]:
    nodes = tuple(replace(node, bias=None) if node.bias is not None else node for node in network.nodes)
    return replace(network, nodes=nodes), {name: (weight, None) for name, (weight, _) in twin.items()}


def _upper_end(
    network: Network, twin: Mapping[str, Parameters], device: Device, inputs: float, slack: float
) -> Scaled:
    """The certified upper end for inputs that are all `inputs` instead of ones."""
    given = {name: np.full(network.shapes[name], inputs) for name in network.inputs}

    def build(calibration: Calibration) -> tuple[Tracer, dict[tuple[str, str], Output], None]:
        traced = difference.trace(network, twin, device, absolute.input_log2(network, given), calibration)
        ends = {
            (name, side): lane
            for name in network.outputs
            for side in "apq"
            if (lane := getattr(traced.lanes[name], side)) is not None
        }
        return traced.tracer, {key: absolute.read(traced.tracer, lane) for key, lane in ends.items()}, None

    found, _ = settle.evaluate(build, given, device)
    total = ZERO
    for name in network.outputs:
        p, q = found.get((name, "p")), found.get((name, "q"))
        total = total + _upper(p, q) + _plus(found[name, "a"], q).times(slack)
    return total


def _parts(
    network: Network, twin: Mapping[str, Parameters], device: Device, slack: float, whole: Scaled
) -> tuple[Scaled, Scaled]:
    """The certified upper ends of d_I and d_H. whole: that of both together."""
    if all(node.bias is None and twin.get(node.output, (None, None))[1] is None for node in network.nodes):
        return whole, ZERO
    return _upper_end(*_unbiased(network, twin), device, 1.0, slack), _upper_end(
        network, twin, device, 0.0, slack
    )


def path_metric(
    a: Network,
    b: Network,
    device: Device | None = None,
    input_bound: float = 1.0,
    l2: bool = False,
    samples: int = 0,
    seed: int = 0,
) -> PathMetric:
    """Path-metric of two networks of one structure; see the module for what is exact.

    input_bound: B >= ‖x‖_∞ for the bound on the outputs' difference. l2: also the ℓ2 path-metric. samples:
    also an estimate from that many sampled paths (0: none), drawn with `seed`. Quantizers of activations are
    left out. Raises MismatchError when the structures differ and UsageError for a negative or non-finite
    input_bound.
    """
    for network in (plain(a), plain(b)):
        require_paths(network)
    a, b = unquantized(a, b)
    device = device or Device()
    if not (isfinite(input_bound) and input_bound >= 0):
        raise UsageError(f"the input bound must be a finite number >= 0, not {input_bound}")
    pairing = match(a, b)
    twin, faithful, notes = _aligned(pairing)
    network = collapse(pairing.a)
    forward = _best(network, twin, device)
    # Factors that are not powers of two are rounded: each path by at most two factors a layer.
    slack = 0.0 if faithful else 4.0 * len(network.nodes) * 2.0**-52
    norms = [
        _plus(*(r for name in network.outputs for r in (forward.a[name], side[name])))
        for side in (forward.p, forward.q)
    ]
    names = zip(a.output_names, b.output_names, strict=True)
    outputs, interval, certified = _outputs(network, forward, tuple(names), faithful, slack)
    bound, from_inputs, from_biases = certified, None, None
    if input_bound != 1:
        from_inputs, from_biases = _parts(network, twin, device, slack, certified)
        bound = (from_inputs.times(input_bound) + from_biases).times(1 + 2.0**-50)
        largest_bound = certified.times(max(input_bound, 1.0))
        bound = bound if bound < largest_bound else largest_bound
    largest = norms[1] if norms[0] < norms[1] else norms[0]
    relative = interval.upper.over(largest) if largest.mantissa else 0.0
    if (
        not interval.exact
        and interval.upper.mantissa
        and not any(part.mantissa for part in forward.shares.values())
    ):
        notes = [*notes, "the shares of layers are too small beside the networks for float64 to tell"]
    return PathMetric(
        Side(a.path, a.sha256, norms[0]), Side(b.path, b.sha256, norms[1]), interval, relative, input_bound,
        bound, outputs, _layers(network, forward, interval), tool.describe(device),
        (*(f"{side}: {note}" for side, network in (("A", a), ("B", b)) for note in network.notes), *notes),
        _euclidean(network, twin, device, slack, interval) if l2 else None,
        estimate(network, twin, device, samples, seed, _certified_ends(interval), slack) if samples else None,
        from_inputs, from_biases, changes(a.interface, b.interface),
    )  # fmt: skip


def _outputs(
    network: Network, forward: _Forward, names: Sequence[tuple[str, str]], faithful: bool, slack: float
) -> tuple[tuple[MetricOutput, ...], Interval, Scaled]:
    """The outputs, called `names` in either file; the metric; and its certified upper end, whatever is exact.

    faithful: the twin's Φ is that of the second network; slack: else by what part of itself a path of the
    twin may be wrong.
    """
    outputs, lower, upper, certified, value = [], ZERO, ZERO, ZERO, ZERO
    for (label, label_b), name in zip(names, network.outputs, strict=True):
        a, p, q = forward.a[name], forward.p[name], forward.q[name]
        spare = _plus(a, q).times(slack)
        exact = _plus(p, q)
        high = _upper(p, q) + spare
        if forward.exact:
            low = _certain(p, q)
        else:
            t_p, t_q = (None, None) if forward.signs is None else (side[name] for side in forward.signs)
            low = _lower(p, q, t_p, t_q, network.size_of(name))
        value, certified = value + exact, certified + high
        certain = exact.mantissa or not high.mantissa
        ends = (exact, exact) if forward.exact and faithful and certain else (low.minus(spare), high)
        lower, upper = lower + ends[0], upper + ends[1]
        outputs.append(MetricOutput(label, label_b, network.shapes[name], *ends, _plus(a, p), _plus(a, q)))
    return tuple(outputs), _interval(forward, faithful, value, certified, lower, upper), certified


def _euclidean(
    network: Network, twin: Mapping[str, Parameters], device: Device, slack: float, interval: Interval
) -> Euclidean:
    """The ℓ2 path-metric, which is 0 where the ℓ1 metric is."""
    if interval.exact and not interval.upper.mantissa:
        return Euclidean(ZERO, 0.0, ZERO, ZERO)
    return l2_metric(network, twin, device, slack)


def _certified_ends(interval: Interval) -> tuple[Scaled, Scaled]:
    """The ends of the metric, those of an exact value moved outwards by its error."""
    error = min(interval.relative_error, 1.0)
    return interval.lower.times(1 - error), (
        interval.upper.times(1 + interval.relative_error)
        if isfinite(interval.relative_error)
        else interval.upper
    )


def _interval(
    forward: _Forward, faithful: bool, value: Scaled, certified: Scaled, lower: Scaled, upper: Scaled
) -> Interval:
    if forward.exact is not None and faithful and (value.mantissa or not certified.mantissa):
        error = certified.over(value) - 1 if value.mantissa else 0.0
        return Interval(value, value, True, f"difference pass, exact: {forward.exact}", max(0.0, error))
    how = (
        "difference pass, real rescaling"
        if forward.exact
        else "triangle inequality through the minimum; "
        + ("signed passes below" if forward.signs else "difference of the path-norms below")
    )
    return Interval(lower if lower <= upper else upper, upper, False, how)


def _layers(network: Network, forward: _Forward, interval: Interval) -> tuple[Layer, ...]:
    """The share of every layer with learned parameters, normalised to sum to 1 (all 0 when nothing
    differs)."""
    total = ZERO
    for part in forward.shares.values():
        total = total + part
    layers = []
    for node in network.nodes:
        share = forward.shares.get(node.output, ZERO)
        if share.mantissa or any(not parameter.fixed for parameter in node.parameters()):
            fraction = share.over(total) if total.mantissa else 0.0
            layers.append(Layer(node.name, fraction, interval.upper.times(fraction)))
    return tuple(layers)
