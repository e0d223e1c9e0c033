"""Local certificates: nothing in a box is above its certificate, and nothing disagrees in a box that is said
to agree."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from oracle.networks import KINDS, perturb, random_network
from passes.test_sharp_activations import activated
from reference import evaluate
from work import ticking

import onnxpath
from onnxpath.analyses.certify.certifier import Certifier, Options
from onnxpath.analyses.certify.certify import certify
from onnxpath.boxes import refinement
from onnxpath.boxes.certified import Outputs
from onnxpath.boxes.local_bounds import LocalBounds
from onnxpath.boxes.refinement import Refinement
from onnxpath.engine.session import Device
from onnxpath.errors import MismatchError, UnsupportedError, UsageError, ViolationError
from onnxpath.evaluate.forward import counterpart
from onnxpath.model.domain import Domain
from onnxpath.model.matching import match
from onnxpath.model.network import Network

PAIR = "models/digits_maxpool_cnn.onnx", "models/digits_maxpool_cnn_int8grid.onnx"
BOXES = 50


def points(region, k: int, rng: np.random.Generator, count: int):
    """Corners and uniform points of box k."""
    for number in range(count):
        found = {}
        for name in region.low:
            low, high = region.low[name][k : k + 1], region.high[name][k : k + 1]
            found[name] = (
                np.where(rng.random(low.shape) < 0.5, low, high)
                if number % 2
                else low + (high - low) * rng.random(low.shape)
            )
        yield found


def check(a: Network, b: Network, rng: np.random.Generator, precision: str, effort: int, search: int) -> int:
    """The number of boxes that were looked at."""
    inputs = {
        n: (rng.normal(size=(BOXES, *a.shapes[n][1:])) * rng.choice([0.1, 1, 10])).astype(np.float32)
        for n in a.inputs
    }
    domain = Domain.around(inputs, float(rng.choice([0, 1e-6, 1e-3, 0.05, 0.5])))
    result = certify(
        a, b, domain, Device("cpu", precision, 1), Options(effort=effort, search=search, tighten=True)
    )
    region = domain.resolve(a)
    for k, item in enumerate(result.inputs):
        for x in points(region, k, rng, 3):
            p, q = evaluate(a, x), evaluate(b, x)
            # what float64 forward passes of tensors of this size may differ by
            noise = 1e-13 * max(np.abs(v).max() for found in (p, q) for v in found.values())
            for name, other, label in zip(a.outputs, b.outputs, item.outputs, strict=True):
                difference = np.abs(p[name] - q[other]).reshape(-1)
                assert (difference <= np.array(item.outputs[label]) * (1 + 1e-12) + noise).all()
            if item.verdict == "agree":
                assert p[a.outputs[0]].argmax() == q[b.outputs[0]].argmax() == item.predicted
    return len(result.inputs)


@pytest.mark.parametrize("kind", KINDS)
@examples(3)
@given(
    seed=st.integers(0, 2**32 - 1), precision=st.sampled_from(["float32", "float64"]),
    effort=st.integers(0, 3), search=st.integers(0, 2),
    flavour=st.sampled_from(["plain", "sparse"]), extended=st.booleans(),
)  # fmt: skip
def test_certificates_hold(
    kind: str, seed: int, precision: str, effort: int, search: int, flavour: str, extended: bool
) -> None:
    rng = np.random.default_rng(seed)
    a = random_network(seed, flavour)
    a = activated(a, rng) if extended else a
    if a.batched:
        assert check(a, perturb(a, kind, rng), rng, precision, effort, search) == BOXES


@examples(4)
@given(
    seed=st.integers(0, 2**32 - 1),
    precision=st.sampled_from(["float32", "float64"]),
    kind=st.sampled_from(KINDS),
    extended=st.booleans(),
)
def test_intervals_hold_what_neurons_and_their_differences_are(
    seed: int, precision: str, kind: str, extended: bool
) -> None:
    """Before and after refinement, at every argument of an activation and every output, of A, of B and of B -
    A; also of some of the boxes that are refined again."""
    rng = np.random.default_rng(seed)
    a = random_network(seed)
    a = activated(a, rng) if extended else a
    if not a.batched:
        return
    pairing = match(a, perturb(a, kind, rng))
    region = Domain.around(
        {n: rng.normal(size=(4, *a.shapes[n][1:])).astype(np.float32) for n in a.inputs}, 0.1
    ).resolve(a)
    local = LocalBounds(pairing, Device("cpu", precision, 1))
    state = local.start(region.low, region.high)
    networks = local.network, counterpart(replace(pairing, a=local.network, twin=local.twin))
    boxes = list(range(4))
    for refined in (0, 1, 2):
        if refined:
            boxes = boxes[1:]
            state = state.take(np.arange(1, len(boxes) + 1))
            Refinement(local).run(state, maxima=refined == 2)
        for row, k in enumerate(boxes):
            for x in points(region, k, rng, 4):
                values = [evaluate(network, x) for network in networks]
                for name, known in state.known.items():
                    if not state.valid[row]:
                        continue
                    p, q = (found[name][0] for found in values)
                    spare = 1e-12 * max(np.abs(v).max() for found in values for v in found.values())
                    for value, low, high in (
                        (p, known.al, known.au),
                        (q, known.bl, known.bu),
                        (q - p, known.dl, known.du),
                    ):
                        assert (value >= low[row] - spare).all() and (value <= high[row] + spare).all(), (
                            name,
                            refined,
                        )


def test_int8_weights_of_the_digits_network() -> None:
    """Median certified / found at most 1.5, 4 and 10 at these radii, and more than 95 % of the inputs agree
    at 0.005."""
    x = np.load("models/digits_test.npz")["x"][:24]
    for epsilon, largest in ((0.001, 1.5), (0.005, 4.0)):
        result = onnxpath.certify(*PAIR, x, epsilon, low=0, high=1, tighten=True)
        assert result.median_ratio < largest
        assert result.share("agree") > 0.95


def test_disagreements_are_those_of_the_files() -> None:
    data = np.load("models/digits_test.npz")
    result = onnxpath.certify(
        "models/digits_resnet.onnx",
        "models/digits_resnet_pruned40.onnx",
        data["x"][:40],
        0.02,
        low=0,
        high=1,
        effort=1,
    )
    found = [item for item in result.inputs if item.verdict == "disagree"]
    assert found
    sessions = [
        onnxruntime.InferenceSession(f"models/digits_resnet{name}.onnx") for name in ("", "_pruned40")
    ]
    for item in found:
        x = np.asarray(item.point["x"], np.float32)
        assert (
            (np.abs(x[0] - data["x"][item.index]) <= 0.02 + 1e-7).all() and (x >= 0).all() and (x <= 1).all()
        )
        classes = tuple(int(session.run(None, {"x": x})[0].argmax()) for session in sessions)
        assert classes == item.classes and classes[0] != classes[1]


CLOCKS = (
    "onnxpath.analyses.certify.certify",
    "onnxpath.analyses.certify.certifier",
    "onnxpath.boxes.local_bounds",
)


def test_time_limit_and_resumption(tmp_path, monkeypatch) -> None:
    """What was not finished is undecided; a resumed run finishes it, to the same result as one that was never
    stopped."""
    ticking(monkeypatch, *CLOCKS)
    x, journal = np.load("models/digits_test.npz")["x"][:6], str(tmp_path / "journal")
    whole = onnxpath.certify(*PAIR, x, 0.01, effort=1, search=2)
    stopped = onnxpath.certify(*PAIR, x, 0.01, effort=1, search=2, time_limit=0.5, resume=journal)
    assert stopped.unfinished == 6 and stopped.count("undecided") == 6
    onnxpath.certify(*PAIR, x, 0.01, effort=1, search=2, resume=journal)
    again = onnxpath.certify(*PAIR, x, 0.01, effort=1, search=2, resume=journal, time_limit=0.5)
    assert [item.to_dict() for item in again.inputs] == [item.to_dict() for item in whole.inputs]
    with pytest.raises(UsageError, match="journal"):
        onnxpath.certify(*PAIR, x, 0.02, effort=1, search=2, resume=journal)


def test_the_time_limit_stops_between_passes(monkeypatch) -> None:
    """Also inside effort 1: what is known by then, the intervals, is reported, and boxes that are not decided
    are not finished."""
    names = [f"models/digits_resnet{end}.onnx" for end in ("", "_finetuned")]
    pairing = match(*(onnxpath.load(name) for name in names))
    certifier = Certifier(pairing, Device("cpu", threads=1), Options(effort=1, search=0), None)
    x = np.load("models/digits_test.npz")["x"][:8]
    region = Domain.around(x, 0.01, 0, 1).resolve(pairing.a)
    ticking(monkeypatch, *CLOCKS)
    stopped = certifier.run(region, np.arange(8), 1.5)  # the first question, at the begin, is in time
    whole = certifier.run(region, np.arange(8), np.inf)
    assert not any(item.finished for item in stopped) and all(item.finished for item in whole)
    for early, late in zip(stopped, whole, strict=True):
        assert early.verdict == "undecided" and early.effort == 0 and late.effort == 1
        assert (np.array(early.outputs["logits"]) >= late.outputs["logits"]).all()


@pytest.mark.parametrize(
    "change, error, message",
    [
        ({"epsilon": -1.0}, UsageError, "epsilon must be >= 0"),
        ({"inputs": np.zeros((2, 1, 8, 7))}, UsageError, "shape"),
        ({"inputs": np.full((1, 1, 8, 8), np.nan)}, UsageError, "NaN"),
        ({"low": 0.5}, UsageError, "below the low limit"),
        ({"effort": 4}, UsageError, "effort"),
        ({"search": -1}, UsageError, "search"),
        ({"time_limit": 0.0}, UsageError, "time limit"),
        ({"b": "models/digits_mlp.onnx"}, MismatchError, "first difference"),
    ],
)
def test_what_is_refused(change: dict, error: type, message: str) -> None:
    arguments = {
        "a": PAIR[0],
        "b": PAIR[1],
        "inputs": np.zeros((2, 1, 8, 8), np.float32),
        "epsilon": 0.1,
        **change,
    }
    with pytest.raises(error, match=message):
        onnxpath.certify(**arguments)


def test_networks_without_a_batch_axis_are_refused() -> None:
    a = replace(random_network(0), batched=False)
    with pytest.raises(UnsupportedError, match="batch axis"):
        certify(a, a, Domain.around({n: np.zeros(a.shapes[n]) for n in a.inputs}, 0.1))


@pytest.mark.parametrize("epsilon", [0.0003, 0.01])
def test_no_looser_than_both_networks_by_themselves(epsilon: float) -> None:
    """Of networks that are far apart: the outputs' differences, and verdicts, against the bounds of each
    network paired with itself."""
    names = [f"models/digits_resnet{end}.onnx" for end in ("", "_pruned40")]
    a, b = (onnxpath.load(name) for name in names)
    x = np.load("models/digits_test.npz")["x"][:6]
    result = certify(
        a,
        b,
        Domain.around(x, epsilon, 0, 1),
        Device("cpu", threads=1),
        Options(effort=1, search=0),
        files=tuple(names),
    )
    region, limits = Domain.around(x, epsilon, 0, 1).resolve(a), []
    for network in (a, b):
        local = LocalBounds(match(network, network), Device("cpu", threads=1))
        (output,) = local.network.outputs

        def both(part: slice, rows: slice) -> np.ndarray:
            weights = np.concatenate([np.eye(10), -np.eye(10)])[rows]
            return np.broadcast_to(weights, (part.stop - part.start, *weights.shape))

        limits.append(local.upper(local.start(region.low, region.high), output, "a", 20, both))
    product = np.maximum(limits[0][:, :10] + limits[1][:, 10:], limits[1][:, :10] + limits[0][:, 10:])
    found = np.array([item.outputs["logits"] for item in result.inputs])
    # B's rounding allowances come from A's and the difference's, which may be some times its own
    assert (found <= product * (1 + 1e-3)).all()
    assert (found > 0).all()


def test_activations_with_too_many_arguments_keep_their_intervals(monkeypatch) -> None:
    """At effort 2; a note names the largest, bounds are those of effort 1, and effort 3 bounds them all."""
    monkeypatch.setattr(refinement, "_PASSES", 0)
    names = [f"models/digits_resnet{end}.onnx" for end in ("", "_finetuned")]
    x = np.load("models/digits_test.npz")["x"][:1]
    one, two, three = (
        onnxpath.certify(*names, x, 0.001, low=0, high=1, effort=effort, search=0, tighten=True)
        for effort in (1, 2, 3)
    )
    assert any("too many arguments" in note and "'/" in note for note in two.notes)
    assert not any("too many arguments" in note for note in (*one.notes, *three.notes))
    for first, second, third in zip(one.inputs, two.inputs, three.inputs, strict=True):
        assert np.allclose(first.outputs["logits"], second.outputs["logits"], rtol=1e-5)
        assert (np.array(third.outputs["logits"]) < 0.5 * np.array(second.outputs["logits"])).all()


@pytest.mark.parametrize("side", ["margin_a", "margin_b", "changes"])
def test_what_is_found_is_held_against_what_is_certified(monkeypatch, side: str) -> None:
    """A certificate that the given inputs violate is no result but an error."""
    names = [f"models/digits_resnet{end}.onnx" for end in ("", "_pruned40")]
    x = np.load("models/digits_test.npz")["x"][:3]
    honest = Outputs.backward

    def wrong(self, *given, **options):
        made = honest(self, *given, **options)
        return replace(
            made,
            **{side: np.zeros_like(made.changes) if side == "changes" else np.full_like(made.changes, 1e3)},
        )

    monkeypatch.setattr(Outputs, "backward", wrong)
    with pytest.raises(ViolationError, match="beyond what is certified"):
        onnxpath.certify(*names, x, 0.001, low=0, high=1, effort=1, search=0)


def test_whatever_the_files_come_as_they_are_run(tmp_path: Path) -> None:
    """A path, bytes, a ModelProto and a Network with a path: the same disagreements, checked on the files
    themselves."""
    rng, paths = np.random.default_rng(3), [str(tmp_path / f"{side}.onnx") for side in "ab"]
    weight, x = rng.standard_normal((4, 3)), rng.standard_normal((20, 4)).astype(np.float32)
    for path, change in zip(paths, (0.0, 0.3), strict=True):
        held = numpy_helper.from_array(
            (weight + change * rng.standard_normal((4, 3))).astype(np.float32), "w"
        )
        nodes = [
            helper.make_node("MatMul", ["x", "w"], ["logits"]),
            helper.make_node("Softmax", ["logits"], ["y"], axis=1),
        ]
        ends = [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", size])
            for name, size in (("x", 4), ("y", 3))
        ]
        graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], [held])
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    kinds = (str, lambda path: Path(path).read_bytes(), onnx.load, onnxpath.load)
    found = [onnxpath.certify(*map(kind, paths), x, 0.1) for kind in kinds]
    verdicts = [[(item.verdict, item.classes) for item in result.inputs] for result in found]
    assert any(verdict == "disagree" for verdict, _ in verdicts[0])
    assert all(one == verdicts[0] for one in verdicts)
    assert not any("could not be checked" in note for result in found for note in result.notes)
