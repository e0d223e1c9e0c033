"""Defects that were reported and wait for their fix. Marks are strict: a fixed one must be taken off its list."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest


def mark(items: Sequence[pytest.Item], folder: Path, known: Mapping[str, str]) -> None:
    """Expect the tests of a folder whose names match a pattern to fail; known: pattern -> reason."""
    for item in items:
        if item.path.parent == folder:
            for pattern, reason in known.items():
                if re.fullmatch(pattern, item.name):
                    item.add_marker(pytest.mark.xfail(strict=True, reason=reason))
