"""What operators emit themselves into: the part of `engine.graph.GraphBuilder` that they use."""

from collections.abc import Callable, Iterable
from typing import Protocol

import numpy as np


class Graph(Protocol):
    """The part of `engine.graph.GraphBuilder` that operators use."""

    dtype: np.dtype
    native_conv: bool

    def op(self, op_type: str, inputs: list[str], **attributes: object) -> str: ...
    def compare(self, op_type: str, inputs: list[str]) -> str: ...
    def split(self, x: str, sizes: list[int], axis: int) -> list[str]: ...
    def ints(self, values: Iterable[int]) -> str: ...
    def scalar(self, value: float) -> str: ...
    def constant(self, array: np.ndarray) -> str: ...


Emit = Callable[..., str]
