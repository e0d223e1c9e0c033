"""Tighter intervals of the arguments of activations, by the backward pass (docs/certify.md, section 3).

In topological order, the arguments of activations that are not linear over the box are bounded by the
backward pass, with the lines that what was refined before allows: in A where A's may change sides, of h_B -
h_A where either's may, and in B by itself where A + (h_B - h_A) says much less than B alone would: where the
difference is not small beside what the box does to A.
"""

from collections.abc import Iterator

import numpy as np

from onnxpath.boxes.grid import outside
from onnxpath.boxes.local_bounds import LocalBounds, Of
from onnxpath.boxes.pair_intervals import LANES, PairIntervals
from onnxpath.boxes.state import State
from onnxpath.model.network import Node, Site
from onnxpath.ops import OPERATORS
from onnxpath.ops.quantizer import Grid

# B is bounded by itself where the median width of the difference is above this share of A's.
_FAR = 0.1

# A tensor of a box is left with its intervals, unless maxima are refined as well, if bounding its open
# entries takes more passes than this.
_PASSES = 128

# A box, and the entries of a tensor that are bounded there.
Job = tuple[int, np.ndarray]


def _open(node: Node, low: np.ndarray, high: np.ndarray, grid: Grid | None) -> np.ndarray:
    """[n, ...]: the arguments that are worth a tighter interval: of activations that are not linear there."""
    if OPERATORS[node.op].negative_slope is not None:
        return (low < 0) & (high > 0)
    return outside(grid, low, high) if OPERATORS[node.op].kind == "quantizer" else high > low


def _queries(node: Node, known: PairIntervals, of: Of) -> np.ndarray | None:
    """[n, ...]: which entries of the argument of a node are bounded in A, in B or of their difference."""
    p, q = node.attributes.get("quantizer"), node.attributes.get("twin")
    first, second = _open(node, known.al, known.au, p), _open(node, known.bl, known.bu, q)
    if not known.differs:
        return first | second if of == "a" else None
    far = float(np.median(known.du - known.dl)) > _FAR * float(np.median(known.au - known.al))
    if far and of != "d":
        return first if of == "a" else second
    if of == "b":
        return None
    if OPERATORS[node.op].kind == "quantizer":
        return first | second
    return _open(node, np.minimum(known.al, known.bl), np.maximum(known.au, known.bu), None)


class Refinement:
    """Refines states of one pair."""

    def __init__(self, bounds: LocalBounds):
        """left: by name of the node, the largest number of arguments that were left with their intervals
        because they are too many."""
        self._bounds = bounds
        self.left: dict[str, int] = {}

    def _worthwhile(self, tensor: str) -> bool:
        """Whether the backward pass can be tighter than intervals: not behind one linear node, which entries
        of the box reach one by one."""
        network = self._bounds.network
        seen, waiting, mixing = set(), [tensor], 0
        while waiting:
            name = waiting.pop()
            node = network.producer.get(name)
            if node is None or name in seen:
                continue
            seen.add(name)
            waiting += node.inputs
            operator = OPERATORS[node.op]
            mixing += operator.kind == "sum" or (
                operator.kind == "weighted" and operator.axes(Site.of(network, node)) is not None
            )
        return mixing > 1

    def run(self, state: State, maxima: bool = True) -> None:
        """Tighten a state in place; see the module. maxima: everything: also the differences of the
        candidates of maxima, and tensors that take many passes.

        Raises OutOfTimeError (the state stays valid).
        """
        changed = False
        done: set[str] = set()
        for node in self._bounds.nonlinear_nodes:
            tensor = node.inputs[0]
            if (
                tensor in done
                or (node.attributes.get("maximum") and not maxima)
                or not self._worthwhile(tensor)
            ):
                continue
            done.add(tensor)
            if changed:
                self._bounds.forward(state)
                changed = False
            for of in ("a", "b", "d"):
                # what was learned of A and B by themselves decides what is open, and the lines of their
                # difference
                some = _queries(node, state.known[tensor], of)
                if some is None:
                    continue
                queries = [np.flatnonzero(row) for row in some.reshape(state.size, -1) & state.valid[:, None]]
                for box, row in enumerate(queries):
                    if not maxima and 2 * len(row) > _PASSES * self._bounds.rows:
                        queries[box], self.left[node.name] = (
                            row[:0],
                            max(len(row), self.left.get(node.name, 0)),
                        )
                for group, found in self._bounded(state, tensor, of, queries):
                    changed = True
                    self._learn(state, tensor, of, group, found)
        if changed:
            self._bounds.forward(state)

    def _bounded(
        self, state: State, tensor: str, of: Of, queries: list[np.ndarray]
    ) -> Iterator[tuple[list[Job], np.ndarray]]:
        """Bounds of these entries of a tensor: groups of (box, entries) with [boxes, 2, entries] upper bounds
        of them and of their negatives."""
        shape, dtype = self._bounds.network.shapes[tensor][1:], self._bounds.device.dtype
        size = int(np.prod(shape))
        most = max(1, self._bounds.rows // 2)
        jobs = [(box, row[k : k + most]) for box, row in enumerate(queries) for k in range(0, len(row), most)]
        jobs.sort(key=lambda job: len(job[1]))
        while jobs:
            group = [jobs.pop()]
            width = len(group[0][1])
            while jobs and (len(group) + 1) * width <= most and jobs[-1][0] not in [box for box, _ in group]:
                group.append(jobs.pop())
            entries = np.zeros((len(group), width), int)
            used = np.zeros((len(group), width), dtype)
            for k, (_, row) in enumerate(group):
                entries[k, : len(row)], used[k, : len(row)] = row, 1

            def seeds(part: slice, rows: slice, entries=entries, used=used) -> np.ndarray:
                chosen, weight = entries[part], used[part]
                base = np.zeros((len(chosen), chosen.shape[1], size), dtype)
                np.put_along_axis(base, chosen[:, :, None], weight[:, :, None], axis=2)
                return np.concatenate([base, -base], axis=1)[:, rows].reshape(len(chosen), -1, *shape)

            boxes = np.array([box for box, _ in group])
            upper = self._bounds.upper(state, tensor, of, width * 2, seeds, boxes)
            yield group, upper.reshape(len(group), 2, width)

    def _learn(self, state: State, tensor: str, of: Of, group: list[Job], found: np.ndarray) -> None:
        """Meet what is known of a tensor with upper bounds [boxes, 2, entries]."""
        known = state.known[tensor]
        arrays = {lane: getattr(known, lane).copy() for lane in LANES}
        for k, (box, row) in enumerate(group):
            for kind, name in enumerate((f"{of}u", f"{of}l")):
                flat = arrays[name][box].reshape(-1)
                bound = found[k, kind, : len(row)]
                flat[row] = np.minimum(flat[row], bound) if name[1] == "u" else np.maximum(flat[row], -bound)
        state.known[tensor] = known.meet(arrays)
        for lane in LANES:
            state.tight[tensor, lane] = getattr(state.known[tensor], lane)
        users = {node.output for node in self._bounds.nonlinear_nodes if node.inputs[0] == tensor}
        state.lines = {output: lines for output, lines in state.lines.items() if output not in users}
