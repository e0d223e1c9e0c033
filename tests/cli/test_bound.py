"""`onnxpath bound`: domains from options, documents, refusals, and the bug that a violated bound is."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from cli_support import chain, parse

from onnxpath.analyses.bound import difference_bounds


@pytest.fixture
def pair(models: Path) -> tuple[Path, Path]:
    return models / "digits_maxpool_cnn.onnx", models / "digits_maxpool_cnn_int8grid.onnx"


@pytest.fixture
def data(models: Path, tmp_path: Path) -> Path:
    arrays = np.load(models / "digits_test.npz")
    np.savez(tmp_path / "few.npz", x=arrays["x"][:12], y=arrays["y"][:12])
    return tmp_path / "few.npz"


def test_document_of_a_box(program, pair) -> None:
    document = program("bound", *pair, "--low", 0, "--high", 1, "--norm", 2, "--format", "json").document()
    assert document["schema"] == "onnxpath.bound/1"
    assert list(document) == [
        "schema", "tool", "a", "b", "domain", "norm", "outputs", "largest", "method", "layers", "extensions",
        "files", "interface", "notes",
    ]  # fmt: skip
    assert document["domain"] == {"kind": "box", "low": 0.0, "high": 1.0}
    (output,) = document["outputs"]
    assert output["name"] == "logits" and output["shape"] == [1, 10] and len(output["bounds"]) == 10
    largest = document["largest"]
    assert 0 < largest["found"]["value"] < largest["certified"]["value"]
    assert largest["ratio"] == pytest.approx(largest["certified"]["value"] / largest["found"]["value"])
    assert largest["certified"]["value"] == pytest.approx(float(np.linalg.norm(output["bounds"])), rel=1e-9)
    assert sum(layer["share"] for layer in document["layers"]) == pytest.approx(1)
    assert document["extensions"] == []


def test_the_same_call_gives_the_same_bytes(program, pair) -> None:
    runs = [program("bound", *pair, "--radius", 1, "--search", 3, "--format", "json").out for _ in range(2)]
    assert runs[0] == runs[1]


def test_inputs_flips_and_margins(program, pair, data) -> None:
    document = program(
        "bound", *pair, "--inputs", data, "--margin", "--confidence", 0.95, "--format", "json"
    ).document()
    assert [item["index"] for item in document["inputs"]] == list(range(12))
    assert all(item["found"]["value"] <= item["certified"]["value"] for item in document["inputs"])
    flips = document["flips"]
    assert (flips["differ"], flips["inputs"], flips["confidence"]) == (0, 12, 0.95)
    assert flips["upper_limit"] == pytest.approx(1 - 0.05 ** (1 / 12), rel=1e-9)
    assert document["margin"]["inputs"] == 12 and len(document["margin"]["changes"]) == 12
    table = program("bound", *pair, "--inputs", data, "--epsilon", 0.01, "--low", 0, "--high", 1, "-q")
    assert (
        table.code == 0 and "inputs whose class differs" in table.out and "every input by itself" in table.out
    )


def test_channels_and_arrays_as_limits(program, pair, tmp_path) -> None:
    np.savez(tmp_path / "high.npz", x=np.linspace(0, 1, 64).reshape(1, 8, 8))
    whole, cells = (
        program("bound", *pair, "--low", "0,", "--high", high, "--search", 0, "--format", "json")
        for high in ("1", tmp_path / "high.npz")
    )
    assert whole.code == 2 and "--low takes a number" in whole.err and cells.code == 2
    whole, cells = (
        program("bound", *pair, "--low", "0", "--high", high, "--search", 0, "--format", "json").document()
        for high in ("1", tmp_path / "high.npz")
    )
    assert cells["largest"]["certified"]["value"] < whole["largest"]["certified"]["value"]
    assert cells["domain"]["high"] == {"x": {"min": 0.0, "max": 1.0}}


def test_compare_and_markdown(program, models) -> None:
    pair = models / "digits_mlp.onnx", models / "digits_mlp_int8grid.onnx"
    found = program("bound", *pair, "--radius", 1, "--compare", "--search", 1, "--format", "markdown")
    assert found.code == 0
    for name in (
        "sharp difference pass",
        "Theorem 3.1",
        "Theorem E.1",
        "product of spectral operator norms",
        "has one",
    ):
        assert name in found.out


@pytest.mark.parametrize(
    "options, message",
    [
        ((), "name the inputs"),
        (("--low", 0), "--high"),
        (("--radius", -1), "radius must be >= 0"),
        (("--radius", "nan"), "not finite"),
        (("--radius", 1, "--low", 0, "--high", 1), "two domains"),
        (("--epsilon", 1), "--epsilon needs --inputs"),
        (("--low", 2, "--high", 1), "above the high limit"),
        (("--low", "0,0", "--high", 1), "shape [2]"),
        (("--inputs", "missing.npz"), "missing.npz"),
        (("--radius", 1, "--margin"), "--inputs"),
        (("--radius", 1, "--confidence", 2), "confidence"),
    ],
)
def test_refusals(refused, pair, options, message) -> None:
    assert message in refused("bound", *pair, *options)


@pytest.mark.parametrize(
    "array, message",
    [
        (np.zeros((2, 1, 8, 7), np.float32), "shape [2, 1, 8, 7], expected [any number, 1, 8, 8]"),
        (np.full((2, 1, 8, 8), np.nan, np.float32), "NaN"),
        (np.array([["a"]]), "not numbers"),
        (np.zeros((0, 1, 8, 8), np.float32), "shape [0, 1, 8, 8]"),
    ],
)
def test_refused_inputs(refused, pair, tmp_path, array, message) -> None:
    np.savez(tmp_path / "x.npz", x=array)
    assert message in refused("bound", *pair, "--inputs", tmp_path / "x.npz")


def test_inputs_outside_the_limits(refused, pair, data) -> None:
    message = refused("bound", *pair, "--inputs", data, "--epsilon", 0.1, "--low", 0.5, "--high", 1)
    assert "sample 0 lies below the low limit (12 of 12 do)" in message
    assert "epsilon must be >= 0" in refused("bound", *pair, "--inputs", data, "--epsilon", "-1")


def test_networks_of_different_structure(refused, models) -> None:
    assert "first difference" in refused(
        "bound", models / "digits_mlp.onnx", models / "digits_resnet.onnx", "--radius", 1
    )


def test_margins_need_classes(refused, tmp_path) -> None:
    path = chain(tmp_path / "regression.onnx", [np.ones((3, 2)), np.ones((1, 3))])
    np.savez(tmp_path / "x.npz", x=np.ones((2, 2)))
    assert "no single output of class scores" in refused(
        "bound", path, path, "--inputs", tmp_path / "x.npz", "--margin"
    )


def test_a_violated_bound_is_reported_with_what_reproduces_it(program, pair, tmp_path, monkeypatch) -> None:
    honest = difference_bounds.bounds

    def wrong(*arguments):
        found = honest(*arguments)
        return replace(
            found, outputs={k: replace(v, exponent=v.exponent - 30) for k, v in found.outputs.items()}
        )

    monkeypatch.setattr(difference_bounds, "bounds", wrong)
    monkeypatch.chdir(tmp_path)
    found = program("bound", *pair, "--radius", 1)
    assert found.code == 101 and found.out == ""
    assert "this is a bug" in found.err and "--inputs onnxpath-violation.npz" in found.err
    assert np.load(tmp_path / "onnxpath-violation.npz")["x"].shape == (1, 1, 8, 8)


def test_json_file_beside_the_table(program, pair, tmp_path) -> None:
    found = program("bound", *pair, "--radius", 1, "--search", 0, "--output", f"json={tmp_path / 'b.json'}")
    assert found.code == 0 and "certified, inf-norm" in found.out
    assert parse((tmp_path / "b.json").read_text())["schema"] == "onnxpath.bound/1"
