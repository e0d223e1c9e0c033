"""Bounds on the outputs' difference from intervals of both networks and of their difference, box by box (passes/interval.py).

|h_A - h_B| is at most what the interval of h_B - h_A reaches, which knows where a ReLU is off in both networks, which signs weights have, and what range a quantizer
leaves: where the sharp pass multiplies sizes layer by layer, the difference behind a quantizer never exceeds the range of the grid and of the other network's neuron.

Several passes may be met: each of them bounds every neuron. Around given inputs one of them is the pass that `certify` makes at effort 0, over the same boxes at a
time, so that `bound` never exceeds it, not even by what rounding makes of a closer interval. A box that does not vary over space is followed on collapsed images:
interval arithmetic treats equal cells equally.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from onnxpath.bounds.classes import class_output
from onnxpath.certification.local_bounds import LocalBounds, narrowed
from onnxpath.collapse import collapse
from onnxpath.domain import Region
from onnxpath.engine.scaled import ScaledArray
from onnxpath.engine.session import Device
from onnxpath.matching import Pairing, Parameters
from onnxpath.passes.interval_steps import Follow
from onnxpath.passes.known import LANES, Known


@dataclass(frozen=True, eq=False)
class Boxed:
    """What intervals say of the outputs over n boxes. reach: by output, [n, neurons], float64 upper bounds of |f_A - f_B|, infinite where a
    number of the pass overflowed. scores: the intervals of the scores [n, classes]; None without classes."""

    reach: Mapping[str, np.ndarray]
    scores: Known | None

    def outputs(self) -> dict[str, ScaledArray]:
        return {name: _scaled(values) for name, values in self.reach.items()}

    def meet(self, other: "Boxed | None") -> "Boxed":
        """The smaller bounds of two passes."""
        if other is None:
            return self
        reach = {name: np.minimum(values, other.reach[name]) for name, values in self.reach.items()}
        scores = self.scores
        if scores is not None and other.scores is not None:
            scores = scores.meet({lane: getattr(other.scores, lane) for lane in LANES})
        return Boxed(reach, scores)


def given_intervals(pairing: Pairing, region: Region, device: Device) -> Boxed:
    """What `certify` at effort 0 knows of the boxes around given inputs. Needs a batched network."""
    return _run(pairing, region, narrowed(pairing.a, device), None)


def output_intervals(pairing: Pairing, twin: Mapping[str, Parameters], region: Region, device: Device) -> Boxed:
    """The closest intervals, with this representative of the twin, B followed both by its own weights and as A + d. Needs a batched network."""
    own = replace(pairing, twin=dict(twin))
    if region.uniform:
        own, region = _collapsed(own, region)
    found = _run(own, region, narrowed(own.a, device), "both")
    # what is collapsed repeats its outputs' cells under other names
    return replace(found, reach={name: found.reach[made] for name, made in zip(pairing.a.outputs, own.a.outputs, strict=True)})


def _collapsed(pairing: Pairing, region: Region) -> tuple[Pairing, Region]:
    small = collapse(pairing.a)

    def cut(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {name: array[(slice(None), slice(None), *(slice(0, n) for n in small.shapes[name][2:]))] for name, array in arrays.items()}

    if small is pairing.a:
        return pairing, region
    return replace(pairing, a=small), replace(region, low=cut(region.low), high=cut(region.high))


def _run(pairing: Pairing, region: Region, device: Device, follow: Follow | None) -> Boxed:
    engine = LocalBounds(pairing, device, backward=False, follow=follow)
    classes = class_output(pairing.a)
    reach: dict[str, list[np.ndarray]] = {name: [] for name in pairing.a.outputs}
    scores: list[Known] = []
    for start in range(0, region.size, engine.together):
        index = slice(start, start + engine.together)
        state = engine.start({n: x[index] for n, x in region.low.items()}, {n: x[index] for n, x in region.high.items()})
        for name in pairing.a.outputs:
            known = state.known[name].only(state.valid)
            reach[name].append(known.reach().reshape(state.size, -1))
            if name == classes:
                scores.append(known)
    joined = {name: np.concatenate(arrays) for name, arrays in reach.items()}
    if not scores:
        return Boxed(joined, None)
    ends = {lane: np.concatenate([getattr(known, lane) for known in scores]) for lane in LANES}
    return Boxed(joined, Known(**ends, differs=scores[0].differs))


def _scaled(values: np.ndarray) -> ScaledArray:
    """Numbers >= 0; those that are infinite (or NaN) become so large that any other bound is smaller."""
    finite = np.isfinite(values)
    mantissa, exponent = np.frexp(np.where(finite, values, 0.5))
    return ScaledArray(mantissa, np.where(finite, exponent.astype(np.int64), np.int64(1) << 40))
