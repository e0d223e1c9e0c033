"""Lanes: the non-negative quantities a pass carries for every neuron, as tensors of an ONNX graph.

Every lane knows, per channel, its exponent E (value = tensor · 2**E), an upper bound of its magnitude, an
upper bound of what underflow can have lost, and how many float roundings met on the longest chain to it. All
sums have non-negative terms, so the last number gives the rounding certificate (engine.certificate). The
`Tracer` (lanes.tracer) emits lanes.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, reduce

import numpy as np

from onnxpath.lanes import magnitude as mag
from onnxpath.model.network import Site


@dataclass(frozen=True, eq=False)
class Lane:
    """One quantity at one tensor. exponent (int64), log2 and flush (float64) have the tensor's rank and
    broadcast.

    Underflow has lost at most 2**flush + relative · value of every cell. With a profile (lanes.profile) the
    bounds log2 and flush hold times the profile's value at every position.

    signed: the tensor of the same sums with the coefficients' signs (docs/theory.md, section 3), or None
        while no sign has
    occurred: then it is `tensor` itself. Its monomials are those of the value up to sign and went through the
    same roundings, so that |signed| <= value, and its error is at most that of the value; exponents and
    bounds are shared.
    """

    tensor: str
    exponent: np.ndarray
    log2: np.ndarray
    flush: np.ndarray
    roundings: int
    relative: float = 0.0
    profile: np.ndarray | None = None
    signed: str | None = None

    def with_signs(self) -> "Lane":
        """The companion in the place of the value."""
        return replace(self, tensor=self.signed or self.tensor)

    def live(self) -> np.ndarray:
        """The exponents, except where the lane is certainly zero: any exponent describes a zero, so `_NONE`
        there."""
        return (
            self.exponent
            if np.isfinite(self.log2).all()
            else np.where(np.isfinite(self.log2), self.exponent, _NONE)
        )


_NONE = -(1 << 40)


def settled(target: np.ndarray, lane: Lane) -> np.ndarray:
    """Exponents for `target`, with those of the lane where it is zero everywhere."""
    return np.where(target == _NONE, int(lane.exponent.max()), target) if (target == _NONE).any() else target


def common_exponent(lanes: Sequence[Lane]) -> np.ndarray:
    """The largest exponent, channel by channel, of the lanes that are not zero there."""
    return settled(reduce(np.maximum, [lane.live() for lane in lanes]), lanes[0])


@dataclass(frozen=True, eq=False)
class Coefficient:
    """Non-negative weights or biases: `array` · 2**power, each entry correct to `roundings` roundings.

    stored: the array, or where `unsigned` one whose moduli it is, as that of a file: the graph takes them.
    parts: coefficients that this one is the sum of, whose channel sums it can reuse. converted: entries were
    computed in float64 and rounded to the array's dtype. signed: the same entries with signs, where some are
    negative.
    """

    stored: np.ndarray
    power: int = 0
    roundings: int = 0
    parts: tuple["Coefficient", ...] = ()
    converted: bool = False
    signed: "Coefficient | None" = None
    unsigned: bool = False

    @cached_property
    def array(self) -> np.ndarray:
        return np.abs(self.stored) if self.unsigned else self.stored

    @property
    def dtype(self) -> np.dtype:
        return self.stored.dtype

    def leaves(self) -> Iterator["Coefficient"]:
        """The coefficients without parts that this one is the sum of: itself, where it has none."""
        if not self.parts:
            yield self
        for part in self.parts:
            yield from part.leaves()

    def with_signs(self) -> "Coefficient":
        return self.signed or self

    def underflow(self, stretch: np.ndarray) -> np.ndarray:
        """log2 of what storing an entry may have lost, once it is multiplied by 2**stretch; -inf where it is
        exact.

        Sums and differences of floats do not underflow: only what was computed in another precision does
        (`converted`).
        """
        nothing = np.full(np.shape(stretch), -np.inf)
        return mag.TINY[self.dtype] + np.maximum(0, stretch + self.power) if self.converted else nothing


class Summed(Coefficient):
    """The sum of its parts, added up in the graph."""

    def __init__(self, parts: Sequence[Coefficient]):
        signed = Summed([part.with_signs() for part in parts]) if any(part.signed for part in parts) else None
        rest = {"power": 0, "roundings": max(part.roundings for part in parts) + 1, "parts": tuple(parts),
                "converted": any(part.converted for part in parts), "signed": signed}  # fmt: skip
        for key, value in rest.items():
            object.__setattr__(self, key, value)

    @cached_property
    def array(self) -> np.ndarray:
        return sum(part.array for part in self.parts[1:]) + self.parts[0].array

    @property
    def dtype(self) -> np.dtype:
        return self.parts[0].dtype


@dataclass(frozen=True, eq=False)
class Request:
    """One product `weight · lane + bias` at a weighted node; requests of one group get the same exponents, to
    be added."""

    lane: Lane | None
    weight: Coefficient | None = None
    bias: Coefficient | None = None
    group: int = 0

    def with_signs(self) -> "Request | None":
        """The same product for the companion, None where it is no other."""
        lane, weight, bias = self.lane, self.weight, self.bias
        if all(part is None or part.signed is None for part in (lane, weight, bias)):
            return None
        return Request(
            lane and lane.with_signs(), weight and weight.with_signs(), bias and bias.with_signs(), self.group
        )


@dataclass(frozen=True, eq=False)
class Step:
    """What the tape keeps of an emitted step, for the adjoint: cotangent of `output` -> cotangents of
    `inputs`.

    weight: the bound weight, or the array to bind where the step's own graph holds it inside another one;
    modulus: its moduli are meant. shift: the exponents of the output are those of the lane plus this, and a
    factor follows.
    selects: the step is a minimum or maximum, whose cotangent goes to the operands that attain it.
    """

    site: Site | None
    inputs: tuple[str, ...]
    output: str
    weight: str | np.ndarray | None = None
    transposed: bool = False
    factor: str | None = None
    selects: bool = False
    modulus: bool = False
    shift: int = 0


@dataclass(frozen=True, eq=False)
class Calibration:
    """What a run that measured them says of the lanes of weighted nodes, by number: log2 of rigorous upper
    bounds (caps) and of positive lower bounds (floors, -inf for none) per channel. measure: make maxima and
    minima outputs of the graph.
    """

    caps: Mapping[int, np.ndarray] = field(default_factory=dict)
    floors: Mapping[int, np.ndarray] = field(default_factory=dict)
    measure: bool = False


@dataclass(frozen=True, eq=False)
class Probe:
    """A measured lane: graph outputs with its maxima and minima per channel."""

    number: int
    top: str
    bottom: str
    lane: Lane
