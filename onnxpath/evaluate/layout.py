"""Points of a region as rows of matrices: all inputs of a network side by side, and the float32 numbers
inside a box."""

from collections.abc import Mapping, Sequence

import numpy as np

from onnxpath.model.domain import Region
from onnxpath.model.network import Network


class Layout:
    """Named tensors [rows, ...] of a network as one matrix [rows, entries]; one row for a network without a
    batch axis."""

    def __init__(self, network: Network, names: Sequence[str]):
        self.batched = network.batched
        self._shapes = {name: network.shapes[name] for name in names}
        sizes = [int(np.prod(shape[1:] if self.batched else shape)) for shape in self._shapes.values()]
        self._ends = np.cumsum(sizes)
        self.size = int(self._ends[-1])

    def matrix(self, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
        rows = [arrays[name].reshape(len(arrays[name]) if self.batched else 1, -1) for name in self._shapes]
        return rows[0] if len(rows) == 1 else np.concatenate(rows, axis=1)

    def arrays(self, matrix: np.ndarray) -> dict[str, np.ndarray]:
        parts = np.split(matrix, self._ends[:-1], axis=1)
        return {
            name: part.reshape((len(matrix), *shape[1:]) if self.batched else shape)
            for (name, shape), part in zip(self._shapes.items(), parts, strict=True)
        }


class Boxes:
    """Some boxes of a region, [boxes, entries]: low and high are the smallest and largest float32 numbers
    inside.

    Where an entry's interval holds no float32 number, both are the one nearest to its lower end, and `placed`
    puts that end there. single: no entry of any box can vary.
    """

    def __init__(self, layout: Layout, region: Region, index: slice):
        def cut(arrays: Mapping[str, np.ndarray]) -> np.ndarray:
            return layout.matrix(
                {name: array[index] for name, array in arrays.items()} if layout.batched else arrays
            )

        self._exact, top = cut(region.low), cut(region.high)
        with np.errstate(over="ignore"):
            near, far = self._exact.astype(np.float32), top.astype(np.float32)
            low = np.where(near < self._exact, np.nextafter(near, np.float32(np.inf)), near)
            high = np.where(far > top, np.nextafter(far, np.float32(-np.inf)), far)
        self._thin = low > high
        self.low, self.high = np.where(self._thin, near, low), np.where(self._thin, near, high)
        self.width = self.high.astype(np.float64) - self.low
        self.centers = (
            None
            if region.centers is None
            else np.clip(cut(region.centers).astype(np.float32), self.low, self.high)
        )
        self.size = len(self.low)
        self.single = bool((self.low == self.high).all())

    def between(self, box: int, part: np.ndarray) -> np.ndarray:
        """low + part (high - low), rounded to float32 and kept inside."""
        point = (self.low[box] + part * self.width[box]).astype(np.float32)
        return np.clip(point, self.low[box], self.high[box])

    def corner(self, box: int, rng: np.random.Generator) -> np.ndarray:
        """A random corner."""
        return np.where(rng.integers(0, 2, self.low.shape[1], dtype=np.int8), self.high[box], self.low[box])

    def placed(self, box: int, points: np.ndarray) -> np.ndarray:
        """The points [rows, entries] in float64, inside the box without exception."""
        return np.where(self._thin[box], self._exact[box], points)

    def stored(self, box: int, points: np.ndarray) -> np.ndarray:
        """The same in float32, unless the box holds no such numbers."""
        return points if self._thin[box].any() else points.astype(np.float32)
