"""How many random examples a property is tried on: a few in every run, more with `--thorough`."""

from hypothesis import settings

MORE = 5
factor = 1  # conftest.py sets it to MORE before the tests are imported


def examples(few: int, **options: object) -> settings:
    """The same examples in every run, as many as `few`, or MORE times as many."""
    return settings(max_examples=few * factor, deadline=None, derandomize=True, **options)
