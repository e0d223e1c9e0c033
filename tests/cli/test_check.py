"""`onnxpath check`: exit codes, what a failure says, and documents."""

import json
from pathlib import Path

import numpy as np
import pytest
from cli_support import chain, save
from click.testing import CliRunner
from onnx import helper

from onnxpath.cli.main import cli

DENSE, PRUNED, RESPELLED = "digits_resnet.onnx", "digits_resnet_pruned40.onnx", "digits_resnet_bn.onnx"
NUMBER = {"value", "log10"}


# -- A and B
# ------------------------------------------------------------------------------------------------------------


def test_a_kept_budget_exits_0_and_an_exceeded_one_1(program, models):
    a, b = models / DENSE, models / PRUNED
    assert program("check", a, b, "--max-relative", "70%").code == 0
    found = program("check", a, b, "--max-relative", "50%")
    assert (found.code, found.err) == (1, "")


def test_a_failure_says_budget_value_limit_and_three_layers(program, models):
    a, b = models / DENSE, models / PRUNED
    found = program(
        "check", a, b, "--max-relative", "1%", "--max-path-norm-increase", "0", "--format", "json"
    ).document(1)
    assert set(found) == {"schema", "tool", "passed", "entries"}
    assert found["schema"] == "onnxpath.check/1" and found["passed"] is False
    [entry] = found["entries"]
    assert set(entry) == {"name", "passed", "a", "b", "budgets", "files", "interface", "notes"}
    relative, increase = entry["budgets"]
    assert set(relative) == {"name", "passed", *NUMBER, "limit", "certainty", "basis", "layers"}
    assert (relative["name"], relative["passed"], increase["name"], increase["passed"]) == (
        "max-relative", False, "max-path-norm-increase", True,
    )  # fmt: skip
    metric = json.loads(program("metric", a, b, "--format", "json").out)
    assert metric["relative"] <= relative["value"] <= metric["relative"] * (1 + 1e-3)
    assert relative["limit"]["value"] == 0.01
    assert -1 < increase["value"] < 0 and increase["log10"] is None
    largest = sorted(metric["layers"], key=lambda layer: -layer["share"])[:3]
    assert relative["layers"] == [{"name": layer["name"], "share": layer["share"]} for layer in largest]
    for output_format in ("table", "markdown"):
        text = program("check", a, b, "--max-relative", "1%", "--format", output_format).out
        assert "failed, 1 of 1 budget exceeded" in text
        assert all(
            word in text
            for word in ("max-relative", "60.24 %", "1 %", "EXCEEDED", *(layer["name"] for layer in largest))
        )


def test_a_respelled_network_passes_where_a_pruned_one_fails(program, models):
    budgets = ["--max-relative", "0.0001%", "--max-path-norm-increase", "0.0001%"]
    assert program("check", models / DENSE, models / RESPELLED, *budgets).code == 0
    assert program("check", models / DENSE, models / PRUNED, *budgets).code == 1


def test_bound_and_flip_rate(program, models):
    pair = models / "digits_maxpool_cnn.onnx", models / "digits_maxpool_cnn_int8grid.onnx"
    box = ["--low", "0", "--high", "1", "--inputs", models / "digits_test.npz", "--format", "json"]
    [entry] = program("check", *pair, "--max-bound", "1e6", "--max-flip-rate", "2%", *box).document()[
        "entries"
    ]
    bound, flips = entry["budgets"]
    assert (bound["certainty"], flips["certainty"]) == ("certified", "confidence")
    assert "0 of 450 inputs differ" in flips["basis"]
    assert flips["value"] == pytest.approx(1 - 0.01 ** (1 / 450), rel=1e-6)
    assert program("check", *pair, "--max-bound", bound["value"], *box[:4], "--format", "json").document()[
        "passed"
    ]
    below = np.nextafter(bound["value"], 0)
    assert not program("check", *pair, "--max-bound", below, *box[:4], "--format", "json").document(1)[
        "passed"
    ]
    # the inputs lie in the box, and one box a sample is smaller than the box of all
    [other] = program("check", *pair, "--max-bound", "1e6", *box[4:]).document()["entries"]
    assert other["budgets"][0]["value"] < bound["value"]


def test_agreement_is_what_certify_proves(program, models, tmp_path):
    """The share of `certify`; a limit of that share is kept, one above it is missed; a baseline may not
    fall."""
    pair = models / "digits_mlp.onnx", models / "digits_mlp_int8grid.onnx"
    images = tmp_path / "images.npz"
    with np.load(models / "digits_test.npz") as held:
        np.savez(images, **{name: held[name][:60] for name in held.files if held[name].ndim > 1})
    boxes = ["--inputs", images, "--epsilon", "0.02", "--low", "0", "--high", "1", "--format", "json"]
    total = program("certify", *pair, *boxes).document()["total"]["agree"]
    assert 0 < total["count"] < 60
    [budget] = program("check", *pair, "--min-agree", total["share"], *boxes).document()["entries"][0][
        "budgets"
    ]
    assert (budget["name"], budget["passed"], budget["certainty"], budget["layers"]) == (
        "min-agree",
        True,
        "certified",
        [],
    )
    assert budget["value"] == total["share"] and f"proved on {total['count']} of 60 boxes" in budget["basis"]
    assert not program("check", *pair, "--min-agree", np.nextafter(total["share"], 1), *boxes).document(1)[
        "passed"
    ]
    text = program("check", *pair, "--min-agree", "100%", *boxes[:-2]).out
    assert "MISSED" in text and "min-agree" in text
    baseline = tmp_path / "baseline.json"
    stored = ["--min-agree", "1%", *boxes, "--baseline", baseline]
    assert program("check", *pair, *stored, "--update-baseline").code == 0
    names = {
        budget["name"]: budget
        for budget in program("check", *pair, *stored).document()["entries"][0]["budgets"]
    }
    assert names["baseline-agree"]["passed"] and names["baseline-agree"]["limit"]["value"] == pytest.approx(
        total["share"] * 0.999
    )
    held = json.loads(baseline.read_text())
    held["pairs"][0]["values"]["agree"] = {"value": 1.0, "log10": 0.0}
    baseline.write_text(json.dumps(held))
    assert program("check", *pair, *stored).code == 1


def test_regression_has_no_agreement(refused, small_pairs):
    np.savez("x.npz", x=np.zeros((2, 2), np.float32))
    line = refused(
        "check", "a.onnx", "half.onnx", "--min-agree", "95%", "--inputs", "x.npz", "--epsilon", "0.1"
    )
    assert "predicted class" in line


def test_confidence_raises_the_limit_of_the_flip_rate(program, models):
    pair = models / DENSE, models / PRUNED
    inputs = ["--inputs", models / "digits_test.npz", "--max-flip-rate", "50%", "--format", "json"]
    usual, sure = (
        program("check", *pair, *inputs, *more).document()["entries"][0]["budgets"][0]
        for more in ([], ["--confidence", "0.999999"])
    )
    assert usual["value"] < sure["value"]
    assert "confidence 0.99" in usual["basis"] and "confidence 0.999999" in sure["basis"]


def test_what_the_document_holds_is_the_same_under_clicks_runner_and_twice(small_pairs):
    arguments = ["check", "a.onnx", "half.onnx", "--max-relative", "0.1", "--format", "json"]
    runs = [CliRunner().invoke(cli, arguments) for _ in range(2)]
    assert [run.exit_code for run in runs] == [1, 1]
    assert runs[0].stdout == runs[1].stdout and json.loads(runs[0].stdout)["passed"] is False


def test_a_limit_equal_to_the_value_is_kept(program, small_pairs):
    [entry] = program("check", "a.onnx", "half.onnx", "--max-metric", "100", "--format", "json").document()[
        "entries"
    ]
    value = entry["budgets"][0]["value"]
    assert 6 <= value < 6 * (1 + 1e-5)
    assert program("check", "a.onnx", "half.onnx", "--max-metric", repr(value)).code == 0
    assert (
        program("check", "a.onnx", "half.onnx", "--max-metric", repr(np.nextafter(value, 0).item())).code == 1
    )


def test_values_beyond_float64(program, tmp_path):
    deep = chain(tmp_path / "deep.onnx", [np.full((4, 4), 1e7)] * 50)
    half = chain(tmp_path / "half.onnx", [np.full((4, 4), 1e7)] * 49 + [np.full((4, 4), 0.5e7)])
    [entry] = program(
        "check", deep, half, "--max-metric", "1e308", "--max-relative", "0.51", "--format", "json"
    ).document(1)["entries"]
    relative, metric = entry["budgets"]
    assert relative["passed"] and not metric["passed"]
    assert metric["value"] is None and metric["log10"] > 370
    assert "e+380" in program("check", deep, half, "--max-metric", "1e308").out
    # from nothing next to 1 to 1e380: growth beyond float64
    tiny = chain(tmp_path / "tiny.onnx", [np.full((4, 4), 1e-7)] * 50)
    [entry] = program("check", tiny, deep, "--max-path-norm-increase", "1e300", "--format", "json").document(
        1
    )["entries"]
    assert entry["budgets"][0]["value"] is None and entry["budgets"][0]["log10"] > 600


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ["half.onnx", "no budget", "max-relative"]),
        (["--max-relative", "x"], ["max-relative", "'x'"]),
        (["--max-relative", "2"], ["never be exceeded"]),
        (["--max-bound", "1"], ["max-bound needs a domain"]),
        (["--max-bound", "1%", "--radius", "1"], ["max-bound", "'1%'"]),
        (["--max-bound", "1", "--low", "0"], ["there is no high"]),
        (["--max-bound", "1", "--radius", "1", "--low", "0"], ["two different domains"]),
        (["--max-bound", "1", "--radius", "-1"], ["radius"]),
        (["--max-bound", "1", "--radius", "1", "--epsilon", "1"], ["two different domains"]),
        (["--max-bound", "1", "--epsilon", "1"], ["no inputs"]),
        (["--max-bound", "1", "--low", "1", "--high", "0"], ["above"]),
        (["--max-relative", "1", "--radius", "1"], ["no max-bound"]),
        (["--max-relative", "1", "--norm", "1"], ["norm"]),
        (["--max-relative", "1", "--confidence", "0.9"], ["confidence"]),
        (["--max-relative", "1", "--tolerance", "1%"], ["tolerance"]),
        (["--max-flip-rate", "1%"], ["needs inputs"]),
        (["--min-agree", "95%"], ["min-agree needs inputs and epsilon"]),
        (["--min-agree", "95%", "--low", "0", "--high", "1"], ["min-agree needs inputs and epsilon"]),
        (["--min-agree", "0"], ["min-agree must be > 0"]),
        (["--min-agree", "101%"], ["min-agree", "never be kept"]),
        (["--max-flip-rate", "1%", "--inputs", "missing.npz"], ["missing.npz"]),
        (["--max-flip-rate", "1%", "--inputs", "a.onnx"], ["a.onnx", "npz"]),
        (["--max-relative", "1", "--config", "onnxpath.toml"], ["--config"]),
        (["--max-relative", "1", "--shape", "z=1x2"], ["'z'"]),
        (["--max-relative", "1", "--output", "xml=a"], ["junit=FILE"]),
        (["--baseline", "missing.json"], ["missing.json", "--update-baseline"]),
        (["--max-relative", "1", "--update-baseline"], ["no baseline to update"]),
    ],
)  # fmt: skip
def test_calls_that_could_not_fail_or_mean_nothing(refused, small_pairs, arguments, words):
    line = refused("check", "a.onnx", "half.onnx", *arguments)
    assert all(word in line for word in words), line


def test_arguments_and_configuration(refused, small_pairs):
    assert "Missing argument 'B'" in refused("check", "a.onnx", "--max-relative", "1")
    assert "--max-relative needs A and B" in refused("check", "--max-relative", "1")
    assert "nothing to check" in refused("check") and "onnxpath.toml" in refused("check")


def test_a_mismatch_is_an_error_and_leaves_stdout_empty(refused, models):
    line = refused(
        "check", models / DENSE, models / "digits_mlp.onnx", "--max-relative", "1", "--format", "json"
    )
    assert DENSE in line and "digits_mlp.onnx" in line


# -- activations beyond ReLU
# --------------------------------------------------------------------------------------------


def test_a_bound_needs_no_path_metric(program, refused, tmp_path):
    def curved(name: str, factor: float) -> Path:
        nodes = [
            helper.make_node("Gemm", ["x", "w"], ["h"], "first", transB=1),
            helper.make_node("Tanh", ["h"], ["t"], "curve"),
            helper.make_node("Gemm", ["t", "v"], ["y"], "last", transB=1),
        ]  # fmt: skip
        weights = {"w": np.array([[1, 2], [-1, 2]]), "v": np.array([[1, -3]]) * factor}
        return save(tmp_path / name, nodes, weights, {"x": [1, 2]}, {"y": [1, 1]})

    a, b = curved("a.onnx", 1), curved("b.onnx", 0.5)
    # |1/2 (tanh u - 3 tanh v)| <= 2, and at (1, 0) it is 2 tanh 1
    found = program("check", a, b, "--max-bound", "2.001", "--radius", "1", "--format", "json").document()
    assert 2 * np.tanh(1) <= found["entries"][0]["budgets"][0]["value"] <= 2.001
    line = refused("check", a, b, "--max-bound", "2.001", "--radius", "1", "--max-relative", "1")
    assert "'curve'" in line and "Tanh" in line
