"""The record of `onnxpath.lipschitz`, document `onnxpath.lipschitz/1`."""

from dataclasses import dataclass

from onnxpath.engine.scaled import Scaled
from onnxpath.model.interface import Change
from onnxpath.records.base import Tool
from onnxpath.records.bound import Compared
from onnxpath.records.document import Record


@dataclass(frozen=True)
class InputLipschitz(Record):
    """A network, and upper bounds of its Lipschitz constants: Σ_v |R(x)_v - R(y)_v| <= `summed` ‖x - y‖_∞ and
    every
    |R(x)_v - R(y)_v| <= `largest` ‖x - y‖_∞."""

    LAYOUT = """
    path  as given
    sha256  of the file's bytes
    input_lipschitz{sum=summed largest}  certified upper bounds of Σ_v |R(x)_v − R(y)_v| / ‖x − y‖_∞, and
        of the same for max_v
    """

    path: str
    sha256: str
    summed: Scaled
    largest: Scaled


@dataclass(frozen=True)
class Lipschitz(Record):
    """Result of `onnxpath.lipschitz`: of one network its Lipschitz constants in the input; of two also every
    bound of Σ_v |R_A(x)_v - R_B(x)_v| for ‖x‖_∞ <= input_bound, tightest first, and those that do not apply,
    with the reason.
    """

    SCHEMA = "onnxpath.lipschitz/1"
    LAYOUT = """
    tool
    a  the network A
    b?  the network B, where there are two
    input_bound=input_bound_of_two?  B of `--input-bound`, where there are two
    bounds=bounds_of_two?  of Σ_v |R_A(x)_v − R_B(x)_v| for all ‖x‖_∞ ≤ B, tightest first
    interface=interface_of_two?
    notes
    """

    a: InputLipschitz
    b: InputLipschitz | None
    input_bound: float
    bounds: tuple[Compared, ...]
    tool: Tool
    notes: tuple[str, ...] = ()
    interface: tuple[Change, ...] = ()

    @property
    def input_bound_of_two(self) -> float | None:
        return None if self.b is None else self.input_bound

    @property
    def bounds_of_two(self) -> list[Compared] | None:
        return None if self.b is None else list(self.bounds)

    @property
    def interface_of_two(self) -> list[Change] | None:
        return None if self.b is None else list(self.interface)
