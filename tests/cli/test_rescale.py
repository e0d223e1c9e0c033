"""`onnxpath rescale`, and `onnxpath prune --pattern channels`: what they print, write and refuse."""

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from cli_support import chain

RNG = np.random.default_rng(2)


def mlp(folder: Path) -> Path:
    return chain(
        folder / "mlp.onnx",
        [RNG.standard_normal((6, 4)), RNG.standard_normal((5, 6)), RNG.standard_normal((2, 5))],
    )


def outputs(path: Path) -> np.ndarray:
    x = np.random.default_rng(0).standard_normal((1, 4)).astype(np.float32)
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]


def test_the_document(program, tmp_path: Path) -> None:
    model, out = mlp(tmp_path), tmp_path / "out.onnx"
    found = program("rescale", model, "-o", out, "--seed", 3, "--format", "json").document()
    assert found["schema"] == "onnxpath.rescale/1"
    assert list(found) == [
        "schema",
        "tool",
        "a",
        "b",
        "mode",
        "seed",
        "groups",
        "factors",
        "tensors",
        "path_metric",
        "relative",
        "outputs",
        "notes",
    ]
    assert (found["mode"], found["seed"]) == ("random", 3)
    assert found["groups"]["free"] == 11 and found["groups"]["pinned"] == found["groups"]["dead"] == 0
    assert found["factors"] == {"smallest": 1.0, "largest": 4096.0, "powers_of_two": True}
    assert found["a"]["path_norm"] == found["b"]["path_norm"]
    assert found["path_metric"]["upper"] == {"value": 0.0, "log10": None}
    assert found["outputs"]["difference"] == 0 and found["outputs"]["samples"] == 4
    assert found["b"]["path"] == str(out)
    np.testing.assert_array_equal(outputs(out), outputs(model))
    again = program("rescale", model, "-o", out, "--seed", 3, "--format", "json").document()
    assert again == found


def test_the_table(program, tmp_path: Path) -> None:
    for mode in ("normalize", "equalize"):
        found = program("rescale", mlp(tmp_path), "-o", tmp_path / "out.onnx", "--mode", mode)
        assert found.code == 0 and found.err == ""
        assert "11 of 11 groups" in found.out and "path-metric between them" in found.out
    powers = program(
        "rescale", mlp(tmp_path), "-o", tmp_path / "out.onnx", "--mode", "normalize", "--powers-of-two"
    )
    assert "(powers of two)" in powers.out and "at most 0 (0 %)" in powers.out


def test_rescaling_in_place_needs_force(program, refused, tmp_path: Path) -> None:
    model = mlp(tmp_path)
    before = model.read_bytes()
    assert "--force" in refused("rescale", model, "-o", model)
    assert model.read_bytes() == before
    assert program("rescale", model, "-o", model, "--force").code == 0
    assert model.read_bytes() != before


def test_the_certificate_of_an_earlier_file_is_named(program, tmp_path: Path) -> None:
    """Rescaling writes none: what lies beside the new file is of the one before it."""
    model, out = mlp(tmp_path), tmp_path / "out.onnx"
    program("prune", model, "-o", out, "--sparsity", 0.5)
    found = program("rescale", model, "-o", out, "--format", "json").document()
    stale = tmp_path / "out.certificate.json"
    assert f"{stale} beside it is of the file that was there before" in found["notes"]


def test_what_is_refused(refused, tmp_path: Path) -> None:
    model = mlp(tmp_path)
    out = tmp_path / "out.onnx"
    assert "--out" in refused("rescale", model)
    assert "positive numbers" in refused("rescale", model, "-o", out, "--factors", "1,-2")
    assert "positive numbers" in refused("rescale", model, "-o", out, "--factors", "one")
    assert "no folder" in refused("rescale", model, "-o", tmp_path / "missing" / "out.onnx")
    assert "directory" in refused("rescale", model, "-o", tmp_path)
    assert "no such file" in refused("rescale", tmp_path / "none.onnx", "-o", out)
    linear = chain(tmp_path / "linear.onnx", [RNG.standard_normal((2, 4))])
    assert "nothing to rescale" in refused("rescale", linear, "-o", out)
    assert not out.exists()


def test_channels_leave_the_file(program, models: Path, tmp_path: Path) -> None:
    model, out = models / "digits_resnet_bn.onnx", tmp_path / "out.onnx"
    found = program(
        "prune",
        model,
        "-o",
        out,
        "--pattern",
        "channels",
        "--sparsity",
        0.5,
        "--scope",
        "layer",
        "--format",
        "json",
    ).document()
    assert out.stat().st_size < 0.5 * model.stat().st_size
    certificate = found["files"][0]["certificate"]
    assert certificate["pattern"] == "channels" and certificate["sparsity"] == 0.5
    # a metric is rounded outwards, costs are known to relative_error
    cost = certificate["removed_cost"]
    assert certificate["path_metric"]["exact"]
    assert certificate["path_metric"]["upper"]["value"] <= cost["value"] * (1 + cost["relative_error"])
    held = {entry.key: entry.value for entry in onnx.load(out).metadata_props}
    assert json.loads(held["onnxpath.certificate"]) == certificate
    removed = sum(layer["removed"] for layer in certificate["layers"])
    sizes = [
        sum(int(np.prod(t.dims)) for t in onnx.load(path).graph.initializer if len(t.dims) > 1)
        for path in (model, out)
    ]
    assert sizes[0] - sizes[1] == removed
    norm = program("norm", out, "--q", 1, "--format", "json").document()["norms"][0]
    assert abs(norm["value"] / certificate["pruned_path_norm"]["value"] - 1) < 1e-5


def test_criteria_for_channels(program, refused, models: Path, tmp_path: Path) -> None:
    model, out = models / "digits_mlp.onnx", tmp_path / "out.onnx"
    costs = {}
    for criterion in ("path", "magnitude", "random"):
        found = program(
            "prune",
            model,
            "--pattern",
            "channels",
            "--sparsity",
            0.3,
            "--criterion",
            criterion,
            "--format",
            "json",
        ).document()
        costs[criterion] = found["files"][0]["certificate"]["removed_cost"]["value"]
    assert costs["path"] == min(costs.values())
    assert "leave out" in refused(
        "prune", model, "-o", out, "--pattern", "channels", "--sparsity", 0.3, "--exclude", "*"
    )
    assert "--sparsity" in refused("prune", model, "-o", out, "--pattern", "channels")
    linear = chain(tmp_path / "linear.onnx", [RNG.standard_normal((2, 4))])
    assert "no channel can be removed" in refused(
        "prune", linear, "-o", out, "--pattern", "channels", "--sparsity", 0.5
    )
    assert not out.exists()
