"""One segment of the interval pass as a graph (docs/certify.md, section 2; interval.py)."""

from collections.abc import Mapping, Sequence

from onnxpath.boxes.interval_linear import LinearSteps
from onnxpath.boxes.interval_steps import Follow, LaneTensors
from onnxpath.boxes.pair_intervals import LANES
from onnxpath.boxes.segments import Segment
from onnxpath.engine.session import Device
from onnxpath.errors import MissingFactError
from onnxpath.evaluate.forward import open_session
from onnxpath.evaluate.weights import Coefficients, roundings
from onnxpath.model.matching import Parameters
from onnxpath.model.network import Network, Node, Site
from onnxpath.ops import OPERATORS


class IntervalGraph(LinearSteps):
    """A segment in a session. ends: outputs by lane of the root; probe: an output [n] that is finite where
    every number is, or None."""

    def __init__(
        self, network: Network, twin: Mapping[str, Parameters], pairs: Mapping[str, Coefficients],
        segment: Segment, differs: Mapping[str, bool], device: Device, magnitudes: bool, follow: Follow,
        known: bool,
    ):  # fmt: skip
        """differs: of the borders before the segment; known: the root's intervals meet given ones."""
        super().__init__(network, twin, pairs, segment, device, magnitudes, follow)
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
