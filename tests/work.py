"""Work counted instead of timed: a clock tells how busy a machine is, the number of executed lines does
not."""

import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path
from types import FrameType

import pytest

PACKAGE = str(Path(__file__).resolve().parents[1] / "onnxpath")


def lines(call: Callable[[], object]) -> int:
    """How many lines of the package `call` executes, a line of a loop once for every turn."""
    total = 0

    def inside(frame: FrameType, event: str, _: object) -> object:
        nonlocal total
        total += event == "line"
        return inside

    def outside(frame: FrameType, event: str, _: object) -> object:
        return inside if frame.f_code.co_filename.startswith(PACKAGE) else None

    before = sys.gettrace()
    sys.settrace(outside)
    try:
        call()
    finally:
        sys.settrace(before)
    return total


def ticking(monkeypatch: pytest.MonkeyPatch, *modules: str) -> None:
    """The clock `monotonic` of these modules: a second later every time that one of them asks."""
    ticks = count(1)
    for module in modules:
        monkeypatch.setattr(f"{module}.monotonic", lambda: float(next(ticks)))
