"""Both files at the points of boxes: what is proved of two networks is a verdict on two files only where they
do not contradict it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from onnxpath.files.pair import FilePair
from onnxpath.files.rows import Arrays
from onnxpath.records import FilesSeen


@dataclass(frozen=True, eq=False)
class OnBox:
    """What was seen of both files in one box. point [1, ...] by input: the first one at which they predict
    different classes; classes: which, None where one of them predicts none (NaN)."""

    seen: FilesSeen
    point: Arrays | None
    classes: tuple[Any, Any] | None


def _first_difference(a: Any, b: Any) -> tuple[Any, Any]:
    """Two classes that differ; of classes that several outputs name, the first ones that do."""
    if isinstance(a, tuple) and isinstance(b, tuple):
        return (
            next((x, y) for x, y in zip(a, b, strict=False) if x != y) if len(a) == len(b) else (a[0], b[0])
        )
    return a, b


class FilesOnBoxes:
    """Both files of a pair, looked at box by box."""

    def __init__(self, files: FilePair):
        self._files = files
        self.unchecked = 0

    @property
    def reason(self) -> str:
        return next((side.reason for side in self._files.sides if side.reason), "their outputs name no class")

    def classes(self, point: Arrays) -> tuple[Any, Any] | None:
        """The classes that both predict at a point [1, ...], where they differ. It is not part of what was
        seen of a box: `look` is."""
        looked = self._files.look(point, "found")
        self._files.seen()
        a, b = looked.classes[0][0], looked.classes[1][0]
        if not looked.complete or a is None or b is None:
            self.unchecked += 1
            return None
        return _first_difference(a, b) if a != b else None

    def look(self, center: Arrays, tried: Sequence[Arrays]) -> OnBox:
        """Run both at the centre of a box, [1, ...] by input, and at the points that were tried in it, [n,
        ...]."""
        point, classes = None, None
        for arrays, kind in [(center, "given"), *((rows, "found") for rows in tried)]:
            looked = self._files.look(arrays, kind)
            both = [(k, a, b) for k, (a, b) in enumerate(zip(*looked.classes, strict=True)) if a != b]
            for k, a, b in both if looked.complete else ():
                known = a is not None and b is not None
                if point is None or (classes is None and known):
                    whole = self._files.sides[0].whole
                    point = {
                        name: np.asarray(array) if whole else np.asarray(array)[k : k + 1]
                        for name, array in arrays.items()
                    }
                    classes = _first_difference(a, b) if known else None
        return OnBox(self._files.seen(), point, classes)
