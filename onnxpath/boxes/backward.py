"""Linear bounds of differences and values, walked from a tensor back to the inputs (docs/certify.md, section
4).

For rows of coefficients (λ, γ) at a tensor, an upper bound over every box of

    λ · (h_B - h_A) + γ · h_A

is carried backwards as λ · d + γ · h_A + constant at earlier tensors, the signs of all coefficients kept:
segment by segment (segments.py), each by the graph of its structure (backward_steps.py). At the inputs d = 0,
and the box gives Σ max(γ low, γ high). Where every activation is stable this is the exact linear difference,
with all cancellation between and inside layers. Of one network by itself there is no d, and rows of γ only.

A graph is built once for a structure, and a parameter is converted once for a pair: walks from all tensors,
of A, of B and of their difference, share them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np

from onnxpath.boxes.backward_steps import Key, Steps
from onnxpath.boxes.interval import outward
from onnxpath.boxes.segments import Segment, segments, structure
from onnxpath.engine.session import Device
from onnxpath.evaluate.weights import DELTA, A, B, Coefficients, cast, differing, tiny
from onnxpath.model.network import Network, Node, Site
from onnxpath.ops import nonlinear

if TYPE_CHECKING:
    from onnxruntime import OrtValue

# What is bounded: network A, network B, or h_B - h_A.
Of = Literal["a", "b", "d"]
# Which coefficients of a node the rows of coefficients meet: "own" is that of γ.
_ROLES: Mapping[Of, Mapping[str, str]] = {
    "a": {"own": A},
    "b": {"own": B},
    "d": {"own": A, "b": B, "delta": DELTA},
}


@dataclass(frozen=True, eq=False)
class BoxFeeds:
    """What walks read of n boxes. lines: [m, ...] as "<name> <node output>"; sizes: arrays [m, ...] of the
    interval pass by (kind, tensor); low, high: float64 [m, ...] by input; largest [m]: of the moduli of all
    tensors; index [n]: which of the m boxes these are; of: what is bounded."""

    lines: Mapping[str, np.ndarray]
    sizes: Mapping[tuple[str, str], np.ndarray]
    low: Mapping[str, np.ndarray]
    high: Mapping[str, np.ndarray]
    largest: np.ndarray
    index: np.ndarray
    of: Of
    _placed: "dict[tuple, OrtValue]" = field(default_factory=dict)

    def cut(self, array: np.ndarray) -> np.ndarray:
        whole = np.array_equal(self.index, np.arange(len(self.largest)))
        return array if whole else array[self.index]

    def line(self, steps: Steps, name: str, output: str) -> "OrtValue":
        key = name, output
        if key not in self._placed:
            self._placed[key] = steps.session.place(self.cut(self.lines[f"{name} {output}"]))
        return self._placed[key]

    def size(self, steps: Steps, kind: str, tensor: str, factor: float, dtype: np.dtype) -> "OrtValue":
        """A size times a factor, rounded up; |W_B| |h_B| is at most what that is of A and of the difference
        together."""
        key = kind, tensor, factor
        if key not in self._placed:
            array = self.cut(self.sizes[kind, tensor]).astype(np.float64)
            moved = self.sizes.get((f"{kind[:-1]}d", tensor)) if self.of == "b" else None
            array = array if moved is None else array + self.cut(moved)
            array = outward(array * (factor * (1 + 1e-6)), dtype, np.inf)
            self._placed[key] = steps.session.place(array)
        return self._placed[key]


class Backward:
    """Walks back from the borders of a pair of networks, ready to run for any boxes, coefficients and
    lines."""

    def __init__(self, network: Network, coefficients: Mapping[str, Coefficients], device: Device):
        """network: batched and without maxima, with the coefficients that `pairs` gives. Raises
        MissingFactError."""
        self._network, self._pairs, self._device = network, coefficients, device
        self._differs = differing(network, coefficients)
        self._segments = segments(network)
        self._structures = {segment.root: structure(network, segment) for segment in self._segments}
        self._steps: dict[tuple, Steps] = {}
        self._parameters: dict[tuple[str, str, str], OrtValue] = {}
        self._activations: dict[str, list[Node]] = {}
        self._lost = {segment.root: self._underflow(segment) for segment in self._segments}

    @property
    def graphs(self) -> int:
        """How many graphs there are so far."""
        return len(self._steps)

    def activations(self, start: str) -> list[Node]:
        """The nodes whose lines walks from a tensor need."""
        if start not in self._activations:
            behind, found = {start}, []
            for node in reversed(self._network.nodes):
                if node.output in behind:
                    behind.update(node.inputs)
                    found += [node] if nonlinear(node) else []
            self._activations[start] = found
        return self._activations[start]

    def _underflow(self, segment: Segment) -> float:
        """What underflow loses in a segment, for cells up to 1, of both rows of coefficients."""
        dtype, found = self._device.dtype, 0.0
        for node in segment.nodes:
            if not nonlinear(node):
                site = Site.of(self._network, node)
                loss = tiny(site, self._pairs.get(node.output), dtype)
                found += loss * self._network.size_of(node.output) * (1 if node.output in self._pairs else 2)
        return found

    def _of_structure(self, segment: Segment, of: Of, parts: Mapping[Key, int], coupled: bool) -> Steps:
        """The graph for a segment, with so many parts of the coefficients at its root."""
        roles, shapes = _ROLES[of], []
        for node in segment.nodes:
            c = self._pairs.get(node.output)
            if c is not None:
                arrays = [(c.weights[key], c.biases[key]) for key in roles.values()]
                shapes += [tuple(None if x is None else x.shape for x in pair) for pair in arrays]
        differs = tuple(name in self._differs for name in segment.numbers) if "λ" in parts else ()
        key = (
            self._structures[segment.root], tuple(shapes), differs, tuple(sorted(parts.items())),
            len(roles), coupled,
        )  # fmt: skip
        if key not in self._steps:
            self._steps[key] = Steps(
                self._network, segment, self._pairs, self._differs, roles, parts, coupled, self._device
            )
        return self._steps[key]

    def _parameter(self, steps: Steps, output: str, kind: str, key: str) -> "OrtValue":
        """A weight or bias in the pass' precision, converted and placed once."""
        if (output, kind, key) not in self._parameters:
            c = self._pairs[output]
            array = (c.weights if kind == "weight" else c.biases)[key]
            assert array is not None
            value = cast(array, self._device.dtype, up=False)
            self._parameters[output, kind, key] = steps.session.place(value)
        return self._parameters[output, kind, key]

    def run(self, start: str, seeds: np.ndarray, feeds: BoxFeeds, coupled: bool = False) -> np.ndarray:
        """Upper bounds [n, k], float64, of seeds · h_A, seeds · h_B or seeds · (h_B - h_A), +inf where they
        cannot be had.

        seeds: [n, k, ...]; coupled: the lines of differences have terms of h_A.
        """
        if start not in self._structures and start not in self._network.inputs:
            raise ValueError(f"no segment ends in '{start}'")
        n, k = seeds.shape[:2]
        seed = np.ascontiguousarray(seeds, self._device.dtype).reshape(n * k, *seeds.shape[2:])
        waiting: dict[str, dict[Key, list]] = {start: {"λ" if feeds.of == "d" else "γ": [seed]}}
        total, lost = np.zeros((n, k)), 0.0
        with np.errstate(all="ignore"):
            for segment in self._segments:
                if segment.root in waiting:
                    constant = self._through(segment, waiting, feeds, coupled)
                    # every term was rounded up by more than this sum in float64 can lose
                    total += 0.0 if constant is None else constant.reshape(n, k)
                    lost += self._lost[segment.root]
            for name in self._network.inputs:
                low, high = feeds.cut(feeds.low[name]), feeds.cut(feeds.high[name])
                total += _at_input(waiting.pop(name, {}).get("γ", ()), low, high, k)
            total += np.abs(total) * 2.0**-45 + lost * (1 + feeds.cut(feeds.largest)[:, None])
        assert not waiting, "every segment hands on to borders before it"
        return np.where(np.isfinite(total), total, np.inf)

    def _through(
        self, segment: Segment, waiting: dict[str, dict[Key, list]], feeds: BoxFeeds, coupled: bool
    ) -> np.ndarray | None:
        """Hand what waits at the root of a segment to the borders before it; the constant, [n k]."""
        parts = waiting.pop(segment.root)
        counts: dict[Key, int] = {key: len(found) for key, found in parts.items()}
        steps = self._of_structure(segment, feeds.of, counts, coupled)
        names, roles = list(segment.numbers), _ROLES[feeds.of]
        given = {f"{key} {j}": part for key, found in parts.items() for j, part in enumerate(found)}
        for label, node, kind, role in steps.parameters:
            given[label] = self._parameter(steps, names[node], kind, roles[role])
        for label, name, node in steps.lines:
            given[label] = feeds.line(steps, name, names[node])
        for (kind, tensor), (label, factor) in steps.sizes.items():
            given[label] = feeds.size(steps, kind, names[tensor], factor, self._device.dtype)
        found = steps.session.hold(given)
        for tensor, key, label in steps.ends:
            waiting.setdefault(names[tensor], {}).setdefault(key, []).append(found[label])
        return None if steps.constant is None else found[steps.constant].numpy()


def _at_input(parts: Sequence, low: np.ndarray, high: np.ndarray, k: int) -> np.ndarray | float:
    """[n, k]: the largest γ · x over the boxes [low, high], where γ is the sum of parts [n k, ...]."""
    if not len(parts):
        return 0.0
    n = len(low)
    arrays = [np.asarray(p if isinstance(p, np.ndarray) else p.numpy(), np.float64) for p in parts]
    gamma = sum(arrays[1:], arrays[0]).reshape(n, k, -1)
    bottom, top = (side.reshape(n, 1, -1) for side in (low, high))
    size = np.maximum(np.abs(bottom), np.abs(top))
    moduli = sum((np.abs(array).reshape(gamma.shape) * size).sum(axis=2) for array in arrays)
    exact = np.maximum(gamma * bottom, gamma * top).sum(axis=2)
    return exact + moduli * (2.0**-52 * (gamma.shape[2] + 8 + len(arrays)))
