"""Sentences and tables about budgets: the same explanation on the terminal, in reports, annotations and
assertions."""

from typing import TYPE_CHECKING

from onnxpath.cli import seen
from onnxpath.cli.output import Report, Table, Toward, number, percent
from onnxpath.engine.scalar import Scaled

if TYPE_CHECKING:
    from collections.abc import Sequence

    from onnxpath.records import Budget, Check, CheckedPair


# What fails without a budget: what to do where it is meant.
_ALLOWED = {"faithful": "--allow-unfaithful", "interface": "--allow-interface-change KIND"}


def value(budget: "Budget") -> str:
    """A measured value, rounded so that it is still an upper end, or a lower one where that is what is
    limited."""
    if budget.name in _ALLOWED and isinstance(budget.value, float):
        return f"{budget.value:.0f}"
    if budget.value == float("inf"):
        return "unbounded"
    return _spell(budget.value, budget.ratio, "down" if budget.least else "up")


def limit(budget: "Budget") -> str:
    """A limit as it was given, as far as ten digits go."""
    if isinstance(budget.limit, float):
        return f"{100 * budget.limit:.10g} %" if budget.ratio else f"{budget.limit:.10g}"
    return _spell(budget.limit, budget.ratio, "down")


def _spell(amount: object, ratio: bool, toward: Toward) -> str:
    if isinstance(amount, Scaled):
        return number(amount, toward=toward) + (" times" if ratio else "")
    assert isinstance(amount, float)
    if amount < 0:
        return f"-{percent(-amount, 'down' if toward == 'up' else 'up')}"
    return percent(amount, toward)


def layers(budget: "Budget") -> str:
    return ", ".join(f"{layer.name} ({percent(layer.share)})" for layer in budget.layers)


def explain(budget: "Budget") -> str:
    """Which budget is not kept: the value, the limit, how the value was found, and the layers that contribute
    most."""
    if budget.name in _ALLOWED:
        return f"{budget.name}: {budget.basis} ({_ALLOWED[budget.name]} lets it pass)"
    most = f"; most of it comes from {layers(budget)}" if budget.layers else ""
    misses = "falls short of" if budget.least else "exceeds"
    return (
        f"{budget.name}: {value(budget)} {misses} the limit of {limit(budget)} ({budget.certainty}:"
        f" {budget.basis}){most}"
    )


def explanation(pair: "CheckedPair") -> str:
    """All budgets of a pair that are exceeded, a line each."""
    failed = [explain(budget) for budget in pair.budgets if not budget.passed]
    return "\n".join([f"{pair.a.path} → {pair.b.path}: {_failed(pair.budgets)}", *failed])


def _failed(budgets: "Sequence[Budget]") -> str:
    """How many budgets are exceeded, of those that were asked for, and what else failed."""
    asked = [budget for budget in budgets if budget.name not in _ALLOWED]
    exceeded = sum(not budget.passed for budget in asked)
    rest = dict.fromkeys(budget.name for budget in budgets if budget.name in _ALLOWED)
    parts = [f"{exceeded} of {_count(len(asked))} exceeded"] if exceeded or not rest else []
    return ", ".join([*parts, *(f"{name} failed" for name in rest)])


def _count(budgets: int) -> str:
    return f"{budgets} budget{'' if budgets == 1 else 's'}"


def report(result: "Check") -> Report:
    """What a person reads: every budget, and for those exceeded where the excess comes from."""
    budgets = [budget for pair in result.pairs for budget in pair.budgets]
    failures, several = result.failures, len(result.pairs) > 1
    outcome = f"failed, {_failed(budgets)}" if failures else f"passed, {_count(len(budgets))} kept"
    facts = [(pair.name, f"{pair.a.path} → {pair.b.path}") for pair in result.pairs]

    def table(headers: tuple[str, ...], rows: list, left: int, title: str = "") -> Table:
        """A table whose rows start with their pair, where there are several."""
        named = [((pair.name, *cells) if several else cells) for pair, cells in rows]
        return Table(("pair", *headers) if several else headers, named, left + several, title)

    rows = [
        (
            pair,
            (
                budget.name,
                (
                    "passed"
                    if budget.passed
                    else "FAILED"
                    if budget.name in _ALLOWED
                    else "MISSED"
                    if budget.least
                    else "EXCEEDED"
                ),
                budget.basis,
                value(budget),
                limit(budget),
            ),
        )
        for pair in result.pairs
        for budget in pair.budgets
    ]
    tables = [table(("budget", "result", "how the value was found", "value", "limit"), rows, 3)]
    causes = [
        (pair, (budget.name, layer.name, percent(layer.share)))
        for pair, budget in failures
        for layer in budget.layers
    ]
    if causes:
        tables.append(
            table(("budget", "layer", "share"), causes, 2, "layers that contribute most to what is exceeded")
        )
    notes = [f"{pair.name}: {note}" for pair in result.pairs for note in pair.notes]
    for pair in result.pairs:
        where = f"{pair.name}: " if several else ""
        facts += [(where + key, text) for key, text in seen.facts(pair.files)]
        tables += seen.tables(pair.interface)
    return Report(f"onnxpath check: {outcome}", facts, tables, notes)
