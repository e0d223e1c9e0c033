"""Fixtures of the tests of devices."""

from collections.abc import Callable, Iterator

import pytest

from onnxpath.engine import cuda
from tests.engine.simulated import Machine, simulate


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Machine]]:
    """A simulated GPU with these faults; what the package learned of it is forgotten afterwards."""
    yield lambda *faults: simulate(monkeypatch, *faults)
    monkeypatch.undo()
    cuda.cuda_missing.cache_clear()
