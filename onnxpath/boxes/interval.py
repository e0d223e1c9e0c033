"""Intervals of every neuron of two networks over boxes, and of their difference (docs/certify.md, section 2).

Over a box of inputs carry for every neuron [al, au] of network A, [bl, bu] of network B and [dl, du] of d =
h_B - h_A. At a linear node, with centre c and radius r of an interval,

    A:  W_A c_a + b_A ± |W_A| r_a, d: W_B c_d + ΔW c_a + Δb ± (|W_B| r_d + |ΔW| r_a), B like A, and A + d,

at an activation f with slopes in [m, M] over both intervals, d is multiplied by something in [m, M];
everywhere d lies in B - A and B in A + d. Lanes of B and d exist from the first node on whose parameters
differ.

Where only the outputs are asked for, less will do (`Follow`): B by its own weights, or, where these hardly
differ, as A + d alone.

Rounding: a signed sum of K products errs by at most γ_K times the sum of the moduli, which is what |W| makes
of |c| + r. With γ = `slack`, more than 2 γ_{K+16}, every radius becomes (1 + γ) r + γ |c| before |W| is
applied (and γ |b| is added): that holds the errors of centre and radius, of both products, and of the ends,
each a unit of |W| (|c| + r) + |b|. What underflows is added after it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from onnxpath.boxes.interval_bends import Bends
from onnxpath.boxes.interval_steps import Follow, Six
from onnxpath.boxes.known import LANES
from onnxpath.engine.session import Device
from onnxpath.errors import MissingFactError
from onnxpath.evaluate.forward import open_session
from onnxpath.evaluate.weights import DELTA, A, B, Binder, Coefficients, pairs, roundings, slack, tiny
from onnxpath.model.matching import Parameters
from onnxpath.model.network import Network, Node, Site
from onnxpath.ops import OPERATORS, nonlinear


class Intervals(Bends):
    """The pass, ready to run for any boxes and with any intervals that are known of the arguments of
    activations."""

    def __init__(
        self, network: Network, twin: Mapping[str, Parameters], device: Device, magnitudes: bool,
        arguments: bool = True, follow: Follow = "both",
        coefficients: Mapping[str, Coefficients] | None = None,
    ):  # fmt: skip
        """network: batched and without maxima. magnitudes: also what `Backward` needs of every tensor.
        arguments: intervals of the arguments of activations may be given, and are found; else those of the
        outputs alone. coefficients: what `pairs` gives.
        """
        super().__init__(network, twin, device, follow)
        g = self._g
        self._binder = Binder(g)
        self._pairs = pairs(network, twin) if coefficients is None else coefficients
        self._magnitudes = magnitudes
        self._names: dict[tuple, str] = {}
        self._probes: list[str] = []
        self._known: dict[tuple[str, str], str] = {}
        lanes: dict[str, Six] = {}
        for name in network.inputs:
            low, high = (
                g.input(f"{side} {name}", ("n", *network.shapes[name][1:])) for side in ("low", "high")
            )
            lanes[name] = Six(low, high, low, high)
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
        self._probe = (
            g.output(self._probes[0] if len(self._probes) == 1 else g.op("Sum", self._probes))
            if self._probes
            else None
        )
        self._session = open_session(g, device)

    # tensors

    def _recall(self, tensor: str, six: Six) -> Six:
        """Meet the intervals with those that are given at every run."""
        g, shape, made = self._g, ("n", *self._network.shapes[tensor][1:]), {}
        for lane in LANES:
            own = getattr(six, lane)
            if own is None or (lane[0] == "b" and not six.differs):
                made[lane] = made.get("a" + lane[1]) if lane[0] == "b" else None
                continue
            known = self._known[tensor, lane] = g.input(f"known {lane} {tensor}", shape)
            made[lane] = g.op("Max" if lane[1] == "l" else "Min", [own, known])
        return Six(**made)

    def _export(self, tensor: str, six: Six) -> None:
        for lane in LANES if six.differs else LANES[:2]:
            self._names[tensor, lane] = self._g.output(getattr(six, lane))

    def _export_sizes(self, tensor: str, six: Six) -> None:
        self._names["size a", tensor] = self._g.output(self._size(six.al, six.au))
        if six.dl is not None and six.du is not None:
            self._names["size d", tensor] = self._g.output(self._size(six.dl, six.du))

    # nodes

    def _node(self, node: Node, lanes: Mapping[str, Six]) -> Six:
        site, given = Site.of(self._network, node), [lanes[name] for name in node.inputs]
        operator = OPERATORS[node.op]
        if operator.kind == "sum" and operator.merges:
            return self._sum(node, given, lanes)
        if operator.kind in ("weighted", "sum"):
            return self._linear(site, given[0])
        if operator.kind == "movement":
            return self._movement(site, given)
        if operator.kind == "relu":
            return self._relu(given[0])
        if operator.kind == "quantizer":
            return self._quantizer(node, given[0])
        if operator.kind == "activation" and operator.negative_slope is not None:
            return self._prelu(node, given[0])
        if operator.kind == "activation" and operator.constants is not None:
            return self._activation(node, site, given[0])
        raise MissingFactError(node.op, "its intervals (maxima are spelled with Relu before this pass)")

    def _movement(self, site: Site, given: Sequence[Six]) -> Six:
        operator, made = OPERATORS[site.node.op], {}
        differs = any(six.differs for six in given)
        if roundings(site) and self._magnitudes:  # the adjoint adds up
            self._names["slack a", site.node.output] = self._g.output(
                operator.emit(self._g, site, [self._size(s.al, s.au) for s in given])
            )
            if differs:
                sizes = [self._size(s.dl, s.du) for s in given if s.dl is not None and s.du is not None]
                self._names["slack d", site.node.output] = self._g.output(operator.emit(self._g, site, sizes))
        for lane in LANES:
            if lane[0] == "b" and not differs:
                made[lane] = made["a" + lane[1]]
            elif lane[0] != "d" or differs:
                parts = [getattr(six, lane) or self._zero(six.al) for six in given]
                made[lane] = operator.emit(self._g, site, parts)
        return Six(**made)

    def _sum(self, node: Node, given: Sequence[Six], lanes: Mapping[str, Six]) -> Six:
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
                        *(
                            ("Max", [made[lane], g.op("Min", ends)])
                            if lane == "dl"
                            else ("Min", [made[lane], g.op("Max", ends)])
                        )
                    )
        return self._joined(**made) if differs else Six(**made)

    def _linear(self, site: Site, x: Six) -> Six:
        """See the module."""
        g, node = self._g, site.node
        operator, c = OPERATORS[node.op], self._pairs.get(node.output)
        error = slack(site, self._dtype)
        lost = g.scalar(2 * tiny(site, c, self._dtype))

        def product(
            lane: str | None, key: str, size: bool = False, bias: bool = False, factor: float = 1.0
        ) -> str | None:
            if lane is None:
                return None
            if c is None:
                return operator.emit(g, site, [lane]) if key != DELTA else None
            offset = self._binder.bias(c, key, size, factor) if bias else None
            if c.weights[key] is None and key == DELTA:
                return None
            return operator.emit(g, site, [lane], weight=self._binder.weight(c, key, size), bias=offset)

        def ball(low: str, high: str) -> tuple[str, str]:
            """Centre, and (1 + γ) r + γ |c|."""
            center = self._times(g.op("Add", [low, high]), 0.5)
            half = self._times(g.op("Sub", [high, low]), (1 + error) / 2)
            return center, g.op("Add", [half, self._times(g.op("Abs", [center]), error)])

        def ends(center: str, radius: str) -> tuple[str, str]:
            radius = g.op("Add", [radius, lost])
            axes = g.ints(range(1, len(site.output_shape)))
            self._probes.append(
                g.op("ReduceSum", [radius, axes], keepdims=0)
            )  # infinite or NaN where anything is
            return g.op("Sub", [center, radius]), g.op("Add", [center, radius])

        def image(center: str, radius: str, key: str) -> tuple[str, str]:
            middle = product(center, key, bias=True)
            spread = product(radius, key, size=True, bias=True, factor=error)
            assert middle is not None and spread is not None
            return middle, spread

        center, radius = ball(x.al, x.au)
        own, around = image(center, radius, A)
        al, au = ends(own, around)
        changed = c is not None and c.differs
        reach = self._size(x.al, x.au) if self._magnitudes else None
        total = product(reach, A, size=True, bias=True)
        if total is not None:
            self._names["slack a", node.output] = g.output(total)
        if not x.differs and not changed:
            return Six(al, au, al, au)
        middle = spread = drift = None
        if x.dl is not None and x.du is not None:
            shift, room = ball(x.dl, x.du)
            middle, spread = product(shift, B), product(room, B, size=True)
            if self._magnitudes:
                drift = product(self._size(x.dl, x.du), B, size=True)
        if changed:
            assert c is not None
            bias, width = self._binder.bias(c, DELTA), self._binder.bias(c, DELTA, True)
            if c.weights[DELTA] is not None:
                middle = self._add(middle, product(center, DELTA, bias=True))
                spread = self._add(spread, product(radius, DELTA, size=True, bias=True, factor=error))
                if self._magnitudes:
                    drift = self._add(drift, product(reach, DELTA, size=True, bias=True))
            elif bias is not None and width is not None:
                full = self._times(al, 0.0)
                middle = self._add(middle if middle is not None else full, self._spread_bias(site, bias))
                sized = self._spread_bias(site, width)
                spread = self._add(spread, g.op("Add", [full, self._times(sized, error)]))
                drift = self._add(drift, g.op("Add", [full, sized])) if self._magnitudes else None
            if c.hidden:
                # |W_A| (|c| + r) + |b_A| is at most `around` / γ
                spread = self._add(spread, self._times(around, 4 * c.loss / error))
                drift = (
                    self._add(drift, self._times(total, 4 * c.loss))
                    if drift is not None and total is not None
                    else drift
                )
        assert middle is not None and spread is not None
        if drift is not None:
            self._names["slack d", node.output] = g.output(drift)
        dl, du = ends(middle, spread)
        if self._follow == "difference":
            return Six(al, au, *self._moved(al, au, dl, du), dl, du)
        return self._joined(al, au, *ends(*image(*ball(x.bl, x.bu), B)), dl, du)

    def _spread_bias(self, site: Site, bias: str) -> str:
        if OPERATORS[site.node.op].channel_bias:
            return self._g.op("Reshape", [bias, self._g.ints([1, -1] + [1] * (len(site.output_shape) - 2))])
        return bias

    # running

    def run(
        self,
        low: Mapping[str, np.ndarray],
        high: Mapping[str, np.ndarray],
        known: Mapping[tuple[str, str], np.ndarray],
    ) -> "Found":
        """low, high: float64 [n, ...] by input. known: float64 [n, ...] by (tensor, lane), where something is
        known."""
        dtype, n = self._dtype, len(next(iter(low.values())))
        feeds = {}
        for name in low:
            feeds[f"low {name}"], feeds[f"high {name}"] = (
                outward(low[name], dtype, -np.inf),
                outward(high[name], dtype, np.inf),
            )
        largest = float(np.finfo(dtype).max)
        for (tensor, lane), label in self._known.items():
            shape = (n, *self._network.shapes[tensor][1:])
            side = -1.0 if lane[1] == "l" else 1.0
            array = known.get((tensor, lane))
            feeds[label] = (
                np.full(shape, side * largest, dtype)
                if array is None
                else outward(array, dtype, side * np.inf)
            )
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
    """arrays: [n, ...] by (tensor, lane), ("size a" | "size d" | "slack a" | "slack d", tensor). finite: no
    number of this box's passes overflowed."""

    arrays: Mapping[tuple[str, str], np.ndarray]
    finite: np.ndarray
