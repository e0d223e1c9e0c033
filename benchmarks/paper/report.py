"""What the tables and figures have in common: cells with mean and spread, the words for a row, and their
command line.

Spread is the standard deviation over seeds with n - 1, and is left out for one seed.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from benchmarks.paper.configuration import Settings, SettingsError


def percent(values: Sequence[float]) -> str:
    """Mean ± spread of shares, in percent; empty where there are none."""
    if not values:
        return ""
    return f"{100 * np.mean(values):.1f}" + (
        f" ± {100 * np.std(values, ddof=1):.1f}" if len(values) > 1 else ""
    )


def number(values: Sequence[float]) -> str:
    """Mean ± spread; empty where there are none."""
    if not values:
        return ""
    return f"{np.mean(values):.2f}" + (f" ± {np.std(values, ddof=1):.2f}" if len(values) > 1 else "")


def name(method: str, rescaled: bool) -> str:
    return f"{method}, rescaled" if rescaled else method


def level(value: float) -> str:
    return f"{100 * value:g} %"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A markdown table; numbers are aligned to the right."""
    return [f"| {' | '.join(cells)} |" for cells in (head, ["---"] + ["---:"] * (len(head) - 1), *rows)]


def of_seeds(settings: Settings, seeds: Sequence[int], whole: bool) -> str:
    """A sentence about what is shown. whole: everything that is planned is there."""
    found = f"seed{'s' if len(seeds) != 1 else ''} {', '.join(map(str, seeds))}" if seeds else "no seed"
    state = "" if whole else " The run is not finished: cells are of what there is so far."
    return (
        f"Settings `{settings.name}`: {settings.network} network, {settings.epochs} epochs, rewound to epoch"
        f" {settings.rewind}; {found}.{state}"
    )


def main(write: Callable[[Path], str], description: str | None) -> int:
    """The command of a table or figure."""
    parser = argparse.ArgumentParser(description=(description or "").splitlines()[0])
    parser.add_argument(
        "--out", type=Path, default=Path("paper-results"), help="the folder of a run, finished or not"
    )
    try:
        print(write(parser.parse_args().out), end="")
    except SettingsError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0
