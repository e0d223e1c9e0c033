"""The record of `onnxpath.check`, document `onnxpath.check/1`."""

from dataclasses import dataclass

from onnxpath.engine.scaled import Scaled
from onnxpath.model.interface import Change
from onnxpath.records.base import Tool
from onnxpath.records.bound import BoundSide
from onnxpath.records.document import Record
from onnxpath.records.files import FilesSeen
from onnxpath.records.metric import Layer


@dataclass(frozen=True)
class Amount(Record):
    """A magnitude, or a ratio, which may be negative: `log10` is null then, and for 0."""

    value: float | None
    log10: float | None

    @classmethod
    def of(cls, value: float | Scaled) -> "Amount":
        if isinstance(value, Scaled):
            return cls(value.value, value.log10)
        return cls(value, Scaled(value).log10 if value > 0 else None)


@dataclass(frozen=True)
class LargestLayer(Record):
    """A layer that contributes much."""

    name: str
    share: float


@dataclass(frozen=True)
class Budget(Record):
    """One budget of one pair.

    name: "max-..." or "min-..." for a limit of the gate, "baseline-..." for one that a baseline sets;
    "faithful" and "interface", which are there only where they fail, count what is wrong. value, limit:
    ratios are floats, magnitudes `Scaled`. ratio: whether they are ratios. certainty: "certified" for an
    upper end that holds, "confidence" for an upper limit at a confidence, "observed" for what was seen of the
    files. basis: how the value was found. layers: up to three, those that contribute most. least: the limit
    is a lower one, and the value a lower end.
    """

    LAYOUT = """
    name  `max-relative`, `max-metric`, `max-path-norm-increase`, `max-bound`, `max-difference`,
        `max-flip-rate`, `min-agree`; `baseline-relative` and so on where a baseline sets the limit;
        `faithful` and `interface` only where they fail
    passed  `value` ≤ `limit`; ≥ for `min-agree` and `baseline-agree`
    *measured  what was compared: an upper end, rounded up (of `agree` a share that is proved). May be
        negative for `path-norm-increase`; `log10` is then null
    limit=allowed  ratios as fractions: 0.01 for 1 %; may be negative
    certainty  `certified`; `confidence` for an upper limit at the confidence that `basis` names;
        `observed` for what was seen of the files
    basis  how the value was found
    layers=largest_layers  up to three layers, those that contribute most
    """

    name: str
    value: float | Scaled
    limit: float | Scaled
    ratio: bool
    passed: bool
    certainty: str
    basis: str
    layers: tuple[Layer, ...] = ()
    least: bool = False

    @property
    def measured(self) -> Amount:
        return Amount.of(self.value)

    @property
    def allowed(self) -> Amount:
        return Amount.of(self.limit)

    @property
    def largest_layers(self) -> tuple[LargestLayer, ...]:
        return tuple(LargestLayer(layer.name, layer.share) for layer in self.layers)


@dataclass(frozen=True)
class CheckedPair(Record):
    """One pair of networks and all its budgets. files: both files as they run; interface: what a program sees
    change."""

    LAYOUT = """
    name
    passed  whether every budget of this pair holds
    a  the network A
    b  the network B
    budgets
    files
    interface
    notes  of A, then of B
    """

    name: str
    a: BoundSide
    b: BoundSide
    budgets: tuple[Budget, ...]
    notes: tuple[str, ...] = ()
    files: FilesSeen | None = None
    interface: tuple[Change, ...] = ()

    @property
    def passed(self) -> bool:
        return all(budget.passed for budget in self.budgets)


@dataclass(frozen=True)
class Check(Record):
    """Result of `onnxpath.check`: whether every budget of every pair holds."""

    SCHEMA = "onnxpath.check/1"
    LAYOUT = """
    tool
    passed  whether every budget of every pair holds; the exit code is 0 or 1 accordingly
    entries=pairs  one per pair, in the order of the configuration
    """

    pairs: tuple[CheckedPair, ...]
    tool: Tool

    @property
    def passed(self) -> bool:
        return all(pair.passed for pair in self.pairs)

    @property
    def failures(self) -> tuple[tuple[CheckedPair, Budget], ...]:
        """Every budget that is exceeded, with its pair."""
        return tuple((pair, budget) for pair in self.pairs for budget in pair.budgets if not budget.passed)
