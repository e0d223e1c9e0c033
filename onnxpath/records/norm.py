"""The record of `onnxpath.path_norm`, document `onnxpath.norm/1`."""

from dataclasses import dataclass

from onnxpath.engine.scaled import Scaled
from onnxpath.records.base import Tool
from onnxpath.records.document import Record


@dataclass(frozen=True)
class NormOutput:
    """Norms ‖Φ^{→v}‖_q of every neuron v of one output, in the order of `PathNorms.norms`; values are
    flattened row-major. errors: their certified relative errors, likewise; infinite where the value is an
    upper bound only."""

    name: str
    shape: tuple[int, ...]
    values: tuple[tuple[Scaled, ...], ...]
    errors: tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class Norm(Record):
    """‖Φ‖_q over all output neurons; the certified relative error of `value`."""

    LAYOUT = """
    q  the exponent
    *value  ‖Φ‖_q over all outputs (the q-th root); the number of paths for q = 0
    relative_error  certified, of `value`
    """

    q: float
    value: Scaled
    relative_error: float


@dataclass(frozen=True)
class NeuronNorms(Record):
    """‖Φ^{→v}‖_q of every neuron v of an output, flattened row-major, and their certified relative errors;
    null where the value is an upper bound only."""

    q: float
    values: tuple[Scaled, ...]
    relative_errors: tuple[float, ...]


@dataclass(frozen=True)
class OutputNorms(Record):
    """The norms of every neuron of one output, one entry per q."""

    name: str
    shape: tuple[int, ...]
    norms: tuple[NeuronNorms, ...]


@dataclass(frozen=True)
class PathNorms(Record):
    """Result of `onnxpath.path_norm`. r: the norm over output neurons of a mixed norm; None for ‖Φ‖_q
    itself."""

    SCHEMA = "onnxpath.norm/1"
    LAYOUT = """
    tool
    model{path sha256}  the file and its digest
    norms  one per `--q` in the order given
    r=shown_r?  with `--r`, a number or `"inf"`: `value` is then the mixed norm ‖(‖Φ^{→v}‖_q)_v‖_r over
        the output neurons v
    outputs=by_output?  with `--per-output`
    notes
    """

    path: str
    sha256: str
    norms: tuple[Norm, ...]
    tool: Tool
    outputs: tuple[NormOutput, ...] = ()
    notes: tuple[str, ...] = ()
    r: float | None = None

    @property
    def shown_r(self) -> float | str | None:
        return "inf" if self.r == float("inf") else self.r

    @property
    def by_output(self) -> tuple[OutputNorms, ...]:
        q = [norm.q for norm in self.norms]
        return tuple(
            OutputNorms(o.name, o.shape, tuple(map(NeuronNorms, q, o.values, o.errors))) for o in self.outputs
        )
