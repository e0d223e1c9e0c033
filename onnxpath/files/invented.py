"""Inputs made for a file of which nothing but its declared inputs is known, the same ones whenever the same
is asked for.

floats      standard normal, or uniform between --low and --high
integers    below 100, as token numbers are; masks all ones; below 2 where ONNX Runtime refuses larger ones;
            or between --low and --high
booleans    either
free axes   the first one and those called "batch" 1; others the size given with --shape, or the first of a
            few that both files run on
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from onnxpath.errors import ModelError, UsageError
from onnxpath.files.rows import rows
from onnxpath.files.session import FileSession
from onnxpath.model.interface import Port

# Sizes of free axes that are tried in turn, and ranges of whole numbers.
_SIZES = (8, 32, 64, 224, 1)
_RANGES = (100, 2, 1)


@dataclass(frozen=True)
class Recipe:
    """How inputs are made. shapes: by input, all sizes. low, high: of numbers, None for the defaults."""

    shapes: Mapping[str, tuple[int, ...]]
    low: float | None = None
    high: float | None = None
    seed: int = 0
    free: int = 1
    integers: int = 100

    def shape(self, port: Port) -> tuple[int, ...]:
        if port.name in self.shapes:
            return tuple(self.shapes[port.name])
        sizes: list[int] = []
        for axis, n in enumerate(port.shape or ()):
            batch = axis == 0 or (isinstance(n, str) and "batch" in n.lower())
            sizes.append(n if isinstance(n, int) else 1 if batch else self.free)
        return tuple(sizes)

    def array(self, port: Port, count: int, rng: np.random.Generator) -> np.ndarray:
        """[count, *shape] for one input."""
        shape = (count, *self.shape(port))
        if self.low is not None and self.high is not None and port.type.startswith(("int", "uint")):
            low, high = int(np.ceil(max(self.low, -(2.0**62)))), int(np.floor(min(self.high, 2.0**62)))
            if low > high:
                raise UsageError(
                    f"input '{port.name}' takes whole numbers, and none lies between {self.low:g} and"
                    f" {self.high:g}"
                )
            return rng.integers(low, high, shape, endpoint=True)
        if port.type.startswith(("float", "bfloat")):
            if self.low is None or self.high is None:
                return rng.standard_normal(shape).astype(np.float32)
            return rng.uniform(self.low, self.high, shape).astype(np.float32)
        if port.type == "bool":
            return rng.integers(0, 2, shape).astype(bool)
        if port.type.startswith(("int", "uint")):
            return (
                np.ones(shape, np.int64)
                if "mask" in port.name.lower()
                else rng.integers(0, self.integers, shape)
            )
        raise UsageError(
            f"input '{port.name}' is {port.type or 'no tensor'}: give --inputs, no values can be made for it"
        )

    def describe(self) -> dict[str, Any]:
        """For a document."""
        return {"seed": self.seed, "low": self.low, "high": self.high}


def invented(
    a: FileSession, b: FileSession, names: list[tuple[str, str]], recipe: Recipe, count: int
) -> tuple[dict[str, np.ndarray], bool, Recipe]:
    """Inputs by the inputs of a, on which both files run; whether every [k] is all that an input takes
    (`rows`), which it is where one of them has no axis for samples; and how they were made.

    names: which input of a is which of b. Raises ModelError, with the reason of the last attempt, where no
        sizes do.
    """
    unknown = [
        name
        for name in recipe.shapes
        if name not in [port.name for session in (a, b) for port in session.inputs]
    ]
    if unknown:
        raise UsageError(f"neither file has an input '{unknown[0]}' to give a shape to")
    batched = all(len(port.shape or ()) > 1 for session in (a, b) for port in session.inputs)
    failed: ModelError | None = None
    for tried in _recipes(a, recipe):
        rng = np.random.default_rng(tried.seed)
        arrays = {port.name: tried.array(port, count, rng) for port in a.inputs}
        if batched:
            arrays = {name: array.reshape(-1, *array.shape[2:]) for name, array in arrays.items()}
        try:
            for session, k in ((a, 0), (b, 1)):
                own = {both[k]: arrays[both[0]] for both in names if both[0] in arrays}
                next(rows(session, own, False, stacked=not batched))
            return arrays, not batched, tried
        except ModelError as error:
            failed = failed or error
    assert failed is not None
    raise ModelError(f"{failed}; give --inputs, or sizes with --shape")


def _recipes(a: FileSession, recipe: Recipe) -> Iterator[Recipe]:
    free = any(
        not isinstance(n, int)
        for port in a.inputs
        if port.name not in recipe.shapes
        for n in (port.shape or ())[1:]
    )
    whole = any(port.type.startswith(("int", "uint")) for port in a.inputs) and recipe.low is None
    for size in _SIZES if free else (1,):
        for integers in _RANGES if whole else (100,):
            yield Recipe(recipe.shapes, recipe.low, recipe.high, recipe.seed, size, integers)
