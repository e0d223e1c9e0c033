"""No false alarm: another spelling of the same function keeps tight budgets.

What is not read yet is listed in `known.py`, and refused.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from gate.editing import Kind
from gate.gating import Verdict, check
from gate.harmless import HARMLESS
from gate.harmless_spellings import SPELLINGS
from gate.known import FOUND_DIFFERENT, KNOWN
from gate.measuring import COUNTED, GIVEN, Truth, measure, write
from gate.networks import MAKERS

ALL = {**HARMLESS, **SPELLINGS}
NAMES = list(ALL)
ROUNDING = 1e-4
"""Of the spread of the outputs: what float32 sums in another order may change."""
EXTENDED = ("mobile",)
"""Networks with activations beyond ReLU: the path-metric is not defined there."""
FULL = ("relative", "bound at inputs", "bound in the box", "flips")


def _pairs(kind: Kind, networks: list[str], folder: Path) -> Iterator[tuple[str, str, Path, Path, Truth]]:
    """(title, network, A, B, what is true of them), with inputs beside them."""
    for name in networks:
        source = MAKERS[name]()
        for number, variant in enumerate(kind.variants(source)):
            place = folder / f"{name}-{number}"
            a, b = (
                write(variant.a or source, variant.a_files, place / "a"),
                write(variant.b, variant.b_files, place / "b"),
            )
            measured = measure(a, b)
            assert measured is not None, f"{kind.name} of {name} at {variant.place} does not load"
            truth, inputs = measured
            np.savez(place / "given.npz", **{key: array[:GIVEN] for key, array in inputs.items()})
            np.savez(place / "many.npz", **{key: array[:COUNTED] for key, array in inputs.items()})
            yield f"{kind.name} | {name} | {variant.place}", name, a, b, truth


def _verdicts(name: str, a: Path, b: Path, truth: Truth, titles: tuple[str, ...]) -> list[Verdict]:
    place = a.parents[1]
    options = {
        "relative": ["--max-relative", 1e-6],
        "bound at inputs": ["--inputs", place / "given.npz", "--max-bound", 1e-3 * truth.spread],
        "bound in the box": ["--low", -1, "--high", 1, "--max-bound", 1e-2 * truth.spread],
        "flips": ["--inputs", place / "many.npz", "--max-flip-rate", 0.1],
    }
    wanted = [
        title
        for title in titles
        if not (title == "relative" and name in EXTENDED) and not (title == "flips" and truth.flips is None)
    ]
    return [check(a, b, title, *options[title]) for title in wanted]


def _equal(truth: Truth) -> bool:
    return truth.runs and not truth.interface and truth.largest <= ROUNDING * truth.spread


def _turned(number: int) -> list[str]:
    names = list(MAKERS)
    start = number % len(names)
    return names[start:] + names[:start]


@pytest.mark.parametrize("name", NAMES)
def test_every_kind_once(name: str, tmp_path: Path) -> None:
    title, network, a, b, truth = next(_pairs(ALL[name], _turned(NAMES.index(name)), tmp_path))
    assert _equal(truth), f"{title} is not harmless: {truth}"
    alarms = [
        f"{title}: {one.budget}: exit {one.code}\n{one.text}"
        for one in _verdicts(network, a, b, truth, FULL[:2])
        if one.code
    ]
    assert not alarms, "\n".join(alarms)


@pytest.mark.thorough
@pytest.mark.parametrize("name", NAMES)
def test_every_place(name: str, tmp_path: Path) -> None:
    alarms = []
    for title, network, a, b, truth in _pairs(ALL[name], list(MAKERS), tmp_path):
        assert _equal(truth), f"{title} is not harmless: {truth}"
        alarms += [
            f"{title}: {one.budget}: exit {one.code}\n{one.text}"
            for one in _verdicts(network, a, b, truth, FULL)
            if one.code
        ]
    assert not alarms, "\n".join(alarms)


@pytest.mark.parametrize("name", list(KNOWN))
def test_what_is_not_read_is_refused(name: str, tmp_path: Path) -> None:
    """Refused, or found different where that is said; never both a pass and wrong. Once it passes, it belongs
    to the harmless kinds."""
    title, network, a, b, _ = next(_pairs(KNOWN[name], list(MAKERS), tmp_path))
    [found] = _verdicts(network, a, b, Truth(0, 0, 0, 1, None, (), True), ("relative",))
    assert found.code == (1 if name in FOUND_DIFFERENT else 2), f"{title}\n{found.text}"


def test_there_are_many() -> None:
    """At least 15 kinds."""
    assert len(ALL) >= 15
