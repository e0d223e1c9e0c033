"""Weighted nodes in the interval pass: intervals as centre c and radius r, W c and |W| r.

With d = h_B - h_A and ΔW = W_B - W_A, W_B h_B + b_B - (W_A h_A + b_A) = W_B d + ΔW h_A + Δb.

Rounding: a signed sum of K products errs by at most γ_K times the sum of the moduli, which is what |W| makes
of |c| + r. With γ = `slack`, more than 2 γ_{K+16}, every radius becomes (1 + γ) r + γ |c| before |W| is
applied (and γ |b| is added): that holds the errors of centre and radius, of both products, and of the ends,
each a unit of |W| (|c| + r) + |b|. What underflows is added after it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from onnxpath.boxes.interval_nonlinear import NonlinearSteps
from onnxpath.boxes.interval_steps import Follow, LaneTensors
from onnxpath.boxes.segments import Segment
from onnxpath.engine.session import Device
from onnxpath.evaluate.weights import DELTA, A, B, Coefficients, slack
from onnxpath.model.matching import Parameters
from onnxpath.model.network import Network, Site
from onnxpath.ops import OPERATORS


@dataclass(frozen=True)
class _Difference:
    """The difference that a weighted node makes: centre, radius, and with magnitudes its size (None: none so
    far)."""

    middle: str | None
    spread: str | None
    drift: str | None


class _Requests:
    """Stands for `Binder`: parameters become inputs of the graph, by (number of the node's output, kind, key,
    size, factor)."""

    def __init__(self, emission: "LinearSteps"):
        self._emission = emission
        self.labels: dict[tuple, str] = {}

    def _input(self, c: Coefficients, kind: str, key: str, size: bool, factor: float) -> str | None:
        array = (c.weights if kind == "weight" else c.biases)[key]
        if array is None:
            return None
        asked = self._emission.numbers[c.node.output], kind, key, size, factor
        if asked not in self.labels:
            self.labels[asked] = self._emission.input(" ".join(map(str, asked)), array.shape)
        return self.labels[asked]

    def weight(self, c: Coefficients, key: str, size: bool = False) -> str | None:
        return self._input(c, "weight", key, size, 1.0)

    def bias(self, c: Coefficients, key: str, size: bool = False, factor: float = 1.0) -> str | None:
        return self._input(c, "bias", key, size, factor)


class LinearSteps(NonlinearSteps):
    """Emits weighted nodes. Tensors are numbered as in the segment.

    parameters: inputs by what they hold; lost: inputs [] for what underflow loses, by number of the node's
    output; names: outputs by (what, number) for "slack a", "slack d", "size a", "size d".
    """

    def __init__(
        self, network: Network, twin: Mapping[str, Parameters], pairs: Mapping[str, Coefficients],
        segment: Segment, device: Device, magnitudes: bool, follow: Follow,
    ):  # fmt: skip
        super().__init__(network, twin, device, follow)
        self.numbers, self._pairs, self._magnitudes = segment.numbers, pairs, magnitudes
        self._binder = _Requests(self)
        self.parameters = self._binder.labels
        self.lost: dict[int, str] = {}
        self.names: dict[tuple[str, int], str] = {}
        self._probes: list[str] = []

    def input(self, label: str, shape: Sequence[int | str]) -> str:
        return self._g.input(label, shape)

    def _name(self, what: str, tensor: str, value: str) -> None:
        self.names[what, self.numbers[tensor]] = self._g.output(value)

    def _linear(self, site: Site, x: LaneTensors) -> LaneTensors:
        """W x + b."""
        node, c = site.node, self._pairs.get(site.node.output)
        self.lost[self.numbers[node.output]] = self.input(f"lost {self.numbers[node.output]}", ())
        center, radius = self._inflated(site, x.al, x.au)
        own, around = self._image(site, center, radius, A)
        al, au = self._ends(site, own, around)
        reach = self._size(x.al, x.au) if self._magnitudes else None
        total = self._product(site, reach, A, size=True, bias=True)
        if total is not None:
            self._name("slack a", node.output, total)
        changed = c is not None and c.differs
        if not x.differs and not changed:
            return LaneTensors(al, au, al, au)
        difference = self._passed(site, x)
        if changed:
            assert c is not None
            difference = self._injected(site, c, difference, center, radius, reach, al)
            if c.hidden:
                difference = self._hidden(site, c, difference, around, total)
        if difference.drift is not None:
            self._name("slack d", node.output, difference.drift)
        assert difference.middle is not None and difference.spread is not None
        dl, du = self._ends(site, difference.middle, difference.spread)
        if self._follow == "difference":
            return LaneTensors(al, au, *self._moved(al, au, dl, du), dl, du)
        bl, bu = self._ends(site, *self._image(site, *self._inflated(site, x.bl, x.bu), B))
        return self._joined(al, au, bl, bu, dl, du)

    def _product(
        self, site: Site, lane: str | None, key: str, size: bool = False, bias: bool = False,
        factor: float = 1.0,
    ) -> str | None:  # fmt: skip
        """W x of the coefficients `key`, + factor · b; size: of moduli. None where that is nothing."""
        c = self._pairs.get(site.node.output)
        if lane is None or (key == DELTA and (c is None or c.weights[key] is None)):
            return None
        emit = OPERATORS[site.node.op].emit
        if c is None:
            return emit(self._g, site, [lane])
        offset = self._binder.bias(c, key, size, factor) if bias else None
        return emit(self._g, site, [lane], weight=self._binder.weight(c, key, size), bias=offset)

    def _inflated(self, site: Site, low: str, high: str) -> tuple[str, str]:
        """Centre, and (1 + γ) r + γ |c|."""
        g, error = self._g, slack(site, self._dtype)
        center = self._times(g.op("Add", [low, high]), 0.5)
        half = self._times(g.op("Sub", [high, low]), (1 + error) / 2)
        return center, g.op("Add", [half, self._times(g.op("Abs", [center]), error)])

    def _image(self, site: Site, center: str, radius: str, key: str) -> tuple[str, str]:
        """What the coefficients `key` make of a centre and of a radius."""
        middle = self._product(site, center, key, bias=True)
        spread = self._product(site, radius, key, size=True, bias=True, factor=slack(site, self._dtype))
        assert middle is not None and spread is not None
        return middle, spread

    def _ends(self, site: Site, center: str, radius: str) -> tuple[str, str]:
        g = self._g
        radius = g.op("Add", [radius, self.lost[self.numbers[site.node.output]]])
        axes = g.ints(range(1, len(site.output_shape)))
        # infinite or NaN where anything is
        self._probes.append(g.op("ReduceSum", [radius, axes], keepdims=0))
        return g.op("Sub", [center, radius]), g.op("Add", [center, radius])

    def _passed(self, site: Site, x: LaneTensors) -> _Difference:
        """W_B d, of the difference that reaches the node."""
        if x.dl is None or x.du is None:
            return _Difference(None, None, None)
        shift, room = self._inflated(site, x.dl, x.du)
        middle, spread = self._product(site, shift, B), self._product(site, room, B, size=True)
        size = self._size(x.dl, x.du) if self._magnitudes else None
        return _Difference(middle, spread, self._product(site, size, B, size=True))

    def _injected(
        self, site: Site, c: Coefficients, before: _Difference, center: str, radius: str,
        reach: str | None, al: str,
    ) -> _Difference:  # fmt: skip
        """With (W_B - W_A) h_A + b_B - b_A, h_A in the ball, at most `reach` in size."""
        error = slack(site, self._dtype)
        bias, width = self._binder.bias(c, DELTA), self._binder.bias(c, DELTA, True)
        if c.weights[DELTA] is not None:
            more = self._product(site, radius, DELTA, size=True, bias=True, factor=error)
            drift = before.drift
            if self._magnitudes:
                drift = self._add(drift, self._product(site, reach, DELTA, size=True, bias=True))
            return _Difference(
                self._add(before.middle, self._product(site, center, DELTA, bias=True)),
                self._add(before.spread, more),
                drift,
            )
        if bias is None or width is None:
            return before
        g, full = self._g, self._times(al, 0.0)
        middle = self._add(
            before.middle if before.middle is not None else full, self._spread_bias(site, bias)
        )
        sized = self._spread_bias(site, width)
        spread = self._add(before.spread, g.op("Add", [full, self._times(sized, error)]))
        drift = self._add(before.drift, g.op("Add", [full, sized])) if self._magnitudes else None
        return _Difference(middle, spread, drift)

    def _hidden(
        self, site: Site, c: Coefficients, before: _Difference, around: str, total: str | None
    ) -> _Difference:
        """With what the roundings of the coefficients' difference hide: |W_A| (|c| + r) + |b_A| is at most
        `around` / γ."""
        spread = self._add(before.spread, self._times(around, 4 * c.loss / slack(site, self._dtype)))
        drift = before.drift
        if drift is not None and total is not None:
            drift = self._add(drift, self._times(total, 4 * c.loss))
        return replace(before, spread=spread, drift=drift)

    def _spread_bias(self, site: Site, bias: str) -> str:
        if OPERATORS[site.node.op].channel_bias:
            return self._g.op("Reshape", [bias, self._g.ints([1, -1] + [1] * (len(site.output_shape) - 2))])
        return bias
