"""Bounds on the outputs' difference from intervals of both networks and of their difference, box by box
(boxes/interval.py).

|h_A - h_B| is at most what the interval of h_B - h_A reaches, which knows where a ReLU is off in both
networks, which signs weights have, and what range a quantizer leaves: where the sharp pass multiplies sizes
layer by layer, the difference behind a quantizer never exceeds the range of the grid and of the other
network's neuron.

Several passes may be met: each of them bounds every neuron. Around given inputs one of them is the pass that
`certify` makes at effort 0, over the same boxes at a time, so that `bound` never exceeds it, not even by what
rounding makes of a closer interval. A box that does not vary over space is followed on collapsed images:
interval arithmetic treats equal cells equally. What only normalizes the inputs is left out, as in
`difference_bounds`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from onnxpath.analyses.bound.classes import class_output
from onnxpath.boxes.interval_steps import Follow
from onnxpath.boxes.local_bounds import LocalBounds, narrowed
from onnxpath.boxes.pair_intervals import LANES, PairIntervals
from onnxpath.engine.scaled import ScaledArray
from onnxpath.engine.session import Device
from onnxpath.model.domain import Region
from onnxpath.model.matching import Pairing, Parameters
from onnxpath.model.network import Shape
from onnxpath.rewrites.collapse import collapse
from onnxpath.rewrites.normalizers import behind_normalizers


@dataclass(frozen=True, eq=False)
class Boxed:
    """What intervals say of the outputs over n boxes. reach: by output, [n, neurons], float64 upper bounds of
    |f_A - f_B|, infinite where a number of the pass overflowed. scores: the intervals of the scores [n,
    classes]; None without classes."""

    reach: Mapping[str, np.ndarray]
    scores: PairIntervals | None

    def outputs(self) -> dict[str, ScaledArray]:
        return {
            name: ScaledArray.of(np.where(np.isnan(values), np.inf, values))
            for name, values in self.reach.items()
        }

    def meet(self, other: "Boxed") -> "Boxed":
        """The smaller bounds of two passes."""
        reach = {name: np.minimum(values, other.reach[name]) for name, values in self.reach.items()}
        scores = self.scores
        if scores is not None and other.scores is not None:
            scores = scores.meet({lane: getattr(other.scores, lane) for lane in LANES})
        return Boxed(reach, scores)


Ends = Mapping[str, np.ndarray]
"""float64 [n, ...] by input."""


def given_intervals(pairing: Pairing, region: Region, device: Device) -> Boxed:
    """What `certify` at effort 0 knows of the boxes around given inputs. Needs a batched network."""
    return _run(pairing, region.low, region.high, narrowed(pairing.a, device), None)


def output_intervals(
    pairing: Pairing, twin: Mapping[str, Parameters], region: Region, device: Device
) -> Boxed:
    """The closest intervals, with this representative of the twin, B followed both by its own weights and as
    A + d. Needs a batched network."""
    own = replace(pairing, twin=dict(twin))
    behind = behind_normalizers(own, region)
    network, low, high = behind.network, behind.low, behind.high
    if behind.uniform:
        network = collapse(network)
        low, high = (
            {name: _cut(array, network.shapes[name]) for name, array in side.items()} for side in (low, high)
        )
    found = _run(replace(own, a=network), low, high, narrowed(network, device), "both")
    # what is collapsed repeats its outputs' cells under other names
    return replace(
        found,
        reach={
            name: found.reach[made] for name, made in zip(pairing.a.outputs, network.outputs, strict=True)
        },
    )


def _cut(array: np.ndarray, shape: Shape) -> np.ndarray:
    return array[(slice(None), slice(None), *(slice(0, n) for n in shape[2:]))]


def _run(pairing: Pairing, low: Ends, high: Ends, device: Device, follow: Follow | None) -> Boxed:
    engine = LocalBounds(pairing, device, backward=False, follow=follow)
    classes = class_output(pairing.a)
    reach: dict[str, list[np.ndarray]] = {name: [] for name in pairing.a.outputs}
    scores: list[PairIntervals] = []
    for start in range(0, len(next(iter(low.values()))), engine.together):
        index = slice(start, start + engine.together)
        state = engine.start({n: x[index] for n, x in low.items()}, {n: x[index] for n, x in high.items()})
        for name in pairing.a.outputs:
            known = state.known[name].only(state.valid)
            reach[name].append(known.reach().reshape(state.size, -1))
            if name == classes:
                scores.append(known)
    joined = {name: np.concatenate(arrays) for name, arrays in reach.items()}
    if not scores:
        return Boxed(joined, None)
    ends = {lane: np.concatenate([getattr(known, lane) for known in scores]) for lane in LANES}
    return Boxed(joined, PairIntervals(**ends, differs=scores[0].differs))
