"""Every kind of wrong file on every network: what is true of each pair, and what the gate says of it.

`python -m gate.survey` in tests/ prints, for every kind, how many pairs pass, fail and are refused, and which
pass.
"""

import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gate.editing import Kind, Variant
from gate.gating import Verdict, budgets, check, difference
from gate.measuring import Truth, measure, write
from gate.networks import MAKERS
from gate.wrong_kinds import WRONG

OUTCOMES = ("pairs", "passes", "refused", "fails", "crashes")


@dataclass(frozen=True)
class Case:
    """A wrong pair that runs: where it comes from, its files, the truth, and the budgets that the truth
    breaks."""

    kind: Kind
    network: str
    variant: Variant
    a: Path
    b: Path
    truth: Truth
    budgets: dict[str, list[object]]

    @property
    def title(self) -> str:
        return f"{self.kind.name} | {self.network} | {self.variant.place}"


def cases(kind: Kind, networks: list[str], folder: Path) -> Iterator[Case]:
    """The wrong pairs of a kind, place by place; what changes nothing, and what does not load, is left
    out."""
    for name in networks:
        source = MAKERS[name]()
        for number, variant in enumerate(kind.variants(source)):
            place = folder / f"{name}-{number}"
            a = write(variant.a or source, variant.a_files, place / "a")
            b = write(variant.b, variant.b_files, place / "b")
            found = measure(a, b)
            if found is not None and found[0].wrong:
                yield Case(kind, name, variant, a, b, found[0], budgets(*found, kind.paths, place))


def verdicts(case: Case, titles: tuple[str, ...] | None = None) -> list[Verdict]:
    """What the gate says, one budget at a time; of all budgets that the truth breaks, or of those with these
    titles."""
    wanted = {title: options for title, options in case.budgets.items() if titles is None or title in titles}
    return [check(case.a, case.b, title, *options) for title, options in wanted.items()]


def of_files(case: Case) -> Verdict:
    return check(case.a, case.b, "difference of the files", *difference(case.truth, case.a.parents[1]))


def outcome(found: list[Verdict]) -> str:
    """passes: some budget that the truth breaks is kept. refused: exit code 2 for all. fails: the rest."""
    codes = {verdict.code for verdict in found}
    return (
        "crashes" if codes - {0, 1, 2} else "passes" if 0 in codes else "refused" if codes == {2} else "fails"
    )


def _lines(kind: Kind, networks: list[str], total: Counter[str]) -> Iterator[str]:
    counts: Counter[str] = Counter()
    kept = []
    with tempfile.TemporaryDirectory() as folder:
        for case in cases(kind, networks, Path(folder)):
            found = verdicts(case)
            counts.update(["pairs", outcome(found)])
            titles = ", ".join(one.budget for one in found if one.code not in (1, 2))
            if titles:
                why = ", ".join(case.truth.interface) or "same interface"
                kept.append(
                    f"    {case.network} {case.variant.place}: {titles}; differs by {case.truth.given:.3g},"
                    f" {why}"
                )
    total += counts
    yield f"{kind.subject:12} {kind.name:72} " + "  ".join(
        f"{key} {counts[key]}" for key in OUTCOMES if counts[key]
    )
    yield from kept


def main(words: list[str]) -> None:
    """Words select kinds by subject, or by a part of their names."""
    total: Counter[str] = Counter()
    for kind in WRONG.values():
        if not words or any(word in kind.name or word == kind.subject for word in words):
            print(*_lines(kind, list(MAKERS), total), sep="\n", flush=True)
    print("total", "  ".join(f"{key} {total[key]}" for key in OUTCOMES))


if __name__ == "__main__":
    main(sys.argv[1:])
