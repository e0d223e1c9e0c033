"""What was seen of both files, and how their interfaces differ, for a report."""

from typing import TYPE_CHECKING

from onnxpath.cli.output import Table, number
from onnxpath.engine.scalar import Scaled

if TYPE_CHECKING:
    from onnxpath.model.interface import Change
    from onnxpath.records import FilesSeen


def facts(seen: "FilesSeen | None") -> list[tuple[str, str]]:
    """Whether the files do what their networks say, and how far apart they are as they run."""
    if seen is None:
        return [("the files as they run", "the networks come from no files")]
    points = f"{seen.points} {' and '.join(seen.sources)} point{'' if seen.points == 1 else 's'}"
    words = [f"{label} {side.word}" for label, side in (("A", seen.a), ("B", seen.b))]
    found = [("the files as they run", f"{', '.join(words)} ({points})")]
    if seen.difference is not None:
        apart = (
            "not comparable"
            if seen.difference == float("inf")
            else number(Scaled(seen.difference), toward="up")
        )
        found.append(("their outputs differ by at most, seen", apart))
    if seen.differing is not None:
        found.append(("points where their classes differ", f"{seen.differing} of {seen.points}"))
    return found


def tables(changes: "tuple[Change, ...]") -> list[Table]:
    """What a program that runs the files sees change."""
    if not changes:
        return []
    return [
        Table(
            ("kind", "change"),
            [(change.kind, change.text) for change in changes],
            left=2,
            title="the interface",
        )
    ]
