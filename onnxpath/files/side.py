"""One file beside the network that was read out of it: does the file compute what the network says?

At every point that is run, the tensors of the file whose numbers the network gives (`Network.tails`; the outputs themselves, or what the functions
at the end read) are held against the network. Where they are off by more than 2^-15 of the largest number, the allowance for rounding is
estimated (files/jitter.py); a file beyond it is *unfaithful*. One that ONNX Runtime does not run is *not confirmed*.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from onnxpath.engine.session import Device
from onnxpath.errors import ModelError, ProviderError
from onnxpath.files.exposing import exposed
from onnxpath.files.jitter import allowance
from onnxpath.files.rows import Arrays, rows
from onnxpath.files.runtime import Runtime
from onnxpath.files.session import FileSession
from onnxpath.files.tails import apply
from onnxpath.network import Network
from onnxpath.passes.forward import Forward
from onnxpath.results import FileSide

# Off by less than this share of the largest number there is nothing to look at; so many of the worst points are looked at.
_QUICK = 2.0**-15
_SUSPECTS = 8
# What the quantizers of a Softmax may add where the file holds nothing before it.
_CODES = 2.0**-6
_NUMBERS = 1 << 22


@dataclass(frozen=True, eq=False)
class _Point:
    """A point that was run: its position among all, the inputs [1, ...] as the file was fed them, and what the file made of the outputs."""

    index: int
    inputs: Arrays
    values: Arrays
    excess: float


class Side:
    """A file and its network, run on points; `reason` says why it is not run (any more)."""

    def __init__(self, source: object, network: Network, runtime: Runtime):
        self.network, self._source, self._runtime = network, source, runtime
        self.reason, self.points = "", 0
        self.session: FileSession | None = None
        self._suspects: list[_Point] = []
        self._largest: tuple[float, float, str, int] = (0.0, 0.0, "", -1)
        try:
            self.session = FileSession(source, runtime, network.path)
        except (ModelError, ProviderError) as error:
            self.reason = str(error)

    @property
    def whole(self) -> bool:
        return not self.network.batched

    @cached_property
    def _probe(self) -> FileSession | None:
        """Where the numbers before the functions at the end are read; None where the outputs are these numbers, or nothing holds them."""
        names = self.network.output_names
        if not self.network.interface.tails or all(self.network.tails.get(name) in (name, None) for name in names):
            return None
        tensors = [tensor for name in names if (tensor := self.network.tails.get(name))]
        return exposed(self._source, tensors, self._runtime, self.network.path)

    @cached_property
    def _forward(self) -> Forward:
        return Forward([self.network], Device("cpu", "float32", self._runtime.threads))

    def fed(self, points: Arrays) -> dict[str, np.ndarray]:
        """Points as the file is fed them: in the types of its inputs, as float64."""
        assert self.session is not None
        ports = {port.name: port for port in self.session.inputs}
        return {name: self.session.feed(ports[name], array).astype(np.float64) for name, array in points.items() if name in ports}

    def run(self, points: Arrays) -> Iterator[tuple[int, Arrays]]:
        """(k, the declared outputs) for points [n, ...] by the file's inputs, held against the network on the way. Ends early where it fails."""
        if self.session is None:
            return
        try:
            fed = self.fed(points)
            expected = self._expected(fed)
            inner = None if self._probe is None else rows(self._probe, points, self.whole)
            for k, declared in rows(self.session, points, self.whole, [port.name for port in self.network.interface.outputs]):
                self._hold(k, fed, declared, declared if inner is None else next(inner)[1], expected)
                yield k, declared
            self.points += 1 if self.whole else len(next(iter(points.values())))
        except (ModelError, ProviderError) as error:
            self.session, self.reason = None, str(error)

    def _expected(self, fed: Arrays) -> dict[str, np.ndarray]:
        if self.whole:
            return self._forward.run(fed)[0]
        n = len(next(iter(fed.values())))
        step = max(1, _NUMBERS // max(self.network.size_of(name) for name in self.network.shapes))
        parts = [self._forward.run({name: array[at : at + step] for name, array in fed.items()})[0] for at in range(0, n, step)]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _seen(self, name: str, declared: Arrays, inner: Arrays) -> tuple[np.ndarray | None, bool]:
        """What the file makes of an output of the network, and whether the functions at the end are in it."""
        tensor = self.network.tails.get(name)
        if tensor is not None and tensor in inner:
            return inner[tensor], False
        return declared.get(name), True

    def _hold(self, k: int, fed: Arrays, declared: Arrays, inner: Arrays, expected: Arrays) -> None:
        row = slice(None) if self.whole else slice(k, k + 1)
        values, worst = {}, (0.0, 0.0, "")
        for label, name in zip(self.network.output_names, self.network.outputs, strict=True):
            seen, through = self._seen(label, declared, inner)
            values[label] = seen
            own = expected[name][row]
            gap, size = self._gap(label, seen, own, through)
            if gap > worst[0] or np.isnan(gap):
                worst = (float("inf") if np.isnan(gap) else gap, size, label)
        gap, size, label = worst
        if gap > self._largest[0]:
            self._largest = (gap, _QUICK * size, label, self.points + k)
        if gap > _QUICK * size:
            self._suspects.append(_Point(self.points + k, {name: array[row] for name, array in fed.items()}, values, gap / size if size else np.inf))
            self._suspects = sorted(self._suspects, key=lambda point: -point.excess)[:_SUSPECTS]

    def _gap(self, label: str, seen: np.ndarray | None, own: np.ndarray, through: bool) -> tuple[float, float]:
        """The largest |file - network| of one output, and the largest |network|; infinite where they cannot be compared."""
        if seen is None or seen.dtype.kind not in "fiub":
            return np.inf, 0.0
        steps = self.network.interface.tails.get(label, ()) if through else ()
        own = apply(steps, own) if steps else own.astype(np.float64)
        if seen.size != own.size:
            return np.inf, 0.0
        seen = seen.astype(np.float64).reshape(own.shape)
        with np.errstate(invalid="ignore", over="ignore"):
            same = (seen == own) | (np.isnan(seen) & np.isnan(own)) | (np.isinf(own) & ~np.isnan(own))
            gap = np.where(same, 0.0, np.abs(seen - own))
            size = float(np.abs(np.where(np.isfinite(own), own, 0.0)).max(initial=0.0))
        return float(gap.max(initial=0.0)), size

    def verdict(self) -> FileSide:
        """Is the file faithful to its network at all points that were run?"""
        if self.session is None:
            return FileSide(None, reason=f"not confirmed: {self.reason}")
        if not self.points:
            return FileSide(None, reason=f"not confirmed: {self.network.path} was run on nothing")
        gap, allowed, label, index = self._largest
        for point in self._suspects:
            gap, allowed, label = self._careful(point)
            index = point.index
            if not gap <= allowed:
                reason = (
                    f"{self.network.path} is unfaithful: ONNX Runtime computes output '{label}' off by {gap:.4g} from what the file's own nodes and "
                    f"weights say at point {index}, where rounding explains {allowed:.3g}"
                )
                return FileSide(False, gap, allowed, label, index, reason)
        return FileSide(True, gap, allowed, label or None, index if index >= 0 else None)

    def _careful(self, point: _Point) -> tuple[float, float, str]:
        """The largest deviation at a point from the network in float64, and what rounding may make of it."""
        exact, allowed = allowance(self.network, point.inputs, self._runtime.threads)
        worst = (0.0, allowed, "")
        for label, name in zip(self.network.output_names, self.network.outputs, strict=True):
            through = point.values[label] is not None and self._through(label)
            gap, _ = self._gap(label, point.values[label], exact[name], through)
            limit = allowed + (_CODES if through and self.network.interface.tails.get(label) else 0.0)
            if not gap / max(limit, 1e-300) <= worst[0] / max(worst[1], 1e-300):
                worst = (gap, limit, label)
        return worst

    def _through(self, label: str) -> bool:
        return self.network.tails.get(label) is None or (self._probe is None and self.network.tails.get(label) != label)

