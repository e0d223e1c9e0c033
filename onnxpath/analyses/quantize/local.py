"""What quantizing one layer alone can do on given inputs.

Only one node differs, so that what reaches it, h(x), is the same in both networks, and the difference that it
makes is ΔW h(x) with all its signs. Behind it both networks are one: with g_v the sum of |products of
weights| over all paths from v to the outputs (the adjoint of the absolute pass),

    Σ_out |R_P(x) - R_Q(x)|  <=  Σ_v g_v |ΔW h(x)|_v,

by the difference pass of docs/theory.md, section 4, with D = |ΔW h(x)| at v. Σ_v g_v F_|ΔW| would be the
path-metric: h(x) in the place of the sums of all products before the layer is what makes this smaller, and of
another order. Evaluated in the precision of the device without a rounding certificate.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from onnxpath.analyses.prune.costs import cotangents
from onnxpath.analyses.prune.prunable import changed
from onnxpath.analyses.quantize.layers import Layer
from onnxpath.engine.graph import GraphBuilder
from onnxpath.engine.scaled import Scaled, ldexp
from onnxpath.engine.session import Device, Session
from onnxpath.evaluate.forward import open_session, sources, trace
from onnxpath.lanes import absolute, costs, settle
from onnxpath.lanes.lanes import Calibration
from onnxpath.lanes.tracer import Tracer
from onnxpath.model.network import Network, Site
from onnxpath.ops import OPERATORS

# What reaches all layers is held for as many inputs at a time as keeps it below this many numbers, and no
# more than _ROWS.
_ROWS = 64
_NUMBERS = 1 << 26


class Local:
    """Bounds of layers alone on samples [n, ...] by input, for layers that one node reads."""

    def __init__(
        self, network: Network, found: Sequence[Layer], samples: Mapping[str, np.ndarray], device: Device
    ):
        self._network, self._device, self._samples = network, device, samples
        self._nodes = {
            layer.tensor: network.producer[layer.outputs[0]]
            for layer in found
            if len(set(layer.outputs)) == 1
        }
        graph = GraphBuilder(device.dtype, device.native_conv)
        traced = trace(graph, network, sources(graph, network))
        self._names = {
            tensor: graph.output(traced.values[tensor])
            for tensor in {node.inputs[0] for node in self._nodes.values()}
        }
        self._forward = open_session(graph, device)
        self._slopes, self._exponent = _slopes(
            network, [node.output for node in self._nodes.values()], device
        )
        self._sessions: dict[str, tuple[Session, str, str]] = {}

    def bounds(self, variants: Sequence[tuple[Layer, np.ndarray]]) -> list[Scaled | None]:
        """For each layer alone with another tensor the largest bound over the inputs; None for one that
        several nodes read, or from which no path leads to an output."""
        largest = np.full(len(variants), -np.inf)
        for rows in self._chunks():
            names = list(self._names.values())
            given = {
                name: np.asarray(array[rows], self._device.dtype) for name, array in self._samples.items()
            }
            values = self._forward.run(given, names)
            for k, (layer, rounded) in enumerate(variants):
                node = self._nodes.get(layer.tensor)
                if node is not None and node.output in self._slopes:
                    session, x, w = self._session(layer)
                    session.rebind({w: self._delta(layer, rounded)})
                    (found,) = session.run({x: values[self._names[node.inputs[0]]]}).values()
                    largest[k] = max(largest[k], float(found.max()))
        return [None if np.isneginf(value) else Scaled(float(value), self._exponent) for value in largest]

    def _chunks(self) -> list[slice]:
        count = len(next(iter(self._samples.values())))
        if not self._network.batched:
            return [slice(None)]
        size = max(int(np.prod(self._network.shapes[name])) for name in self._names) if self._names else 1
        step = max(1, min(_ROWS, _NUMBERS // (size * max(1, len(self._names)))))
        return [slice(start, start + step) for start in range(0, count, step)]

    def _delta(self, layer: Layer, rounded: np.ndarray) -> np.ndarray:
        node = self._nodes[layer.tensor]
        weight = changed(self._network, {layer.tensor: rounded}).producer[node.output].weight
        assert weight is not None and node.weight is not None
        return np.ascontiguousarray(
            (weight.array().astype(np.float64) - node.weight.array()).astype(self._device.dtype)
        )

    def _session(self, layer: Layer) -> tuple[Session, str, str]:
        """Σ_v g_v |ΔW x|_v for the layer's node, and the names of x and ΔW."""
        if layer.tensor not in self._sessions:
            node, graph = (
                self._nodes[layer.tensor],
                GraphBuilder(self._device.dtype, self._device.native_conv),
            )
            site = Site.of(self._network, node)
            shape, batched = site.input_shapes[0], self._network.batched
            x, w = (
                graph.input("x", ("batch", *shape[1:]) if batched else shape),
                graph.bind(self._delta(layer, layer.array)),
            )
            y = graph.op("Abs", [OPERATORS[node.op].emit(graph, site, [x], weight=w)])
            slopes = (
                self._slopes[node.output][:1] if batched else self._slopes[node.output]
            )  # those of one sample
            y = graph.op("Mul", [y, graph.bind(np.ascontiguousarray(slopes, self._device.dtype))])
            axes = range(1 if batched else 0, len(site.output_shape))
            graph.output(graph.op("ReduceSum", [y, graph.ints(axes)], keepdims=0))
            self._sessions[layer.tensor] = open_session(graph, self._device), x, w
        return self._sessions[layer.tensor]


def _slopes(network: Network, outputs: Sequence[str], device: Device) -> tuple[dict[str, np.ndarray], int]:
    """g at the outputs of nodes: mantissas in float64, and their exponent."""
    ends = cotangents(network, None)

    def build(calibration: Calibration) -> tuple[Tracer, dict, costs.Traced]:
        traced = costs.trace(network, device, ends, calibration)
        return (
            traced.tracer,
            {key: replace(output, held=False) for key, output in traced.outputs.items() if key[0] == "c"},
            traced,
        )

    readings, traced = settle.evaluate(build, absolute.ones(network), device, lambda label: False)
    raw = {}
    for output in outputs:
        if output in traced.parts:
            raw[output] = (
                readings["c", output].values.mantissa,
                traced.exponent - traced.parts[output].lane.exponent,
            )
    top = max((int(exponent.max()) for _, exponent in raw.values()), default=0)
    return {
        output: ldexp(mantissa, np.maximum(exponent - top, -2000))
        for output, (mantissa, exponent) in raw.items()
    }, top
