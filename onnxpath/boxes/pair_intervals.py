"""What is known of one tensor of two networks over boxes: intervals of both and of their difference
(docs/certify.md, section 1)."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

LANES = ("al", "au", "bl", "bu", "dl", "du")
_U = 2.0**-52


@dataclass(frozen=True, eq=False)
class PairIntervals:
    """Intervals of one tensor, float64 [n, ...], in A, in B and of B - A; `differs`: whether B - A may be
    other than 0."""

    al: np.ndarray
    au: np.ndarray
    bl: np.ndarray
    bu: np.ndarray
    dl: np.ndarray
    du: np.ndarray
    differs: bool = True

    def meet(self, found: Mapping[str, np.ndarray]) -> "PairIntervals":
        """With tighter ends, by name of the lane."""
        made = {}
        for name in LANES:
            own = getattr(self, name)
            other = found.get(name)
            made[name] = (
                own if other is None else (np.maximum if name.endswith("l") else np.minimum)(own, other)
            )
        # B = A + D
        made["bl"] = np.maximum(made["bl"], down(made["al"] + made["dl"], made["al"], made["dl"]))
        made["bu"] = np.minimum(made["bu"], up(made["au"] + made["du"], made["au"], made["du"]))
        made["dl"] = np.maximum(made["dl"], down(made["bl"] - made["au"], made["bl"], made["au"]))
        made["du"] = np.minimum(made["du"], up(made["bu"] - made["al"], made["bu"], made["al"]))
        return PairIntervals(**made, differs=self.differs)

    def reach(self) -> np.ndarray:
        """Upper bounds of |B - A|."""
        return np.maximum(np.maximum(-self.dl, self.du), 0.0)

    def only(self, valid: np.ndarray) -> "PairIntervals":
        """Nothing is known of the boxes that are not valid [n]."""
        if valid.all():
            return self
        kept = valid.reshape(-1, *(1,) * (self.al.ndim - 1))
        ends = {
            name: np.where(kept, getattr(self, name), -np.inf if name.endswith("l") else np.inf)
            for name in LANES
        }
        return PairIntervals(**ends, differs=self.differs)

    def take(self, rows: np.ndarray) -> "PairIntervals":
        return PairIntervals(**{name: getattr(self, name)[rows] for name in LANES}, differs=self.differs)


def up(x: np.ndarray, *of: np.ndarray) -> np.ndarray:
    """x, computed in a few float64 operations from `of`, rounded up."""
    size = np.abs(x)
    for part in of:
        size = size + np.abs(part)
    return x + 8 * _U * size


def down(x: np.ndarray, *of: np.ndarray) -> np.ndarray:
    return -up(-x, *of)
