"""How to quantize: bits, granularity, rounding; and what a budget limits."""

from dataclasses import dataclass
from math import isfinite

from onnxpath.analyses.check.budgets import ratio
from onnxpath.analyses.quantize.grids import ROUNDINGS
from onnxpath.engine.scaled import Scaled
from onnxpath.errors import UsageError

GRANULARITIES = ("channel", "tensor")
STORED = (4, 8, 16)
SWEPT = (2, 3, 4, 5, 6, 7, 8, 16)


@dataclass(frozen=True)
class Settings:
    """How to quantize. bits: widths to choose from, in increasing order. reduce_range: static files whose
    weights take 7 of 8 bits, so that no product saturates in the integer kernels of processors without VNNI.
    Raises UsageError for values that mean nothing.
    """

    bits: tuple[int, ...] = (8,)
    granularity: str = "channel"
    rounding: str = "nearest"
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    seed: int = 0
    reduce_range: bool = False

    def __post_init__(self) -> None:
        for what, value, allowed in (
            ("granularity", self.granularity, GRANULARITIES),
            ("rounding", self.rounding, ROUNDINGS),
        ):
            if value not in allowed:
                raise UsageError(f"{what} '{value}' is not one of {', '.join(allowed)}")
        if not self.bits or any(not 2 <= bits <= 16 for bits in self.bits):
            raise UsageError(f"bits are between 2 and 16, not {', '.join(map(str, self.bits)) or 'none'}")
        if list(self.bits) != sorted(set(self.bits)):
            raise UsageError(
                "a number of bits is given twice"
                if len(set(self.bits)) < len(self.bits)
                else "bits have to increase"
            )
        if self.reduce_range and self.bits != (8,):
            raise UsageError("a reduced range is one of 8 bits: leave --bits out, or --reduce-range")
        if self.seed < 0:
            raise UsageError(f"the seed must be at least 0, not {self.seed}")

    def storable(self) -> None:
        """Raises UsageError where a width is none that ONNX stores."""
        wrong = [bits for bits in self.bits if bits not in STORED]
        if wrong:
            raise UsageError(
                f"weights are stored with 4, 8 or 16 bits, not {wrong[0]}; other widths are for --sweep"
            )


@dataclass(frozen=True)
class Budget:
    """A limit of the path-metric ("metric") or of the largest output difference over a domain ("bound"):
    `value`, or that part of the path-norm where `relative`."""

    quantity: str
    value: float
    relative: bool

    @classmethod
    def parse(cls, text: str) -> "Budget":
        """metric=1e3, metric=1%, bound=0.5, bound=0.1%. Raises UsageError for anything else."""
        name, _, value = text.partition("=")
        if name not in ("metric", "bound") or not value:
            raise UsageError(
                "a budget is metric=VALUE or bound=VALUE, a number or a percentage of the path-norm, not"
                f" '{text}'"
            )
        limit = ratio(value, f"the budget {name}")
        if not isfinite(limit) or limit <= 0:
            raise UsageError(f"the budget {name} must be > 0, not {value}")
        return cls(name, limit, value.strip().endswith("%"))

    def limit(self, norm: Scaled) -> Scaled:
        """The limit as a magnitude, for a network of this path-norm."""
        return norm.times(self.value) if self.relative else Scaled(self.value)
