"""Activations in the interval pass: with slopes in [m, M] over both networks' intervals, the difference is
multiplied by something in [m, M]; what an activation's own evaluation rounds is added (docs/certify.md,
section 1)."""

from collections.abc import Mapping

import numpy as np

from onnxpath.boxes.grid import Emitted, enclose, error_difference, shrunk_difference
from onnxpath.boxes.interval_steps import Follow, LaneTensors, Steps
from onnxpath.boxes.slopes import negative_slope
from onnxpath.engine.session import Device
from onnxpath.model.matching import Parameters
from onnxpath.model.network import Network, Node, Site
from onnxpath.ops import OPERATORS
from onnxpath.ops.activation import FUNCTIONS

# Error of an activation's own evaluation in float32 (float64), relative to |f| + L |x| + 1.
_FUNCTION = {np.dtype(np.float32): 2.0**-18, np.dtype(np.float64): 2.0**-40}


class NonlinearSteps(Steps):
    """Emits the nodes that are not linear."""

    def __init__(self, network: Network, twin: Mapping[str, Parameters], device: Device, follow: Follow):
        super().__init__(device, follow)
        self._network, self._twin = network, twin

    def _scaled(self, x: LaneTensors, m: str, big: str) -> tuple[str, str]:
        """Ends of s d for s in [m, M] and d in [dl, du]."""
        g = self._g
        assert x.dl is not None and x.du is not None
        corners = [g.op("Mul", [slope, end]) for slope in (m, big) for end in (x.dl, x.du)]
        low, high = g.op("Min", corners), g.op("Max", corners)
        return self._down(low), self._up(high)

    def _relu(self, x: LaneTensors) -> LaneTensors:
        g = self._g
        al, au = (g.op("Relu", [part]) for part in (x.al, x.au))
        if not x.differs:
            return LaneTensors(al, au, al, au)
        bl, bu = (g.op("Relu", [part]) for part in (x.bl, x.bu))
        assert x.dl is not None and x.du is not None
        zero, one = g.scalar(0.0), g.scalar(1.0)
        m = g.op("Where", [g.compare("Less", [g.op("Min", [x.al, x.bl]), zero]), zero, one])
        big = g.op("Where", [g.compare("Greater", [g.op("Max", [x.au, x.bu]), zero]), one, zero])
        # products with 0 and 1 are exact
        low, high = (
            g.op(op, [g.op("Mul", [m, end]), g.op("Mul", [big, end])])
            for op, end in (("Min", x.dl), ("Max", x.du))
        )
        # B's ends are those of the argument, which lay in A + d: meeting them again gains next to nothing
        return LaneTensors(
            al,
            au,
            bl,
            bu,
            *((low, high) if self._follow == "difference" else self._within_ends(al, au, bl, bu, low, high)),
        )

    def _kinked(self, low: str, high: str, alpha: str) -> tuple[str, str]:
        """Least and largest value of a PRelu over [low, high]: at the ends, or at the kink where it lies
        between."""
        g, zero = self._g, self._g.scalar(0.0)
        middle = g.op("Min", [g.op("Max", [low, zero]), high])
        found = []
        for x in (low, high, middle):
            found.append(g.op("Add", [g.op("Relu", [x]), g.op("Mul", [g.op("Min", [x, zero]), alpha])]))
        return self._down(g.op("Min", found)), self._up(g.op("Max", found))

    def _prelu(self, node: Node, x: LaneTensors) -> LaneTensors:
        g = self._g
        p, q = node.weight, self._twin.get(node.output, (node.weight, None))[0]
        alpha_a, alpha_b = negative_slope(node, p), negative_slope(node, q)
        assert alpha_a is not None and alpha_b is not None
        dtype = self._dtype
        first, second = (g.bind(np.ascontiguousarray(alpha.astype(dtype))) for alpha in (alpha_a, alpha_b))
        al, au = self._kinked(x.al, x.au, first)
        gap = None if p is q else alpha_b - alpha_a
        if gap is not None and not gap.any():
            gap = None
        if not x.differs and gap is None:
            return LaneTensors(al, au, al, au)
        bl, bu = self._kinked(x.bl, x.bu, second)
        parts: list[tuple[str, str]] = []
        if x.differs:
            m, big = (
                g.bind(np.ascontiguousarray(choice(alpha_b, 1.0).astype(dtype)))
                for choice in (np.minimum, np.maximum)
            )
            parts.append(self._scaled(x, m, big))
        if gap is not None:
            below = [g.op("Min", [end, g.scalar(0.0)]) for end in (x.al, x.au)]
            moved = [g.op("Mul", [end, g.bind(np.ascontiguousarray(gap.astype(dtype)))]) for end in below]
            hidden = g.bind(
                np.ascontiguousarray((2.0**-49 * (np.abs(alpha_a) + np.abs(alpha_b))).astype(dtype))
            )
            spare = self._grown(g.op("Mul", [g.op("Neg", [below[0]]), hidden]))
            low, high = self._down(g.op("Min", moved)), self._up(g.op("Max", moved))
            parts.append((self._down(g.op("Sub", [low, spare])), self._up(g.op("Add", [high, spare]))))
        dl, du = parts[0]
        for low, high in parts[1:]:
            dl, du = self._down(g.op("Add", [dl, low])), self._up(g.op("Add", [du, high]))
        return self._joined(al, au, bl, bu, dl, du)

    def _activation(self, node: Node, site: Site, x: LaneTensors) -> LaneTensors:
        g, name, parameters = self._g, node.attributes["function"], node.attributes["parameters"]
        constants, operator = FUNCTIONS[name].constants(*parameters), OPERATORS[node.op]
        steep = float(np.nextafter(np.float32(constants.lipschitz), np.float32(np.inf)))
        monotone = FUNCTIONS[name].derivative.monotone(*parameters)
        error = _FUNCTION[self._dtype]

        def value(x: str) -> tuple[str, str]:
            y = operator.emit(g, site, [x])
            size = g.op("Add", [g.op("Abs", [y]), self._times(g.op("Abs", [x]), steep)])
            margin = self._times(g.op("Add", [size, g.scalar(1.0)]), error)
            margin = (
                self._grown(margin)
                if not constants.jump
                else g.op("Add", [self._grown(margin), g.scalar(constants.jump * (1 + 1e-6))])
            )
            return y, margin

        def span(low: str, high: str) -> tuple[str, str]:
            if monotone:
                (y, e), (z, f) = value(low), value(high)
                ends = self._down(g.op("Sub", [y, e])), self._up(g.op("Add", [z, f]))
            else:
                c, r = self._ball(low, high)
                y, e = value(c)
                reach = self._grown(g.op("Add", [self._times(r, steep), e]))
                ends = self._down(g.op("Sub", [y, reach])), self._up(g.op("Add", [y, reach]))
            bottom, top = ends
            if np.isfinite(constants.infimum):
                bottom = g.op("Max", [bottom, g.scalar(constants.infimum - abs(constants.infimum) * 1e-6)])
            if np.isfinite(constants.supremum):
                top = g.op("Min", [top, g.scalar(constants.supremum + abs(constants.supremum) * 1e-6)])
            return bottom, top

        al, au = span(x.al, x.au)
        if not x.differs:
            return LaneTensors(al, au, al, au)
        bl, bu = span(x.bl, x.bu)
        dl, du = self._scaled(x, g.scalar(0.0 if monotone else -steep), g.scalar(steep))
        if constants.jump:
            jump = g.scalar(constants.jump * (1 + 1e-6))
            dl, du = self._down(g.op("Sub", [dl, jump])), self._up(g.op("Add", [du, jump]))
        return self._joined(al, au, bl, bu, dl, du)

    def _quantizer(self, node: Node, x: LaneTensors) -> LaneTensors:
        """See grid.py."""
        g, p, q = self._g, node.attributes["quantizer"], node.attributes.get("twin")
        steps = Emitted(g, len(self._network.shapes[node.output]), self._up, self._down)
        first, second = enclose(steps, p, x.al, x.au), enclose(steps, q, x.bl, x.bu)
        al, au = first.value
        if not x.differs and p == q:
            return LaneTensors(al, au, al, au)
        bl, bu = second.value
        zero = g.op("Mul", [x.al, g.scalar(0.0)])
        dl, du = d = x.dl or zero, x.du or zero
        error = error_difference(steps, first, second)
        if error is not None:
            dl, du = self._down(g.op("Add", [dl, error[0]])), self._up(g.op("Add", [du, error[1]]))
        shrunk = shrunk_difference(steps, p, q, (x.al, x.au), (x.bl, x.bu), d)
        if shrunk is not None:
            dl, du = g.op("Max", [dl, shrunk[0]]), g.op("Min", [du, shrunk[1]])
        return self._joined(al, au, bl, bu, dl, du)
