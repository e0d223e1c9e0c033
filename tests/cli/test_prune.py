"""`onnxpath prune`: what it prints and writes, and the calls that it refuses without touching a file."""

import hashlib
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from cli_support import parse

import onnxpath


@pytest.fixture
def digits(models: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(models / "digits_mlp.onnx", tmp_path / "digits.onnx"))


def test_document_and_files(program, digits: Path, tmp_path: Path) -> None:
    out = tmp_path / "small.onnx"
    found = program(
        "prune", digits, "-o", out, "--sparsity", 0.5, "--radius", 1, "--format", "json"
    ).document()
    assert found["schema"] == "onnxpath.prune/1"
    (file,) = found["files"]
    assert file["path"] == str(out) and file["sha256"] == hashlib.sha256(out.read_bytes()).hexdigest()
    certificate = file["certificate"]
    assert certificate == parse((tmp_path / "small.certificate.json").read_text())
    assert certificate["schema"] == "onnxpath.certificate/1" and certificate["achieved_sparsity"] == 0.5
    assert certificate["source"]["sha256"] == hashlib.sha256(digits.read_bytes()).hexdigest()
    assert (
        certificate["path_metric"]["exact"]
        and certificate["path_metric"]["upper"]["value"] <= certificate["removed_cost"]["value"]
    )
    assert certificate["domain_bound"]["sum"]["value"] <= certificate["bound"]["value"]
    assert {layer["tensor"] for layer in certificate["layers"]} < set(onnxpath.load(digits).origin.tensors)


def test_same_as_the_python_interface(program, digits: Path) -> None:
    found = program(
        "prune", digits, "--sparsity", 0.3, "--sparsity", 0.6, "--scope", "layer", "--format", "json"
    ).document()
    assert found == onnxpath.prune(digits, sparsity=[0.3, 0.6], scope="layer").to_dict()
    assert [file["path"] for file in found["files"]] == [None, None]


def test_table_and_markdown(program, digits: Path, tmp_path: Path) -> None:
    one = program("prune", digits, "-o", tmp_path / "a.onnx", "--sparsity", 0.5)
    assert one.code == 0 and "(exact)" in one.out and "1,680 of 3,360" not in one.err
    several = program(
        "prune",
        digits,
        "-o",
        tmp_path / "b.onnx",
        "--sparsity",
        0.5,
        "--sparsity",
        0.25,
        "--format",
        "markdown",
    )
    assert (
        several.code == 0
        and "b-0.25.onnx" in several.out.replace("\\", "")
        and (tmp_path / "b-0.5.onnx").exists()
    )
    dry = program("prune", digits, "--pattern", "2:4", "-q")
    assert dry.code == 0 and "nothing was written" in dry.out


def test_costs_comparison_and_figure(program, digits: Path, tmp_path: Path) -> None:
    costs, figure = tmp_path / "costs.npz", tmp_path / "figure.svg"
    options = ("--costs", costs, "--compare", "--report", figure, "--format", "json")
    found = program("prune", digits, *options).document()
    assert found["files"] == [] and found["costs"]["schema"] == "onnxpath.costs/1"
    assert [row["sparsity"] for row in found["compare"]] == [0.1, 0.2, 0.4, 0.6, 0.8]
    assert all(
        row["rescaled"]["kept"]["path_global"] == 1.0 > row["rescaled"]["kept"]["magnitude"]
        for row in found["compare"]
    )
    with np.load(costs) as arrays:
        exponent = int(arrays["exponent"])
        for item in found["costs"]["parameters"]:
            total = float(np.ldexp(arrays[f"{item['kind']}:{item['name']}"].sum(dtype=np.float64), exponent))
            assert total == pytest.approx(item["sum"]["value"], rel=1e-12)
    assert figure.read_text(encoding="utf-8").lstrip().startswith("<?xml")
    first = figure.read_bytes(), costs.read_bytes()
    program("prune", digits, *options)
    assert first == (figure.read_bytes(), costs.read_bytes())
    png = tmp_path / "figure.png"
    assert program("prune", digits, "--report", png, "--sparsity", 0.5).code == 0
    assert png.read_bytes().startswith(b"\x89PNG")


def test_outputs_and_weights_rank(program, digits: Path) -> None:
    def last(*options: object) -> int:
        found = program("prune", digits, "--sparsity", 0.2, "--format", "json", *options).document()
        return found["files"][0]["certificate"]["layers"][-1]["zeros"]

    weights = ",".join("1" if k in (3, 4) else "0" for k in range(10))
    assert last("--outputs", "3-4") == last("--class-weights", weights) > last()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--sparsity", 1), "below 1"),
        (("--sparsity", "-0.5"), "at least 0"),
        (("--sparsity", "nan"), "at least 0"),
        ((), "give --sparsity"),
        (("--pattern", "3:7"), "fits no layer"),
        (("--pattern", "diagonal"), "N:M with 0 < N < M"),
        (("--sparsity", 0.5, "--include", "nothing"), "matches no layer"),
        (("--sparsity", 0.5, "--exclude", "*"), "nothing can be pruned"),
        (("--sparsity", 0.5, "--outputs", "10"), "output channels 0 to 9"),
        (("--sparsity", 0.5, "--outputs", "x"), "is not a list of output channels"),
        (("--sparsity", 0.5, "--class-weights", "1,2"), "do not fit"),
        (("--sparsity", 0.5, "--class-weights", "1,b"), "is not a list of numbers"),
        (("--sparsity", 0.5, "--low", 0), "belong together"),
        (("--sparsity", 0.5, "--radius", 1, "--low", 0, "--high", 1), "name two domains; give one"),
        (("--sparsity", 0.5, "--radius", -1), "radius"),
        (("--sparsity", 0.5, "--report", "figure.pdf"), "SVG or PNG"),
        (("--sparsity", 0.5, "--criterion", "taste"), "criterion"),
    ],
)
def test_refused(refused, digits: Path, tmp_path: Path, options: tuple, message: str) -> None:
    before = digits.read_bytes()
    assert message in refused("prune", digits, "-o", tmp_path / "out.onnx", *options)
    assert digits.read_bytes() == before and [path.name for path in tmp_path.iterdir()] == ["digits.onnx"]


@pytest.mark.parametrize(
    ("out", "message"),
    [
        ("digits.onnx", "is the model itself"),
        ("missing/out.onnx", "no folder"),
        (".", "directory"),
        ("", "empty"),
    ],
)
def test_targets_that_cannot_be_written(
    refused, digits: Path, tmp_path: Path, out: str, message: str
) -> None:
    before = digits.read_bytes()
    assert message in refused("prune", digits, "-o", tmp_path / out if out else "", "--sparsity", 0.5)
    assert digits.read_bytes() == before and [path.name for path in tmp_path.iterdir()] == ["digits.onnx"]


def test_force_replaces_the_model(program, digits: Path, tmp_path: Path) -> None:
    before = onnxpath.load(digits).sha256
    found = program(
        "prune", digits, "-o", digits, "--sparsity", 0.5, "--force", "--format", "json"
    ).document()
    assert found["model"]["sha256"] == before != onnxpath.load(digits).sha256 == found["files"][0]["sha256"]


def test_a_costs_file_is_not_the_model(refused, digits: Path) -> None:
    assert "is the model itself" in refused("prune", digits, "--costs", digits)
    assert "same name" in refused(
        "prune",
        digits,
        "--costs",
        digits.with_suffix(".x"),
        "-o",
        digits.with_suffix(".x"),
        "--sparsity",
        0.5,
    )


def test_without_matplotlib(refused, digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert "onnxpath[report]" in refused("prune", digits, "--report", tmp_path / "x.svg", "--sparsity", 0.5)
