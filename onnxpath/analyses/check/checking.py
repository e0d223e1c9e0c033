"""Checking gates: measure what the budgets need, and compare certified ends with the limits.

With d̄ a certified upper end of the path-metric d = ‖Φ_A - Φ_B‖₁, and n̲, n̄ certified ends of a path-norm n
(engine/certificate.py):

    relative              d / max(n_A, n_B)   <=  d̄ / max(n̲_A, n̲_B)
    path-norm-increase    n_B / n_A - 1       <=  min(n̄_B / n̲_A - 1, d̄ / n̲_A) since |n_A - n_B| <= d

Every quotient is rounded up. A value that has no certificate is an error, never a pass.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from math import ceil, isfinite, log1p, nextafter
from typing import Any

from onnxpath.analyses import tool
from onnxpath.analyses.bound import bound as bounds
from onnxpath.analyses.bound.flips import counted
from onnxpath.analyses.certify import certify as certificates
from onnxpath.analyses.check import baseline
from onnxpath.analyses.check.budgets import QUANTITIES, Value, exceeds
from onnxpath.analyses.check.gates import Gate
from onnxpath.analyses.check.observing import Observed, observe, required, sources
from onnxpath.analyses.metric import metric, norm
from onnxpath.analyses.pairs import load_pair
from onnxpath.engine.scaled import Scaled
from onnxpath.engine.session import Device
from onnxpath.errors import ModelError, OnnxPathError, UsageError
from onnxpath.files.described import described
from onnxpath.files.side import NO_NETWORK
from onnxpath.model.domain import Domain
from onnxpath.model.matching import match, unquantized
from onnxpath.model.network import Network
from onnxpath.records import BoundSide, Budget, Check, CheckedPair, Flips, Layer
from onnxpath.rewrites.quantizers import plain, quantizes

# A float64 quotient of two float64 numbers, rounded up.
_UP = 1 + 2.0**-51
SHOWN = 3


@dataclass(frozen=True)
class Measured:
    """An upper end of one quantity, how it was found, the layers it comes from, and in which sense it is an
    upper end."""

    value: Value
    basis: str
    layers: tuple[Layer, ...]
    certainty: str = "certified"


def _largest(layers: Iterable[Layer]) -> tuple[Layer, ...]:
    return tuple(
        sorted((layer for layer in layers if layer.share > 0), key=lambda layer: -layer.share)[:SHOWN]
    )


def _certified(value: Scaled, what: str, device: Device) -> Scaled:
    if not value.mantissa >= 0:
        advice = "; use --precision float64" if device.precision == "float32" else ""
        raise UsageError(f"there is no certified upper end of the {what} in {device.precision}{advice}")
    return value


def _quotient(above: Scaled, below: Scaled) -> Value:
    """above / below, rounded up; beyond float64 where it must."""
    ratio = nextafter(above.over(below) * _UP, float("inf"))
    if isfinite(ratio):
        return ratio
    return Scaled(above.mantissa / below.mantissa * _UP, above.exponent - below.exponent)


def _path(
    pair: tuple[Network, Network], wanted: set[str], device: Device, observed: float
) -> dict[str, Measured]:
    """relative, metric and path-norm-increase. observed: a lower end of the metric from what was seen of the
    files, which counts where it is more."""
    found = metric.path_metric(pair[0], pair[1], device, 1.0)
    certified = _certified(found.bound, "path-metric", device)
    worse = _worse(
        Measured(certified, found.path_metric.method, _largest(found.layers)),
        observed,
        "the files differ by more than it allows",
    )
    distance, layers, basis, certainty = worse.value, worse.layers, worse.basis, worse.certainty
    assert isinstance(distance, Scaled)
    measured = {"metric": worse}
    if wanted <= {"metric"}:
        return measured
    low, high = [], []
    for network in pair:
        [one] = norm.path_norms(network, [1.0], device).norms
        low.append(one.value.times(max(0.0, 1 - one.relative_error) / _UP))
        high.append(one.value.times((1 + one.relative_error) * _UP))
    largest = low[1] if low[0] < low[1] else low[0]
    if not largest.mantissa and distance.mantissa:
        raise UsageError(
            f"the path-norms of {pair[0].path} and {pair[1].path} have no certified lower end; use"
            " --precision float64"
        )
    measured["relative"] = Measured(
        _quotient(distance, largest) if distance.mantissa else 0.0, basis, layers, certainty
    )
    if "path-norm-increase" in wanted:
        measured["path-norm-increase"] = Measured(
            _increase(pair[0], low[0], high[1], certified), found.path_metric.method, layers
        )
    return measured


def _increase(a: Network, low: Scaled, high: Scaled, distance: Scaled) -> Value:
    if not distance.mantissa:
        return 0.0
    if not low.mantissa:
        raise UsageError(
            f"the path-norm of {a.path} is 0: max-path-norm-increase, which is relative to it, has no meaning"
        )
    growth, apart = _quotient(high, low), _quotient(distance, low)
    if isinstance(growth, float):
        growth = nextafter(growth - 1.0, float("inf"))
    return apart if exceeds(growth, apart) else growth


def _function(
    gate: Gate, pair: tuple[Network, Network], wanted: set[str], device: Device, seen: Observed
) -> dict[str, Measured]:
    """bound and agree; what is certified of the networks, or what was seen of the files where that is
    worse."""
    measured: dict[str, Measured] = {}
    if "bound" in wanted and gate.domain is not None:
        found = bounds.bound(
            pair[0], pair[1], gate.domain, device, norm=gate.norm, search=None, confidence=gate.confidence
        )
        value = _certified(found.largest.certified, "difference of the outputs", device)
        basis = f"{gate.norm}-norm of the outputs; {found.method}"
        measured["bound"] = _worse(
            Measured(value, basis, _largest(found.layers)),
            seen.bound(gate.norm),
            "the files differ by more in the domain",
        )
    if "agree" in wanted:
        measured["agree"] = _agreement(gate, pair, device)
    return measured


def _worse(certified: Measured, observed: float, why: str) -> Measured:
    """What is certified of the networks, unless more was seen of the files."""
    value = certified.value if isinstance(certified.value, Scaled) else Scaled(certified.value)
    if not observed > 0 or (isfinite(observed) and not value < Scaled(observed)):
        return certified
    return Measured(Scaled(observed), f"{certified.basis}; {why}", certified.layers, "observed")


def _outputs(
    gate: Gate,
    networks: tuple[Network | None, Network | None],
    wanted: set[str],
    device: Device,
    seen: Observed,
) -> dict[str, Measured]:
    """difference and flip-rate, of the files at the given inputs."""
    measured: dict[str, Measured] = {}
    if "difference" in wanted:
        looked = required(seen.given, seen.seen, "max-difference")
        where = "" if seen.seen is None or seen.seen.output is None else f", at output '{seen.seen.output}'"
        basis = f"largest difference of the files' outputs on {len(looked.difference)} inputs{where}"
        measured["difference"] = Measured(Scaled(float(looked.difference.max())), basis, (), "observed")
    if "flip-rate" in wanted:
        flips = _flips(gate, networks, device, seen)
        basis = (
            f"{flips.differ} of {flips.inputs} inputs differ; Clopper-Pearson upper limit at confidence"
            f" {flips.confidence:g}"
        )
        measured["flip-rate"] = Measured(flips.upper_limit, basis + _too_few(gate, flips), (), "confidence")
    return measured


def _flips(
    gate: Gate, networks: tuple[Network | None, Network | None], device: Device, seen: Observed
) -> Flips:
    """On how many inputs the predicted classes differ: of the files; of networks where there are no files, or
    files that do not run."""
    a, b = networks
    ran = seen.given is not None and seen.given.complete
    if seen.given is not None and ran and seen.given.classified:
        return counted(seen.given.differing(), gate.confidence)
    found = None
    if not ran and a is not None and b is not None:
        found = bounds.bound(
            a, b, Domain.samples(gate.inputs), device, search=None, confidence=gate.confidence
        ).flips
    if found is None or not isfinite(found.upper_limit):
        if not ran and (a is None or b is None):
            required(seen.given, seen.seen, "max-flip-rate")
        label = a.path if a is not None else gate.name
        raise UsageError(f"max-flip-rate: {label} has no output whose largest entry is a predicted class")
    return found


def _agreement(gate: Gate, pair: tuple[Network, Network], device: Device) -> Measured:
    """agree: nothing is searched for, since what is found can only tell a disagreement from what is
    undecided."""
    assert gate.domain is not None
    options = certificates.Options(search=0)
    found = certificates.certify(*pair, gate.domain, device, options, sources(gate), runtime=gate.runtime)
    if not found.classified:
        raise UsageError(f"min-agree: {pair[0].path} has no output whose largest entry is a predicted class")
    basis = f"proved on {found.count('agree')} of {len(found.inputs)} boxes; effort {found.effort}"
    return Measured(found.share("agree"), basis, ())


def _too_few(gate: Gate, flips: Flips) -> str:
    """How many inputs a limit needs, where not even equal predictions on all of them would keep it: 1 - (1 -
    c)^(1/n) <= limit."""
    limit = gate.limits.get("flip-rate")
    needed = 0 if limit is None else ceil(log1p(-flips.confidence) / log1p(-limit))
    return (
        f"; a limit of {100 * (limit or 0):.4g} % needs at least {needed} inputs"
        if needed > flips.inputs
        else ""
    )


@dataclass(frozen=True, eq=False)
class Result:
    """Every quantity that a gate needs, the networks that were read (None where the budgets need none and
    none could be read), and what was seen of the files."""

    measured: Mapping[str, Measured]
    networks: tuple[Network | None, Network | None]
    seen: Observed


def _readable(gate: Gate, source: Any) -> Network | None:
    """The network of a file, if it can be read: for budgets that need outputs alone."""
    try:
        return load_pair(source, source, **{**gate.options, "extended": True})[0]
    except ModelError:
        return None


def measure(gate: Gate, device: Device) -> Result:
    """Every quantity the gate needs."""
    wanted = set(gate.quantities)
    path, function = wanted & {"relative", "metric", "path-norm-increase"}, wanted & {"bound", "agree"}
    if not path and not function:
        networks: tuple[Network | None, Network | None] = _readable(gate, gate.a), _readable(gate, gate.b)
        seen = observe(gate, networks, None)
        return Result(_outputs(gate, networks, wanted, device, seen), networks, seen)
    # Activations beyond ReLU have bounds, but no path-metric; quantizers are left out of it.
    reading = {**gate.options, "quantizers": True} if path else {**gate.options, "extended": True}
    pair = load_pair(gate.a, gate.b, **reading)
    weights = unquantized(*pair) if path & {"relative", "metric"} else (plain(pair[0]), plain(pair[1]))
    seen = observe(gate, pair, match(*pair, quantizers=True))
    # a calibrated file need not be right where nobody said that inputs lie
    counts = not (seen.anywhere and any(map(quantizes, pair)))
    measured = _path(weights, path, device, seen.metric() if counts else 0.0) if path else {}
    if function:
        measured |= _function(gate, pair, function, device, seen)
    measured |= _outputs(gate, pair, wanted, device, seen)
    return Result({name: measured[name] for name in gate.quantities}, weights if path else pair, seen)


def _budgets(gate: Gate, measured: Mapping[str, Measured], stored: Mapping[str, Value]) -> tuple[Budget, ...]:
    limits = [(QUANTITIES[name].budget, name, gate.limits[name]) for name in measured if name in gate.limits]
    limits += [
        (f"baseline-{name}", name, baseline.allowed(stored[name], gate.tolerance, QUANTITIES[name].least))
        for name in measured
        if name in stored
    ]
    return tuple(
        Budget(
            label, measured[name].value, limit, QUANTITIES[name].ratio,
            QUANTITIES[name].keeps(measured[name].value, limit),
            measured[name].certainty, measured[name].basis, measured[name].layers, QUANTITIES[name].least,
        )
        for label, name, limit in limits
    )  # fmt: skip


class CheckError(OnnxPathError):
    """Some of several pairs could not be measured: `errors`, with their gates. `pairs` are those that
    could."""

    def __init__(self, pairs: list[CheckedPair], errors: list[tuple[Gate, OnnxPathError]]):
        gate, first = errors[0]
        more = (
            f"; {len(errors)} of {len(errors) + len(pairs)} pairs could not be checked"
            if len(errors) > 1
            else ""
        )
        super().__init__(f"{gate.name}: {first}{more}")
        self.pairs, self.errors = pairs, errors


def check_pair(
    gate: Gate, device: Device, stored: baseline.Baselines | None = None, update: bool = False
) -> CheckedPair:
    """Measure one gate and compare. `stored`: the baselines that were read, into which `update` writes what
    was measured."""
    gate = replace(gate, runtime=replace(gate.runtime, threads=device.threads))
    result = measure(gate, device)
    measured, (a, b) = result.measured, result.networks
    values: Mapping[str, Value] = {}
    if gate.baseline is not None and stored is not None and a is not None:
        found = {name: one.value for name, one in measured.items()}
        record = baseline.Stored(
            a.sha256, gate.conditions, found, a.content, f"onnxpath {tool.describe(device).version}"
        )
        if update:
            stored.put(gate, record)
        values = stored.values(gate, record)
    notes = dict.fromkeys(
        f"{side}: {note}"
        for side, network in (("A", a), ("B", b))
        if network is not None
        for note in network.notes
    )
    seen = result.seen
    if seen.seen is None:
        notes["the networks are given as such: no files were run"] = None
    elif gate.allow_unfaithful:
        notes |= dict.fromkeys(seen.seen.reasons)
    budgets = (*_budgets(gate, measured, values), *_failures(gate, seen))
    return CheckedPair(
        gate.name, _side(a, gate.a), _side(b, gate.b), budgets, tuple(notes), seen.seen, seen.changes
    )


def _side(network: Network | None, source: Any) -> BoundSide:
    return BoundSide(network.path, network.sha256) if network is not None else described(source)


def _failures(gate: Gate, seen: Observed) -> tuple[Budget, ...]:
    """What fails whatever budgets were asked for: an unfaithful file, and another interface."""
    found = []
    files = seen.seen
    if files is not None and not files.faithful and not gate.allow_unfaithful:
        wrong = [
            side for side in (files.a, files.b) if side.faithful is not True and side.reason != NO_NETWORK
        ]
        if wrong:
            basis = "; ".join(side.reason for side in wrong)
            found.append(Budget("faithful", float(len(wrong)), 0.0, False, False, "observed", basis))
    changed = seen.failing(gate.allow_interface)
    if changed:
        found.append(
            Budget(
                "interface",
                float(len(changed)),
                0.0,
                False,
                False,
                "observed",
                "; ".join(change.text for change in changed),
            )
        )
    return tuple(found)


def check(
    gates: Iterable[Gate], device: Device | None = None, update_baseline: bool = False, force: bool = False
) -> Check:
    """Check every gate; baselines are read first, and written last when they are to be updated.

    An error (a file, a mismatch, a baseline that is missing or was made for something else) is never a pass:
    it is raised, after the other gates were checked when there are several (CheckError).
    """
    gates, device = list(gates), device or Device()
    stored = baseline.Baselines.read(gates, update_baseline, force)
    pairs: list[CheckedPair] = []
    errors: list[tuple[Gate, OnnxPathError]] = []
    for gate in gates:
        try:
            pairs.append(check_pair(gate, device, stored, update_baseline))
        except OnnxPathError as error:
            if len(gates) == 1:
                raise
            errors.append((gate, error))
    if errors:
        raise CheckError(pairs, errors) from errors[0][1]
    if update_baseline:
        stored.write()
    return Check(tuple(pairs), tool.describe(device))
