"""How far a run is, on stderr: a bar for every seed on a terminal, otherwise a line for every training that
begins."""

import sys
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)


class Display:
    """A context: `update` while it is open."""

    def __init__(self, quiet: bool = False) -> None:
        console = Console(stderr=True)
        self._lines = not quiet and not console.is_terminal
        self._doing: dict[int, str] = {}
        self._bars: dict[int, TaskID] = {}
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("steps"))
        times = (TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn())
        self._progress = Progress(*columns, *times, console=console, disable=quiet or not console.is_terminal)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def update(self, seed: int, doing: str, done: int, total: int) -> None:
        """done: steps of `total`, those of earlier calls of the command included."""
        if self._lines and self._doing.get(seed) != doing:
            print(f"seed {seed}: {doing} ({100 * done // max(1, total)} %)", file=sys.stderr, flush=True)
        self._doing[seed] = doing
        if seed not in self._bars:
            self._bars[seed] = self._progress.add_task("", total=total)
        self._progress.update(
            self._bars[seed], description=f"seed {seed}: {doing}".ljust(28), completed=done, total=total
        )
