"""compare: any two files that ONNX Runtime runs."""

import json

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import onnxpath
from tests.files.support import CASES, classifier, model

X = np.random.default_rng(1).normal(size=(7, 4)).astype(np.float32)


def run(file, x: np.ndarray) -> np.ndarray:
    import onnxruntime

    return onnxruntime.InferenceSession(file.SerializeToString()).run(None, {"x": x})[0]


def test_numbers_are_those_of_the_files() -> None:
    a, b = classifier("Softmax"), classifier("Softmax", scale=1.3)
    found = onnxpath.compare(a, b, {"x": X})
    apart = np.abs(
        np.concatenate([run(a, X[k : k + 1]) - run(b, X[k : k + 1]) for k in range(len(X))]).astype(
            np.float64
        )
    )
    (output,) = found.outputs
    assert output.largest == pytest.approx(apart.max(), abs=1e-7) and output.mean == pytest.approx(
        apart.mean(), abs=1e-7
    )
    assert (output.index, output.entry) == np.unravel_index(apart.argmax(), apart.shape)
    assert np.sort(apart.ravel())[int(np.ceil(0.99 * apart.size)) - 1] == pytest.approx(
        output.quantile, abs=1e-7
    )
    assert (
        output.relative == pytest.approx(output.largest / output.size)
        and found.inputs == 7
        and found.source == "given"
    )
    flips = sum(run(a, X[k : k + 1]).argmax() != run(b, X[k : k + 1]).argmax() for k in range(len(X)))
    assert found.differing == flips and not found.interface


def test_files_that_have_nothing_in_common_but_inputs() -> None:
    wide = model(
        [helper.make_node("Softmax", ["x"], ["s"], axis=-1), helper.make_node("MatMul", ["s", "v"], ["y"])],
        [("x", TensorProto.FLOAT, ["n", 4])], [("y", TensorProto.FLOAT, ["n", 3])],
        {"v": np.ones((4, 3), np.float32)},
    )  # fmt: skip
    found = onnxpath.compare(classifier(), wide, {"x": X})
    assert found.comparable and found.largest > 0 and found.differing is not None


def test_documents_are_the_same_twice_and_hold_only_numbers(tmp_path) -> None:
    a, b = classifier(), classifier(seed=1)
    texts = [json.dumps(onnxpath.compare(a, b).to_dict(), allow_nan=False) for _ in range(2)]
    assert texts[0] == texts[1] and json.loads(texts[0])["schema"] == "onnxpath.compare/1"


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("softmax_axis0", "tail"),
        ("softmax_twice", "tail"),
        ("logsoftmax", "tail"),
        ("int32", "types"),
        ("argmax", "types"),
    ],
)
def test_ends_that_differ_are_seen(name: str, kind: str) -> None:
    first = "tail_logits" if name in ("int32", "argmax") else "tail_softmax"
    found = onnxpath.compare(
        CASES / "files" / f"{first}.onnx",
        CASES / "files" / f"tail_{name}.onnx",
        np.load(CASES / "files" / "tail_inputs.npz"),
    )
    assert kind in {change.kind for change in found.interface}
    assert not found.comparable if name == "argmax" else found.largest > 0.2


def test_a_file_that_mixes_a_batch_is_told() -> None:
    made = classifier("Softmax")
    made.graph.node[3].attribute.append(helper.make_attribute("axis", 0))
    found = onnxpath.compare(classifier("Softmax"), made, {"x": X})
    assert (
        found.mixed[0] < 1e-5
        and found.mixed[1] > 0.1
        and any("mixes the inputs of a batch" in note for note in found.notes)
    )


def test_token_numbers_and_masks_are_made() -> None:
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["e"]),
        helper.make_node("Cast", ["mask"], ["m"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["m", "last"], ["u"]), helper.make_node("Mul", ["e", "u"], ["y"]),
    ]  # fmt: skip
    ports = [("ids", TensorProto.INT64, ["batch", "seq"]), ("mask", TensorProto.INT64, ["batch", "seq"])]
    tables = [
        {
            "table": np.random.default_rng(k).normal(size=(12, 5)).astype(np.float32),
            "last": np.array([2], np.int64),
        }
        for k in (0, 1)
    ]
    files = [model(nodes, ports, [("y", TensorProto.FLOAT, ["batch", "seq", 5])], table) for table in tables]
    found = onnxpath.compare(*files)
    assert (
        found.source == "seeded"
        and found.largest > 0
        and found.made["shapes"] == {"ids": [1, 8], "mask": [1, 8]}
    )
    fixed = onnxpath.compare(*files, shapes={"ids": (1, 3), "mask": (1, 3)}, low=0, high=11)
    assert fixed.outputs[0].shapes[0] == (1, 3, 5)


def test_maps_and_labels(tmp_path) -> None:
    """A tree-like file of ai.onnx.ml: labels as text, probabilities as a sequence of maps."""

    def made(bias: float) -> onnx.ModelProto:
        nodes = [
            helper.make_node("LinearClassifier", ["x"], ["label", "p"], domain="ai.onnx.ml",
            coefficients=[1.0, -1.0, 0.5, bias],
                             intercepts=[0.0, 0.1], classlabels_strings=["cat", "dog"],
                             post_transform="SOFTMAX"),
            helper.make_node("ZipMap", ["p"], ["probabilities"], domain="ai.onnx.ml",
            classlabels_strings=["cat", "dog"]),
        ]  # fmt: skip
        graph = helper.make_graph(
            nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 2])],
            [helper.make_tensor_value_info("label", TensorProto.STRING, ["n"]),
             helper.make_value_info("probabilities", helper.make_sequence_type_proto(
                 helper.make_map_type_proto(TensorProto.STRING,
                 helper.make_tensor_type_proto(TensorProto.FLOAT, []))))],
        )  # fmt: skip
        return helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 1)],
            ir_version=8,
        )

    x = np.array([[3.0, 0.0], [0.0, 3.0], [-2.0, 1.0]], np.float32)
    same, other = (
        onnxpath.compare(made(1.0), made(1.0), {"x": x}),
        onnxpath.compare(made(1.0), made(-9.0), {"x": x}),
    )
    assert (
        same.differing == 0
        and same.outputs[1].largest == 0
        and other.differing > 0
        and other.outputs[1].largest > 0.1
    )


def test_errors_say_which_file_and_what() -> None:
    a = classifier()
    with pytest.raises(onnxpath.UsageError, match="no samples for input 'x'"):
        onnxpath.compare(a, a, {"y": X, "z": X})
    with pytest.raises(onnxpath.UsageError, match=r"have shape \[7, 3\], expected \[n, 4\]"):
        onnxpath.compare(a, a, {"x": X[:, :3]})
    with pytest.raises(onnxpath.ModelError, match="cannot load it"):
        onnxpath.compare(a, b"no model")
    with pytest.raises(onnxpath.UsageError, match="networks"):
        onnxpath.compare(a, onnxpath.load(a))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("threads", "KEY=VALUE"),
        ("graph_optimization_level=most", "not one of"),
        ("intra_op=1", "not an option"),
    ],
)
def test_options_that_onnx_runtime_would_not_know(text: str, why: str) -> None:
    from onnxpath.files.runtime import Runtime

    with pytest.raises(onnxpath.UsageError, match=why):
        Runtime.parse("cpu", [text])
    with pytest.raises(onnxpath.ProviderError, match="no provider 'abacus'"):
        Runtime("abacus").provider_name()
