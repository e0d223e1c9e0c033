"""The error found: a network with some layers on a grid against itself, on given inputs, in one ONNX Runtime
session.

The weights are inputs of the session's graph. A variant binds other arrays for the layers that change and
runs; nothing is built again. The numbers are those of a file with DequantizeLinear before its weights, which
ONNX Runtime evaluates to the same float32 arrays.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from onnxpath.analyses.prune.prunable import changed
from onnxpath.analyses.quantize.layers import Layer
from onnxpath.engine.graph import GraphBuilder
from onnxpath.engine.session import Device
from onnxpath.evaluate.forward import open_session, sources, trace
from onnxpath.model.network import Network


@dataclass(frozen=True)
class Error:
    """Differences of outputs on the inputs: the largest, and the mean over inputs of the largest of each;
    infinite where one is no number."""

    largest: float
    mean: float


class Runner:
    """Variants of one network on samples [n, ...] by input."""

    def __init__(self, network: Network, samples: Mapping[str, np.ndarray], device: Device):
        graph = GraphBuilder(device.dtype, device.native_conv)
        traced = trace(graph, network, sources(graph, network))
        self._outputs = [graph.output(traced.values[name]) for name in network.outputs]
        self._weights, self._plain = traced.weights, dict(graph.feeds)
        self._network, self._batched = network, network.batched
        self._inputs = {name: np.ascontiguousarray(array, device.dtype) for name, array in samples.items()}
        self._session = open_session(graph, device)
        self._expected = self._run()
        with np.errstate(invalid="ignore"):
            self.size = float(np.nan_to_num(np.abs(self._expected), nan=np.inf).max(initial=0.0))

    def _run(self) -> np.ndarray:
        """All outputs, a row for every input."""
        found = self._session.run(self._inputs, self._outputs)
        rows = len(next(iter(found.values()))) if self._batched else 1
        return np.concatenate(
            [found[name].reshape(rows, -1).astype(np.float64) for name in self._outputs], axis=1
        )

    def error(self, layers: Sequence[tuple[Layer, np.ndarray]]) -> Error:
        """With these layers' tensors replaced (arrays of the tensors' shapes)."""
        twin = changed(self._network, {layer.tensor: array for layer, array in layers})
        feeds = {}
        for output in {output for layer, _ in layers for output in layer.outputs}:
            name, stored = self._weights[output]
            weight = twin.producer[output].weight
            assert weight is not None
            array = weight.array()
            feeds[name] = (array.T if stored.get("transposed") else array).astype(
                self._plain[name].dtype, copy=False
            )
        self._session.rebind(feeds)
        try:
            found = self._run()
        finally:
            self._session.rebind({name: self._plain[name] for name in feeds})
        with np.errstate(invalid="ignore"):
            gap = np.abs(found - self._expected)
        rows = np.where(np.isnan(gap), np.inf, gap).max(axis=1, initial=0.0)
        return Error(float(rows.max()), float(rows.mean()))
