"""What was seen of both files when they were run: part of the documents of `bound`, `certify` and `check`."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from onnxpath.records.base import Place
from onnxpath.records.document import Record


def _number(value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value or value < 0:
        raise ValueError(f"{value!r} is no size")
    return float(value)


@dataclass(frozen=True)
class FileSide(Record):
    """One file beside the network that was read out of it.

    faithful: whether the file computes what its network says at every point that was run; None where that
        could not be told: ONNX Runtime
    does not run the file, say. deviation: the largest |file - network| over outputs and points; allowance:
        what rounding may make of it there;
    output, index: where it is, by the file's name of the output and the position of the point. reason: why it
        is not faithful, or not known to be.
    """

    LAYOUT = """
    faithful  whether the file computes what its network says at every point that was run; null: not
        confirmed
    deviation  the largest |file − network|
    allowance  what rounding may make of it there
    where  the output, by the file's name, and the point
    reason  why it is not faithful, or not known to be
    """

    faithful: bool | None
    deviation: float | None = None
    allowance: float | None = None
    output: str | None = None
    index: int | None = None
    reason: str = ""

    @property
    def where(self) -> Place | None:
        return None if self.output is None else Place(self.output, self.index)

    @property
    def word(self) -> str:
        return {True: "faithful", False: "UNFAITHFUL", None: "not confirmed"}[self.faithful]

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> "FileSide":
        """The inverse of `to_dict`. Raises KeyError, TypeError or ValueError for anything else."""
        where = document["where"] or {"output": None, "index": None}
        if document["faithful"] not in (True, False, None):
            raise ValueError(f"faithful is {document['faithful']!r}")
        unfaithful = document["faithful"] is False and document["deviation"] is None
        deviation = float("inf") if unfaithful else _number(document["deviation"])
        return cls(
            document["faithful"],
            deviation,
            _number(document["allowance"]),
            where["output"],
            where["index"],
            str(document["reason"]),
        )


@dataclass(frozen=True)
class FilesSeen(Record):
    """Both files as ONNX Runtime runs them.

    sources: where the points come from: "given" inputs, "seeded" ones, "found" ones of a search. points: how
    many were run. difference: the largest |a - b| over all numbers of the declared outputs, infinite where
    one side has no number or other shapes; None where a file was not run.
    output, index: where it is. differing: at how many points the predicted classes differ; None where the
        outputs name no class. runtime: how they were run.
    """

    LAYOUT = """
    a  the file A
    b  the file B
    inputs=sources  where the points come from: `given`, `seeded`, `found`
    points  how many there are
    difference  the largest |a − b| of the declared outputs; null where the files were not run, and where
        outputs cannot be subtracted
    comparable  whether they can
    where  the output and the point of the largest difference
    differing  points where the predicted classes differ; null where the outputs name none
    runtime  how they were run: `provider`, `options` (`--file-provider`, `--file-option`)
    """

    a: FileSide
    b: FileSide
    sources: tuple[str, ...]
    points: int
    difference: float | None
    output: str | None
    index: int | None
    differing: int | None
    runtime: Mapping[str, Any]

    @classmethod
    def merged(cls, parts: Mapping[int, "FilesSeen"]) -> "FilesSeen | None":
        """What was seen on several sets of points, by their number, which takes the place of positions; None
        of nothing."""
        if not parts:
            return None
        first = next(iter(parts.values()))
        sides = [_worst({k: (part.a, part.b)[side] for k, part in parts.items()}) for side in (0, 1)]
        ran = {k: part for k, part in parts.items() if part.difference is not None}
        top = max(ran, key=lambda k: ran[k].difference or 0.0) if len(ran) == len(parts) else None
        counts = [part.differing for part in parts.values()]
        return cls(
            sides[0], sides[1],
            tuple(dict.fromkeys(kind for part in parts.values() for kind in part.sources)),
            sum(part.points for part in parts.values()), None if top is None else ran[top].difference,
            None if top is None else ran[top].output, top,
            None if None in counts else sum(count or 0 for count in counts), first.runtime,
        )  # fmt: skip

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> "FilesSeen":
        """The inverse of `to_dict`. Raises KeyError, TypeError or ValueError for anything else."""
        where = document["where"] or {"output": None, "index": None}
        beyond = document["where"] is not None and document["difference"] is None
        return cls(
            FileSide.from_dict(document["a"]), FileSide.from_dict(document["b"]),
            tuple(map(str, document["inputs"])), int(document["points"]),
            float("inf") if beyond else _number(document["difference"]), where["output"], where["index"],
            document["differing"], document["runtime"],
        )  # fmt: skip

    @property
    def where(self) -> Place | None:
        return None if self.output is None else Place(self.output, self.index)

    @property
    def comparable(self) -> bool:
        """Whether the outputs could be subtracted at every point."""
        return self.difference is not None and self.difference < float("inf")

    @property
    def unfaithful(self) -> bool:
        """Whether one of the files was seen to compute something else than its network."""
        return self.a.faithful is False or self.b.faithful is False

    @property
    def faithful(self) -> bool:
        return self.a.faithful is True and self.b.faithful is True

    @property
    def reasons(self) -> tuple[str, ...]:
        return tuple(side.reason for side in (self.a, self.b) if side.reason)


def _worst(sides: Mapping[int, FileSide]) -> FileSide:
    """An unfaithful one before one that is not confirmed, before the one that comes closest to its
    allowance."""

    def key(k: int) -> tuple[int, float]:
        side = sides[k]
        rank = {False: 2, None: 1, True: 0}[side.faithful]
        share = side.deviation / side.allowance if side.deviation and side.allowance else 0.0
        return rank, share

    top = max(sides, key=key)
    return replace(sides[top], index=top)
