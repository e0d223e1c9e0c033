"""The search: it finds maxima that are known, stays inside its boxes, is never above a certified bound, and
repeats itself."""

from itertools import product
from pathlib import Path

import numpy as np
import onnx
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from oracle.networks import KINDS, perturb, random_network
from oracle.sketch import Sketch
from reference import evaluate

import onnxpath
from onnxpath.analyses.bound.bound import output_difference
from onnxpath.engine.norms import norms
from onnxpath.engine.session import Device
from onnxpath.errors import UsageError
from onnxpath.evaluate.search import Found, search
from onnxpath.files.pair import FilePair
from onnxpath.files.runtime import Runtime
from onnxpath.files.side import Side
from onnxpath.model.domain import Domain, Region
from onnxpath.model.matching import Pairing, match
from onnxpath.model.network import Network

MODELS = Path(__file__).resolve().parents[2] / "models"
CPU = Device("cpu", "float32", 1)
NORMS = ("1", "2", "inf")


def linear(weight: np.ndarray) -> Network:
    s = Sketch(x=(1, weight.shape[0]))
    return s.network(s.matmul("x", weight.astype(np.float32)))


def tent(first: float, second: float) -> Network:
    """first relu(x) - second relu(x - 0.3)."""
    s = Sketch(x=(1, 1))
    hidden = s.relu(s.matmul("x", np.ones((1, 2), np.float32), np.array([0, -0.3], np.float32)))
    return s.network(s.matmul(hidden, np.array([[first], [-second]], np.float32)))


def digits() -> Pairing:
    return match(*(onnxpath.load(MODELS / f"digits_maxpool_cnn{twin}.onnx") for twin in ("", "_int8grid")))


def reference_value(a: Network, b: Network, found: Found, norm: str) -> float:
    """The norm at the point that was found, by float64 PyTorch."""
    ys = [
        np.concatenate([evaluate(network, found.point)[name].reshape(1, -1) for name in network.outputs], 1)
        for network in (a, b)
    ]
    return float(norms(ys[0] - ys[1], norm)[0])


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("seed", range(3))
def test_finds_the_maximum_of_a_linear_pair(norm: str, seed: int) -> None:
    """A convex function of x: the maximum is at one of the 2⁹ corners."""
    rng = np.random.default_rng(seed)
    weights = [rng.standard_normal((9, 4)).astype(np.float32) for _ in range(2)]
    low = -rng.random(9).astype(np.float32)
    high = rng.random(9).astype(np.float32)
    corners = np.where(list(product((False, True), repeat=9)), high, low).astype(np.float64)
    best = norms(corners @ (weights[0].astype(np.float64) - weights[1]), norm).max()
    pairing = match(linear(weights[0]), linear(weights[1]))
    region = Domain.box(low.reshape(1, -1), high.reshape(1, -1)).resolve(pairing.a)
    found = search(pairing, region, CPU, steps=30, norm=norm, samples=16).boxes[0]
    assert found.value == pytest.approx(best, rel=1e-12)


def test_finds_a_maximum_inside_the_box() -> None:
    """The difference of the tents is min(x, 0.6 - x) on [0, 0.5]: 0.3 at 0.3, and no corner comes near it."""
    pairing = match(tent(2, 3), tent(1, 1))
    region = Domain.box(0, 0.5).resolve(pairing.a)
    found = search(pairing, region, CPU, steps=40, norm="inf", samples=0).boxes[0]
    assert found.how == "ascent"
    assert 0.299 <= found.value <= 0.3 + 1e-6


def test_the_value_of_each_kind_of_point() -> None:
    """With the difference |x - 0.25|, and without ascent: the corner, the sample or the given input that is
    best."""
    s, t = Sketch(x=(1, 1)), Sketch(x=(1, 1))
    a = s.network(s.matmul("x", np.ones((1, 1), np.float32)))
    b = t.network(t.matmul("x", np.zeros((1, 1), np.float32), np.array([0.25], np.float32)))
    pairing = match(a, b)
    for low, high, how, value in ((0, 1, "corner", 0.75), (0, 0.25, "corner", 0.25)):
        found = search(pairing, Domain.box(low, high).resolve(a), CPU, steps=0, norm="inf").boxes[0]
        assert (found.how, found.value, found.before) == (how, value, value)
    found = search(
        pairing, Domain.samples(np.array([[0.75], [2.25]], np.float32)).resolve(a), CPU, steps=5, norm="inf"
    )
    assert [(box.how, box.value) for box in found.boxes] == [("given input", 0.5), ("given input", 2.0)]
    assert found.largest() == 1


@pytest.mark.parametrize("norm", NORMS)
def test_ascent_beats_sampling(norm: str) -> None:
    """On the digits network and its int8 twin, at an equal number of runs."""
    pairing = digits()
    region = Domain.box(0, 1).resolve(pairing.a)
    ascent = search(pairing, region, CPU, steps=15, norm=norm, samples=64)
    sampled = search(pairing, region, CPU, steps=0, norm=norm, samples=ascent.runs)
    assert ascent.boxes[0].how == "ascent"
    assert ascent.boxes[0].value > 1.3 * sampled.boxes[0].value
    assert ascent.boxes[0].value >= ascent.boxes[0].before


def test_repeats_itself_and_depends_on_the_seed() -> None:
    pairing = digits()
    with np.load(MODELS / "digits_test.npz") as data:
        region = Domain.around(data["x"][:3], 0.05, 0, 1).resolve(pairing.a)
    runs = [search(pairing, region, CPU, steps=6, norm="inf", samples=8, seed=seed) for seed in (0, 0, 1)]
    for one, two in zip(*(run.boxes for run in runs[:2]), strict=True):
        assert (one.value, one.how) == (two.value, two.how)
        assert all(np.array_equal(one.point[name], two.point[name]) for name in one.point)
    assert [box.before for box in runs[0].boxes] != [box.before for box in runs[2].boxes]


def test_how_many_points_run_at_once_matters_little() -> None:
    """Every box has a random generator of its own: the same points are tried however the boxes are divided
    into runs."""
    pairing = digits()
    with np.load(MODELS / "digits_test.npz") as data:
        region = Domain.around(data["x"][:5], 0.05, 0, 1).resolve(pairing.a)
    values = [
        [box.value for box in search(pairing, region, CPU, steps=0, norm="inf", rows=rows, samples=8).boxes]
        for rows in (1, 3, 64)
    ]
    np.testing.assert_allclose(values[0], values[1], rtol=1e-9)
    np.testing.assert_allclose(values[0], values[2], rtol=1e-9)


@pytest.mark.parametrize("norm", NORMS)
@examples(7)
@given(seed=st.integers(0, 2**32 - 1), kind=st.sampled_from(KINDS), boxes=st.integers(1, 3))
def test_points_are_float32_inside_their_box_and_values_are_true(
    norm: str, seed: int, kind: str, boxes: int
) -> None:
    rng = np.random.default_rng(seed)
    a = random_network(seed)
    b = perturb(a, kind, rng)
    center = {name: rng.uniform(-2, 2, (boxes, *a.shapes[name][1:])) for name in a.inputs}
    region = (
        Domain.around(center, 1 / 3, -2.0, 2.0).resolve(a)
        if boxes > 1
        else Domain.box(-0.1, 1 / 3).resolve(a)
    )
    found = search(match(a, b), region, CPU, steps=6, norm=norm, samples=4)
    assert len(found.boxes) == region.size
    for k, box in enumerate(found.boxes):
        for name, x in box.point.items():
            assert x.dtype == np.float32 and x.shape == a.shapes[name]
            assert (region.low[name][k] <= x[0].astype(np.float64)).all() and (
                x[0].astype(np.float64) <= region.high[name][k]
            ).all()
        exact = reference_value(a, b, box, norm)
        assert abs(box.value - exact) <= box.error + 1e-13 * exact
        assert (
            float(norms(np.concatenate([d.reshape(1, -1) for d in box.difference.values()], 1), norm)[0])
            == box.value
        )


@examples(20)
@given(
    seed=st.integers(0, 2**32 - 1), kind=st.sampled_from(KINDS),
    flavour=st.sampled_from(["plain", "sparse", "extreme"]),
    norm=st.sampled_from(NORMS),
)  # fmt: skip
def test_never_above_the_certified_bound(seed: int, kind: str, flavour: str, norm: str) -> None:
    rng = np.random.default_rng(seed)
    a = random_network(seed, flavour)
    pairing = match(a, perturb(a, kind, rng))
    radius = {
        name: np.abs(rng.normal(size=(2, *a.shapes[name][1:]))).astype(np.float32).astype(np.float64)
        for name in a.inputs
    }
    region = Region({name: -r for name, r in radius.items()}, radius, None, False)
    bounds = output_difference(pairing, radius, CPU)
    certified = []
    for name in a.outputs:
        reading, size = bounds[name], a.size_of(name)
        upper = (
            np.zeros(2 * size)
            if reading is None
            else [np.inf if (u := reading.upper(v).value) is None else u for v in reading.values.flatten()]
        )
        certified.append(np.reshape(upper, (2, size)))
    limits = np.concatenate(certified, 1)
    for k, box in enumerate(search(pairing, region, CPU, steps=8, norm=norm, samples=4).boxes):
        assert box.value is None or box.value - box.error <= norms(
            np.minimum(limits[k : k + 1], 1e150), norm
        )[0] * (1 + 1e-12)


def test_a_box_without_float32_numbers_is_searched_at_its_lower_end() -> None:
    pairing = match(linear(np.ones((2, 1))), linear(np.zeros((2, 1))))
    low = np.array([[0.1, 0.5]])
    found = search(
        pairing, Domain.box(low, low + [[0, 0.25]]).resolve(pairing.a), CPU, steps=3, norm="inf"
    ).boxes[0]
    assert found.point["x"].dtype == np.float64 and found.point["x"].tolist() == [[0.1, 0.75]]
    assert found.value == pytest.approx(0.85, abs=1e-15)


def test_a_network_without_a_batch_axis() -> None:
    def network(w: float) -> Network:
        s = Sketch(x=(3, 2))
        return s.network(s.transpose(s.matmul("x", np.full((2, 2), w, np.float32)), 1, 0), batched=False)

    pairing = match(network(1), network(0.5))
    found = search(pairing, Domain.box(-1, 1).resolve(pairing.a), CPU, steps=5, norm="inf")
    assert len(found.boxes) == 1 and found.boxes[0].value == 1 and found.boxes[0].point["x"].shape == (3, 2)


def test_values_that_overflow_are_no_result() -> None:
    pairing = match(linear(np.full((1, 1), 3e38)), linear(np.full((1, 1), -3e38)))
    found = search(pairing, Domain.box(2, 3).resolve(pairing.a), CPU, steps=3, norm="inf").boxes[0]
    assert found.value == pytest.approx(
        2 * float(np.float32(3e38)) * 2
    )  # of float32 runs none is finite: one corner in float64
    s, t = Sketch(x=(1, 1)), Sketch(x=(1, 1))
    huge = [
        sk.network(sk.matmul(sk.matmul("x", np.full((1, 1), 1e200)), np.full((1, 1), w)))
        for sk, w in ((s, 1e200), (t, -1e200))
    ]
    found = search(match(*huge), Domain.box(2, 3).resolve(huge[0]), CPU, steps=3, norm="inf").boxes[0]
    assert found.value is None and found.before is None and found.error == 0


def test_aims_at_the_outputs_with_the_largest_bounds() -> None:
    """Output 1 starts out smaller than output 0 everywhere that is tried first, but grows further."""
    s = Sketch(x=(1, 12))
    hidden = s.matmul(
        "x",
        np.concatenate([np.full((12, 1), 0.1), np.full((12, 1), 1.0)], 1).astype(np.float32),
        np.array([2, -11], np.float32),
    )
    a = s.network(s.relu(hidden))
    t = Sketch(x=(1, 12))
    zero = t.network(t.relu(t.matmul("x", np.zeros((12, 2), np.float32))))
    region = Domain.box(0, 1).resolve(a)
    bounds = {a.outputs[0]: np.array([[3.2, 5.0]])}
    found = search(match(a, zero), region, CPU, steps=4, norm="inf", samples=0, aim=bounds).boxes[0]
    assert found.value == pytest.approx(3.2, rel=1e-6)


@pytest.mark.parametrize("wrong", [{"steps": -1}, {"norm": "3"}, {"samples": -1}, {"rows": 0}])
def test_arguments_that_make_no_sense(wrong: dict) -> None:
    pairing = match(linear(np.ones((2, 1))), linear(np.zeros((2, 1))))
    with pytest.raises(UsageError):
        search(pairing, Domain.radius(1).resolve(pairing.a), CPU, **({"steps": 1, "norm": "inf"} | wrong))


def test_two_trainings_of_one_network(real_models: Path) -> None:
    """The ascent finds many times what corners and samples show, and stays below the certified bound."""
    pairing = match(*(onnxpath.load(real_models / f"cora_mnist_{kind}.onnx") for kind in ("point", "trades")))
    region = Domain.box(0, 1).resolve(pairing.a)
    found = search(pairing, region, CPU, steps=12, norm="inf", samples=32, rows=16).boxes[0]
    (bound,) = output_difference(pairing, region.radius(), CPU).values()
    assert found.value > 10 * found.before
    assert found.value <= max(bound.upper(value).value for value in bound.values.flatten())


# the files themselves


def on_files(pairing: Pairing, point: dict, files: tuple, norm: str = "inf") -> float:
    """The norm of the difference of what both files make of the networks' outputs at one point; NaN where
    they do not run."""
    return float(FilePair(files, (pairing.a, pairing.b), pairing=pairing).look(point).inner(norm)[0])


def test_verified_on_the_files() -> None:
    pairing = digits()
    paths = tuple(MODELS / f"digits_maxpool_cnn{twin}.onnx" for twin in ("", "_int8grid"))
    for norm in NORMS:
        found = search(pairing, Domain.box(0, 1).resolve(pairing.a), CPU, steps=5, norm=norm).boxes[0]
        # float32 outputs of size 10, whose difference is 0.1: 2e-7 · 10 · 10 / 0.1
        for files in (
            paths,
            tuple(path.read_bytes() for path in paths),
            tuple(onnx.load(path) for path in paths),
        ):
            assert on_files(pairing, found.point, files, norm) == pytest.approx(found.value, rel=1e-3)


def test_real_files_with_a_tail_and_with_other_names(real_models: Path) -> None:
    paths = tuple(real_models / f"slim320_{kind}.onnx" for kind in ("bn", "folded"))
    pairing = match(*(onnxpath.load(path) for path in paths))
    assert all(network.cut for network in (pairing.a, pairing.b))
    point = {name: np.full(pairing.a.shapes[name], 0.5, np.float32) for name in pairing.a.inputs}
    assert 0 < on_files(pairing, point, paths) < 1e-3


def test_files_that_do_not_run_give_a_reason(real_models: Path) -> None:
    path = real_models / "drones_ac4_double.onnx"
    network = onnxpath.load(path)
    pairing = match(network, network)
    pair = FilePair((path, path), (network, network), pairing=pairing)
    assert np.isnan(
        pair.look({name: np.ones(network.shapes[name], np.float32) for name in network.inputs}).inner("inf")
    ).all()
    seen = pair.seen()
    assert (
        seen.a.faithful is None and "ONNX Runtime cannot load it" in seen.a.reason and seen.difference is None
    )


def _with_softmax(kind: int, inputs: int = 2) -> onnx.ModelProto:
    weight = numpy_helper.from_array(np.eye(3, inputs).T.astype(helper.tensor_dtype_to_np_dtype(kind)), "w")
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["y"], axis=1),
    ]
    x, y = (
        helper.make_tensor_value_info(name, kind, ["n", size]) for name, size in (("x", inputs), ("y", 3))
    )
    graph = helper.make_graph(nodes, "g", [x], [y], [weight])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def test_logits_before_a_tail_with_weights_in_another_file(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    onnx.save(
        _with_softmax(TensorProto.FLOAT),
        path,
        save_as_external_data=True,
        location="weights.bin",
        size_threshold=0,
    )
    pairing = match(onnxpath.load(path), onnxpath.load(path))
    assert pairing.a.cut
    side = Side(path, pairing.a, Runtime())
    [sample] = side.run({"x": np.array([[2.0, 3.0]], np.float32)})
    assert sample.inner["y"].tolist() == [[2.0, 3.0, 0.0]] and sample.outputs["y"].sum() == pytest.approx(1)
    assert on_files(pairing, {"x": np.ones((1, 2), np.float32)}, (path, path)) == 0


def test_a_half_precision_input_is_fed_what_it_holds() -> None:
    """The file is held against its network at the numbers that it gets."""
    model = _with_softmax(TensorProto.FLOAT16)
    network = onnxpath.load(model)
    side = Side(model, network, Runtime())
    [sample] = side.run({"x": np.full((1, 2), 0.1, np.float32)})
    assert sample.inner["y"][0, 0] == np.float16(0.1) and side.verdict().faithful
