"""`onnxpath certify`: documents, the gate, counterexamples, resumption, refusals."""

from pathlib import Path

import numpy as np
import pytest
from cli_support import chain


@pytest.fixture
def call(models: Path, tmp_path: Path) -> list[object]:
    arrays = np.load(models / "digits_test.npz")
    np.savez(tmp_path / "few.npz", x=arrays["x"][:20])
    pair = models / "digits_maxpool_cnn.onnx", models / "digits_maxpool_cnn_int8grid.onnx"
    return ["certify", *pair, "--inputs", tmp_path / "few.npz", "--low", 0, "--high", 1, "--search", 2]


def test_document(program, call) -> None:
    document = program(*call, "--epsilon", 0.002, "--format", "json").document()
    assert document["schema"] == "onnxpath.certify/1" and document["total"]["inputs"] == 20
    assert sum(document["total"][verdict]["count"] for verdict in ("agree", "disagree", "undecided")) == 20
    assert [item["index"] for item in document["inputs"]] == list(range(20))
    for item in document["inputs"]:
        assert item["found"]["value"] <= item["certified"]["value"] and len(item["changes"]) == 9
        assert item["margin_a"] > 0 or item["verdict"] != "agree"


def test_the_gate(program, call) -> None:
    assert program(*call, "--epsilon", 0.001, "--min-agree", "90%", "-q").code == 0
    found = program(*call, "--epsilon", 0.5, "--effort", 0, "--min-agree", 0.5, "-q")
    assert found.code == 1 and "FAILED" in found.out


def test_counterexamples(program, models, call, tmp_path) -> None:
    call[1:3] = [models / "digits_resnet.onnx", models / "digits_resnet_pruned40.onnx"]
    document = program(
        *call, "--epsilon", 0.05, "--effort", 1, "--counterexamples", tmp_path / "c.npz", "--format", "json"
    ).document()
    found = np.load(tmp_path / "c.npz")
    indices = [item["index"] for item in document["inputs"] if item["verdict"] == "disagree"]
    assert found["index"].tolist() == indices and len(found["x"]) == len(indices) > 0
    classes = [item["classes"] for item in document["inputs"] if item["verdict"] == "disagree"]
    assert [
        {"a": a, "b": b} for a, b in zip(found["class_a"].tolist(), found["class_b"].tolist(), strict=True)
    ] == classes


def test_resumed_runs_print_the_same(program, call, tmp_path) -> None:
    rest = ["--epsilon", 0.01, "--effort", 1, "--format", "json", "--resume", tmp_path / "journal"]
    first, second = (program(*call, *rest) for _ in range(2))
    assert first.code == 0 and first.out == second.out
    assert "journal" in program(*call, *rest[:1], 0.02, *rest[2:]).err


def test_regression_networks_have_differences_and_no_verdicts(program, refused, tmp_path) -> None:
    path = chain(tmp_path / "regression.onnx", [np.ones((3, 2)), np.ones((1, 3))])
    np.savez(tmp_path / "x.npz", x=np.ones((2, 2)))
    arguments = ["certify", path, path, "--inputs", tmp_path / "x.npz", "--epsilon", 0.1]
    document = program(*arguments, "--format", "json").document()
    assert "agree" not in document["total"] and all(item["verdict"] is None for item in document["inputs"])
    assert "no class scores" in refused(*arguments, "--min-agree", "95%")


@pytest.mark.parametrize(
    "options, message",
    [
        (("--epsilon", "-1"), "epsilon must be >= 0"),
        (("--epsilon", "x"), "--epsilon takes a number"),
        (("--epsilon", "0.1", "--min-agree", "101%"), "min-agree 101% can never be kept"),
        (("--epsilon", "0.1", "--min-agree", "0"), "min-agree must be > 0"),
        (("--epsilon", "0.1", "--low", "0.9"), "below the low limit"),
        ((), "--epsilon"),
        (("--epsilon", "0.1", "--time-limit", "0"), "time limit"),
        (("--epsilon", "0.1", "--counterexamples", "/nowhere/x.npz"), "/nowhere"),
    ],
)
def test_refusals(refused, call, options, message) -> None:
    assert message in refused(*call, *options)
