"""No wrong file passes: whatever was changed, a budget that the measured difference breaks is not kept.

Every kind once, on a network that it applies to; with `--thorough` at every place of every network. A refusal
is no pass.
"""

from pathlib import Path

import pytest

from gate.gating import Verdict
from gate.networks import MAKERS
from gate.survey import Case, cases, of_files, verdicts
from gate.wrong_kinds import WRONG

NAMES = list(WRONG)
QUICK = ("bound at inputs", "relative", "flips")
"""Budgets of the quick run: the others are of the same kinds. Of the quantized network the first, since each
takes ten times as long there."""


def _turned(number: int) -> list[str]:
    """All networks, another one first for every kind."""
    names = list(MAKERS)
    start = number % len(names)
    return names[start:] + names[:start]


def _kept(case: Case, found: list[Verdict]) -> list[str]:
    """What is wrong with the verdicts: a pass, a crash, or an interface that nobody names."""
    problems = [f"{one.budget}: exit {one.code}" for one in found if one.code not in (1, 2)]
    problems += [
        f"{one.budget}: does not say that the interface differs"
        for one in found
        if one.code == 1 and case.truth.interface and "interface" not in one.text
    ]
    return [
        f"{case.title} (differs by {case.truth.given:.3g};"
        f" {', '.join(case.truth.interface) or 'same interface'}): {line}"
        for line in problems
    ]


@pytest.mark.parametrize("name", NAMES)
def test_every_kind_once(name: str, tmp_path: Path) -> None:
    case = next(cases(WRONG[name], _turned(NAMES.index(name)), tmp_path), None)
    assert case is not None, "applies to no network"
    assert not _kept(case, verdicts(case, QUICK[:1] if case.network == "static_qdq" else QUICK))


@pytest.mark.parametrize("name", NAMES[::7])
def test_the_files_difference(name: str, tmp_path: Path) -> None:
    """`--max-difference` runs the files, whatever their structures: exit 1, not 2, where both run on the same
    inputs."""
    case = next(cases(WRONG[name], _turned(NAMES.index(name)), tmp_path), None)
    assert case is not None, "applies to no network"
    code = of_files(case).code
    assert code == 1 or (code == 2 and (case.truth.interface or not case.truth.runs)), case.title


@pytest.mark.thorough
@pytest.mark.parametrize("name", NAMES)
def test_every_place(name: str, tmp_path: Path) -> None:
    problems = []
    for case in cases(WRONG[name], list(MAKERS), tmp_path):
        problems += _kept(case, verdicts(case))
        difference = of_files(case)
        if difference.code not in ((1,) if case.truth.runs and not case.truth.interface else (1, 2)):
            problems.append(f"{case.title}: {difference.budget}: exit {difference.code}")
    assert not problems, "\n".join(problems)


def test_there_are_many() -> None:
    """At least 40 kinds on at least 5 networks."""
    assert len(WRONG) >= 40
    assert len(MAKERS) >= 5


@pytest.mark.thorough
def test_there_are_over_a_thousand_pairs(tmp_path: Path) -> None:
    assert (
        sum(1 for kind in WRONG.values() for _ in cases(kind, list(MAKERS), tmp_path / kind.subject)) > 1000
    )
