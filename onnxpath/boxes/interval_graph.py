"""One segment of the interval pass as a graph (docs/certify.md, section 2; interval.py).

Rounding: a signed sum of K products errs by at most γ_K times the sum of the moduli, which is what |W| makes
of |c| + r. With γ = `slack`, more than 2 γ_{K+16}, every radius becomes (1 + γ) r + γ |c| before |W| is
applied (and γ |b| is added): that holds the errors of centre and radius, of both products, and of the ends,
each a unit of |W| (|c| + r) + |b|. What underflows is added after it.
"""

from collections.abc import Mapping, Sequence

from onnxpath.boxes.interval_nonlinear import NonlinearSteps
from onnxpath.boxes.interval_steps import Follow, LaneTensors
from onnxpath.boxes.pair_intervals import LANES
from onnxpath.boxes.segments import Segment
from onnxpath.engine.session import Device
from onnxpath.errors import MissingFactError
from onnxpath.evaluate.forward import open_session
from onnxpath.evaluate.weights import DELTA, A, B, Coefficients, roundings, slack
from onnxpath.model.matching import Parameters
from onnxpath.model.network import Network, Node, Site
from onnxpath.ops import OPERATORS


class _Requests:
    """Stands for `Binder`: parameters become inputs of the graph, by (number of the node's output, kind, key,
    size, factor)."""

    def __init__(self, emission: "IntervalGraph"):
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


class IntervalGraph(NonlinearSteps):
    """A segment in a session. Tensors are numbered as in the segment.

    parameters: inputs by what they hold; lost: inputs [] for what underflow loses, by number of the node's
    output; ends: outputs by lane of the root; names: outputs by (what, number) for "slack a", "slack d",
    "size a", "size d"; probe: an output [n] that is finite where every number is, or None.
    """

    def __init__(
        self, network: Network, twin: Mapping[str, Parameters], pairs: Mapping[str, Coefficients],
        segment: Segment, differs: Mapping[str, bool], device: Device, magnitudes: bool, follow: Follow,
        known: bool,
    ):  # fmt: skip
        """differs: of the borders before the segment; known: the root's intervals meet given ones."""
        super().__init__(network, twin, device, follow)
        self.numbers, self._pairs, self._magnitudes = segment.numbers, pairs, magnitudes
        self._binder = _Requests(self)
        self.parameters = self._binder.labels
        self.lost: dict[int, str] = {}
        self.names: dict[tuple[str, int], str] = {}
        self._probes: list[str] = []
        lanes: dict[str, LaneTensors] = {}
        for name, differing in differs.items():
            lanes[name] = self._border(name, "", differing)
        for node in reversed(segment.nodes):
            lanes[node.output] = self._node(node, lanes)
        root = lanes[segment.root]
        if known:
            root = self._meet(root, self._border(segment.root, "known ", root.differs))
        self.differs = root.differs
        g = self._g
        self.ends = {lane: g.output(getattr(root, lane)) for lane in (LANES if root.differs else LANES[:2])}
        readers = network.consumers.get(segment.root, ())
        if magnitudes and (len(readers) > 1 or any(n.inputs.count(segment.root) > 1 for n in readers)):
            self._name("size a", segment.root, self._size(root.al, root.au))
            if root.dl is not None and root.du is not None:
                self._name("size d", segment.root, self._size(root.dl, root.du))
        self.probe = None
        if self._probes:
            self.probe = g.output(self._probes[0] if len(self._probes) == 1 else g.op("Sum", self._probes))
        self.session = open_session(g, device)

    def input(self, label: str, shape: Sequence[int | str]) -> str:
        return self._g.input(label, shape)

    def _border(self, tensor: str, prefix: str, differs: bool) -> LaneTensors:
        """Lanes that are given at every run, as "<prefix><lane> <number>"."""
        shape = ("n", *self._network.shapes[tensor][1:])
        lanes = {
            lane: self.input(f"{prefix}{lane} {self.numbers[tensor]}", shape)
            for lane in (LANES if differs else LANES[:2])
        }
        return (
            LaneTensors(**lanes)
            if differs
            else LaneTensors(lanes["al"], lanes["au"], lanes["al"], lanes["au"])
        )

    def _meet(self, lane_tensors: LaneTensors, known: LaneTensors) -> LaneTensors:
        lanes = {
            lane: self._g.op(
                "Max" if lane[1] == "l" else "Min", [getattr(lane_tensors, lane), getattr(known, lane)]
            )
            for lane in (LANES if lane_tensors.differs else LANES[:2])
        }
        return (
            LaneTensors(**lanes)
            if lane_tensors.differs
            else LaneTensors(lanes["al"], lanes["au"], lanes["al"], lanes["au"])
        )

    def _name(self, what: str, tensor: str, value: str) -> None:
        self.names[what, self.numbers[tensor]] = self._g.output(value)

    def _node(self, node: Node, lanes: Mapping[str, LaneTensors]) -> LaneTensors:
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

    def _movement(self, site: Site, given: Sequence[LaneTensors]) -> LaneTensors:
        operator, made = OPERATORS[site.node.op], {}
        differs = any(lane_tensors.differs for lane_tensors in given)
        if roundings(site) and self._magnitudes:  # the adjoint adds up
            self._name(
                "slack a",
                site.node.output,
                operator.emit(self._g, site, [self._size(s.al, s.au) for s in given]),
            )
            if differs:
                sizes = [self._size(s.dl, s.du) for s in given if s.dl is not None and s.du is not None]
                self._name("slack d", site.node.output, operator.emit(self._g, site, sizes))
        for lane in LANES:
            if lane[0] == "b" and not differs:
                made[lane] = made["a" + lane[1]]
            elif lane[0] != "d" or differs:
                parts = [getattr(lane_tensors, lane) or self._zero(lane_tensors.al) for lane_tensors in given]
                made[lane] = operator.emit(self._g, site, parts)
        return LaneTensors(**made)

    def _sum(self, node: Node, given: Sequence[LaneTensors], lanes: Mapping[str, LaneTensors]) -> LaneTensors:
        g, made = self._g, {}
        differs = any(lane_tensors.differs for lane_tensors in given)
        for lane in LANES:
            if lane[0] == "b" and not differs:
                made[lane] = made["a" + lane[1]]
                continue
            parts = [part for lane_tensors in given if (part := getattr(lane_tensors, lane)) is not None]
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
        return self._joined(**made) if differs else LaneTensors(**made)

    def _linear(self, site: Site, x: LaneTensors) -> LaneTensors:
        """See the module."""
        g, node = self._g, site.node
        operator, c = OPERATORS[node.op], self._pairs.get(node.output)
        error = slack(site, self._dtype)
        number = self.numbers[node.output]
        lost = self.lost[number] = self.input(f"lost {number}", ())

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
            self._name("slack a", node.output, total)
        if not x.differs and not changed:
            return LaneTensors(al, au, al, au)
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
            self._name("slack d", node.output, drift)
        dl, du = ends(middle, spread)
        if self._follow == "difference":
            return LaneTensors(al, au, *self._moved(al, au, dl, du), dl, du)
        return self._joined(al, au, *ends(*image(*ball(x.bl, x.bu), B)), dl, du)

    def _spread_bias(self, site: Site, bias: str) -> str:
        if OPERATORS[site.node.op].channel_bias:
            return self._g.op("Reshape", [bias, self._g.ints([1, -1] + [1] * (len(site.output_shape) - 2))])
        return bias
