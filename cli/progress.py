"""What a person at a terminal sees on stderr while a command computes, as Rich draws it."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from rich.console import Console
from rich.progress import Progress


def spinner(message: str) -> AbstractContextManager:
    """Turns while a block runs."""
    return Console(stderr=True).status(message)


@contextmanager
def counter(message: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar while a block runs: call it with (done, all)."""
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(message)
        yield lambda done, total: bar.update(task, completed=done, total=total)
