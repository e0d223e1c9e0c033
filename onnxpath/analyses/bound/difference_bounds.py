"""How much the outputs of two networks can differ over a domain: certified bounds (docs/theory.md, section
4).

For every box {|x_i| <= r_i} of a domain the sharp difference pass gives D_v >= |R_A(x)_v - R_B(x)_v|,
whatever the signs of the parameters. It is run on the pair as it is and, where rescaling B's neurons brings
the pair closer, on the aligned pairs: Φ and the function do not change, the bound does. Each run bounds every
neuron, so the smallest is kept neuron by neuron. ℓ2 norms of layers (`operator_norms`) limit what a neuron
can differ by, too: |δ_v| <= ‖δ‖₂.

Intervals of both networks and of their difference (`intervals`) know what the sharp pass does not: where a
ReLU is off in both, what signs weights have, and on which side of 0 an input lies. They bound every neuron,
too.

A domain that does not vary over space is evaluated on collapsed images; an input that both networks only
scale and shift (a normalizer) is replaced by its image, a smaller box around 0 than the scaled radius.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod

import numpy as np

from onnxpath.analyses.bound.intervals import Boxed, given_intervals, output_intervals
from onnxpath.analyses.theory import operator_norms
from onnxpath.boxes.ranges import Roundings, roundings
from onnxpath.engine.plan import Output, Reading
from onnxpath.engine.scaled import Scaled, ScaledArray
from onnxpath.engine.session import Device
from onnxpath.errors import UsageError
from onnxpath.evaluate.forward import counterpart
from onnxpath.lanes import absolute, settle, sharp
from onnxpath.lanes.adjoint import products
from onnxpath.lanes.lanes import Calibration
from onnxpath.lanes.rows import SLACK
from onnxpath.lanes.tracer import Tracer
from onnxpath.model.domain import Region
from onnxpath.model.matching import Pairing, Parameters
from onnxpath.model.network import Network, Site
from onnxpath.ops import OPERATORS
from onnxpath.records import Injection
from onnxpath.rewrites.collapse import collapse
from onnxpath.rewrites.normalizers import radii
from onnxpath.rewrites.quantizers import quantizes
from onnxpath.rewrites.rescaling import alignment

Limits = Mapping[str, operator_norms.Limits]

KINDS = ("weights", "rounding", "saturation")

# Largest number of elements of one tensor in one run: lanes of a few hundred MB.
_ELEMENTS = 1 << 24


@dataclass(frozen=True, eq=False)
class Bounds:
    """Certified bounds on |R_A(x)_v - R_B(x)_v|: [boxes, neurons] by output; and the route whose largest
    bound is smallest. roundings: what the quantizers of the pair do over all boxes, by their output; None
    where there are none. boxed: what intervals said; passed: `outputs` without it (None: the same).
    """

    outputs: Mapping[str, ScaledArray]
    method: str
    twin: Mapping[str, Parameters]
    limits: Limits | None = None
    roundings: Mapping[str, Roundings] | None = None
    boxed: Boxed | None = None
    passed: Mapping[str, ScaledArray] | None = None

    def all(self) -> ScaledArray:
        """All outputs side by side."""
        return together(self.outputs)


def together(arrays: Mapping[str, ScaledArray]) -> ScaledArray:
    """All outputs side by side."""
    parts = [array.normal() for array in arrays.values()]
    return ScaledArray(
        np.concatenate([m for m, _ in parts], axis=1), np.concatenate([e for _, e in parts], axis=1)
    )


def chunk(network: Network) -> int:
    """How many samples to run at once; 0 (no splitting) where axis 0 is not a batch axis."""
    largest = max(prod(shape) for shape in network.shapes.values())
    return max(1, _ELEMENTS // largest) if network.batched else 0


def neurons(network: Network, output: str) -> int:
    """How many neurons an output has for one input."""
    shape = network.shapes[output]
    return prod(shape[1:]) if network.batched else prod(shape)


def output_difference(
    pairing: Pairing, radius: Mapping[str, np.ndarray], device: Device
) -> dict[str, Reading | None]:
    """For every output, a certified bound on |R_A(x)_v - R_B(x)_v| over |x_i| <= radius_i; None where the two
    are equal.

    radius: non-negative float arrays [batch, ...], by input; every sample of the batch is a domain of its
    own. The bound of entry v is `reading.upper` of it. Any pair that matches: no sign condition
    (docs/theory.md, section 4).
    """
    return _pass(pairing.a, pairing.twin, radius, device)


def _pass(
    network: Network,
    twin: Mapping[str, Parameters],
    radius: Mapping[str, np.ndarray],
    device: Device,
    limits: Limits | None = None,
    roundings: Mapping[str, Roundings] | None = None,
) -> dict[str, Reading | None]:
    for name in network.inputs:
        if name not in radius or not np.isfinite(radius[name]).all() or (np.asarray(radius[name]) < 0).any():
            raise UsageError(f"input '{name}' needs finite radii >= 0")
    log2 = absolute.input_log2(network, radius)

    def build(calibration: Calibration) -> tuple[Tracer, dict[str, Output], None]:
        tracer, lanes, _ = sharp.trace(network, twin, device, log2, calibration, limits, roundings)
        return (
            tracer,
            {name: absolute.read(tracer, d) for name in network.outputs if (d := lanes[name].d) is not None},
            None,
        )

    found, _ = settle.evaluate(build, radius, device, chunk=chunk(network))
    return {name: found.get(name) for name in network.outputs}


def routes(pairing: Pairing) -> dict[str, Mapping[str, Parameters]]:
    """Representatives of the twin to compare with, by how they were found. All have the function and Φ of the
    twin."""
    found: dict[str, Mapping[str, Parameters]] = {"sharp difference pass": pairing.twin}
    if quantizes(pairing.a):  # which a rescaled twin would not pass through
        return found
    if not alignment.monotone_on_sample(pairing):
        for aligned in alignment.alignments(pairing):
            kind = "powers of two" if aligned.exact else "real factors"
            found[f"sharp difference pass after aligning B's rescaling ({kind})"] = aligned.twin
    return found


def _euclidean(site: Site) -> bool:
    """Whether the ℓ2 norm of what a node makes is known: those of activations are not, but for projections
    that fix 0."""
    operator = OPERATORS[site.node.op]
    if operator.kind != "activation":
        return True
    assert operator.constants is not None
    return operator.projection(site) and operator.constants(site).at_zero == 0


def spectral_norms(
    pairing: Pairing, region: Region, roundings: Mapping[str, Roundings] | None = None
) -> Limits | None:
    """Bounds on every weighted node's neurons from the ℓ2 norms of tensors, of either network and of the
    difference, over all boxes.

    roundings: what the quantizers do. None for networks with other activations beyond the paper's model.
    """
    if not all(_euclidean(Site.of(pairing.a, node)) for node in pairing.a.nodes):
        return None
    network, radius, _ = radii(pairing, region)
    inputs = {}
    for name, array in radius.items():
        rows = array.reshape(len(array), -1) if network.batched else array.reshape(1, -1)
        top = float(rows.max(initial=0.0))  # squares of what is divided by it neither overflow nor vanish
        size = (
            float(np.log2(np.sqrt(np.square(rows / top).sum(axis=1)).max()) + np.log2(top)) + SLACK
            if top > 0
            else -np.inf
        )
        inputs[name] = operator_norms.Norms(size, size)
    return operator_norms.limits(
        network, pairing.twin, operator_norms.norms(network, pairing.twin, inputs, "spectral", roundings)
    )


def prepare(pairing: Pairing, region: Region) -> tuple[Network, dict[str, np.ndarray]]:
    """The first network and the radii to evaluate it with: past its normalizers, and collapsed where that is
    possible."""
    network, radius, uniform = radii(pairing, region)
    if not uniform:
        return network, radius
    small = collapse(network)
    for name in small.inputs:
        if small.shapes[name] != network.shapes[name]:
            radius[name] = radius[name][
                (slice(None), slice(None), *(slice(0, n) for n in small.shapes[name][2:]))
            ]
    return small, radius


def quantizer_roundings(pairing: Pairing, region: Region, device: Device) -> Mapping[str, Roundings] | None:
    """What the pair's quantizers do over all boxes of a region; None where it has none."""
    if not quantizes(pairing.a):
        return None
    found = roundings(pairing.a, counterpart(pairing), region, chunk(pairing.a), device.threads)
    if not region.uniform:
        return found
    # collapsed images have other cells
    return {
        name: replace(one, range_p=one.range_p.within_channels(), range_q=one.range_q.within_channels())
        for name, one in found.items()
    }


def bounds(pairing: Pairing, region: Region, device: Device, spectral: bool = True) -> Bounds:
    """Certified bounds of every output neuron over every box of the region; see the module. spectral: use ℓ2
    norms, too."""
    network, radius = prepare(pairing, region)
    boxes = region.size if network.batched else 1
    quantized = quantizer_roundings(pairing, region, device)
    tried: list[tuple[Scaled, str, Mapping[str, Parameters]]] = []
    best: dict[str, ScaledArray] = {}

    def attempt(twin: Mapping[str, Parameters], limits: Limits | None) -> Scaled:
        readings = _pass(network, twin, radius, device, limits, quantized)
        for original, tensor in zip(pairing.a.outputs, network.outputs, strict=True):
            array = _rows(readings[tensor], boxes, neurons(pairing.a, original))
            best[original] = best[original].minimum(array) if original in best else array
        return _largest(best)

    smallest, found_routes = None, routes(pairing)
    for name, candidate in found_routes.items():
        largest = attempt(candidate, None)
        if smallest is None or largest < smallest:
            tried.append((largest, name, candidate))
            smallest = largest
    _, method, twin = tried[-1]
    used = None
    # rounded factors may hide what a small change of a weight is: norms are those of exact representatives,
    # the first and the best
    exact = [found for found in tried if not _rounded(found[2])]
    for _, name, candidate in exact if len(exact) < 2 else (exact[0], exact[-1]):
        if not spectral or smallest is None or not smallest.mantissa:
            break
        limits = spectral_norms(replace(pairing, twin=dict(candidate)), region, quantized)
        if limits is not None and (largest := attempt(candidate, limits)) < smallest:
            smallest, method, twin, used = largest, f"{name} with ℓ2 norms", candidate, limits
    boxed, passed = None, best
    if pairing.a.batched and smallest is not None and smallest.mantissa:
        boxed = _intervals(
            pairing, region, device, [c for c in found_routes.values() if c is twin or not _rounded(c)]
        )
        found = boxed.outputs()
        best = {name: array.minimum(found[name]) for name, array in best.items()}
        if _largest(found) < smallest:
            smallest, method = _largest(found), "intervals of both networks and of their difference"
    if smallest is not None and smallest.mantissa == 0:
        method = "equal parameters"
    return Bounds(best, method, twin, used, quantized, boxed, passed)


def _intervals(
    pairing: Pairing, region: Region, device: Device, twins: Sequence[Mapping[str, Parameters]]
) -> Boxed:
    """Intervals with the twin as it is, and with these representatives of it."""
    found = output_intervals(pairing, pairing.twin, region, device)
    if region.centers is not None:
        found = found.meet(given_intervals(pairing, region, device))
    for twin in twins:
        if twin is not pairing.twin:
            found = found.meet(output_intervals(pairing, twin, region, device))
    return found


def _largest(arrays: Mapping[str, ScaledArray]) -> Scaled:
    return max((norm for array in arrays.values() for norm in array.norms("inf")), key=lambda norm: norm.log2)


def _rounded(twin: Mapping[str, Parameters]) -> bool:
    return any(part is not None and part.error > 0 for parts in twin.values() for part in parts)


def layers(
    pairing: Pairing, region: Region, found: Bounds, box: int, device: Device
) -> tuple[Injection, ...]:
    """Which layers one box's bounds come from: ⟨what a layer injects, adjoint⟩ along the minima that the
    sharp pass took.

    metric: the layer's part of Σ_v D_v. Where ℓ2 norms gave the smallest bounds, which say nothing of layers,
    the parts are those of the sharp pass without them. A node without weights has a part where the size of
    both networks' values there was a smaller bound than the difference that reached it (with quantizers this
    is left out: parts are of weights, rounding and saturation alone); a quantizer has up to two, "rounding"
    and "saturation". Shares sum to 1, or are all 0 when nothing differs.
    """
    one = Region(
        {name: array[box : box + 1] for name, array in region.low.items()},
        {name: array[box : box + 1] for name, array in region.high.items()},
        None,
        region.uniform,
    )
    network, radius = prepare(pairing, one if pairing.a.batched else region)
    log2 = absolute.input_log2(network, radius)

    def build(calibration: Calibration) -> tuple[Tracer, dict[int, Output], tuple]:
        tracer, lanes, injected = sharp.trace(
            network,
            found.twin,
            device,
            log2,
            calibration,
            roundings=found.roundings,
            sizes=found.roundings is None,
        )
        ends = {name: lane for name in network.outputs if (lane := lanes[name].d) is not None}
        emitted = products(tracer, ends, {k: lane for k, (_, lane, _) in enumerate(injected)})
        outputs = {
            key: Output(tracer.graph.output(tensor), np.array(exponent))
            for key, (tensor, exponent) in emitted.items()
        }
        return tracer, outputs, tuple((node.output, kind) for node, _, kind in injected)

    readings, origins = settle.evaluate(build, radius, device)
    parts: dict[tuple[str, str], Scaled] = {}
    for key, reading in readings.items():
        parts[origins[key]] = parts.get(origins[key], Scaled(0.0)) + reading.total()
    total = Scaled(0.0)
    for part in parts.values():
        total = total + part
    bound = found.all().norms("1")[box if pairing.a.batched else 0]
    rows = []
    for node in network.nodes:
        for kind in KINDS:
            part = parts.get((node.output, kind), Scaled(0.0))
            if part.mantissa or (
                kind == "weights" and any(not parameter.fixed for parameter in node.parameters())
            ):
                share = part.over(total) if total.mantissa else 0.0
                rows.append(Injection(node.name, share, bound.times(share), kind))
    return tuple(rows)


def _rows(reading: Reading | None, boxes: int, entries: int) -> ScaledArray:
    """[boxes, neurons] upper bounds; `entries` counts the neurons of one box."""
    if reading is None:
        return ScaledArray(np.zeros((boxes, entries)), np.zeros((boxes, entries), np.int64))
    mantissa, exponent = reading.uppers().normal()
    return ScaledArray(mantissa.reshape(boxes, -1), exponent.reshape(boxes, -1))
