"""Intervals of every neuron of two networks over boxes, and of their difference (docs/certify.md, section 2).

Over a box of inputs carry for every neuron [al, au] of network A, [bl, bu] of network B and [dl, du] of d = h_B - h_A. At a linear
node, with centre c and radius r of an interval,

    A:  W_A c_a + b_A ± |W_A| r_a,      d:  W_B c_d + ΔW c_a + Δb ± (|W_B| r_d + |ΔW| r_a),      B like A, and A + d,

at an activation f with slopes in [m, M] over both intervals, d is multiplied by something in [m, M]; everywhere d lies in B - A and B
in A + d. Lanes of B and d exist from the first node on whose parameters differ.

Rounding: a signed sum of K products errs by at most γ_K times the sum of the moduli, which is what |W| makes of |c| + r: every radius
is enlarged by γ (|c| + r) before |W| is applied, and what element-wise steps round is added after it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from onnxpath.engine.certificate import UNIT
from onnxpath.engine.graph import GraphBuilder
from onnxpath.engine.session import Device
from onnxpath.matching import Parameters
from onnxpath.network import Network, Node, Site
from onnxpath.ops import OPERATORS
from onnxpath.ops.activation import FUNCTIONS
from onnxpath.passes.forward import open_session
from onnxpath.passes.relaxation import LANES, nonlinear
from onnxpath.passes.rounding import Rounding
from onnxpath.passes.weights import DELTA, A, B, Binder, Coefficients, roundings, slack, tiny

MONOTONE = ("Clip", "Softshrink", "Tanh", "Sigmoid", "Softsign", "Softplus", "Celu", "Atan", "Erf")
# Error of an activation's own evaluation in float32 (float64), relative to |f| + L |x| + 1.
_FUNCTION = {np.dtype(np.float32): 2.0**-18, np.dtype(np.float64): 2.0**-40}


@dataclass(frozen=True, eq=False)
class _Six:
    """The lanes of one tensor, as tensors of the graph; B's are A's, and there is no d, while the networks do not differ."""

    al: str
    au: str
    bl: str
    bu: str
    dl: str | None = None
    du: str | None = None

    @property
    def differs(self) -> bool:
        return self.dl is not None


def differing(network: Network, coefficients: Mapping[str, Coefficients]) -> set[str]:
    """The tensors on which the networks may differ."""
    found: set[str] = set()
    for node in network.nodes:
        own = coefficients.get(node.output)
        rounds = node.op == "Quantizer" and node.attributes["quantizer"] != node.attributes.get("twin")
        if any(name in found for name in node.inputs) or (own is not None and own.differs) or rounds:
            found.add(node.output)
    return found


def pairs(network: Network, twin: Mapping[str, Parameters]) -> dict[str, Coefficients]:
    """The coefficients of every node with parameters."""
    return {
        node.output: Coefficients(node, twin[node.output])
        for node in network.nodes
        if node.op != "PRelu" and (node.weight is not None or node.bias is not None or node.output in twin)
        and OPERATORS[node.op].kind == "weighted"
    }  # fmt: skip


class Intervals:
    """The pass, ready to run for any boxes and with any intervals that are known of the arguments of activations."""

    def __init__(self, network: Network, twin: Mapping[str, Parameters], device: Device, magnitudes: bool, arguments: bool = True):
        """network: batched and without maxima. magnitudes: also what `Backward` needs of every tensor. arguments: intervals of the arguments of
        activations may be given, and are found; else those of the outputs alone."""
        self._network, self._twin, self._dtype = network, twin, device.dtype
        self._g = g = GraphBuilder(device.dtype, device.native_conv)
        self._unit, self._binder = UNIT[device.dtype], Binder(g)
        self._tiny = 2.0 ** (-125 if device.dtype == np.float32 else -1021)
        self._pairs = pairs(network, twin)
        self._magnitudes = magnitudes
        self._names: dict[tuple, str] = {}
        self._probes: list[str] = []
        self._known: dict[tuple[str, str], str] = {}
        lanes: dict[str, _Six] = {}
        for name in network.inputs:
            low, high = (g.input(f"{side} {name}", ("n", *network.shapes[name][1:])) for side in ("low", "high"))
            lanes[name] = _Six(low, high, low, high)
        wanted = {node.inputs[0] for node in network.nodes if nonlinear(node)} if arguments else set()
        for node in network.nodes:
            for name in node.inputs:
                if name in wanted:
                    wanted.remove(name)
                    lanes[name] = self._recall(name, lanes[name])
                    self._export(name, lanes[name])
            lanes[node.output] = self._node(node, lanes)
            if node.output in network.outputs:
                self._export(node.output, lanes[node.output])
        if magnitudes:
            for name, readers in network.consumers.items():
                if len(readers) > 1 or any(node.inputs.count(name) > 1 for node in readers):
                    self._export_sizes(name, lanes[name])
        self._probe = g.output(self._probes[0] if len(self._probes) == 1 else g.op("Sum", self._probes)) if self._probes else None
        self._session = open_session(g, device)

    # element-wise steps

    def _times(self, x: str, factor: float) -> str:
        return self._g.op("Mul", [x, self._g.scalar(factor)])

    def _grown(self, x: str, times: float = 8) -> str:
        """A non-negative number, rounded up by some units."""
        return self._g.op("Add", [self._times(x, 1 + times * self._unit), self._g.scalar(self._tiny)])

    def _margin(self, x: str) -> str:
        return self._g.op("Add", [self._times(self._g.op("Abs", [x]), 4 * self._unit), self._g.scalar(self._tiny)])

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

    # tensors

    def _recall(self, tensor: str, six: _Six) -> _Six:
        """Meet the intervals with those that are given at every run."""
        g, shape, made = self._g, ("n", *self._network.shapes[tensor][1:]), {}
        for lane in LANES:
            own = getattr(six, lane)
            if own is None or (lane[0] == "b" and not six.differs):
                made[lane] = made.get("a" + lane[1]) if lane[0] == "b" else None
                continue
            known = self._known[tensor, lane] = g.input(f"known {lane} {tensor}", shape)
            made[lane] = g.op("Max" if lane[1] == "l" else "Min", [own, known])
        return _Six(**made)

    def _export(self, tensor: str, six: _Six) -> None:
        for lane in LANES if six.differs else LANES[:2]:
            self._names[tensor, lane] = self._g.output(getattr(six, lane))

    def _size(self, low: str, high: str) -> str:
        return self._g.op("Max", [self._g.op("Abs", [low]), self._g.op("Abs", [high])])

    def _export_sizes(self, tensor: str, six: _Six) -> None:
        self._names["size a", tensor] = self._g.output(self._size(six.al, six.au))
        if six.dl is not None and six.du is not None:
            self._names["size d", tensor] = self._g.output(self._size(six.dl, six.du))

    def _joined(self, al: str, au: str, bl: str, bu: str, dl: str, du: str) -> _Six:
        """d lies in B - A, B in A + d."""
        g = self._g
        dl = g.op("Max", [dl, self._down(g.op("Sub", [bl, au]))])
        du = g.op("Min", [du, self._up(g.op("Sub", [bu, al]))])
        bl = g.op("Max", [bl, self._down(g.op("Add", [al, dl]))])
        bu = g.op("Min", [bu, self._up(g.op("Add", [au, du]))])
        return _Six(al, au, bl, bu, dl, du)

    # nodes

    def _node(self, node: Node, lanes: Mapping[str, _Six]) -> _Six:
        site, given = Site.of(self._network, node), [lanes[name] for name in node.inputs]
        kind = OPERATORS[node.op].kind
        if kind == "weighted" or node.op in ("SumPool", "ReduceSum"):
            return self._linear(site, given[0])
        if node.op == "Add":
            return self._sum(node, given, lanes)
        if node.op == "Relu":
            return self._relu(given[0])
        if node.op == "PRelu":
            return self._prelu(node, given[0])
        if node.op == "Activation":
            return self._activation(node, site, given[0])
        if kind == "quantizer":
            return self._quantizer(node, given[0])
        if kind == "max":
            raise AssertionError("maxima are spelled with Relu before this pass")
        return self._movement(site, given)

    def _movement(self, site: Site, given: Sequence[_Six]) -> _Six:
        operator, made = OPERATORS[site.node.op], {}
        differs = any(six.differs for six in given)
        if roundings(site) and self._magnitudes:  # the adjoint adds up
            self._names["slack a", site.node.output] = self._g.output(operator.emit(self._g, site, [self._size(s.al, s.au) for s in given]))
            if differs:
                sizes = [self._size(s.dl, s.du) for s in given if s.dl is not None and s.du is not None]
                self._names["slack d", site.node.output] = self._g.output(operator.emit(self._g, site, sizes))
        for lane in LANES:
            if lane[0] == "b" and not differs:
                made[lane] = made["a" + lane[1]]
            elif lane[0] != "d" or differs:
                parts = [getattr(six, lane) or self._zero(six.al) for six in given]
                made[lane] = operator.emit(self._g, site, parts)
        return _Six(**made)

    def _zero(self, like: str) -> str:
        return self._times(like, 0.0)

    def _sum(self, node: Node, given: Sequence[_Six], lanes: Mapping[str, _Six]) -> _Six:
        g, made = self._g, {}
        differs = any(six.differs for six in given)
        for lane in LANES:
            if lane[0] == "b" and not differs:
                made[lane] = made["a" + lane[1]]
                continue
            parts = [part for six in given if (part := getattr(six, lane)) is not None]
            if not parts:
                continue
            total = parts[0]
            for part in parts[1:]:
                total = g.op("Add", [total, part])
                total = self._down(total) if lane[1] == "l" else self._up(total)
            made[lane] = total
        pair = node.attributes.get("maximum")
        if pair is not None:
            a, b = (lanes[name] for name in pair)
            for lane in list(made):
                if lane[0] in "ab":
                    if lane[0] == "b" and not differs:
                        made[lane] = made["a" + lane[1]]
                        continue
                    largest = g.op("Max", [getattr(a, lane), getattr(b, lane)])
                    made[lane] = g.op("Max" if lane[1] == "l" else "Min", [made[lane], largest])
                else:  # |max - max| <= max | |, with its sign
                    ends = [getattr(side, lane) or self._zero(side.al) for side in (a, b)]
                    made[lane] = g.op(
                        *(("Max", [made[lane], g.op("Min", ends)]) if lane == "dl" else ("Min", [made[lane], g.op("Max", ends)]))
                    )
        return self._joined(**made) if differs else _Six(**made)

    def _linear(self, site: Site, x: _Six) -> _Six:
        """See the module."""
        g, node = self._g, site.node
        operator, c = OPERATORS[node.op], self._pairs.get(node.output)
        error = slack(site, self._dtype)
        lost = tiny(site, c, self._dtype)

        def product(lane: str | None, key: str, size: bool = False, bias: bool = False, factor: float = 1.0) -> str | None:
            if lane is None:
                return None
            if c is None:
                return operator.emit(g, site, [lane]) if key != DELTA else None
            offset = self._binder.bias(c, key, size, factor) if bias else None
            if c.weights[key] is None and key == DELTA:
                return None
            return operator.emit(g, site, [lane], weight=self._binder.weight(c, key, size), bias=offset)

        def wide(center: str, radius: str) -> str:
            """r + γ (|c| + r), rounded up."""
            size = g.op("Add", [g.op("Abs", [center]), radius])
            return self._grown(g.op("Add", [radius, self._times(size, error)]))

        def ends(center: str, radius: str) -> tuple[str, str]:
            size = g.op("Abs", [center])
            radius = g.op("Add", [self._times(radius, 1 + error), self._times(size, 8 * self._unit)])
            radius = g.op("Add", [radius, g.scalar(lost)])
            axes = g.ints(range(1, len(site.output_shape)))
            self._probes.append(g.op("ReduceSum", [self._times(g.op("Add", [size, radius]), 0.0), axes], keepdims=0))
            return g.op("Sub", [center, radius]), g.op("Add", [center, radius])

        def image(low: str, high: str, key: str) -> tuple[str, str, str, str]:
            center, radius = self._ball(low, high)
            enlarged = wide(center, radius)
            middle = product(center, key, bias=True)
            spread = product(enlarged, key, size=True, bias=True, factor=error)
            assert middle is not None and spread is not None
            return (*ends(middle, spread), center, enlarged)

        al, au, center, enlarged = image(x.al, x.au, A)
        changed = c is not None and c.differs
        reach = self._size(x.al, x.au)
        total = product(reach, A, size=True, bias=True) if self._magnitudes or (changed and c.hidden) else None
        if self._magnitudes and total is not None:
            self._names["slack a", node.output] = g.output(total)
        if not x.differs and not changed:
            return _Six(al, au, al, au)
        bl, bu, _, _ = image(x.bl, x.bu, B)
        middle = spread = drift = None
        if x.dl is not None and x.du is not None:
            own, radius = self._ball(x.dl, x.du)
            middle, spread = product(own, B), product(wide(own, radius), B, size=True)
            if self._magnitudes:
                drift = product(self._size(x.dl, x.du), B, size=True)
        if changed:
            assert c is not None
            bias = self._binder.bias(c, DELTA)
            width = self._binder.bias(c, DELTA, True)
            if c.weights[DELTA] is not None:
                middle = self._add(middle, product(center, DELTA, bias=True))
                spread = self._add(spread, product(enlarged, DELTA, size=True, bias=True, factor=error))
                if self._magnitudes:
                    drift = self._add(drift, product(reach, DELTA, size=True, bias=True))
            elif bias is not None:
                full = self._times(al, 0.0)
                middle = self._add(middle if middle is not None else full, self._spread_bias(site, bias))
                sized = self._spread_bias(site, width)
                spread = self._add(spread, g.op("Add", [full, self._times(sized, error)]))
                drift = self._add(drift, g.op("Add", [full, sized])) if self._magnitudes else None
            if c.hidden and total is not None:
                hidden = self._times(total, 4 * c.loss)
                spread = self._add(spread, hidden)
                drift = self._add(drift, hidden) if drift is not None else None
        assert middle is not None and spread is not None
        if drift is not None:
            self._names["slack d", node.output] = g.output(drift)
        dl, du = ends(middle, spread)
        return self._joined(al, au, bl, bu, dl, du)

    def _spread_bias(self, site: Site, bias: str) -> str:
        if OPERATORS[site.node.op].channel_bias:
            return self._g.op("Reshape", [bias, self._g.ints([1, -1] + [1] * (len(site.output_shape) - 2))])
        return bias

    # activations

    def _scaled(self, x: _Six, m: str, big: str) -> tuple[str, str]:
        """Ends of s d for s in [m, M] and d in [dl, du]."""
        g = self._g
        assert x.dl is not None and x.du is not None
        corners = [g.op("Mul", [slope, end]) for slope in (m, big) for end in (x.dl, x.du)]
        low, high = g.op("Min", corners), g.op("Max", corners)
        return self._down(low), self._up(high)

    def _relu(self, x: _Six) -> _Six:
        g = self._g
        al, au = (g.op("Relu", [part]) for part in (x.al, x.au))
        if not x.differs:
            return _Six(al, au, al, au)
        bl, bu = (g.op("Relu", [part]) for part in (x.bl, x.bu))
        zero, one = g.scalar(0.0), g.scalar(1.0)
        m = g.op("Where", [g.compare("Less", [g.op("Min", [x.al, x.bl]), zero]), zero, one])
        big = g.op("Where", [g.compare("Greater", [g.op("Max", [x.au, x.bu]), zero]), one, zero])
        return self._joined(al, au, bl, bu, *self._scaled(x, m, big))

    def _kinked(self, low: str, high: str, alpha: str) -> tuple[str, str]:
        """Least and largest value of a PRelu over [low, high]: at the ends, or at the kink where it lies between."""
        g, zero = self._g, self._g.scalar(0.0)
        middle = g.op("Min", [g.op("Max", [low, zero]), high])
        found = []
        for x in (low, high, middle):
            found.append(g.op("Add", [g.op("Relu", [x]), g.op("Mul", [g.op("Min", [x, zero]), alpha])]))
        return self._down(g.op("Min", found)), self._up(g.op("Max", found))

    def _prelu(self, node: Node, x: _Six) -> _Six:
        g = self._g
        p, q = node.weight, self._twin.get(node.output, (node.weight, None))[0]
        assert p is not None and q is not None
        alpha_a, alpha_b = p.array().astype(np.float64), q.array().astype(np.float64)
        dtype = self._dtype
        first, second = (g.bind(np.ascontiguousarray(alpha.astype(dtype))) for alpha in (alpha_a, alpha_b))
        al, au = self._kinked(x.al, x.au, first)
        gap = None if p is q else alpha_b - alpha_a
        if gap is not None and not gap.any():
            gap = None
        if not x.differs and gap is None:
            return _Six(al, au, al, au)
        bl, bu = self._kinked(x.bl, x.bu, second)
        parts: list[tuple[str, str]] = []
        if x.differs:
            m, big = (g.bind(np.ascontiguousarray(choice(alpha_b, 1.0).astype(dtype))) for choice in (np.minimum, np.maximum))
            parts.append(self._scaled(x, m, big))
        if gap is not None:
            below = [g.op("Min", [end, g.scalar(0.0)]) for end in (x.al, x.au)]
            moved = [g.op("Mul", [end, g.bind(np.ascontiguousarray(gap.astype(dtype)))]) for end in below]
            hidden = g.bind(np.ascontiguousarray((2.0**-49 * (np.abs(alpha_a) + np.abs(alpha_b))).astype(dtype)))
            spare = self._grown(g.op("Mul", [g.op("Neg", [below[0]]), hidden]))
            low, high = self._down(g.op("Min", moved)), self._up(g.op("Max", moved))
            parts.append((self._down(g.op("Sub", [low, spare])), self._up(g.op("Add", [high, spare]))))
        dl, du = parts[0]
        for low, high in parts[1:]:
            dl, du = self._down(g.op("Add", [dl, low])), self._up(g.op("Add", [du, high]))
        return self._joined(al, au, bl, bu, dl, du)

    def _activation(self, node: Node, site: Site, x: _Six) -> _Six:
        g, name, parameters = self._g, node.attributes["function"], node.attributes["parameters"]
        constants, operator = FUNCTIONS[name].constants(*parameters), OPERATORS[node.op]
        steep = float(np.nextafter(np.float32(constants.lipschitz), np.float32(np.inf)))
        monotone = name in MONOTONE or (name == "Elu" and parameters[0] >= 0)
        error = _FUNCTION[self._dtype]

        def value(x: str) -> tuple[str, str]:
            y = operator.emit(g, site, [x])
            size = g.op("Add", [g.op("Abs", [y]), self._times(g.op("Abs", [x]), steep)])
            margin = self._times(g.op("Add", [size, g.scalar(1.0)]), error)
            margin = (
                self._grown(margin) if not constants.jump else g.op("Add", [self._grown(margin), g.scalar(constants.jump * (1 + 1e-6))])
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
            return _Six(al, au, al, au)
        bl, bu = span(x.bl, x.bu)
        dl, du = self._scaled(x, g.scalar(0.0 if monotone else -steep), g.scalar(steep))
        if constants.jump:
            jump = g.scalar(constants.jump * (1 + 1e-6))
            dl, du = self._down(g.op("Sub", [dl, jump])), self._up(g.op("Add", [du, jump]))
        return self._joined(al, au, bl, bu, dl, du)

    def _quantizer(self, node: Node, x: _Six) -> _Six:
        """See passes/rounding.py."""
        g, p, q = self._g, node.attributes["quantizer"], node.attributes.get("twin")
        steps = Rounding(g, len(self._network.shapes[node.output]), self._up, self._down)
        first, second = steps.apply(p, x.al, x.au), steps.apply(q, x.bl, x.bu)
        al, au = (x.al, x.au) if first is None else first.value
        if not x.differs and p == q:
            return _Six(al, au, al, au)
        bl, bu = (x.bl, x.bu) if second is None else second.value
        zero = g.op("Mul", [x.al, g.scalar(0.0)])
        dl, du = steps.difference(p, q, (x.al, x.au), (x.bl, x.bu), (x.dl or zero, x.du or zero))
        return self._joined(al, au, bl, bu, dl, du)

    # running

    def run(self, low: Mapping[str, np.ndarray], high: Mapping[str, np.ndarray], known: Mapping[tuple[str, str], np.ndarray]) -> "Found":
        """low, high: float64 [n, ...] by input. known: float64 [n, ...] by (tensor, lane), where something is known."""
        dtype, n = self._dtype, len(next(iter(low.values())))
        feeds = {}
        for name in low:
            feeds[f"low {name}"], feeds[f"high {name}"] = outward(low[name], dtype, -np.inf), outward(high[name], dtype, np.inf)
        largest = float(np.finfo(dtype).max)
        for (tensor, lane), label in self._known.items():
            shape = (n, *self._network.shapes[tensor][1:])
            side = -1.0 if lane[1] == "l" else 1.0
            array = known.get((tensor, lane))
            feeds[label] = np.full(shape, side * largest, dtype) if array is None else outward(array, dtype, side * np.inf)
        found = self._session.run(feeds)
        finite = np.ones(n, bool) if self._probe is None else np.isfinite(found[self._probe])
        arrays = {key: found[label] for key, label in self._names.items()}
        return Found(arrays, finite)


def outward(array: np.ndarray, dtype: np.dtype, toward: float) -> np.ndarray:
    """In `dtype`, rounded towards ±infinity."""
    with np.errstate(over="ignore"):
        cast = array.astype(dtype)
    wrong = cast < array if toward > 0 else cast > array
    return np.where(wrong, np.nextafter(cast, dtype.type(toward)), cast)


@dataclass(frozen=True, eq=False)
class Found:
    """arrays: [n, ...] by (tensor, lane), ("size a" | "size d" | "slack a" | "slack d", tensor). finite: no number of this
    box's passes overflowed."""

    arrays: Mapping[tuple[str, str], np.ndarray]
    finite: np.ndarray
