"""One file beside the network that was read out of it: does the file compute what the network says?

At every point that is run, the tensors of the file whose numbers the network gives (`Network.tails`; the
outputs themselves, or what the functions at the end read) are held against the network. Where they are off by
more than 2^-15 of the largest number, the allowance for rounding is estimated (files/jitter.py); a file
beyond it is *unfaithful*. One that ONNX Runtime does not run is *not confirmed*.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from onnxpath.engine.session import Device
from onnxpath.errors import ModelError, ProviderError
from onnxpath.evaluate.forward import Forward
from onnxpath.files.exposing import exposed
from onnxpath.files.jitter import Jitter
from onnxpath.files.rows import Arrays, Sample, batched, rows
from onnxpath.files.runtime import Runtime
from onnxpath.files.session import FileSession
from onnxpath.importer.structure.tails import apply
from onnxpath.model.interface import Interface, Port
from onnxpath.model.network import Network
from onnxpath.ops import OPERATORS
from onnxpath.records import FileSide

# Off by less than this share of the largest number there is nothing to look at; so many of the worst points
# are looked at.
_QUICK = 2.0**-15
_SUSPECTS = 8
_NUMBERS = 1 << 22
NO_NETWORK = "no network was read out of it"


@dataclass(frozen=True, eq=False)
class _Point:
    """A point that was run: its position among all, the inputs [1, ...] as the file was fed them, and what
    the file made of the outputs."""

    index: int
    inputs: Arrays
    values: Mapping[str, np.ndarray | None]
    excess: float


class Side:
    """A file and its network (None where none was read), run on points; `reason` says why it is not run (any
    more)."""

    def __init__(self, source: object, network: Network | None, runtime: Runtime, names: Sequence[str] = ()):
        """names: outputs to look at, where nothing was read (a network has those that it was read with)."""
        self.network, self._source, self._runtime, self._names = network, source, runtime, names
        self.reason, self.points = "", 0
        self.session: FileSession | None = None
        self._suspects: list[_Point] = []
        self._largest: tuple[float, float, str, int] = (0.0, 0.0, "", -1)
        try:
            self.session = FileSession(source, runtime, "" if network is None else network.path)
        except (ModelError, ProviderError) as error:
            self.reason = str(error)

    @property
    def whole(self) -> bool:
        """Whether points have no axis for samples."""
        return self.network is not None and not self.network.batched

    @property
    def interface(self) -> Interface:
        """What the file declares, with the functions at its end, and with the types that ONNX Runtime finds
        where it declares none; without its network only what ONNX Runtime says of it."""
        if self.network is None:
            return self.declared
        found = self.network.interface
        if self.session is None:
            return found
        types = {port.name: port.type for port in (*self.session.inputs, *self.session.outputs)}

        def typed(ports: tuple[Port, ...]) -> tuple[Port, ...]:
            return tuple(
                port if port.type else replace(port, type=types.get(port.name, "")) for port in ports
            )

        return replace(found, inputs=typed(found.inputs), outputs=typed(found.outputs))

    @property
    def declared(self) -> Interface:
        """What ONNX Runtime says of the file, of the outputs to look at."""
        if self.session is None:
            return Interface((), ())
        names = (
            self._names if self.network is None else [port.name for port in self.network.interface.outputs]
        )
        chosen = [port for port in self.session.outputs if not names or port.name in names]
        return Interface(self.session.inputs, tuple(chosen))

    @property
    def constants(self) -> frozenset[str]:
        """Declared outputs that depend on no input, so that the network does without them."""
        if self.network is None:
            return frozenset()
        known = {*self.network.output_names, *self.network.tails}
        return frozenset(port.name for port in self.network.interface.outputs if port.name not in known)

    def at_once(self, points: Arrays) -> Arrays | None:
        """The outputs for all points [n, ...] in one batch; None where the file takes one at a time, or the
        batch is large."""
        if self.session is None or self.whole or not points:
            return None
        shapes = [port.shape for port in self.session.inputs if port.name in points]
        n = batched(points)
        if (
            n < 2
            or not all(shape and not isinstance(shape[0], int) for shape in shapes)
            or sum(x.size for x in points.values()) > _NUMBERS
        ):
            return None
        ports = {port.name: port for port in self.session.inputs}
        fed = {name: self.session.feed(ports[name], array) for name, array in points.items() if name in ports}
        try:
            return self.session.run(
                {**self.session.rest(list(fed), n), **fed},
                list(dict.fromkeys(port.name for port in self.interface.outputs)),
            )
        except ModelError:
            return None

    @cached_property
    def _probe(self) -> FileSession | None:
        """Where the numbers before the functions at the end are read; None where the outputs are these
        numbers, or nothing holds them."""
        network = self._read
        if not network.interface.tails or all(
            network.tails.get(name) in (name, None) for name in network.output_names
        ):
            return None
        tensors = [tensor for name in network.output_names if (tensor := network.tails.get(name))]
        return exposed(self._source, tensors, self._runtime, network.path)

    @property
    def _read(self) -> Network:
        assert self.network is not None
        return self.network

    @cached_property
    def _forward(self) -> Forward:
        return Forward([self._read], Device("cpu", "float32", self._runtime.threads))

    @cached_property
    def _jitter(self) -> Jitter:
        return Jitter(self._read, self._runtime.threads)

    def fed(self, points: Arrays) -> dict[str, np.ndarray]:
        """Points as the file is fed them: in the types of its inputs, as float64."""
        assert self.session is not None
        ports, start = {port.name: port for port in self.session.inputs}, 0 if self.whole else 1
        for name in self._read.inputs:
            wanted = list(self._read.shapes[name][start:])
            if name not in points or list(points[name].shape[start:]) != wanted:
                found = (
                    f"has the shape {list(points[name].shape[start:])}"
                    if name in points
                    else "has no counterpart"
                )
                raise ModelError(
                    f"{self._read.path}: its input '{name}' takes {wanted} for one input, but what it is fed"
                    f" {found}"
                )
        return {
            name: self.session.feed(ports[name], array).astype(np.float64)
            for name, array in points.items()
            if name in ports
        }

    def run(self, points: Arrays, stacked: bool = False) -> Iterator[Sample]:
        """What the file makes of points [n, ...] by its inputs, held against the network on the way
        (`stacked`, as `rows` takes it, is for files without one). Ends early where it does not run."""
        if self.session is None:
            return
        declared = list(dict.fromkeys(port.name for port in self.interface.outputs))
        try:
            if self.network is None:
                yield from rows(self.session, points, False, declared, stacked)
            else:
                fed = self.fed(points)
                expected = self._expected(fed)
                inner = None if self._probe is None else rows(self._probe, points, self.whole)
                for sample in rows(self.session, points, self.whole, declared):
                    seen = sample.outputs if inner is None else next(inner).outputs
                    values = {
                        label: self._seen(label, sample.outputs, seen) for label in self.network.output_names
                    }
                    self._hold(sample.index, fed, values, expected)
                    through = {
                        label
                        for label in values
                        if self._through(label) and self.network.interface.tails.get(label)
                    }
                    yield Sample(
                        sample.index,
                        sample.outputs,
                        {k: None if k in through else v for k, v in values.items()},
                    )
            self.points += 1 if self.whole else batched(points)
        except (ModelError, ProviderError) as error:
            self.session, self.reason = None, str(error)

    def _expected(self, fed: Arrays) -> dict[str, np.ndarray]:
        if self.whole:
            return self._forward.run(fed)[0]
        n, network = batched(fed), self._read
        step = max(1, _NUMBERS // max(network.size_of(name) for name in network.shapes))
        parts = [
            self._forward.run({name: array[at : at + step] for name, array in fed.items()})[0]
            for at in range(0, n, step)
        ]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _seen(self, name: str, declared: Arrays, inner: Arrays) -> np.ndarray | None:
        """What the file makes of an output of the network; with the functions at the end in it where nothing
        in the file holds it before."""
        tensor = self._read.tails.get(name)
        return inner[tensor] if tensor is not None and tensor in inner else declared.get(name)

    def _through(self, label: str) -> bool:
        """Whether the functions at the end are in what is seen of an output."""
        tensor = self._read.tails.get(label)
        return tensor is None or (self._probe is None and tensor != label)

    def _hold(self, k: int, fed: Arrays, values: Mapping[str, np.ndarray | None], expected: Arrays) -> None:
        row, network = slice(None) if self.whole else slice(k, k + 1), self._read
        worst = (0.0, 0.0, "")
        for label, name in zip(network.output_names, network.outputs, strict=True):
            gap, size = self._gap(label, values[label], expected[name][row])
            if _share(gap, size) > _share(*worst[:2]):
                worst = (gap, size, label)
        gap, size, label = worst
        if _share(gap, _QUICK * size) > _share(*self._largest[:2]):
            self._largest = (gap, _QUICK * size, label, self.points + k)
        if gap > _QUICK * size:
            point = _Point(
                self.points + k, {name: array[row] for name, array in fed.items()}, values, _share(gap, size)
            )
            self._suspects = sorted([*self._suspects, point], key=lambda point: -point.excess)[:_SUSPECTS]

    def _gap(self, label: str, seen: np.ndarray | None, own: np.ndarray) -> tuple[float, float]:
        """The largest |file - network| of one output, and the largest |network|; infinite where they cannot
        be compared. A file's infinity is what the network gives beyond the range of float32."""
        if seen is None or seen.dtype.kind not in "fiub":
            return np.inf, 0.0
        steps = self._read.interface.tails.get(label, ()) if self._through(label) else ()
        own = apply(steps, own) if steps else own.astype(np.float64)
        if seen.size != own.size:
            return np.inf, 0.0
        seen = seen.astype(np.float64).reshape(own.shape)
        with np.errstate(invalid="ignore", over="ignore"):
            beyond = (
                np.isinf(seen) & (np.abs(own) > np.finfo(np.float32).max) & (np.sign(seen) == np.sign(own))
            )
            same = (seen == own) | (np.isnan(seen) & np.isnan(own)) | beyond
            gap = np.where(same, 0.0, np.abs(seen - own))
            gap = np.where(np.isnan(gap), np.inf, gap)
            size = float(np.abs(np.where(np.isfinite(own), own, 0.0)).max(initial=0.0))
        return float(gap.max(initial=0.0)), size

    def verdict(self) -> FileSide:
        """Is the file faithful to its network at all points that were run since the last verdict?"""
        if self.session is None:
            return FileSide(None, reason=f"not confirmed: {self.reason}")
        if self.network is None or not self.points:
            return FileSide(
                None, reason=NO_NETWORK if self.network is None else "not confirmed: it was run on nothing"
            )
        gap, allowed, label, index = self._largest
        suspects, self._suspects, self.points, self._largest = self._suspects, [], 0, (0.0, 0.0, "", -1)
        found = self._jitter.allowances([point.inputs for point in suspects]) if suspects else []
        for point, (exact, allowances) in zip(suspects, found, strict=True):
            gap, allowed, label = self._careful(point, exact, allowances)
            index = point.index
            if not gap <= allowed:
                return FileSide(
                    False, gap, allowed, label, index, self._unfaithful(gap, allowed, label, index)
                )
        return FileSide(True, gap, allowed, label or None, index if index >= 0 else None)

    def _unfaithful(self, gap: float, allowed: float, label: str, index: int) -> str:
        by = (
            "other than numbers of its shape"
            if gap == np.inf
            else f"off by {gap:.4g} from what its nodes and weights say"
        )
        advice = ""
        if any(OPERATORS[node.op].kind == "quantizer" for node in self._read.nodes):
            advice = (
                "; integer kernels saturate on processors without VNNI: quantize with reduce_range, or choose"
                " how it is run with --file-option"
            )
        return (
            f"{self._read.path} is unfaithful: ONNX Runtime computes output '{label}' {by}, at point"
            f" {index} (rounding explains {allowed:.3g}){advice}"
        )

    def _careful(
        self, point: _Point, exact: Arrays, allowances: Mapping[str, float]
    ) -> tuple[float, float, str]:
        """The deviation at a point from the network in float64 that comes closest to what rounding may make
        of it, or is beyond it."""
        worst = (0.0, 0.0, "")
        for label, name in zip(self._read.output_names, self._read.outputs, strict=True):
            gap, _ = self._gap(label, point.values[label], exact[name])
            limit = allowances[name] + (
                self._read.interface.rounding.get(label, 0.0) if self._through(label) else 0.0
            )
            if _share(gap, limit) >= _share(*worst[:2]):
                worst = (gap, limit, label)
        return worst


def _share(gap: float, size: float) -> float:
    """gap / size; infinite where there is a gap and no size."""
    return gap / size if size > 0 else np.inf if gap else 0.0
