"""The record of `onnxpath.check`, document `onnxpath.check/1`."""

from dataclasses import dataclass
from typing import Any

from onnxpath.engine.scaled import Scaled
from onnxpath.model.interface import Change
from onnxpath.records.base import Tool, finite, number
from onnxpath.records.bound import BoundSide
from onnxpath.records.files import FilesSeen
from onnxpath.records.metric import Layer


def _amount(value: float | Scaled) -> dict[str, float | None]:
    """`value` and `log10`; the latter is null for 0 and for a negative ratio."""
    if isinstance(value, Scaled):
        return number(value)
    return {"value": finite(value), "log10": Scaled(value).log10 if value > 0 else None}


@dataclass(frozen=True)
class Budget:
    """One budget of one pair.

    name: "max-..." or "min-..." for a limit of the gate, "baseline-..." for one that a baseline sets;
    "faithful" and "interface", which are there only where they fail, count what is wrong. value, limit:
    ratios are floats, magnitudes `Scaled`. ratio: whether they are ratios. certainty: "certified" for an
    upper end that holds, "confidence" for an upper limit at a confidence, "observed" for what was seen of the
    files. basis: how the value was found. layers: up to three, those that contribute most. least: the limit
    is a lower one, and the value a lower end.
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

    def to_dict(self) -> dict[str, Any]:
        return {
            "name": self.name, "passed": self.passed, **_amount(self.value), "limit": _amount(self.limit),
            "certainty": self.certainty, "basis": self.basis,
            "layers": [{"name": layer.name, "share": layer.share} for layer in self.layers],
        }  # fmt: skip


@dataclass(frozen=True)
class CheckedPair:
    """One pair of networks and all its budgets. files: both files as they run; interface: what a program sees
    change."""

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

    def to_dict(self) -> dict[str, Any]:
        return {
            "name": self.name, "passed": self.passed, "a": self.a.to_dict(), "b": self.b.to_dict(),
            "budgets": [budget.to_dict() for budget in self.budgets],
            "files": None if self.files is None else self.files.to_dict(),
            "interface": [change.to_dict() for change in self.interface], "notes": list(self.notes),
        }  # fmt: skip


@dataclass(frozen=True)
class Check:
    """Result of `onnxpath.check`: whether every budget of every pair holds."""

    pairs: tuple[CheckedPair, ...]
    tool: Tool

    @property
    def passed(self) -> bool:
        return all(pair.passed for pair in self.pairs)

    @property
    def failures(self) -> tuple[tuple[CheckedPair, Budget], ...]:
        """Every budget that is exceeded, with its pair."""
        return tuple((pair, budget) for pair in self.pairs for budget in pair.budgets if not budget.passed)

    def to_dict(self) -> dict[str, Any]:
        """The `onnxpath.check/1` document."""
        return {
            "schema": "onnxpath.check/1",
            "tool": self.tool.to_dict(),
            "passed": self.passed,
            "entries": [pair.to_dict() for pair in self.pairs],
        }
