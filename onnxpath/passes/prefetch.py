"""Preparing the next node's coefficients on another thread while this node is emitted."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class Prefetch(Generic[Item, Result]):
    """Applies a function to items, in order, one item ahead of `take`."""

    def __init__(self, items: Sequence[Item], function: Callable[[Item], Result]):
        self._items = list(items)
        self._function = function
        self._executor = ThreadPoolExecutor(1)
        self._next = 0
        self._pending: Future[Result] | None = None

    def __enter__(self) -> "Prefetch[Item, Result]":
        self._submit()
        return self

    def __exit__(self, *_: object) -> None:
        self._executor.shutdown(wait=True, cancel_futures=True)

    def _submit(self) -> None:
        if self._next < len(self._items):
            self._pending = self._executor.submit(self._function, self._items[self._next])
            self._next += 1

    def take(self) -> Result:
        """The result for the next item."""
        result = self._pending.result()
        self._submit()
        return result
