"""`onnxpath quantize`: what it prints and writes, and the calls that it refuses without touching a file."""

import hashlib
import shutil
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from cli_support import parse

import onnxpath
from tests.files.support import tamper


@pytest.fixture
def digits(models: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(models / "digits_mlp.onnx", tmp_path / "digits.onnx"))


@pytest.fixture
def images(models: Path) -> Path:
    return models / "digits_test.npz"


def test_document_and_files(program, digits: Path, tmp_path: Path) -> None:
    out = tmp_path / "small.onnx"
    found = program("quantize", digits, "-o", out, "--radius", 1, "--format", "json").document()
    assert found["schema"] == "onnxpath.quantize/1"
    file, certificate = found["file"], found["file"]["certificate"]
    assert file["path"] == str(out) and file["sha256"] == hashlib.sha256(out.read_bytes()).hexdigest()
    assert certificate == parse((tmp_path / "small.certificate.json").read_text())
    assert certificate["schema"] == "onnxpath.quantization-certificate/1" and certificate["mode"] == "weights"
    assert certificate["source"]["sha256"] == hashlib.sha256(digits.read_bytes()).hexdigest()
    assert certificate["domain_bound"]["largest"]["value"] <= certificate["bound"]["value"]
    assert certificate["weight_bytes"]["after"] < certificate["weight_bytes"]["before"] / 3
    first = out.read_bytes()
    again = program("quantize", digits, "-o", out, "--radius", 1, "--format", "json").document()
    assert again == found and out.read_bytes() == first


def test_same_as_the_python_interface(program, digits: Path) -> None:
    options = (
        "--bits",
        4,
        "--bits",
        8,
        "--granularity",
        "tensor",
        "--rounding",
        "zero",
        "--sweep",
        "--blame",
        "--seed",
        3,
    )
    found = program("quantize", digits, *options, "--format", "json").document()
    expected = onnxpath.quantize(
        digits, bits=[4, 8], granularity="tensor", rounding="zero", sweep=True, blame=True, seed=3
    )
    assert found == expected.to_dict() and "file" not in found
    mixed = program(
        "quantize", digits, "--budget", "metric=2%", "--low", 0, "--high", 1, "--format", "json"
    ).document()
    domain = onnxpath.Domain.box(0, 1)
    assert mixed == onnxpath.quantize(digits, bits=[4, 8, 16], budget="metric=2%", domain=domain).to_dict()


def test_table_and_markdown(program, digits: Path, images: Path, tmp_path: Path) -> None:
    plain = program("quantize", digits, "-o", tmp_path / "a.onnx", "--rounding", "zero")
    assert (
        plain.code == 0
        and "(exact)" in plain.out
        and "% saved" in plain.out
        and "8 bits, one step per channel" in plain.out
    )
    static = program("quantize", digits, "--calibrate", images, "--inputs", images, "--format", "markdown")
    assert (
        static.code == 0
        and "weights and activations" in static.out
        and "the calibration inputs" in static.out
    )
    swept = program("quantize", digits, "--sweep", "--bits", 3, "--blame", "--radius", 2, "-q")
    assert (
        swept.code == 0
        and "one layer quantized" in swept.out
        and "rank correlation" in swept.out
        and "bound" in swept.out
    )
    mixed = program(
        "quantize",
        digits,
        "--budget",
        "bound=2",
        "--radius",
        1,
        "--equalize",
        "--granularity",
        "tensor",
        "-q",
    )
    assert mixed.code == 0 and "budget of the bound" in mixed.out and "nothing was written" in mixed.out


def test_the_figure(program, digits: Path, tmp_path: Path) -> None:
    figure = tmp_path / "figure.svg"
    assert program("quantize", digits, "--sweep", "--bits", 4, "--bits", 8, "--report", figure).code == 0
    first = figure.read_bytes()
    assert first.lstrip().startswith(b"<?xml")
    program("quantize", digits, "--sweep", "--bits", 4, "--bits", 8, "--report", figure)
    assert figure.read_bytes() == first
    assert program("quantize", digits, "--sweep", "--bits", 4, "--report", tmp_path / "figure.png").code == 0
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--bits", 3), "4, 8 or 16 bits, not 3"),
        (("--bits", 1), "between 2 and 16, not 1"),
        (("--bits", 4, "--bits", 8), "several widths"),
        (("--bits", 8, "--bits", 8, "--sweep"), "given twice"),
        (("--granularity", "block"), "granularity 'block' is not one of channel, tensor"),
        (("--rounding", "up"), "rounding 'up' is not one of nearest, zero"),
        (("--include", "nothing"), "matches no layer"),
        (("--exclude", "*"), "nothing can be quantized"),
        (("--budget", "size=1"), "a budget is metric=VALUE or bound=VALUE"),
        (("--budget", "metric=-1"), "must be > 0"),
        (("--budget", "bound=1"), "needs a domain"),
        (("--budget", "metric=1e-9%"), "within the budget"),
        (("--low", 0), "belong together"),
        (("--low", 0, "--high", "x"), "--high takes a number"),
        (("--radius", 1, "--low", 0, "--high", 1), "name two domains; give one"),
        (("--radius", -1), "radius"),
        (("--report", "figure.svg"), "add --sweep"),
        (("--sweep", "--report", "figure.pdf"), "SVG or PNG"),
        (("--calibrate", "missing.npz"), "there is no such file"),
        (("--seed", "-1"), "seed"),
    ],
)
def test_refused(refused, digits: Path, tmp_path: Path, options: tuple, message: str) -> None:
    before = digits.read_bytes()
    assert message in refused("quantize", digits, "-o", tmp_path / "out.onnx", *options)
    assert digits.read_bytes() == before and [path.name for path in tmp_path.iterdir()] == ["digits.onnx"]


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (
            {"x": np.zeros((5, 1, 9, 9))},
            "input 'x' of {model} have shape [5, 1, 9, 9], expected [any number, 1, 8, 8]",
        ),
        ({"x": np.full((5, 1, 8, 8), np.nan)}, "input 'x' hold NaN, infinite"),
        ({"x": np.full((5, 1, 8, 8), "a")}, "not numbers"),
        ({"a": np.zeros((5, 1, 8, 8)), "b": np.zeros(5)}, "no samples for input 'x'"),
        ({"x": np.zeros((0, 1, 8, 8))}, "have shape [0, 1, 8, 8]"),
    ],
)
@pytest.mark.parametrize("option", ["--calibrate", "--inputs"])
def test_inputs_that_do_not_fit(
    refused, digits: Path, tmp_path: Path, option: str, arrays: dict, message: str
) -> None:
    np.savez(tmp_path / "samples.npz", **arrays)
    said = refused("quantize", digits, "-o", tmp_path / "out.onnx", option, tmp_path / "samples.npz")
    assert message.format(model=digits) in said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["digits.onnx", "samples.npz"]


def test_static_quantization_rounds_to_nearest(refused, digits: Path, images: Path, tmp_path: Path) -> None:
    assert "rounds to nearest" in refused("quantize", digits, "--calibrate", images, "--rounding", "zero")
    assert "give the inputs with --inputs" in refused(
        "quantize", digits, "--calibrate", images, "--budget", "metric=1%"
    )
    assert "about one number of bits" in refused("quantize", digits, "--blame", "--bits", 4, "--bits", 8)


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
    assert message in refused("quantize", digits, "-o", tmp_path / out if out else "")
    assert digits.read_bytes() == before and [path.name for path in tmp_path.iterdir()] == ["digits.onnx"]


def test_force_replaces_the_model(program, digits: Path) -> None:
    before = onnxpath.load(digits).sha256
    found = program("quantize", digits, "-o", digits, "--force", "--format", "json").document()
    assert found["model"]["sha256"] == before != onnxpath.load(digits).sha256 == found["file"]["sha256"]


def test_nothing_is_left_behind(
    refused, digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that does not hold what was meant is not moved into place."""
    from onnxpath.analyses.quantize import grids

    integers = grids.integers
    monkeypatch.setattr("onnxpath.analyses.quantize.files.grids.integers", lambda *a: integers(*a) * 0)
    monkeypatch.setattr("onnxpath.analyses.quantize.layers.grids.rounded", lambda *a, **k: a[0])
    assert "not written" in refused("quantize", digits, "-o", tmp_path / "out.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["digits.onnx"]


def test_without_matplotlib(refused, digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert "onnxpath[report]" in refused("quantize", digits, "--sweep", "--report", tmp_path / "x.svg")


# -- the new file as it runs


def test_the_file_is_held_against_what_it_says(
    program, digits: Path, images: Path, tmp_path: Path, monkeypatch
) -> None:
    """Kernels that saturate are told, on any processor, and what to do about them."""
    out = tmp_path / "static.onnx"
    tamper(
        monkeypatch, lambda y: np.minimum(y, y.mean()), lambda source: str(source).endswith("quantized.onnx")
    )
    found = program("quantize", digits, "--calibrate", images, "-o", out, "--format", "json").document()
    assert found["file"]["as_run"]["faithful"] is False
    assert any("unfaithful" in note and "--reduce-range" in note for note in found["notes"])


def test_weights_of_seven_bits_do_not_saturate(program, digits: Path, images: Path, tmp_path: Path) -> None:
    out = tmp_path / "static.onnx"
    found = program(
        "quantize", digits, "--calibrate", images, "--reduce-range", "-o", out, "--format", "json"
    ).document()
    assert found["file"]["as_run"]["faithful"] is True
    weights = [
        onnx.numpy_helper.to_array(t)
        for t in onnx.load(out).graph.initializer
        if t.data_type == onnx.TensorProto.INT8
    ]
    assert weights and max(int(np.abs(w.astype(int)).max()) for w in weights if w.ndim == 2) <= 64


def test_a_reduced_range_is_one_of_static_files(refused, digits: Path, images: Path) -> None:
    assert "--reduce-range" in refused("quantize", digits, "--reduce-range")
    assert "reduced range" in refused(
        "quantize", digits, "--calibrate", images, "--reduce-range", "--bits", 16
    )
