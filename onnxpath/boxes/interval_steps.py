"""The steps of the interval pass: lanes of both networks and of their difference, and element-wise arithmetic
that is rounded outwards."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from onnxpath.engine.certificate import UNIT
from onnxpath.engine.graph import GraphBuilder
from onnxpath.engine.session import Device

# How B is followed: by its own weights and as A + d, each meeting the other; by its own weights, d within B -
#     A; or as A + d.
Follow = Literal["both", "each", "difference"]


@dataclass(frozen=True, eq=False)
class LaneTensors:
    """The lanes of one tensor, as tensors of the graph; B's are A's, and there is no d, while the networks do
    not differ."""

    al: str
    au: str
    bl: str
    bu: str
    dl: str | None = None
    du: str | None = None

    @property
    def differs(self) -> bool:
        return self.dl is not None


class Steps:
    """Emits element-wise steps into a graph."""

    def __init__(self, device: Device, follow: Follow):
        self._follow, self._dtype = follow, device.dtype
        self._g = GraphBuilder(device.dtype, device.native_conv)
        self._unit = UNIT[device.dtype]
        self._tiny = 2.0 ** (-125 if device.dtype == np.float32 else -1021)

    def _times(self, x: str, factor: float) -> str:
        return self._g.op("Mul", [x, self._g.scalar(factor)])

    def _grown(self, x: str, times: float = 8) -> str:
        """A non-negative number, rounded up by some units."""
        return self._g.op("Add", [self._times(x, 1 + times * self._unit), self._g.scalar(self._tiny)])

    def _margin(self, x: str) -> str:
        return self._g.op(
            "Add", [self._times(self._g.op("Abs", [x]), 4 * self._unit), self._g.scalar(self._tiny)]
        )

    def _up(self, x: str) -> str:
        return self._g.op("Add", [x, self._margin(x)])

    def _down(self, x: str) -> str:
        return self._g.op("Sub", [x, self._margin(x)])

    def _ball(self, low: str, high: str) -> tuple[str, str]:
        """Centre and radius."""
        g = self._g
        c = self._times(g.op("Add", [low, high]), 0.5)
        return c, self._grown(g.op("Max", [g.op("Sub", [high, c]), g.op("Sub", [c, low])]))

    def _add(self, x: str | None, y: str | None) -> str | None:
        return x if y is None else y if x is None else self._g.op("Add", [x, y])

    def _size(self, low: str, high: str) -> str:
        return self._g.op("Max", [self._g.op("Abs", [low]), self._g.op("Abs", [high])])

    def _zero(self, like: str) -> str:
        return self._times(like, 0.0)

    def _moved(self, al: str, au: str, dl: str, du: str) -> tuple[str, str]:
        """B as A + d."""
        return self._down(self._g.op("Add", [al, dl])), self._up(self._g.op("Add", [au, du]))

    def _within_ends(self, al: str, au: str, bl: str, bu: str, dl: str, du: str) -> tuple[str, str]:
        """d, which lies in B - A."""
        g = self._g
        return g.op("Max", [dl, self._down(g.op("Sub", [bl, au]))]), g.op(
            "Min", [du, self._up(g.op("Sub", [bu, al]))]
        )

    def _joined(self, al: str, au: str, bl: str, bu: str, dl: str, du: str) -> LaneTensors:
        """d lies in B - A, B in A + d, as far as they are followed."""
        if self._follow != "difference":
            dl, du = self._within_ends(al, au, bl, bu, dl, du)
        if self._follow != "each":
            low, high = self._moved(al, au, dl, du)
            bl, bu = self._g.op("Max", [bl, low]), self._g.op("Min", [bu, high])
        return LaneTensors(al, au, bl, bu, dl, du)
