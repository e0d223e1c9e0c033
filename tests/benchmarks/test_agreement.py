"""The study of docs/agreement.md on one tiny pair: its bounds hold, its shares add up, its twins are what
they say."""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from scripts import ROOT

import onnxpath
from onnxpath.engine.session import Device
from onnxpath.model.domain import Domain
from onnxpath.model.matching import match


@pytest.fixture
def study(monkeypatch):
    """benchmarks/agreement.py and its two neighbours, imported as the script imports them."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import agreement
    import agreement_pairs
    import product_bounds

    return agreement, agreement_pairs, product_bounds


def classifier(path, seed: int) -> None:
    """A stored weight behind a Reshape, as CNTK writes it, and a MatMul; 4 inputs, 6 hidden neurons, 3
    classes."""
    rng = np.random.default_rng(seed)
    stored = {"w": rng.normal(size=(2, 2, 6)), "b": rng.normal(size=6) / 4, "v": rng.normal(size=(6, 3))}
    tensors = [numpy_helper.from_array(value.astype(np.float32), name) for name, value in stored.items()]
    tensors.append(numpy_helper.from_array(np.array([4, 6], np.int64), "shape"))
    nodes = [
        helper.make_node("Reshape", ["w", "shape"], ["flat"]),
        helper.make_node("MatMul", ["x", "flat"], ["h"]),
        helper.make_node("Add", ["h", "b"], ["s"]),
        helper.make_node("Relu", ["s"], ["r"]),
        helper.make_node("MatMul", ["r", "v"], ["y"]),
    ]
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", size])
        for name, size in (("x", 4), ("y", 3))
    ]
    model = helper.make_model(
        helper.make_graph(nodes, "g", ends[:1], ends[1:], tensors),
        opset_imports=[helper.make_opsetid("", 17)],
    )
    model.ir_version = 8
    onnx.save(model, path)


@pytest.mark.parametrize("twin", ["int8", "other"])
def test_both_bounds_hold_and_are_finite(study, tmp_path, twin):
    _, pairs, product = study
    files = [tmp_path / "a.onnx", tmp_path / "b.onnx"]
    classifier(files[0], 0)
    if twin == "int8":
        onnx.save(pairs.on_grid(onnx.load(files[0])), files[1])
    else:
        classifier(files[1], 1)
    a, b = (onnxpath.load(path) for path in files)
    rng = np.random.default_rng(2)
    x = rng.uniform(0, 1, (5, 4)).astype(np.float32)
    region = Domain.around(x, 0.2, 0.0, 1.0).resolve(a)
    given = product.boxes(region, slice(0, 5))
    pair = product.Pair(match(a, b), Device("cpu", threads=1), (0, 1, 2))
    sessions = [onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]) for path in files]
    low, high = (side["x"] for side in given)
    at = np.concatenate(
        [
            [low, high],
            low + rng.integers(0, 2, (200, 5, 4)) * (high - low),
            rng.uniform(low, high, (200, 5, 4)),
        ]
    )
    ya, yb = (
        session.run(None, {"x": at.reshape(-1, 4).astype(np.float32)})[0].astype(np.float64)
        for session in sessions
    )
    found = np.abs(ya - yb).max(axis=1).reshape(len(at), 5).max(axis=0)
    # float32 inference of ten terms below 10 is off by less than 1e-5
    for effort in (0, 1, 2):
        for bound in (pair.difference(given, effort).bound, pair.product(given, effort).bound):
            assert np.isfinite(bound).all() and (found <= bound + 1e-5).all()
    limits = product.Alone(a, Device("cpu", threads=1)).limits(given, 2)
    scores = ya.reshape(len(at), 5, 3)
    assert (limits[0] - 1e-5 <= scores.min(axis=0)).all() and (scores.max(axis=0) <= limits[1] + 1e-5).all()
    predicted = ya.reshape(len(at), 5, 3)[0].argmax(axis=1)
    agreed = pair.agree_alone(given, 2, predicted)
    for values in (ya, yb):
        assert (values.reshape(len(at), 5, 3).argmax(axis=2) == predicted)[:, agreed].all()


def test_at_a_point_both_ways_give_the_difference_itself(study, tmp_path):
    """Nothing is unstable there, and both bounds are the difference, up to rounding."""
    _, pairs, product = study
    files = [tmp_path / "a.onnx", tmp_path / "b.onnx"]
    classifier(files[0], 0)
    onnx.save(pairs.on_grid(onnx.load(files[0])), files[1])
    a, b = (onnxpath.load(path) for path in files)
    x = np.random.default_rng(3).uniform(0, 1, (4, 4)).astype(np.float32)
    point = {"x": x.astype(np.float64)}
    pair = product.Pair(match(a, b), Device("cpu", threads=1), (1,))
    sessions = [onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]) for path in files]
    ya, yb = (session.run(None, {"x": x})[0].astype(np.float64) for session in sessions)
    found = np.abs(ya - yb).max(axis=1)
    for bound in (pair.difference((point, point), 1).bound, pair.product((point, point), 1).bound):
        np.testing.assert_allclose(bound, found, rtol=1e-2, atol=1e-4)


def test_the_study_of_a_pair_and_its_plot(study, tmp_path):
    agreement, pairs, _ = study
    source = pairs.Source("digits_mlp", "digits_mlp_int8grid", "digits 8x8", 6, 3, epsilons=(0.001, 0.5))
    rows = []
    assert agreement.study(source, pairs.files(source, None, tmp_path), 60.0, rows.append) is None
    assert [row.epsilon for row in rows] == [0.001, 0.5]
    assert all(sum(row.counts.values()) == 6 for row in rows)
    # certificates of a box are certificates of the smaller box in it, so that the share only shrinks
    assert rows[0].counts["agree"] >= rows[1].counts["agree"]
    assert (
        all(0 <= row.alone <= row.counts["agree"] + row.counts["undecided"] for row in rows)
        and rows[0].alone > 0
    )
    assert rows[0].counts["agree"] > 0 and rows[1].counts["disagree"] > 0
    for row in rows:
        assert row.ratio is not None and row.ratio >= 0.99 and set(row.compared) == {1, 2}
        assert len(row.cells()) == len(agreement.HEADER)
    pytest.importorskip("matplotlib")
    agreement.plot(rows, tmp_path / "plot.svg")
    assert "digits_mlp / digits_mlp_int8grid" in (tmp_path / "plot.svg").read_text(encoding="utf-8")


def test_rounded_weights_lie_on_the_grid_of_their_channel(study, tmp_path):
    _, pairs, _ = study
    path = tmp_path / "a.onnx"
    classifier(path, 0)
    before, after = onnx.load(path), pairs.on_grid(onnx.load(path))
    stored = [
        {tensor.name: numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}
        for proto in (before, after)
    ]
    for name in ("w", "v"):
        old, new = (each[name].reshape(-1, each[name].shape[-1]) for each in stored)
        step = np.abs(old).max(axis=0) / 127
        assert (old != new).any() and (np.abs(old - new) <= 0.5001 * step).all()
        np.testing.assert_allclose(new / step, np.rint(new / step), atol=1e-3)
    np.testing.assert_array_equal(stored[0]["b"], stored[1]["b"])


def test_enlarged_images_are_those_of_a_library(study):
    _, pairs, _ = study
    images = np.random.default_rng(0).uniform(0, 1, (2, 1, 8, 8))
    for size in (20, 5):
        expected = torch.nn.functional.interpolate(
            torch.tensor(images), size=(size, size), mode="bilinear", align_corners=False
        )
        np.testing.assert_allclose(pairs.resized(images, size), expected.numpy(), rtol=0, atol=1e-12)
