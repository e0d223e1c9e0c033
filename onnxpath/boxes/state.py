"""What is known of all neurons of two networks over some boxes (docs/certify.md)."""

from dataclasses import dataclass, field

import numpy as np

from onnxpath.boxes.difference_lines import PairLines
from onnxpath.boxes.pair_intervals import PairIntervals


class OutOfTimeError(Exception):
    """The deadline passed before bounds were complete. What is known of the state stays valid."""


@dataclass
class State:
    """What is known of n boxes. low, high: float64 [n, ...] by input. known: by tensor, for arguments of
    activations and outputs. sizes: arrays of the interval pass. valid [n]: whether its numbers are finite.
    lines: by node output, those that were asked for. deadline: on the monotonic clock; passes that begin
    later raise OutOfTimeError."""

    low: dict[str, np.ndarray]
    high: dict[str, np.ndarray]
    known: dict[str, PairIntervals]
    sizes: dict[tuple[str, str], np.ndarray]
    valid: np.ndarray
    largest: np.ndarray
    lines: dict[str, PairLines] = field(default_factory=dict)
    tight: dict[tuple[str, str], np.ndarray] = field(default_factory=dict)
    deadline: float = np.inf

    @property
    def size(self) -> int:
        return len(self.valid)

    def take(self, index: np.ndarray) -> "State":
        """Some of the boxes."""

        def cut(arrays: dict) -> dict:
            return {key: array[index] for key, array in arrays.items()}

        return State(
            cut(self.low), cut(self.high), {key: known.take(index) for key, known in self.known.items()},
            cut(self.sizes),
            self.valid[index], self.largest[index], {}, cut(self.tight), self.deadline,
        )  # fmt: skip
