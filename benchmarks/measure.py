"""Comparing durations on a machine that does other work too: interleaved rounds, and ratios within a round.

A round measures every case once, in an order that rotates from round to round; a case is run once unmeasured
(its threads and caches warm up), then until 0.15 s have passed, and counts with its fastest call: other work
can only slow a call down. What is reported is the minimum, median and maximum over rounds of a ratio of two
cases of the same round, so that slow phases of the machine cancel.
"""

import argparse
import platform
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter

_BURST = 0.15


@dataclass(frozen=True)
class Row:
    """A measured quantity, one value per round. target: ("<=", x), (">=", x) or None."""

    what: str
    values: Sequence[float]
    target: tuple[str, float] | None = None

    @property
    def met(self) -> bool | None:
        if self.target is None:
            return None
        sign, limit = self.target
        return median(self.values) <= limit if sign == "<=" else median(self.values) >= limit

    def cells(self) -> list[str]:
        target = "" if self.target is None else f"{'≤' if self.target[0] == '<=' else '≥'} {self.target[1]:g}"
        verdict = {None: "", True: "yes", False: "**no**"}[self.met]
        return [
            self.what,
            *(f"{x:.2f}" for x in (min(self.values), median(self.values), max(self.values))),
            target,
            verdict,
        ]


HEADER = ("", "min", "median", "max", "target", "met")


def interleaved(cases: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Seconds per call of every case, one value per round."""
    names = list(cases)
    found: dict[str, list[float]] = {name: [] for name in names}
    for k in range(rounds):
        for name in names[k % len(names) :] + names[: k % len(names)]:
            cases[name]()
            times: list[float] = []
            while sum(times) < _BURST:
                start = perf_counter()
                cases[name]()
                times.append(perf_counter() - start)
            found[name].append(min(times))
    return found


def ratios(top: Sequence[float], bottom: Sequence[float]) -> list[float]:
    return [a / b for a, b in zip(top, bottom, strict=True)]


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A markdown table; the first column is text, the others are numbers."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def machine(packages: Sequence[str]) -> str:
    """One line on what the figures were taken on."""
    from importlib.metadata import PackageNotFoundError, version

    found = []
    for package in packages:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    return (
        f"{processor()}, {cores()} cores, {platform.system()}; Python {platform.python_version()},"
        f" {', '.join(found)}"
    )


def cores() -> int:
    """How many cores this process may use."""
    import os

    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def say(message: str) -> None:
    """Progress, on stderr; the tables go to stdout."""
    print(message, file=sys.stderr, flush=True)


def arguments(description: str, rounds: int) -> argparse.ArgumentParser:
    """The options that the benchmarks share."""
    parser = argparse.ArgumentParser(description=description.strip().splitlines()[0])
    parser.add_argument(
        "--rounds", type=int, default=rounds, help="rounds of every comparison (default %(default)s)"
    )
    parser.add_argument(
        "--cache", type=Path, help="keep the exported models in this folder (default: a temporary one)"
    )
    return parser


@contextmanager
def folder(cache: Path | None) -> Iterator[Path]:
    """The folder for exported models."""
    if cache is not None:
        cache.mkdir(parents=True, exist_ok=True)
        yield cache
    else:
        with tempfile.TemporaryDirectory(prefix="onnxpath-benchmarks-") as name:
            yield Path(name)
