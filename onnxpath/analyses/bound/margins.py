"""Does B predict what A predicts? Bounds on the change of differences of scores (docs/theory.md, section 4).

Let i be the class that A predicts for x. B predicts it too when, for every j != i, A's margin y_i - y_j
exceeds the change (y_i - y_j)_A - (y_i - y_j)_B. Where the scores are y = W z + b, that change is bounded
through the last layer,

    |(W_i - W_j)_P| D + |(W_P - W_Q)_i - (W_P - W_Q)_j| a_Q + |Δb_i - Δb_j|      (and with P and Q exchanged),

D >= |z_P - z_Q|, a_Q >= |z_Q| from the sharp difference pass; always by D_i + D_j, and by intervals of y_P -
y_Q. The smallest is used. All terms are non-negative and added in float64; A's margin is computed in float64
and its rounding, at most γ of the magnitudes, is counted against it, where intervals of y_P do not say more.
"""

from dataclasses import dataclass, replace

import numpy as np

from onnxpath.analyses.bound.classes import scores
from onnxpath.analyses.bound.difference_bounds import Bounds, chunk, prepare
from onnxpath.boxes.certified import score_intervals
from onnxpath.engine.certificate import relative_error
from onnxpath.engine.plan import Output, Reading
from onnxpath.engine.session import Device
from onnxpath.errors import MissingFactError, UsageError
from onnxpath.evaluate.forward import Forward
from onnxpath.lanes import absolute, settle, sharp
from onnxpath.lanes.lanes import Calibration
from onnxpath.lanes.tracer import Tracer
from onnxpath.model.domain import Region
from onnxpath.model.matching import Pairing, Parameters
from onnxpath.model.network import Network, Node, Parameter, Site
from onnxpath.model.paths import extensions
from onnxpath.ops import OPERATORS
from onnxpath.records import Margin

_OUTWARD = 1 + 1e-9


@dataclass(frozen=True, eq=False)
class _Last:
    """Certified magnitudes of the last layer's input: D, aP, aQ; None where there is no plain last layer."""

    d: np.ndarray | None
    p: np.ndarray | None
    q: np.ndarray | None


def _plain(network: Network, output: str) -> Node | None:
    """The node y = W z + b that makes the scores, where it is one."""
    node = network.producer.get(output)
    simple = node is not None and OPERATORS[node.op].one_matrix(Site.of(network, node))
    return node if simple else None


def _magnitudes(pairing: Pairing, bounds: Bounds, region: Region, device: Device, output: str) -> _Last:
    network, radius = prepare(pairing, region)
    position = pairing.a.outputs.index(output)
    tensor = network.outputs[position]
    last = _plain(network, tensor)
    if last is None:
        return _Last(None, None, None)
    log2 = absolute.input_log2(network, radius)

    def build(calibration: Calibration) -> tuple[Tracer, dict[str, Output], None]:
        tracer, lanes, _ = sharp.trace(
            network, bounds.twin, device, log2, calibration, bounds.limits, bounds.roundings
        )
        before = lanes[last.inputs[0]]
        wanted = {
            key: lane
            for key, lane in (("d", before.d), ("p", before.ap), ("q", before.aq))
            if lane is not None
        }
        return tracer, {key: absolute.read(tracer, lane) for key, lane in wanted.items()}, None

    found, _ = settle.evaluate(build, radius, device, chunk=chunk(network))

    def uppers(reading: Reading | None) -> np.ndarray | None:
        return None if reading is None else reading.uppers().floats().reshape(region.size, -1)

    return _Last(uppers(found.get("d")), uppers(found.get("p")), uppers(found.get("q")))


def _float(parameter: Parameter | None, shape: tuple[int, ...]) -> np.ndarray:
    return (
        np.zeros(shape) if parameter is None else np.broadcast_to(parameter.array().astype(np.float64), shape)
    )


def _through_last(node: Node, twin: Parameters, last: _Last, i: int, rows: np.ndarray) -> np.ndarray:
    """[samples, classes]: bounds on the change of y_i - y_j for the samples `rows`."""
    p, q = _float(node.weight, node.coefficients.shape), _float(twin[0], node.coefficients.shape)
    classes = p.shape[1]
    bp, bq = (_float(bias, (1, classes)).reshape(-1) for bias in (node.bias, twin[1]))
    delta, offset = p - q, bp - bq
    error = max((part.error for part in twin if part is not None), default=0.0) + 2.0**-51
    # the difference of two rounded differences: what their roundings may hide
    slack = error * (np.abs(p) + np.abs(q))
    moved = np.abs(delta[:, i : i + 1] - delta) + slack[:, i : i + 1] + slack
    shifted = np.abs(offset[i] - offset) + error * (np.abs(bp) + np.abs(bq) + abs(bp[i]) + abs(bq[i]))
    found = []
    for own, other in ((p, last.q), (q, last.p)):
        assert other is not None
        total = other[rows] @ moved + shifted
        if last.d is not None:
            total = total + last.d[rows] @ (np.abs(own[:, i : i + 1] - own) * (1 + error))
        found.append(total)
    return np.minimum(*found) * _OUTWARD


@dataclass(frozen=True, eq=False)
class LogitPairs:
    """For every given input, with i the class that A predicts (`predicted`): [inputs, classes] of y_i - y_j,
    of a certified lower bound of it (its float64 evaluation rounds), and of certified bounds on its change;
    column i is inf, inf, 0.
    """

    predicted: np.ndarray
    margins: np.ndarray
    certain: np.ndarray
    changes: np.ndarray


def logit_pairs(pairing: Pairing, region: Region, bounds: Bounds, device: Device) -> LogitPairs:
    """Margins of A and their changes at every given input (region.centers); raises UsageError without class
    scores."""
    output = scores(pairing.a)
    if region.centers is None:
        raise UsageError("margins are those of given inputs: name them with --inputs")
    size = chunk(pairing.a)
    exact = device.double
    forward = Forward([pairing.a], exact)
    parts = []
    for start in range(0, region.size, size):
        (values,) = forward.run({name: array[start : start + size] for name, array in region.centers.items()})
        parts.append(values[output])
    y = np.concatenate(parts).reshape(region.size, -1)
    last = _magnitudes(pairing, bounds, region, device, output)
    error = _evaluation_error(pairing.a, region, exact, output, y.shape)
    predicted, d, node = y.argmax(axis=1), bounds.outputs[output].floats(), _plain(pairing.a, output)
    margin, change = np.empty_like(y), np.empty_like(y)
    for i in np.unique(predicted):
        rows = np.flatnonzero(predicted == i)
        with np.errstate(invalid="ignore", over="ignore"):
            change[rows] = (d[rows, i : i + 1] + d[rows]) * _OUTWARD
            if node is not None:
                change[rows] = np.fmin(
                    change[rows], _through_last(node, bounds.twin[node.output], last, int(i), rows)
                )
            margin[rows] = y[rows, i : i + 1] - y[rows]
            error[rows] = error[rows, i : i + 1] + error[rows]
    change = np.where(np.isnan(change), np.inf, change)
    certain = margin - error
    if bounds.boxed is not None and bounds.boxed.scores is not None:
        known = score_intervals(bounds.boxed.scores, predicted)
        change = np.minimum(change, known.changes)
        certain = np.where(
            known.margin_a > 0, np.fmax(certain, known.margin_a), certain
        )  # others prove nothing
    own = np.arange(region.size), predicted
    margin[own], certain[own], change[own] = np.inf, np.inf, 0.0
    return LogitPairs(predicted, margin, certain, change)


def margins(
    pairing: Pairing, region: Region, bounds: Bounds, device: Device, differing: np.ndarray | None = None
) -> Margin:
    """On how many given inputs B provably predicts what A predicts; raises UsageError without class scores or
    inputs.

    differing [inputs]: where the files were seen to predict different classes, so that nothing is proved of
    them.
    """
    found = logit_pairs(pairing, region, bounds, device)
    worst = (found.changes - found.certain).argmax(axis=1)
    agree = (found.certain > found.changes).all(axis=1)
    if differing is not None:
        agree &= ~differing
    return Margin(
        int(agree.sum()), region.size, tuple(found.margins.min(axis=1).tolist()),
        tuple(found.changes[np.arange(region.size), worst].tolist()),
    )  # fmt: skip


def _steepest(network: Network) -> Network | None:
    """Activations replaced by y = L |x| + |f(0)|: its absolute pass bounds the sizes that float errors are
    relative to.

    None where an activation may jump, so that no rounding error bounds the error of its result.
    """
    nodes = []
    for node in network.nodes:
        operator, one = OPERATORS[node.op], (1,) * len(network.shapes[node.output])
        if operator.kind == "activation" and operator.constants is not None:
            constants = operator.constants(Site.of(network, node))
            if constants.jump:
                return None
            weight, bias = (
                Parameter("", np.full(one, value)) for value in (constants.lipschitz, constants.at_zero)
            )
            node = replace(node, op="Scale", attributes={}, weight=weight, bias=bias)
        elif operator.kind == "quantizer":
            if node.attributes["quantizer"] is not None:
                return None
            node = replace(node, op="Scale", attributes={}, weight=Parameter("", np.ones(one)))
        elif operator.kind == "activation" and node.weight is None:
            raise MissingFactError(node.op, "'constants', by how much it enlarges values")
        elif operator.kind == "activation":
            node = replace(
                node, op="Scale", weight=Parameter("", operator.lipschitz(node.coefficients.array()))
            )
        nodes.append(node)
    return replace(network, nodes=tuple(nodes))


# Roundings of an activation's own evaluation in float64.
_FUNCTION = 32


def _evaluation_error(
    network: Network, region: Region, device: Device, output: str, shape: tuple[int, ...]
) -> np.ndarray:
    """[boxes, classes]: what a float64 forward pass may err by: γ of the sums over all paths, for as many
    roundings as met on a chain.

    The sums are those of moduli from the inputs as they are given: what a bound cuts off (an ℓ2 norm, a
    saturation, a normalizer that cancels) was rounded at its full size before.
    """
    steep = _steepest(network)
    if steep is None:
        return np.full(shape, np.inf)
    _, lanes = absolute.trace(steep, 1.0, device, dict.fromkeys(network.inputs, 0.0))
    rho = relative_error(lanes[output].roundings + _FUNCTION * len(extensions(network)), device.dtype)
    reading = absolute.evaluate(steep, 1.0, device, region.radius())[output]
    return rho * reading.uppers().floats().reshape(shape) * _OUTWARD
