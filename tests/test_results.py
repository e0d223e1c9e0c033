"""`onnxpath.records` imports a record when it is asked for: what it says for type checkers is what it
does."""

import ast
from pathlib import Path

import pytest

from onnxpath import records as results


def test_every_record_is_found_where_type_checkers_look() -> None:
    source = ast.parse(Path(results.__file__).read_text(encoding="utf-8"))
    declared = {
        alias.name: node.module for node in ast.walk(source) if isinstance(node,
        ast.ImportFrom) and "records." in (node.module or "")
        for alias in node.names
    }  # fmt: skip
    assert sorted(declared) == sorted(results.__all__)
    for name, module in declared.items():
        found = getattr(results, name)
        assert found.__module__ == module and found.__name__ == name


def test_other_names_are_none() -> None:
    with pytest.raises(AttributeError, match="Nothing"):
        _ = results.Nothing
