"""`inspect`, `norm` and `metric`: what they answer, with every option, in every format."""

import re

import numpy as np
import pytest
from cli_support import PAIRS, chain, needed, parse, save
from click.testing import CliRunner
from onnx import helper

from onnxpath.cli.main import COMMANDS, cli, run

TOOL = {"name", "version", "onnx", "onnxruntime", "provider", "precision", "products"}
NUMBER = {"value", "log10"}


@pytest.fixture
def small(tmp_path):
    """W2 relu(W1 x) with l1 path-norm 1·1 + 1·2 + 3·|-1| + 3·2 + 0 = 12: rows |W2| = (1, 3), row sums of |W1|
    = (3, 3)."""
    return chain(tmp_path / "small.onnx", [np.array([[1, 2], [-1, 2]]), np.array([[1, -3]])])


@pytest.fixture
def two_outputs(tmp_path):
    nodes = [
        helper.make_node("Gemm", ["x", "w"], ["h"], "trunk", transB=1),
        helper.make_node("Relu", ["h"], ["r"], "relu"),
        helper.make_node("Gemm", ["r", "u"], ["left"], "left_head", transB=1),
        helper.make_node("Gemm", ["r", "v"], ["right"], "right_head", transB=1),
    ]
    weights = {"w": np.eye(2), "u": np.full((1, 2), 2.0), "v": np.full((3, 2), -1.0)}
    return save(tmp_path / "two.onnx", nodes, weights, {"x": [1, 2]}, {"left": [1, 1], "right": [1, 3]})


@pytest.fixture
def dynamic(tmp_path):
    """A convolution whose input has symbolic height and width."""
    node = helper.make_node("Conv", ["x", "w"], ["y"], "conv", kernel_shape=[1, 1])
    return save(
        tmp_path / "dynamic.onnx",
        [node],
        {"w": np.ones((2, 3, 1, 1))},
        {"x": ["n", 3, "h", "w_"]},
        {"y": ["n", 2, "h", "w_"]},
    )


# -- every command
# ------------------------------------------------------------------------------------------------------


def test_inspect_json(program, models):
    found = program("inspect", models / "digits_resnet.onnx", "--format", "json").document()
    assert set(found) == {
        "schema", "tool", "model", "inputs", "outputs", "neurons", "parameters", "depth", "paths",
        "max_pool_kernels", "operators",
        "dimensions", "rescaling_groups", "folded", "cut", "notes",
    }  # fmt: skip
    assert found["dimensions"] == {"depth": 10, "kernel": 9, "pools": 1, "input": 64, "output": 10}
    assert found["schema"] == "onnxpath.inspect/1"
    assert set(found["tool"]) == TOOL
    assert found["inputs"] == [{"name": "x", "shape": [1, 1, 8, 8]}]
    assert found["outputs"] == [{"name": "logits", "shape": [1, 10]}]
    assert found["parameters"]["zeros"] == 0
    assert found["operators"]["Conv"] == 8
    assert found["max_pool_kernels"] == [9]
    assert set(found["paths"]) == NUMBER and found["paths"]["log10"] > 10


def test_norm_json(program, small):
    found = program("norm", small, "--format", "json").document()
    assert set(found) == {"schema", "tool", "model", "norms", "notes"}
    assert found["schema"] == "onnxpath.norm/1"
    assert set(found["tool"]) == TOOL
    assert found["model"]["path"] == str(small) and re.fullmatch("[0-9a-f]{64}", found["model"]["sha256"])
    assert [norm["q"] for norm in found["norms"]] == [1, 2]
    one, two = (norm["value"] for norm in found["norms"])
    assert one == pytest.approx(12, rel=1e-6)
    assert two == pytest.approx(np.sqrt(5 * (1 + 9)), rel=1e-6)
    assert all(0 <= norm["relative_error"] < 1e-5 for norm in found["norms"])
    assert found["norms"][0]["log10"] == pytest.approx(np.log10(12), rel=1e-6)


def test_metric_json(program, models):
    a, b = models / "digits_resnet.onnx", models / "digits_resnet_pruned40.onnx"
    found = program("metric", a, b, "--format", "json").document()
    assert set(found) == {
        "schema",
        "tool",
        "a",
        "b",
        "path_metric",
        "relative",
        "bound",
        "outputs",
        "layers",
        "interface",
        "notes",
    }
    assert found["schema"] == "onnxpath.metric/1"
    assert set(found["tool"]) == TOOL
    assert [found[side]["path"] for side in "ab"] == [str(a), str(b)]
    assert all(
        set(found[side]) == {"path", "sha256", "path_norm"} and set(found[side]["path_norm"]) == NUMBER
        for side in "ab"
    )
    assert {"lower", "upper", "exact", "method"} <= set(found["path_metric"])
    assert all(set(found["path_metric"][end]) == NUMBER for end in ("lower", "upper"))
    assert set(found["bound"]) == {"input_bound", *NUMBER}
    assert all(
        set(layer) == {"name", "share", "metric"} and set(layer["metric"]) == NUMBER
        for layer in found["layers"]
    )
    assert [output["name"] for output in found["outputs"]] == ["logits"]


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("output_format", ["table", "json", "markdown"])
def test_every_format_prints_the_same_bytes_twice(program, models, command, output_format, tmp_path):
    operands = ["digits_mlp.onnx", "digits_mlp_int8grid.onnx"] if command in PAIRS else ["digits_mlp.onnx"]
    arguments = [*(models / name for name in operands), *needed(command, tmp_path), "--format", output_format]
    runs = [program(command, *arguments) for _ in range(2)]
    assert runs[0] == runs[1]
    assert (runs[0].code, runs[0].err) == (0, "")
    assert runs[0].out.isascii() or output_format != "json"
    assert "digits_mlp.onnx" in runs[0].out
    assert not any(line.endswith(" ") for line in runs[0].out.splitlines())


# -- the metric on pairs whose answer is known
# --------------------------------------------------------------------------


def metric(program, a, b, *more) -> dict:
    found = program("metric", a, b, "--format", "json", *more).document()
    largest = max(found["a"]["path_norm"]["value"], found["b"]["path_norm"]["value"])
    upper, lower = (found["path_metric"][end]["value"] for end in ("upper", "lower"))
    assert 0 <= lower <= upper
    assert found["relative"] == pytest.approx(upper / largest, rel=1e-12)
    assert (lower == upper) or not found["path_metric"]["exact"]
    shares = sum(layer["share"] for layer in found["layers"])
    assert shares == (pytest.approx(1, abs=1e-12) if upper else 0)
    gap = abs(found["a"]["path_norm"]["value"] - found["b"]["path_norm"]["value"])
    assert upper >= gap - 1e-4 * largest
    return found


def test_the_metric_orders_the_twins_of_one_network(program, models):
    dense = models / "digits_resnet.onnx"
    respelled, pruned, tuned = (
        metric(program, dense, models / f"digits_resnet_{twin}.onnx")
        for twin in ("bn", "pruned40", "finetuned")
    )
    assert respelled["relative"] < 1e-5
    assert pruned["path_metric"]["exact"] and 0.1 < pruned["relative"] <= 1
    assert not tuned["path_metric"]["exact"] and tuned["path_metric"]["lower"]["value"] > 0
    assert respelled["relative"] < tuned["relative"] < pruned["relative"]
    assert {layer["name"] for layer in pruned["layers"]} == {layer["name"] for layer in tuned["layers"]}


@pytest.mark.parametrize("network", ["digits_mlp", "digits_maxpool_cnn"])
def test_rounding_to_eight_bits_is_a_small_change(program, models, network):
    assert (
        0 < metric(program, models / f"{network}.onnx", models / f"{network}_int8grid.onnx")["relative"] < 0.1
    )


def test_a_network_is_at_distance_zero_of_itself(program, models):
    found = metric(program, models / "digits_resnet.onnx", models / "digits_resnet.onnx")
    assert found["path_metric"]["exact"]
    assert found["path_metric"]["lower"] == found["path_metric"]["upper"] == {"value": 0.0, "log10": None}
    assert found["bound"]["value"] == 0 and found["bound"]["log10"] is None
    table = program("metric", models / "digits_mlp.onnx", models / "digits_mlp.onnx")
    assert table.code == 0 and "0 (exact)" in table.out


def test_the_metric_is_symmetric(program, models):
    pair = models / "digits_mlp.onnx", models / "digits_mlp_int8grid.onnx"
    one, other = metric(program, *pair), metric(program, *reversed(pair))
    for end in ("lower", "upper"):
        assert one["path_metric"][end]["value"] == pytest.approx(other["path_metric"][end]["value"], rel=1e-3)
    assert one["a"]["path_norm"]["value"] == pytest.approx(other["b"]["path_norm"]["value"], rel=1e-6)


def test_the_input_bound_multiplies_what_starts_at_an_input(program, models):
    pair = models / "digits_mlp.onnx", models / "digits_mlp_int8grid.onnx"
    none, half, one, ten = (metric(program, *pair, "--input-bound", bound) for bound in (0, 0.5, 1, 10))
    assert [half["bound"]["input_bound"], ten["bound"]["input_bound"]] == [0.5, 10]
    assert one["path_metric"]["inputs"] is one["path_metric"]["biases"] is None
    inputs, biases = (ten["path_metric"][key]["value"] for key in ("inputs", "biases"))
    assert 0 < biases < inputs and one["bound"]["value"] == pytest.approx(inputs + biases, rel=1e-5)
    for bound, found in ((0, none), (0.5, half), (10, ten)):
        assert found["bound"]["value"] == pytest.approx(bound * inputs + biases, rel=1e-12)
    assert (
        half["bound"]["value"] < one["bound"]["value"] and ten["bound"]["value"] < 10 * one["bound"]["value"]
    )
    assert "paths from inputs, from biases" in program("metric", *pair, "--input-bound", 10).out


def test_an_input_bound_that_leads_beyond_float64(program, models):
    pair = models / "digits_mlp.onnx", models / "digits_mlp_int8grid.onnx"
    huge = metric(program, *pair, "--input-bound", "1e308")
    assert huge["bound"]["value"] is None
    assert huge["bound"]["log10"] == pytest.approx(308 + huge["path_metric"]["inputs"]["log10"], rel=1e-9)


# -- magnitudes beyond float64, and zero
# --------------------------------------------------------------------------------


@pytest.fixture
def deep(tmp_path):
    """50 layers of 4x4 weights 1e7: l1 path-norm 4·(4e7)**50, about 10**380."""
    return chain(tmp_path / "deep.onnx", [np.full((4, 4), 1e7)] * 50)


def test_a_value_beyond_float64_is_null_and_its_logarithm_is_not(program, deep):
    found = program("norm", deep, "--q", "1", "--format", "json", "--per-output").document()
    [norm] = found["norms"]
    expected = np.log10(4) + 50 * np.log10(4e7)
    assert norm["value"] is None
    assert norm["log10"] == pytest.approx(expected, rel=1e-9)
    [output] = found["outputs"]
    assert [v["value"] for v in output["norms"][0]["values"]] == [None] * 4
    assert f"e+{int(expected)}" in program("norm", deep).out


def test_the_metric_beyond_float64(program, deep, tmp_path):
    halved = chain(tmp_path / "halved.onnx", [np.full((4, 4), 1e7)] * 49 + [np.full((4, 4), 0.5e7)])
    found = program("metric", deep, halved, "--format", "json").document()
    assert found["path_metric"]["exact"] and found["path_metric"]["upper"]["value"] is None
    assert found["relative"] == pytest.approx(0.5, rel=1e-6)
    assert found["bound"]["value"] is None and found["bound"]["log10"] > 308
    assert (
        program("metric", deep, halved).code
        == program("metric", deep, halved, "--format", "markdown").code
        == 0
    )


def test_the_logarithm_of_zero_is_null(program, tmp_path):
    zero = chain(tmp_path / "zero.onnx", [np.zeros((2, 2)), np.ones((1, 2))])
    found = program("norm", zero, "--q", 0, "--q", 1, "--format", "json").document()
    assert [(norm["value"], norm["log10"]) for norm in found["norms"]] == [(0.0, None)] * 2
    same = program("metric", zero, zero, "--format", "json").document()
    assert same["relative"] == 0
    assert program("norm", zero).code == program("inspect", zero).code == 0


# -- options
# ------------------------------------------------------------------------------------------------------------


def test_q_is_repeatable_and_zero_counts_paths(program, small):
    found = program("norm", small, "--q", 0, "--q", 0.5, "--q", 4, "--format", "json").document()
    values = {norm["q"]: norm["value"] for norm in found["norms"]}
    products = np.array([1, 2, 3, 6])
    assert values[0] == 4
    assert values[0.5] == pytest.approx((products**0.5).sum() ** 2, rel=1e-5)
    assert values[4] == pytest.approx((products**4.0).sum() ** 0.25, rel=1e-5)
    assert program("inspect", small, "--format", "json").document()["paths"]["value"] == 4


def test_per_output_lists_every_neuron(program, two_outputs):
    found = program("norm", two_outputs, "--per-output", "--q", 1, "--format", "json").document()
    shown = {
        output["name"]: [v["value"] for v in output["norms"][0]["values"]] for output in found["outputs"]
    }
    assert shown == {"left": pytest.approx([4], rel=1e-6), "right": pytest.approx([2, 2, 2], rel=1e-6)}
    for output_format in ("table", "markdown"):
        text = program("norm", two_outputs, "--per-output", "--format", output_format).out
        assert "output left 1x1" in text and "output right 1x3" in text


def test_output_name_keeps_one_output(program, two_outputs):
    found = program("norm", two_outputs, "--output-name", "right", "--q", 1, "--format", "json").document()
    assert found["norms"][0]["value"] == pytest.approx(6, rel=1e-6)
    both = program(
        "inspect", two_outputs, "--output-name", "right", "--output-name", "left", "--format", "json"
    ).document()
    assert {output["name"] for output in both["outputs"]} == {"left", "right"}


def test_the_metric_table_lists_several_outputs(program, two_outputs):
    text = program("metric", two_outputs, two_outputs).out
    assert "left" in text and "right" in text


def test_shape_fixes_symbolic_dimensions(program, refused, dynamic):
    assert "--shape x=" in refused("inspect", dynamic)
    found = program("inspect", dynamic, "--shape", "x=1x3x4x5", "--format", "json").document()
    assert found["outputs"] == [{"name": "y", "shape": [1, 2, 4, 5]}]
    norm = program("norm", dynamic, "--shape", "x=1x3x4x5", "--q", 1, "--format", "json").document()["norms"][
        0
    ]["value"]
    assert norm == pytest.approx(2 * 4 * 5 * 3, rel=1e-6)


def test_keep_batchnorm(program, models):
    file = models / "digits_resnet_bn.onnx"
    folded, kept = (
        program("inspect", file, *more, "--format", "json").document() for more in ([], ["--keep-batchnorm"])
    )
    assert folded["folded"] and not kept["folded"]
    assert kept["operators"]["Scale"] > folded["operators"].get("Scale", 0)
    assert folded["notes"] and not kept["notes"]


def test_precision_float64_agrees_within_the_certificate(program, models):
    file = models / "digits_maxpool_cnn.onnx"
    single, double = (
        program("norm", file, "--precision", p, "--format", "json").document() for p in ("float32", "float64")
    )
    assert double["tool"]["precision"] == "float64"
    for rough, fine in zip(single["norms"], double["norms"], strict=True):
        assert fine["relative_error"] < 1e-11 < rough["relative_error"]
        assert (
            abs(rough["value"] - fine["value"])
            <= (rough["relative_error"] + fine["relative_error"]) * rough["value"]
        )


def test_threads_and_provider(program, models):
    file = models / "digits_mlp.onnx"
    found = program("norm", file, "--threads", 1, "--provider", "cpu", "--format", "json").document()
    assert found["tool"]["provider"] == "cpu"
    usual = program("norm", file, "--provider", "cpu", "--format", "json").document()
    assert found["norms"][0]["value"] == pytest.approx(usual["norms"][0]["value"], rel=1e-5)


def test_output_writes_what_stdout_would_show(program, models, tmp_path):
    pair = models / "digits_mlp.onnx", models / "digits_mlp_int8grid.onnx"
    as_json, as_markdown = tmp_path / "a.json", tmp_path / "b.md"
    shown = program(
        "metric",
        *pair,
        "--output",
        f"json={as_json}",
        "--output",
        f"markdown={as_markdown}",
        "--format",
        "json",
    )
    assert as_json.read_text(encoding="utf-8") == shown.out
    assert parse(shown.out)["schema"] == "onnxpath.metric/1"
    assert as_markdown.read_text(encoding="utf-8") == program("metric", *pair, "--format", "markdown").out
    assert sorted(tmp_path.iterdir()) == [as_json, as_markdown]


def test_notes_go_to_stderr_unless_they_are_in_the_document(program, models):
    file = models / "digits_resnet_bn.onnx"
    usual, quiet = program("inspect", file), program("inspect", file, "-q")
    assert usual.err.startswith("note: ") and "BatchNormalization" in usual.err
    assert (quiet.code, quiet.err, quiet.out) == (0, "", usual.out)
    assert program("inspect", file, "--format", "json").document()["notes"]
    markdown = program("inspect", file, "--format", "markdown")
    assert markdown.err == "" and "BatchNormalization" in markdown.out


def test_verbose_says_more_on_stderr_only(program, models):
    usual, verbose = (
        program("norm", models / "digits_mlp.onnx", "--format", "json", *more) for more in ([], ["-v"])
    )
    assert verbose.code == 0 and verbose.out == usual.out
    assert re.fullmatch(r"computing path-norms: \d+\.\d\d s\n", verbose.err)


# -- help
# --------------------------------------------------------------------------------------------------


def test_help_and_version(program):
    for arguments in (["--help"], ["-h"], *([command, "--help"] for command in COMMANDS)):
        found = program(*arguments)
        assert (found.code, found.err) == (0, "")
        assert found.out.startswith("Usage: onnxpath ")
    assert all(f"\n  {command} " in program("--help").out for command in COMMANDS)
    assert re.fullmatch(r"onnxpath \d+\.\d+\.\d+\S*\n", program("--version").out)


def test_commands_run_under_clicks_own_runner(models):
    result = CliRunner().invoke(
        cli, ["norm", str(models / "digits_mlp.onnx"), "--format", "json"], prog_name="onnxpath"
    )
    assert result.exit_code == 0
    assert parse(result.stdout)["schema"] == "onnxpath.norm/1"


def test_shell_completion(monkeypatch, capsys):
    monkeypatch.setenv("_ONNXPATH_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", "onnxpath no")
    monkeypatch.setenv("COMP_CWORD", "1")
    assert run([]) == 0
    assert capsys.readouterr().out == "plain,norm\n"
