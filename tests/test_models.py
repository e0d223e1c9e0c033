"""The models in models/ are what models/README.md says: accuracy, size, and how each twin differs from its
original.

Every file listed in the README's table is checked against its row, so a model cannot be added without a claim
or a claim without a model. Nothing is trained here.
"""

import re
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

MODELS = Path(__file__).resolve().parents[1] / "models"
ROW = re.compile(
    r"^\| (?P<file>\S+\.onnx) \| [^|]+ \| (?P<hits>\d+)/(?P<total>\d+) \((?P<percent>[\d.]+) %\) \|"
    r" (?P<bytes>[\d,]+) \|"
)
CLAIMS = {
    row["file"]: row
    for row in map(ROW.match, (MODELS / "README.md").read_text(encoding="utf-8").splitlines())
    if row
}
TWINS = {
    "digits_resnet_pruned40.onnx": "digits_resnet.onnx",
    "digits_mlp_int8grid.onnx": "digits_mlp.onnx",
    "digits_maxpool_cnn_int8grid.onnx": "digits_maxpool_cnn.onnx",
}


@cache
def digits() -> tuple[np.ndarray, np.ndarray]:
    with np.load(MODELS / "digits_test.npz") as data:
        return data["x"], data["y"]


@cache
def proto(file: str) -> onnx.ModelProto:
    return onnx.load(MODELS / file)


@cache
def logits(file: str) -> np.ndarray:
    session = onnxruntime.InferenceSession(MODELS / file, providers=["CPUExecutionProvider"])
    return session.run(["logits"], {"x": digits()[0]})[0]


def initializers(file: str) -> dict[str, np.ndarray]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in proto(file).graph.initializer}


def weights(file: str) -> dict[str, np.ndarray]:
    """The second operand of every Conv and Gemm, by initializer name."""
    stored = initializers(file)
    return {
        node.input[1]: stored[node.input[1]]
        for node in proto(file).graph.node
        if node.op_type in ("Conv", "Gemm")
    }


def nodes(file: str, op: str) -> list[onnx.NodeProto]:
    return [node for node in proto(file).graph.node if node.op_type == op]


def test_the_table_lists_exactly_the_models() -> None:
    assert set(CLAIMS) == {path.name for path in MODELS.glob("*.onnx")}
    assert len(CLAIMS) == 8


def test_held_out_digits() -> None:
    x, y = digits()
    assert x.dtype == np.float32 and x.shape == (450, 1, 8, 8)
    assert y.dtype == np.int64 and y.shape == (450,)
    assert x.min() == 0 and x.max() == 1
    assert np.array_equal(x * 16, np.rint(x * 16)), "pixels are sixteenths"
    assert np.bincount(y).min() >= 43, "a quarter of every class"


@pytest.mark.parametrize("file", CLAIMS)
def test_claimed_accuracy(file: str) -> None:
    hits = int(np.sum(np.argmax(logits(file), axis=1) == digits()[1]))
    # The two largest logits are never closer than 1e-3, far above float32 rounding: the count is exact on any
    # processor.
    ranked = np.sort(logits(file), axis=1)
    assert np.min(ranked[:, -1] - ranked[:, -2]) > 1e-3
    assert (hits, len(digits()[1])) == (int(CLAIMS[file]["hits"]), int(CLAIMS[file]["total"]))
    assert float(CLAIMS[file]["percent"]) == round(100 * hits / 450, 1)
    assert hits / 450 > (0.97 if file.startswith("digits_resnet") else 0.95)


@pytest.mark.parametrize("file", CLAIMS)
def test_file(file: str) -> None:
    size = (MODELS / file).stat().st_size
    assert size == int(CLAIMS[file]["bytes"].replace(",", "")) and size < 1_000_000
    model = proto(file)
    onnx.checker.check_model(model, full_check=True)
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 17)]
    (x,), (y,) = model.graph.input, model.graph.output
    assert (x.name, y.name) == ("x", "logits")
    assert [dim.dim_param or dim.dim_value for dim in x.type.tensor_type.shape.dim] == ["batch", 1, 8, 8]
    assert [dim.dim_param or dim.dim_value for dim in y.type.tensor_type.shape.dim] == ["batch", 10]
    assert all(np.isfinite(value).all() for value in initializers(file).values())


@pytest.mark.parametrize("file", CLAIMS)
def test_one_image_at_a_time_gives_the_same_logits(file: str) -> None:
    session = onnxruntime.InferenceSession(MODELS / file, providers=["CPUExecutionProvider"])
    single = np.concatenate(
        [session.run(["logits"], {"x": image[np.newaxis]})[0] for image in digits()[0][:5]]
    )
    np.testing.assert_allclose(single, logits(file)[:5], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("file", [name for name in CLAIMS if name.startswith("digits_resnet")])
def test_residual_structure(file: str) -> None:
    counts = {
        op: len(nodes(file, op))
        for op in ("Conv", "Add", "MaxPool", "GlobalAveragePool", "Gemm", "BatchNormalization")
    }
    normalized = 8 if file == "digits_resnet_bn.onnx" else 0
    assert counts == {
        "Conv": 8,
        "Add": 3,
        "MaxPool": 1,
        "GlobalAveragePool": 1,
        "Gemm": 1,
        "BatchNormalization": normalized,
    }


def test_normalization_is_kept_in_inference_form() -> None:
    for node in nodes("digits_resnet_bn.onnx", "BatchNormalization"):
        training = [attribute.i for attribute in node.attribute if attribute.name == "training_mode"]
        assert training in ([], [0]) and len(node.output) == 1 and len(node.input) == 5
    assert all(len(node.input) == 2 for node in nodes("digits_resnet_bn.onnx", "Conv")), (
        "no bias before a normalization"
    )
    assert all(len(node.input) == 3 for node in nodes("digits_resnet.onnx", "Conv"))


def test_folded_and_unfolded_agree() -> None:
    # Logits stay below 10, where neighbouring float32 numbers are 1e-6 apart: ten such steps for eight layers
    # in a row.
    np.testing.assert_allclose(
        logits("digits_resnet_bn.onnx"), logits("digits_resnet.onnx"), rtol=0, atol=1e-5
    )


@pytest.mark.parametrize(("twin", "original"), TWINS.items())
def test_a_twin_changes_weights_and_nothing_else(twin: str, original: str) -> None:
    restored = onnx.ModelProto()
    restored.CopyFrom(proto(twin))
    changed = set()
    for tensor, source in zip(restored.graph.initializer, proto(original).graph.initializer, strict=True):
        if tensor != source:
            changed.add(tensor.name)
            tensor.CopyFrom(source)
    assert restored == proto(original)
    assert changed <= set(weights(original))
    assert len(changed) > 1


def test_pruned_has_the_smallest_forty_percent_removed() -> None:
    dense = np.concatenate([value.ravel() for value in weights("digits_resnet.onnx").values()])
    sparse = np.concatenate([value.ravel() for value in weights("digits_resnet_pruned40.onnx").values()])
    gone = sparse == 0
    assert np.all(dense != 0)
    assert np.count_nonzero(gone) == round(0.4 * dense.size)
    assert np.array_equal(sparse[~gone].view(np.uint32), dense[~gone].view(np.uint32)), (
        "bit-identical where kept"
    )
    assert np.abs(dense[gone]).max() <= np.abs(dense[~gone]).min()


def test_finetuned_is_a_general_pair() -> None:
    before, after = weights("digits_resnet.onnx"), weights("digits_resnet_finetuned.onnx")
    assert [value.shape for value in before.values()] == [value.shape for value in after.values()]
    for old, new in zip(before.values(), after.values(), strict=True):
        assert np.any(np.abs(new) > np.abs(old)) and np.any(np.abs(new) < np.abs(old))
    assert any(np.any(old * new < 0) for old, new in zip(before.values(), after.values(), strict=True))


@pytest.mark.parametrize(
    ("twin", "per_channel"), [("digits_mlp_int8grid.onnx", False), ("digits_maxpool_cnn_int8grid.onnx", True)]
)
def test_weights_lie_on_the_int8_grid(twin: str, per_channel: bool) -> None:
    for name, weight in weights(TWINS[twin]).items():
        rounded = weights(twin)[name]
        axes = tuple(range(1, weight.ndim)) if per_channel else None
        step = np.abs(weight).max(axis=axes, keepdims=True).astype(np.float64) / 127
        level = rounded / step
        # |level| <= 127 carries two float32 roundings (of step and product): 127 * 2 * 2^-24 < 2e-5
        np.testing.assert_allclose(level, np.rint(level), rtol=0, atol=2e-5)
        assert np.abs(np.rint(level)).max() == 127
        assert np.all(np.abs(rounded.astype(np.float64) - weight) <= step * (0.5 + 4e-5))
        assert np.all(rounded * weight >= 0)
