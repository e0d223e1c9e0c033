"""Intervals of every neuron of two networks over boxes, and of their difference (docs/certify.md, section 2).

Over a box of inputs carry for every neuron [al, au] of network A, [bl, bu] of network B and [dl, du] of d =
h_B - h_A. At a linear node, with centre c and radius r of an interval,

    A:  W_A c_a + b_A ± |W_A| r_a, d: W_B c_d + ΔW c_a + Δb ± (|W_B| r_d + |ΔW| r_a), B like A, and A + d,

at an activation f with slopes in [m, M] over both intervals, d is multiplied by something in [m, M];
everywhere d lies in B - A and B in A + d. Lanes of B and d exist from the first node on whose parameters
differ.

Where only the outputs are asked for, less will do (`Follow`): B by its own weights, or, where these hardly
differ, as A + d alone.

The pass is made of segments (segments.py), each by the graph of its structure (interval_graph.py, which
counts the rounding): a deep network of equal blocks has as few graphs as one block.
"""

from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from onnxpath.boxes.interval_graph import IntervalGraph
from onnxpath.boxes.interval_steps import Follow
from onnxpath.boxes.pair_intervals import LANES
from onnxpath.boxes.segments import Segment, segments, structure
from onnxpath.engine.session import Device
from onnxpath.evaluate.weights import Coefficients, cast, pairs, tiny
from onnxpath.model.matching import Parameters
from onnxpath.model.network import Network, Site
from onnxpath.ops import nonlinear

if TYPE_CHECKING:
    from onnxruntime import OrtValue


class Intervals:
    """The pass, ready to run for any boxes and with any intervals that are known of the arguments of
    activations."""

    def __init__(
        self, network: Network, twin: Mapping[str, Parameters], device: Device, magnitudes: bool,
        arguments: bool = True, follow: Follow = "both",
        coefficients: Mapping[str, Coefficients] | None = None,
    ):  # fmt: skip
        """network: batched and without maxima. magnitudes: also what `Backward` needs of every tensor.
        arguments: intervals of the arguments of activations may be given, and are found; else those of the
        outputs alone. coefficients: what `pairs` gives. Raises MissingFactError.
        """
        self._network, self._twin, self._device, self._dtype = network, twin, device, device.dtype
        self._pairs = pairs(network, twin) if coefficients is None else coefficients
        self._magnitudes = magnitudes
        self._follow: Follow = follow
        self._segments = segments(network)[::-1]
        self._structures = {segment.root: self._structure(segment) for segment in self._segments}
        arguments_of = {node.inputs[0] for node in network.nodes if nonlinear(node)} if arguments else set()
        self._wanted = {*arguments_of, *network.outputs}
        self._last = {name: k for k, segment in enumerate(self._segments) for name in segment.before}
        self._graphs: dict[tuple, IntervalGraph] = {}
        self._parameters: dict[tuple, OrtValue] = {}
        for segment, differs in self._differing():
            self._graph(segment, differs, False)

    def _structure(self, segment: Segment) -> Hashable:
        """What the segment's graph depends on."""
        found: list[Hashable] = [structure(self._network, segment)]
        for node in segment.nodes:
            c = self._pairs.get(node.output)
            if c is not None:
                arrays = (*c.weights.items(), *c.biases.items())
                found.append(tuple((key, None if x is None else x.shape) for key, x in arrays))
                found.append((c.differs, c.hidden, c.loss))
            elif node.weight is not None or node.output in self._twin:
                found.append(node.output)  # its parameters are bound to the graph
            found.append((node.attributes.get("quantizer"), node.attributes.get("twin")))
            readers = self._network.consumers.get(node.output, ())
            found.append(sum(reader.inputs.count(node.output) for reader in readers) > 1)
        return tuple(found)

    def _differing(self) -> Iterator[tuple[Segment, dict[str, bool]]]:
        """The segments, and where the networks may differ before them."""
        differs = dict.fromkeys(self._network.inputs, False)
        for segment in self._segments:
            before = {name: differs[name] for name in segment.before}
            yield segment, before
            differs[segment.root] = self._graph(segment, before, False).differs

    def _graph(self, segment: Segment, differs: Mapping[str, bool], known: bool) -> IntervalGraph:
        key = self._structures[segment.root], tuple(differs.values()), known
        if key not in self._graphs:
            self._graphs[key] = IntervalGraph(
                self._network, self._twin, self._pairs, segment, differs, self._device, self._magnitudes,
                self._follow, known,
            )  # fmt: skip
        return self._graphs[key]

    @property
    def graphs(self) -> int:
        """How many graphs there are so far."""
        return len(self._graphs)

    def _parameter(self, graph: IntervalGraph, output: str, asked: tuple) -> "OrtValue":
        """A parameter in the pass' precision, its modulus rounded up, converted and placed once."""
        if (output, *asked) not in self._parameters:
            kind, key, size, factor = asked
            c = self._pairs[output]
            of = c.weights if kind == "weight" else c.biases
            array = c.modulus(of[key], key, of) if size else of[key]
            assert array is not None
            value = cast(array * factor if factor != 1 else array, self._dtype, size)
            self._parameters[output, *asked] = graph.session.place(value)
        return self._parameters[output, *asked]

    def run(
        self,
        low: Mapping[str, np.ndarray],
        high: Mapping[str, np.ndarray],
        known: Mapping[tuple[str, str], np.ndarray],
    ) -> "IntervalArrays":
        """low, high: float64 [n, ...] by input. known: float64 [n, ...] by (tensor, lane), where something is
        known."""
        n = len(next(iter(low.values())))
        arrays: dict[tuple[str, str], np.ndarray] = {}
        lanes: dict[str, dict] = {}
        finite = np.ones(n, bool)
        for name in self._network.inputs:
            lanes[name] = {
                lane: outward(meet(side[name], known.get((name, lane), side[name])), self._dtype, toward)
                for lane, side, meet, toward in (
                    ("al", low, np.maximum, -np.inf), ("au", high, np.minimum, np.inf)
                )
            }  # fmt: skip
            if name in self._wanted:
                arrays |= {(name, lane): array for lane, array in lanes[name].items()}
        for k, segment in enumerate(self._segments):
            before = {name: len(lanes[name]) > 2 for name in segment.before}
            told = any((segment.root, lane) in known for lane in LANES)
            graph = self._graph(segment, before, told)
            found = graph.session.hold(self._feeds(graph, segment, lanes, known, n, told))
            lanes[segment.root] = {lane: found[label] for lane, label in graph.ends.items()}
            if segment.root in self._wanted:
                arrays |= {(segment.root, lane): x.numpy() for lane, x in lanes[segment.root].items()}
            names = list(segment.numbers)
            arrays |= {(what, names[j]): found[label].numpy() for (what, j), label in graph.names.items()}
            if graph.probe is not None:
                finite &= np.isfinite(found[graph.probe].numpy())
            for name in segment.before:
                if self._last[name] == k:
                    del lanes[name]
        return IntervalArrays(arrays, finite)

    def _feeds(
        self, graph: IntervalGraph, segment: Segment, lanes: Mapping[str, Mapping], known: Mapping, n: int,
        told: bool,
    ) -> dict:  # fmt: skip
        names, numbers, dtype = list(segment.numbers), segment.numbers, self._dtype
        feeds = {
            f"{lane} {numbers[name]}": value for name in segment.before for lane, value in lanes[name].items()
        }
        for (number, *asked), label in graph.parameters.items():
            feeds[label] = self._parameter(graph, names[number], tuple(asked))
        for number, label in graph.lost.items():
            node = self._network.producer[names[number]]
            site = Site.of(self._network, node)
            feeds[label] = np.array(2 * tiny(site, self._pairs.get(node.output), dtype), dtype)
        for lane in graph.ends if told else ():
            side = -np.inf if lane[1] == "l" else np.inf
            array = known.get((segment.root, lane))
            if array is None:
                shape = (n, *self._network.shapes[segment.root][1:])
                array = np.full(shape, np.copysign(float(np.finfo(dtype).max), side))
            feeds[f"known {lane} 0"] = outward(array, dtype, side)
        return feeds


def outward(array: np.ndarray, dtype: np.dtype, toward: float) -> np.ndarray:
    """In `dtype`, rounded towards ±infinity."""
    with np.errstate(over="ignore"):
        cast = array.astype(dtype)
    wrong = cast < array if toward > 0 else cast > array
    return np.where(wrong, np.nextafter(cast, dtype.type(toward)), cast)


@dataclass(frozen=True, eq=False)
class IntervalArrays:
    """arrays: [n, ...] by (tensor, lane), ("size a" | "size d" | "slack a" | "slack d", tensor). finite: no
    number of this box's passes overflowed."""

    arrays: Mapping[tuple[str, str], np.ndarray]
    finite: np.ndarray
