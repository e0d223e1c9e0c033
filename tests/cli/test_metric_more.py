"""`metric --l2` and `metric --estimate`: the keys they add, in every format, and nothing otherwise."""

import pytest

NUMBER = {"value", "log10"}


def test_l2_and_estimate_add_their_keys(program, models):
    pair = str(models / "digits_resnet.onnx"), str(models / "digits_resnet_finetuned.onnx")
    plain = program("metric", *pair, "--format", "json").document()
    found = program(
        "metric", *pair, "--format", "json", "--l2", "--estimate", "2000", "--seed", "3"
    ).document()
    assert set(found) - set(plain) == {"l2", "estimate"}
    assert {key: found[key] for key in plain} == plain
    l2, estimate = found["l2"], found["estimate"]
    assert set(l2) == {*NUMBER, "relative_error", "lower", "upper"} and 0 < l2["relative_error"] < 1e-6
    assert l2["lower"]["value"] <= l2["value"] <= l2["upper"]["value"]
    assert set(estimate) == {*NUMBER, "lower", "upper", "confidence", "samples", "seed"}
    assert (estimate["confidence"], estimate["samples"], estimate["seed"]) == (0.99, 2000, 3)
    ends = plain["path_metric"]
    assert (
        ends["lower"]["value"]
        <= estimate["lower"]["value"]
        <= estimate["upper"]["value"]
        <= ends["upper"]["value"]
    )
    # an interval much narrower than the certified one
    assert estimate["upper"]["value"] - estimate["lower"]["value"] < 0.5 * (
        ends["upper"]["value"] - ends["lower"]["value"]
    )


def test_the_estimate_of_a_pruned_network_meets_the_exact_value(program, models):
    """40,000 paths against the difference pass: five standard deviations of variables in [0, Σ F]."""
    pair = str(models / "digits_mlp.onnx"), str(models / "digits_mlp_int8grid.onnx")
    found = program("metric", *pair, "--format", "json", "--estimate", "40000").document()
    size = 2 * max(found[side]["path_norm"]["value"] for side in "ab")
    low, high = (found["path_metric"][end]["value"] for end in ("lower", "upper"))
    assert low - 5 * size / 200 / 2 <= found["estimate"]["value"] <= high + 5 * size / 200 / 2


def test_tables_name_them(program, models):
    pair = str(models / "digits_mlp.onnx"), str(models / "digits_mlp_int8grid.onnx")
    for form in ("table", "markdown"):
        text = program("metric", *pair, "--format", form, "--l2", "--estimate", "100", "-q").out
        assert (
            "l2 path-metric" in text and "estimate from 100 paths" in text and "at 99.00 % confidence" in text
        )


@pytest.mark.parametrize("value", ["1", "0", "-5", "many", "1e3"])
def test_impossible_numbers_of_samples(program, models, value):
    outcome = program(
        "metric", str(models / "digits_mlp.onnx"), str(models / "digits_mlp.onnx"), "--estimate", value
    )
    assert outcome.code == 2 and "--estimate" in outcome.err and outcome.out == ""
