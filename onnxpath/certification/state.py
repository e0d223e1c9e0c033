"""What is known of all neurons of two networks over some boxes (docs/certify.md)."""

from dataclasses import dataclass, field, replace

import numpy as np

from onnxpath.passes.difference_lines import Joint
from onnxpath.passes.known import LANES, Known


@dataclass
class State:
    """What is known of n boxes. low, high: float64 [n, ...] by input. known: by tensor, for arguments of activations and outputs.
    sizes: arrays of the interval pass. valid [n]: whether its numbers are finite. lines: by node output, those that were asked for."""

    low: dict[str, np.ndarray]
    high: dict[str, np.ndarray]
    known: dict[str, Known]
    sizes: dict[tuple[str, str], np.ndarray]
    valid: np.ndarray
    largest: np.ndarray
    lines: dict[str, Joint] = field(default_factory=dict)
    tight: dict[tuple[str, str], np.ndarray] = field(default_factory=dict)

    @property
    def size(self) -> int:
        return len(self.valid)

    def take(self, index: np.ndarray) -> "State":
        """Some of the boxes."""

        def cut(arrays: dict) -> dict:
            return {key: array[index] for key, array in arrays.items()}

        return State(
            cut(self.low), cut(self.high), {key: known.take(index) for key, known in self.known.items()}, cut(self.sizes),
            self.valid[index], self.largest[index], {}, cut(self.tight),
        )  # fmt: skip

    def put(self, part: "State", index: np.ndarray) -> None:
        """Write what was learned of some boxes back."""
        for tensor, known in part.known.items():
            own = self.known[tensor]
            arrays = {}
            for lane in LANES:
                array = getattr(own, lane).copy()
                array[index] = getattr(known, lane)
                arrays[lane] = array
            self.known[tensor] = replace(own, **arrays)
        for key, array in part.tight.items():
            side = -1.0 if key[1][1] == "l" else 1.0
            if key not in self.tight:
                self.tight[key] = np.full((self.size, *array.shape[1:]), side * float(np.finfo(np.float32).max))
            self.tight[key][index] = array
        for key, array in part.sizes.items():
            self.sizes[key] = self.sizes[key].copy()
            self.sizes[key][index] = array
        self.valid[index] &= part.valid
        self.lines = {}
