"""Both files of a gate as they run: at the given inputs, at points of the domain, and where there is neither
at seeded inputs.

What is proved of two networks is a verdict on two files only where both are faithful; and a difference that
was seen counts whatever was proved:

    difference     max over the given inputs, outputs and entries of |a - b| of the files, declared outputs
    flip-rate      the predicted classes that differ of the files
    bound          the larger of what is certified and of what was seen in the domain
    metric         ‖Φ_A - Φ_B‖₁ >= (‖f_A(x) - f_B(x)‖₁ - rounding) / max(‖x‖_∞, 1): likewise; of a file that
                   quantizes activations, whose path-metric leaves quantizers out, what they do counts in this
                   way
"""

from dataclasses import dataclass
from math import inf
from typing import Any

import numpy as np

from onnxpath.analyses.check.gates import Gate
from onnxpath.errors import UsageError
from onnxpath.files import seeded
from onnxpath.files.described import file_of
from onnxpath.files.given import given
from onnxpath.files.pair import FilePair, Looked
from onnxpath.importer.structure.tails import numeric
from onnxpath.model.domain import samples
from onnxpath.model.interface import BATCH, Change, changes
from onnxpath.model.matching import Pairing
from onnxpath.model.network import Network
from onnxpath.records import FilesSeen

# What rounding may make of an output of either file, relative to the largest one: twice what is looked at no
# further (files/side.py).
_ROUNDING = 2.0**-14


@dataclass(frozen=True, eq=False)
class Observed:
    """What was seen. seen: both files, None where the networks come from none. changes: of the interface.
    given: the given inputs; domain: the points that lie in the gate's domain; points: those of either, or
    seeded ones, and sizes [n]: the largest |x_i| of each; None where there are none. comparable: differences
    of declared outputs are differences of scores, or less. anywhere: the points are of no domain.
    """

    seen: FilesSeen | None
    changes: tuple[Change, ...]
    given: Looked | None = None
    domain: Looked | None = None
    points: Looked | None = None
    sizes: np.ndarray | None = None
    comparable: bool = True
    anywhere: bool = False

    def failing(self, allowed: frozenset[str]) -> tuple[Change, ...]:
        """The changes of the interface that fail a check."""
        return tuple(change for change in self.changes if change.kind != BATCH and change.kind not in allowed)

    def bound(self, norm: str) -> float:
        """The largest difference seen in the domain, in the norm of the gate; 0 where nothing was seen."""
        if self.domain is None:
            return 0.0
        found = _most(self.domain.inner(norm))
        return max(found, _most(self.domain.difference)) if self.comparable else found

    def metric(self) -> float:
        """A lower end of the path-metric from what was seen."""
        if self.points is None or self.sizes is None:
            return 0.0
        apart = self.points.inner("1")
        if (
            self.comparable
        ):  # every number of the declared outputs is at most as far apart as all of what the networks give
            apart = np.fmax(apart, self.points.difference)
        apart = apart - _ROUNDING * np.nan_to_num(self.points.total)
        return max(0.0, _most(apart / np.maximum(self.sizes, 1.0)))


def _most(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(known.max()) if len(known) else 0.0


def sources(gate: Gate) -> tuple[Any, Any] | None:
    """The files of a gate; None where it has networks."""
    a, b = file_of(gate.a), file_of(gate.b)
    return None if a is None or b is None else (a, b)


def observe(gate: Gate, networks: tuple[Network | None, Network | None], pairing: Pairing | None) -> Observed:
    """Run both files. networks: what was read out of them, None where nothing could be. pairing: where the
    structures correspond."""
    files = sources(gate)
    if files is None:
        a, b = networks
        return Observed(None, () if a is None or b is None else changes(a.interface, b.interface))
    pair = FilePair(files, networks, gate.runtime, pairing, gate.options.get("output_names", ()))
    inputs = gate.inputs if gate.inputs is not None or gate.domain is None else gate.domain.inputs
    network = networks[0]
    inner, points, sizes, anywhere = None, None, None, False
    if inputs is not None:
        arrays, stacked = (
            given(pair.sides[0], inputs) if network is None else (samples(network, inputs), False)
        )
        looked = points = pair.look(arrays, stacked=stacked)
        if not stacked:
            pair.at_once(arrays, looked)
        sizes = _sizes(arrays, len(looked.difference))
        inner = looked if gate.domain is not None and gate.domain.inputs is not None else None
    else:
        looked = None
    if network is not None and inner is None:
        whole = not network.batched
        region = (
            None if gate.domain is None or gate.domain.inputs is not None else gate.domain.resolve(network)
        )
        if region is not None:
            arrays = seeded.inside(region, seeded.count(network), whole, network)
            inner = points = pair.look(arrays, "seeded")
            sizes = _sizes(arrays, len(points.difference))
        elif looked is None:
            arrays = seeded.normal(network, seeded.count(network))
            points, anywhere = pair.look(arrays, "seeded"), True
            sizes = _sizes(arrays, len(points.difference))
    scores = all(
        numeric(step) for side in pair.sides for steps in side.interface.tails.values() for step in steps
    )
    found = pair.changes
    comparable = scores and not any(change.kind == "tail" for change in found)
    return Observed(pair.seen(), found, looked, inner, points, sizes, comparable, anywhere)


def _sizes(arrays: Any, n: int) -> np.ndarray:
    """[n]: the largest |x_i| of every point."""
    largest = [
        np.abs(np.asarray(array, np.float64).reshape(n, -1)).max(axis=1, initial=0.0)
        for array in arrays.values()
    ]
    return np.max(largest, axis=0) if largest else np.zeros(n)


def required(looked: Looked | None, seen: FilesSeen | None, what: str) -> Looked:
    """What was seen at the given inputs; raises UsageError where the files were not run on them."""
    if looked is None or not looked.complete:
        reason = "; ".join(seen.reasons) if seen is not None else "the networks come from no files"
        raise UsageError(f"{what}: the files were not run on the inputs: {reason or inf}")
    return looked
