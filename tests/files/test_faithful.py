"""A file that does not do what its network says is unfaithful, whatever the processor; one that does is
faithful, whatever its kernels round."""

import numpy as np
import onnx
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper
from oracle.networks import FLAVOURS, random_network

import onnxpath
from onnxpath.files.pair import FilePair
from onnxpath.files.runtime import DEFAULT, Runtime
from onnxpath.files.side import Side
from onnxpath.model.domain import Domain
from tests.files.support import CASES, classifier, model, tamper

DEFINITION = Runtime(options=(("graph_optimization_level", "disable_all"),))
X = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)


def held(source, network=None, points=None, runtime=DEFAULT):
    side = Side(source, network or onnxpath.load(source, extended=True), runtime)
    for _ in side.run({"x": X} if points is None else points):
        pass
    return side.verdict()


@pytest.mark.parametrize("tail", ["", "Softmax", "LogSoftmax", "Sigmoid"])
def test_a_file_is_faithful_to_its_own_network(tail: str) -> None:
    assert held(classifier(tail)).faithful is True


@pytest.mark.parametrize("tail", ["", "Softmax", "Sigmoid"])
@pytest.mark.parametrize("factor", [1.001, 0.0])
def test_a_file_is_not_faithful_to_another_network(tail: str, factor: float) -> None:
    """One weight of one layer off by a thousandth, or all of them gone."""
    other = classifier(tail)
    tensor = next(t for t in other.graph.initializer if t.name == "v")
    array = onnx.numpy_helper.to_array(tensor).copy()
    array[:1] *= factor
    tensor.CopyFrom(onnx.numpy_helper.from_array(array, "v"))
    found = held(classifier(tail), onnxpath.load(other))
    assert found.faithful is False and found.deviation > found.allowance and "unfaithful" in found.reason


def test_kernels_that_saturate_are_told_from_rounding(monkeypatch) -> None:
    """A stand-in for the runtime, on any processor: numbers cut off at a size that some of the points
    reach."""
    a, b = classifier().SerializeToString(), classifier(scale=1.001).SerializeToString()
    clean = FilePair((a, b), (onnxpath.load(a), onnxpath.load(b)))
    clean.look({"x": X})
    assert clean.seen().faithful
    tamper(monkeypatch, lambda y: np.minimum(y, np.float32(0.5)), lambda source: source == b)
    pair = FilePair((a, b), (onnxpath.load(a), onnxpath.load(b)))
    looked = pair.look({"x": X})
    seen = pair.seen()
    assert (
        (seen.a.faithful, seen.b.faithful) == (True, False)
        and seen.difference > 0.5
        and looked.difference.max() == seen.difference
    )


@pytest.mark.parametrize(
    "change", [lambda y: y * np.nan, lambda y: y[:, :2], lambda y: np.full_like(y, np.inf)]
)
def test_no_numbers_or_other_shapes_are_unfaithful(monkeypatch, change) -> None:
    a = classifier().SerializeToString()
    tamper(monkeypatch, change, lambda source: source == a)
    assert held(a).faithful is False


def test_a_file_that_is_not_run_is_not_confirmed() -> None:
    made = classifier()
    made.graph.node[1].op_type, made.graph.node[1].domain = "Unheard", "of.somebody"
    found = Side(made, onnxpath.load(classifier()), Runtime()).verdict()
    assert found.faithful is None and found.reason.startswith("not confirmed: ")


@examples(10)
@given(seed=st.integers(0, 10**6), flavour=st.sampled_from(FLAVOURS))
def test_passes_of_this_package_are_within_the_allowance_of_each_other(seed: int, flavour: str) -> None:
    """float32 against float64 evaluations of random networks: never called unfaithful."""
    from onnxpath.engine.session import Device
    from onnxpath.evaluate.forward import Forward
    from onnxpath.files.jitter import Jitter

    network = random_network(seed, flavour)
    rng = np.random.default_rng(seed)
    shapes = {
        name: (3, *network.shapes[name][1:]) if network.batched else network.shapes[name]
        for name in network.inputs
    }
    points = {
        name: rng.normal(size=shape).astype(np.float32).astype(np.float64) for name, shape in shapes.items()
    }
    [single] = Forward([network], Device("cpu", "float32")).run(points)
    [(exact, allowed)] = Jitter(network).allowances([points])
    assert all(float(np.abs(single[name] - exact[name]).max(initial=0.0)) <= allowed[name] for name in exact)


def test_a_small_output_beside_a_large_one_is_looked_at() -> None:
    """A deviation of a tenth of one output is not hidden by the rounding of another one, a million times as
    large."""

    def made(second: float) -> onnx.ModelProto:
        weights = {
            "v": np.full((4, 3), 1e6, np.float32) * X[:4, :3],
            "w": np.full((4, 2), second, np.float32),
        }
        nodes = [helper.make_node("MatMul", ["x", "v"], ["y"]), helper.make_node("MatMul", ["x", "w"], ["z"])]
        ports = [("y", TensorProto.FLOAT, ["n", 3]), ("z", TensorProto.FLOAT, ["n", 2])]
        return model(nodes, [("x", TensorProto.FLOAT, ["n", 4])], ports, weights)

    assert held(made(1e-3)).faithful is True
    found = held(made(1.1e-3), onnxpath.load(made(1e-3)))
    assert found.faithful is False and found.output == "z"


@pytest.mark.parametrize("kind", ["qdq", "qoperator"])
def test_a_quantized_file_beside_its_definition(kind: str) -> None:
    """Evaluated as it is written it is faithful; its integer kernels are or are not, as the processor has it,
    and what is said is so."""
    path, points = (
        CASES / "files" / f"sat_{kind}_u8s8.onnx",
        dict(np.load(CASES / "files" / "sat_inputs.npz")),
    )
    points = {"x": next(iter(points.values()))[:40]}
    network = onnxpath.load(path, extended=True)
    name = network.inputs[0]
    points = {name: points["x"]}
    if kind == "qdq":
        assert held(path, network, points, DEFINITION).faithful is True
    side, worst = Side(path, network, Runtime()), 0.0
    definition = Side(
        CASES / "files" / "sat_qdq_u8s8.onnx",
        onnxpath.load(CASES / "files" / "sat_qdq_u8s8.onnx", extended=True),
        DEFINITION,
    )
    for x, y in zip(side.run(points), definition.run(points), strict=True):
        worst = max(
            worst, float(np.abs(next(iter(x.outputs.values())) - next(iter(y.outputs.values()))).max())
        )
    assert side.verdict().faithful is (worst < 1e-3)


def test_half_precision_is_allowed_for() -> None:
    for name in ("fp16_converter_keep_io", "fp16_converter_nodes_renamed"):
        path = CASES / "files" / f"{name}.onnx"
        network = onnxpath.load(path, extended=True)
        images = next(iter(np.load(CASES / "files" / "images_100.npz").values()))[:20]
        found = held(path, network, {network.inputs[0]: images})
        assert found.faithful is True and 0 < found.deviation < 0.05


def test_outputs_are_those_of_one_input_at_a_time() -> None:
    """A Softmax along axis 0 mixes a batch: what a file gives for an input is what it gives for it alone."""
    made = classifier("Softmax")
    made.graph.node[3].attribute.append(helper.make_attribute("axis", 0))
    network = onnxpath.load(made)
    [*samples] = Side(made, network, Runtime()).run({"x": X})
    assert all((sample.outputs["y"] == 1).all() for sample in samples) and len(samples) == len(X)


def test_a_fixed_batch_is_filled() -> None:
    free, fixed = classifier(), classifier(batch=4)
    pair = FilePair((free, fixed), (onnxpath.load(free), onnxpath.load(fixed)))
    looked = pair.look({"x": X})
    assert (
        looked.complete
        and looked.difference.max() < 1e-5
        and looked.classes[0] == looked.classes[1]
        and pair.seen().faithful
    )


def test_inputs_without_a_batch() -> None:
    weights = {"w": np.eye(4, dtype=np.float32) * 2}
    made = model(
        [helper.make_node("MatMul", ["w", "x"], ["y"])],
        [("x", TensorProto.FLOAT, [4])],
        [("y", TensorProto.FLOAT, [4])],
        weights,
    )
    network = onnxpath.load(made)
    region = Domain.radius(1.0).resolve(network)
    from onnxpath.files import seeded

    pair = FilePair((made, made), (network, network))
    assert pair.look(seeded.inside(region, 3, not network.batched)).complete and pair.seen().faithful


def test_unused_inputs_are_zeros() -> None:
    made = classifier()
    made.graph.input.append(helper.make_tensor_value_info("unused", TensorProto.INT64, ["n", 2]))
    assert held(made).faithful is True


def test_what_overflows_in_the_file_alone_is_a_fault() -> None:
    """A network beyond float32 is infinite in its file; one that is not must not be, and differences beyond
    float64 are no small ones."""

    def made(*factors: float) -> onnx.ModelProto:
        nodes, last = [], "x"
        weights = {f"w{k}": np.full((4, 4), factor, np.float32) for k, factor in enumerate(factors)}
        for k in range(len(factors)):
            name = "y" if k + 1 == len(factors) else f"h{k}"
            nodes.append(helper.make_node("MatMul", [last, f"w{k}"], [name]))
            last = name
        return model(
            nodes, [("x", TensorProto.FLOAT, ["n", 4])], [("y", TensorProto.FLOAT, ["n", 4])], weights
        )

    huge, small = made(1e25, 1e25), made(1e5, 1e5)
    assert held(huge).faithful is True
    assert (
        held(huge, onnxpath.load(small)).faithful is False
        and held(small, onnxpath.load(huge)).faithful is False
    )


@pytest.mark.parametrize("ratio", [1e2, 1e4, 1e6])
@pytest.mark.parametrize("place", ["bias", "add"])
def test_normalizations_of_large_means_are_faithful(place: str, ratio: float) -> None:
    """What makes up for a mean is folded away in the network, while the file rounds it: in a bias before, or
    in one that is added behind a ReLU."""
    assert held(_normalized(place, ratio)).faithful is True


@pytest.mark.parametrize("place", ["bias", "add"])
def test_a_normalization_of_large_mean_hides_no_other_network(place: str) -> None:
    assert (
        held(_normalized(place, 1e4), onnxpath.load(_normalized(place, 1e4, epsilon=0.2))).faithful is False
    )


def _normalized(place: str, ratio: float, epsilon: float = 1e-5) -> onnx.ModelProto:
    """Gemm, BatchNormalization, Relu and MatMul, with a mean of `ratio` deviations that a constant makes up
    for."""
    rng, c = np.random.default_rng(0), 8
    ones, zeros, mean = np.ones(c), np.zeros(c), np.full(c, ratio)
    weights = {
        "w": rng.normal(size=(4, c)),
        "b": mean if place == "bias" else zeros,
        "k": mean,
        "ones": ones,
        "mean": mean,
    }
    weights |= {"beta": rng.normal(size=c), "u": rng.normal(size=(c, 3))}
    normal = helper.make_node(
        "BatchNormalization", ["h", "ones", "beta", "mean", "ones"], ["n"], name="bn", epsilon=epsilon
    )
    first = helper.make_node("Gemm", ["x", "w", "b"], ["h" if place == "bias" else "g"], name="first")
    if place == "bias":
        middle = [normal, helper.make_node("Relu", ["n"], ["r"], name="relu")]
    else:
        middle = [
            helper.make_node("Relu", ["g"], ["s"], name="relu"),
            helper.make_node("Add", ["s", "k"], ["h"], name="add"),
            normal,
        ]
    last = helper.make_node("MatMul", ["r" if place == "bias" else "n", "u"], ["y"], name="last")
    arrays = {name: array.astype(np.float32) for name, array in weights.items()}
    return model(
        [first, *middle, last],
        [("x", TensorProto.FLOAT, ["n", 4])],
        [("y", TensorProto.FLOAT, ["n", 3])],
        arrays,
    )
