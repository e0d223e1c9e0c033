"""`onnxpath prune`: no file that the model consists of is written over."""

from pathlib import Path

import onnx
import pytest


@pytest.fixture
def spread(models: Path, tmp_path: Path) -> Path:
    """A model whose weights lie in another file."""
    path = tmp_path / "model.onnx"
    onnx.save(
        onnx.load(models / "digits_mlp.onnx"),
        path,
        save_as_external_data=True,
        location="out.certificate.json",
        size_threshold=0,
    )
    return path


@pytest.mark.parametrize(
    "options",
    [
        ("-o", "out.onnx", "--sparsity", 0.5),  # its certificate would be written there
        ("--costs", "out.certificate.json"),
        ("-o", "out.certificate.json", "--sparsity", 0.5),
    ],
)
def test_external_data_stays(
    refused, spread: Path, tmp_path: Path, options: tuple, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    assert "holds data of the model" in refused("prune", spread, *options)
    assert before == {path: path.read_bytes() for path in tmp_path.iterdir()}


def test_the_model_is_not_one_of_several_files(refused, models: Path, tmp_path: Path) -> None:
    model = tmp_path / "model-0.5.onnx"
    model.write_bytes(before := (models / "digits_mlp.onnx").read_bytes())
    several = ("--sparsity", 0.5, "--sparsity", 0.6)
    assert "every file is made from" in refused(
        "prune", model, "-o", tmp_path / "model.onnx", *several, "--force"
    )
    assert "is the model itself" in refused("prune", model, "-o", tmp_path / "model.onnx", *several)
    assert model.read_bytes() == before and [path.name for path in tmp_path.iterdir()] == [model.name]


def test_more_outputs_than_there_can_be(refused, models: Path) -> None:
    assert "is not a list of output channels" in refused(
        "prune", models / "digits_mlp.onnx", "--sparsity", 0.5, "--outputs", "0-99999999999"
    )
