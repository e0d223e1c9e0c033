"""What `onnxpath check` says of a pair: one call of the command line per budget, and its exit code.

0 is a pass; 1 a budget that is exceeded, an unfaithful file or another interface; 2 a refusal. Anything else
is a bug.
"""

import io
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gate.measuring import COUNTED, GIVEN, Truth
from onnxpath.cli.main import run

SHARE = 0.9
"""Of a measured difference: a limit that it breaks."""
WIDE = 0.1
"""Of the spread of the outputs: a limit that equal functions keep, where only the interface differs."""


@dataclass(frozen=True)
class Verdict:
    """One call: the budget's title, exit code, and what was printed."""

    budget: str
    code: int
    text: str


def check(a: Path, b: Path, budget: str, *options: object) -> Verdict:
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = run(["check", str(a), str(b), *map(str, options), "--threads", "1", "-q"])
    return Verdict(budget, code, out.getvalue() + err.getvalue())


def limit(measured: float, spread: float) -> float:
    """A limit that a difference breaks or, where it is none, one that equal functions keep."""
    if not np.isfinite(measured):
        return WIDE * spread
    return SHARE * measured if measured > WIDE * spread * 1e-2 else WIDE * spread


def budgets(
    truth: Truth, inputs: dict[str, np.ndarray], paths: bool, folder: Path
) -> dict[str, list[object]]:
    """Options of `check` by title: budgets that the truth breaks."""
    given, many = folder / "given.npz", folder / "many.npz"
    np.savez(given, **{name: array[:GIVEN] for name, array in inputs.items()})
    np.savez(many, **{name: array[:COUNTED] for name, array in inputs.items()})
    found: dict[str, list[object]] = {
        "bound at inputs": ["--inputs", given, "--max-bound", limit(truth.given, truth.spread)],
        "bound in the box": ["--low", -1, "--high", 1, "--max-bound", limit(truth.largest, truth.spread)],
    }
    if paths:
        found["relative"] = ["--max-relative", 1e-6]
        if np.isfinite(truth.summed) and truth.summed > 0:
            found["metric"] = ["--max-metric", SHARE * truth.summed]
    if truth.flips:
        found["flips"] = ["--inputs", many, "--max-flip-rate", max(SHARE * truth.flips, 1e-9)]
    return found


def difference(truth: Truth, folder: Path) -> list[object]:
    """The budget of the files' difference, which needs no structure."""
    return ["--inputs", folder / "given.npz", "--max-difference", limit(truth.given, truth.spread)]
