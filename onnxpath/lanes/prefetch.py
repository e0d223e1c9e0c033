"""Preparing the next nodes' coefficients on other threads while this node is emitted."""

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

# How many items are prepared ahead: NumPy works without the interpreter's lock on large arrays.
_AHEAD = 2


class Prefetch(Generic[Item, Result]):
    """Applies a function to items, in order, some items ahead of `take`."""

    def __init__(self, items: Sequence[Item], function: Callable[[Item], Result]):
        self._items = deque(items)
        self._function = function
        self._executor = ThreadPoolExecutor(_AHEAD)
        self._pending: deque[Future[Result]] = deque()

    def __enter__(self) -> "Prefetch[Item, Result]":
        for _ in range(_AHEAD):
            self._submit()
        return self

    def __exit__(self, *_: object) -> None:
        self._executor.shutdown(wait=True, cancel_futures=True)

    def _submit(self) -> None:
        if self._items:
            self._pending.append(self._executor.submit(self._function, self._items.popleft()))

    def take(self) -> Result:
        """The result for the next item."""
        result = self._pending.popleft().result()
        self._submit()
        return result
