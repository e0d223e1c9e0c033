"""`lipschitz`, `generalization`, `inspect --paths` and mixed norms: what they answer and what they refuse."""

import json

import numpy as np
import pytest
from cli_support import chain, parse, save
from onnx import helper

import onnxpath

NUMBER = {"value", "log10"}
W1, W2 = np.array([[1.0, 2], [-1, 2]]), np.array([[1.0, -3]])


@pytest.fixture
def small(tmp_path):
    """W2 relu(W1 x): ‖Φ‖₁ = 12, paths 1, 2, 3, -6 ... of two inputs."""
    return chain(tmp_path / "small.onnx", [W1, W2])


@pytest.fixture
def other(tmp_path):
    return chain(tmp_path / "other.onnx", [W1 * 1.5, W2])


def test_lipschitz_of_a_pair(program, small, other):
    found = program("lipschitz", small, other, "--input-bound", 2, "--format", "json").document()
    assert set(found) == {"schema", "tool", "a", "b", "input_bound", "bounds", "interface", "notes"}
    assert found["schema"] == "onnxpath.lipschitz/1" and found["input_bound"] == 2
    for side, norm in (("a", 12), ("b", 18)):
        assert set(found[side]) == {"path", "sha256", "input_lipschitz"}
        for key in ("sum", "largest"):  # one output
            assert set(found[side]["input_lipschitz"][key]) == NUMBER
            assert found[side]["input_lipschitz"][key]["value"] == pytest.approx(norm, rel=1e-5)
    values = {item["name"]: item["value"] and item["value"]["value"] for item in found["bounds"]}
    assert all(set(item) == {"name", "source", "value", "condition"} for item in found["bounds"])
    # rows |W2| = (1, 3) and |W1| = 3, 3; the change is 1.5 a row, 1 in a weight; L = W = 2 and R = 4.5
    expected = {
        "Theorem 3.1, path-metric": 2 * 6, "Lemma E.1": 2 * 4 * 1.5, "Lemma E.1 at radius B": 2 * 4 * 1.5,
        "Theorem E.1": 2 * 6,
        "Theorem E.1 at radius B, by output": 2 * 6, "Corollary F.1": 2 * 2 * 2 * 4 * 4.5,
        "Equation (1)": (2 * 2 + 1) * 2 * 4 * 4.5, "product of ℓ∞ operator norms": 4 * 1.5 * 2,
        "product of spectral operator norms": np.sqrt(10) * 0.5 * np.linalg.norm(W1, 2) * 2 * np.sqrt(2),
    }  # fmt: skip
    assert values == pytest.approx(expected, rel=1e-5)
    ordered = [item["value"]["value"] for item in found["bounds"]]
    assert ordered == sorted(ordered)


def test_lipschitz_of_one_network(program, small):
    found = program("lipschitz", small, "--format", "json").document()
    assert set(found) == {"schema", "tool", "a", "notes"}
    table = program("lipschitz", small).out
    assert "Lipschitz constant, outputs summed" in table and "12.0" in table


def test_lipschitz_says_what_does_not_apply(program, models):
    pair = models / "digits_maxpool_cnn.onnx", models / "digits_maxpool_cnn_int8grid.onnx"
    found = program("lipschitz", *pair, "--format", "json").document()
    reasons = {item["name"]: item["condition"] for item in found["bounds"] if item["value"] is None}
    assert set(reasons) == {"Corollary F.1", "Equation (1)"} and all(
        "is Conv" in reason for reason in reasons.values()
    )
    assert [item["value"] is None for item in found["bounds"]][-2:] == [True, True]
    for text in (
        program("lipschitz", *pair, "-q").out,
        program("lipschitz", *pair, "--format", "markdown").out,
    ):
        assert "holds for fully connected layers" in text and "Theorem 3.1" in text


def test_generalization(program, small):
    found = program(
        "generalization", small, "--samples", 10_000, "--input-bound", 3, "--margin", 0.5, "--format", "json"
    ).document()
    assert set(found) == {
        "schema", "tool", "model", "samples", "input_bound", "loss", "target", "architecture", "path_norm",
        "whole_kernel_norm", "gaps",
        "rates", "covering", "notes",
    }  # fmt: skip
    assert found["schema"] == "onnxpath.generalization/1"
    assert found["architecture"] == {
        "depth": 2, "kernel": 1, "pools": 0, "parameters": 6, "covered": 6, "d_in": 2, "d_out": 1,
        "biases": False, "layered": True,
        "irregular_nodes": 0,
    }  # fmt: skip
    assert found["loss"] == {"name": "margin loss, γ = 0.5", "lipschitz": pytest.approx(2 * np.sqrt(2))}
    gonon = found["gaps"][2]
    constant = 4 * np.sqrt(2 * np.log(3) + np.log(3 * 3 * 1))
    assert gonon["constant"] == pytest.approx(constant)
    assert gonon["gap"]["value"] == pytest.approx(constant * 2 * np.sqrt(2) * 3 * 12 / 100, rel=1e-5)
    assert gonon["samples_needed"]["value"] == pytest.approx(10_000 * gonon["gap"]["value"] ** 2, rel=1e-9)
    assert any("vacuous" in note for note in found["notes"])
    assert [rate["reason"] for rate in found["rates"]] == ["has depth 2, not 1", None, None, None, None, None]


def test_generalization_says_that_it_is_vacuous(program, models):
    for options in ([], ["--format", "markdown"]):
        found = program("generalization", models / "digits_resnet.onnx", "--samples", 1000, *options)
        assert "vacuous: no bound is below 1" in found.out and "samples needed" in found.out
        assert "has biases" in found.out
        assert "zero padding" in found.out + found.err
    # with enough samples the verdict changes
    found = program("generalization", models / "digits_mlp.onnx", "--samples", 10**18, "-q")
    assert "3 of 3 bounds are below 1" in found.out


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "--samples"),
        (["--samples", 0], "the number of samples must be at least 1, not 0"),
        (["--samples", 10, "--input-bound", -1], "the input bound must be a finite number >= 0"),
        (["--samples", 10, "--margin", 1, "--loss-lipschitz", 1], "not both"),
        (["--samples", 10, "--margin", 0], "the margin must be a finite number > 0"),
        (["--samples", 10, "--target", "nan"], "the target must be a finite number > 0"),
        (["--samples", 10, "--radius", 0], "a radius of a covering must be a finite number > 0"),
    ],
)
def test_generalization_refuses(refused, small, options, said):
    assert said in refused("generalization", small, *options)


def test_lipschitz_refuses(refused, small, models):
    assert "the input bound must be" in refused("lipschitz", small, small, "--input-bound", "inf")
    assert "different structure" in refused(
        "lipschitz", models / "digits_resnet.onnx", models / "digits_resnet_bn.onnx", "--keep-batchnorm"
    )


def test_activations_outside_the_model_are_refused(refused, tmp_path):
    nodes = [
        helper.make_node("Gemm", ["x", "w"], ["h"], "first"),
        helper.make_node("Tanh", ["h"], ["y"], "squash"),
    ]
    nodes.append(helper.make_node("Gemm", ["y", "w"], ["z"], "last"))
    path = save(tmp_path / "tanh.onnx", nodes, {"w": np.eye(2)}, {"x": [1, 2]}, {"z": [1, 2]})
    for arguments in (
        ["lipschitz", path],
        ["lipschitz", path, path],
        ["generalization", path, "--samples", 10],
        ["inspect", path, "--paths"],
    ):
        assert "squash" in refused(*arguments)


def test_paths_are_listed(program, refused, small, models):
    found = program("inspect", small, "--paths", "--format", "json").document()
    assert found["paths"]["value"] == 4 == len(found["lifting"])
    first = found["lifting"][0]
    assert first == {"neurons": ["x[0]", "layer0[0]", "layer1[0]"], "start": "input", "value": 1.0}
    assert sorted(path["value"] for path in found["lifting"]) == [-6.0, 1.0, 2.0, 3.0]
    table = program("inspect", small, "--paths").out
    assert "x[1] → layer0[1] → layer1[0]" in table and "4 paths without a zero weight" in table
    assert "there are 4 paths, more than the 3 that may be listed" in refused(
        "inspect", small, "--paths", "--path-budget", 3
    )
    assert "there are 10^18.8 paths, more than the 1,000" in refused(
        "inspect", models / "digits_resnet.onnx", "--paths"
    )
    assert "lifting" not in program("inspect", small, "--format", "json").document()


def test_mixed_norms(program, refused, tmp_path):
    path = chain(tmp_path / "wide.onnx", [np.array([[3.0, 4.0], [1.0, 0.0]])])
    for r, expected in (("inf", 5.0), ("1", 6.0), ("2", np.sqrt(26))):
        found = program("norm", path, "--q", 2, "--r", r, "--format", "json").document()
        assert found["norms"][0]["value"] == pytest.approx(expected, rel=1e-6)
        assert found["norms"][0]["relative_error"] < 1e-5
        assert found["r"] == ("inf" if r == "inf" else float(r))
    assert "r must be" in refused("norm", path, "--r", 0)
    assert "is not a number, or numbers separated by commas" in refused("norm", path, "--q", "1,two")


def test_one_command_gives_the_table_of_norms(program, models):
    found = program("norm", models / "digits_resnet.onnx", "--q", "1,2,4,8,16", "--format", "json").document()
    assert [norm["q"] for norm in found["norms"]] == [1, 2, 4, 8, 16]
    values = [norm["value"] for norm in found["norms"]]
    assert values == sorted(values, reverse=True)  # ℓ^q norms of one vector


def test_the_python_interface_is_the_same(small, other, program):
    pair = onnxpath.lipschitz_bounds(small, other, input_bound=2).to_dict()
    assert (
        json.loads(json.dumps(pair))
        == program("lipschitz", small, other, "--input-bound", 2, "--format", "json").document()
    )
    one = onnxpath.generalization_bounds(small, 100, margin=0.5).to_dict()
    assert (
        one
        == program("generalization", small, "--samples", 100, "--margin", 0.5, "--format", "json").document()
    )
    assert len(onnxpath.inspect(small, list_paths=10).lifting) == 4
    assert onnxpath.path_norm(small, 2, r=float("inf")).to_dict()["r"] == "inf"


def test_files_hold_the_same(program, small, other, tmp_path):
    for command in (["lipschitz", small, other], ["generalization", small, "--samples", 10]):
        path = tmp_path / "out.json"
        printed = program(*command, "--format", "json", "--output", f"json={path}")
        assert parse(path.read_text()) == printed.document()
