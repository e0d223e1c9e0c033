"""How many random examples a property is tried on: a few in every run, more with `--thorough`."""

from collections.abc import Callable, Iterable
from typing import Any

import pytest
from hypothesis import settings

MORE = 5
factor = 1  # conftest.py sets it to MORE before the tests are imported


def cases(every: Iterable[tuple], kept: Callable[..., bool]) -> list[Any]:
    """The parameters of a test: those that are `kept` in every run, the others with `--thorough`."""
    return [one if kept(*one) else pytest.param(*one, marks=pytest.mark.thorough) for one in every]


def examples(few: int, many: int = 0, **options: object) -> settings:
    """The same examples in every run, as many as `few`; with `--thorough` `many`, or MORE times as many."""
    count = few if factor == 1 else many or few * factor
    return settings(max_examples=count, deadline=None, derandomize=True, **options)
