"""The pytest plugin: the assertions of `onnxpath.testing` as fixtures. It imports them when a test asks for
one."""

from collections.abc import Callable
from importlib import import_module
from typing import Any

import pytest


def _fixture(name: str) -> Callable[[], Callable[..., Any]]:
    def assertion() -> Callable[..., Any]:
        return getattr(import_module("onnxpath.testing"), name)

    assertion.__doc__ = f"`onnxpath.testing.{name}`."
    return pytest.fixture(scope="session", name=name)(assertion)


_path_metric = _fixture("assert_path_metric")
_bound = _fixture("assert_bound")
_flip_rate = _fixture("assert_flip_rate")
_agree = _fixture("assert_agree")


def __getattr__(name: str) -> Any:
    """The same functions, to import from here."""
    if name in ("assert_path_metric", "assert_bound", "assert_flip_rate", "assert_agree"):
        return getattr(import_module("onnxpath.testing"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
