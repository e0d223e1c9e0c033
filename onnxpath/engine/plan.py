"""A pass that is ready to run: its graph in a session, and how to read its outputs."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Generic, TypeVar

import numpy as np

from onnxpath.engine.certificate import relative_error
from onnxpath.engine.graph import GraphBuilder
from onnxpath.engine.scaled import Scaled, ScaledArray, ldexp
from onnxpath.engine.session import Device, Session
from onnxpath.errors import ProviderError

Label = TypeVar("Label", bound=Hashable)
_DEEP = 1500


@dataclass(frozen=True, eq=False)
class Reading:
    """A result of a pass: `values` [batch, ...]; certified relative error ρ and absolute error, of every
    entry.

    True values lie in [value (1 - ρ) - lost, value (1 + ρ) + lost]. losses: log2 of the absolute error entry
    by entry, broadcastable to the values, where it is known; `lost` is the largest.
    """

    values: ScaledArray
    rho: float
    lost: Scaled
    losses: np.ndarray | None = None

    def total(self) -> Scaled:
        return self.values.sum()

    def upper(self, value: Scaled, entries: int = 1) -> Scaled:
        """A certified upper bound, given a sum of `entries` computed entries."""
        return value.times((1 + self.rho) * (1 + 1e-12)) + self.lost.times(entries)

    def uppers(self) -> ScaledArray:
        """A certified upper bound of every entry."""
        exponent = np.asarray(self.values.exponent)
        with np.errstate(over="ignore", under="ignore"):
            lost = ldexp(self.lost.mantissa, np.clip(self.lost.exponent - exponent, -1060, 2000))
        return ScaledArray(self.values.mantissa * ((1 + self.rho) * (1 + 1e-12)) + lost, exponent)

    def lower(self, value: Scaled, entries: int = 1) -> Scaled:
        return value.times(max(0.0, 1 - self.rho)).minus(self.lost.times(entries))


@dataclass(frozen=True, eq=False)
class Output:
    """Where a result is found: a graph output, with what the certificate needs. losses: log2 of what
    underflow has lost of an entry, at most 2**flush. held: it is left to another session as it is."""

    name: str
    exponent: np.ndarray
    roundings: int = 0
    flush: float = -np.inf
    relative: float = 0.0
    held: bool = False
    losses: np.ndarray | None = None


class Plan(Generic[Label]):
    """A pass ready to run, any number of times."""

    def __init__(
        self, graph: GraphBuilder, inputs: Mapping[str, int], outputs: Mapping[Label, Output], device: Device
    ):
        """inputs: exponent of each input; outputs: what to read, by label."""
        self._device = device
        self._inputs = dict(inputs)
        self._outputs = dict(outputs)
        self._held = {output.name for output in outputs.values() if output.held}
        self._session = None
        if not self._outputs:
            return
        if any(
            not isfinite(relative_error(output.roundings, device.dtype)) for output in self._outputs.values()
        ):
            raise ProviderError(
                "a sum has too many terms for a rounding certificate in float32; use --precision float64"
            )
        self._session = Session(
            graph.model().SerializeToString(), graph.feeds, device, deep=graph.nodes > _DEEP
        )

    def run(self, inputs: Mapping[str, np.ndarray], chunk: int = 0) -> dict[Label, Reading]:
        """Evaluate on inputs [batch, ...], by name; at most `chunk` samples at a time where that is not 0.
        What is `held` is returned as ONNX Runtime's own value."""
        if self._session is None:
            return {}
        feeds = {}
        for name, exponent in self._inputs.items():
            array = np.asarray(inputs[name], np.float64)
            feeds[name] = ldexp(array, -exponent).astype(self._device.dtype)
        length = max((len(array) for array in feeds.values()), default=0)
        if chunk and length > chunk:
            parts = [
                self._session.run({name: array[start : start + chunk] for name, array in feeds.items()})
                for start in range(0, length, chunk)
            ]
            found = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        else:
            held = self._session.hold(feeds)
            found = {name: value.numpy() for name, value in held.items() if name not in self._held}
        readings = {}
        for label, output in self._outputs.items():
            if output.held:
                readings[label] = held[output.name]
                continue
            values = ScaledArray(found[output.name].astype(np.float64), output.exponent)
            rho = relative_error(output.roundings, self._device.dtype)
            rho += 2 * (1 + rho) * output.relative
            losses = None if output.losses is None else output.losses + 1
            readings[label] = Reading(values, rho, Scaled.power(output.flush + 1), losses)
        return readings
