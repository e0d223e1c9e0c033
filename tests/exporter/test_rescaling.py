"""Rescaled files: the same function, path-norm, Φ-costs, other weights; everything else as it was."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper
from spellings import model, node, normal
from structures import STRUCTURES, Sketch

import onnxpath
from onnxpath.analyses.metric.metric import path_metric
from onnxpath.analyses.prune.costs import measure
from onnxpath.engine.session import Device
from onnxpath.errors import ModelError, OnnxPathError, UnsupportedError, UsageError
from onnxpath.exporter.rescaling import edits, file_groups
from onnxpath.importer import load
from onnxpath.rewrites.rescaling.equalization import equalize, rounded
from onnxpath.rewrites.rescaling.groups import groups, learned
from onnxpath.rewrites.rescaling.normalization import row_norms

CPU = {"provider": "cpu", "threads": 1}
MODELS = Path(__file__).resolve().parents[2] / "models"
EACH = pytest.mark.parametrize("name", STRUCTURES)


def run(path: object, x: np.ndarray) -> list[np.ndarray]:
    source = path.SerializeToString() if isinstance(path, onnx.ModelProto) else path
    session = onnxruntime.InferenceSession(source, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: x})


def without_values(proto: onnx.ModelProto) -> bytes:
    """The file but for the values of its initializers."""
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    for tensor in copy.graph.initializer:
        tensor.ClearField("raw_data")
    return copy.SerializeToString(deterministic=True)


@EACH
@pytest.mark.parametrize("mode", ["random", "normalize", "equalize"])
def test_the_function_and_the_paths_stay(name: str, mode: str, tmp_path: Path) -> None:
    proto = STRUCTURES[name][0]()
    found = onnxpath.rescale(proto, tmp_path / "out.onnx", mode, seed=3, **CPU)
    written = onnx.load(tmp_path / "out.onnx")
    assert without_values(written) == without_values(proto)
    assert found.groups >= 4
    assert (found.changed > 0 and found.tensors) or mode == "equalize"  # which may leave everything as it is
    network, after = load(proto), load(tmp_path / "out.onnx")
    # storing in float32 rounds by 6e-8 per factor of a path, in float16 by 5e-4; powers of two are exact
    half = name == "float16"
    close = 0 if mode == "random" and not half else 2e-2 if half else 1e-6
    assert found.relative <= close
    assert found.b.sha256 == after.sha256
    assert (
        found.outputs.difference
        <= (close + (2e-3 if half else 0 if mode == "random" else 1e-5)) * found.outputs.largest_output
    )
    norms = [onnxpath.path_norm(net, **CPU).norms[0].value.value for net in (network, after)]
    assert norms[1] == pytest.approx(norms[0], rel=max(close, 1e-6))
    x = (
        np.random.default_rng(1)
        .standard_normal(network.shapes["x"])
        .astype(np.float16 if half else np.float32)
    )
    for a, b in zip(run(proto, x), run(tmp_path / "out.onnx", x), strict=True):
        if mode == "random" and not half:
            np.testing.assert_array_equal(a, b)
        else:
            np.testing.assert_allclose(a, b, rtol=0, atol=(2e-2 if half else 1e-5) * np.abs(a).max())


@EACH
def test_the_costs_stay(name: str, tmp_path: Path) -> None:
    """Φ-costs of every weight, up to the rounding of float32 files, whatever λ is."""
    proto = STRUCTURES[name][0]()
    onnxpath.rescale(proto, tmp_path / "out.onnx", "random", factors=[0.3, 7.0, 1.0], **CPU)
    network, after = load(proto), load(tmp_path / "out.onnx")
    before, again = (measure(net, Device("cpu", threads=1)) for net in (network, after))
    for key, cost in before.costs.items():
        other = np.ldexp(again.costs[key].astype(np.float64), again.exponent - before.exponent)
        # each cost is itself a float32 sum (1e-6), and every weight on its paths was rounded once
        rtol = 2e-2 if name == "float16" else 2e-6
        np.testing.assert_allclose(other, cost, rtol=rtol, atol=rtol * cost.max(initial=0))


@EACH
def test_normalized_channels_have_norm_one(name: str, tmp_path: Path) -> None:
    proto = STRUCTURES[name][0]()
    onnxpath.rescale(proto, tmp_path / "out.onnx", "normalize", **CPU)
    after = load(tmp_path / "out.onnx")
    found, settled = groups(after), {0}
    close = 1e-2 if name == "float16" else 1e-5
    for item in learned(after):
        if item.op == "Scale" and (item.weight is None or item.weight.fixed):
            continue
        ids, norms = row_norms(after, item, found, np.ones(found.count))
        fresh = {group for group in ids.tolist() if group not in settled}
        for group in fresh:
            assert norms[ids == group].max() == pytest.approx(1, rel=close)
        settled |= fresh
    assert len(settled) > 4


def test_a_dead_channel_is_cut_off(tmp_path: Path) -> None:
    w, v, b = normal(4, 6), normal(6, 2), normal(6)
    w[:, 2], b[2] = 0, 0
    proto = model(
        [node("Gemm", "x,w,b", "h"), node("Relu", "h", "r"), node("MatMul", "r,v", "y")],
        {"w": w, "b": b, "v": v},
    )
    found = onnxpath.rescale(proto, tmp_path / "out.onnx", "normalize", **CPU)
    assert found.dead == 1 and found.groups == 6
    after = {t.name: numpy_helper.to_array(t) for t in onnx.load(tmp_path / "out.onnx").graph.initializer}
    assert not after["v"][2].any() and after["v"][0].any()
    np.testing.assert_allclose(
        (np.abs(after["w"]).sum(0) + np.abs(after["b"]))[[0, 1, 3, 4, 5]], 1, rtol=1e-6
    )


def test_equal_tensors_tie_the_groups_that_they_serve() -> None:
    """A bias that two normalizations of one sum share follows its channels; statistics that two layers share
    join them."""
    proto = STRUCTURES["equal tensors"][0]()
    found = file_groups(load(proto))
    assert len(found.canonical.free()) == 8 and found.pinned == 0
    nodes = [
        node("Gemm", "x,w,b", "h"),
        node("Relu", "h", "r"),
        node("Gemm", "r,v,b", "s"),
        node("Relu", "s", "t"),
        node("MatMul", "t,u", "y"),
    ]
    shared = model(nodes, {"w": normal(4, 4), "v": normal(4, 4), "u": normal(4, 2), "b": normal(4)})
    network = load(shared)
    assert len(groups(network).free()) == 8
    assert len(file_groups(network).canonical.free()) == 4


def test_what_the_file_cannot_follow_keeps_its_channels(tmp_path: Path) -> None:
    fill = numpy_helper.from_array(np.array([0.5], np.float32))
    nodes = [
        node("ConstantOfShape", "s", "w", value=fill), node("MatMul", "x,w", "h"), node("Relu", "h", "r"),
        node("MatMul", "r,v", "y"),
    ]  # fmt: skip
    proto = model(nodes, {"s": np.array([4, 6]), "v": normal(6, 2)})
    with pytest.raises(UnsupportedError, match="nothing to rescale: 6 groups exist"):
        onnxpath.rescale(proto, tmp_path / "out.onnx", **CPU)
    divided = [
        node("MatMul", "x,w", "h"),
        node("Div", "h,d", "i"),
        node("Relu", "i", "r"),
        node("MatMul", "r,v", "y"),
    ]
    proto = model(divided, {"w": normal(4, 6), "d": np.abs(normal(6)) + 1, "v": normal(6, 2)})
    # the divisor stays, the weight before it takes the factor
    assert onnxpath.rescale(proto, tmp_path / "out.onnx", **CPU).relative == 0
    s = Sketch()
    with pytest.raises(UnsupportedError, match="no hidden channel is free"):
        onnxpath.rescale(s.file(s.head("x", 3 * 36)), tmp_path / "none.onnx", **CPU)
    assert not (tmp_path / "none.onnx").exists()


def test_half_precision_that_cannot_hold_the_factors(tmp_path: Path) -> None:
    proto = STRUCTURES["float16"][0]()
    with pytest.raises(OnnxPathError, match="float16|number format"):
        onnxpath.rescale(proto, tmp_path / "out.onnx", factors=[2.0**20], **CPU)
    with pytest.raises((ModelError, UsageError)):
        onnxpath.rescale(proto, tmp_path / "out.onnx", factors=[2.0**-40], **CPU)
    assert not list(tmp_path.iterdir())


def test_bad_arguments(tmp_path: Path) -> None:
    proto = STRUCTURES["sequence"][0]()
    for options, words in (
        ({"mode": "other"}, "mode"), ({"factors": []}, "positive"), ({"factors": [1, -2]}, "positive"),
        ({"factors": [np.inf]}, "positive"),
    ):  # fmt: skip
        with pytest.raises(UsageError, match=words):
            onnxpath.rescale(proto, tmp_path / "out.onnx", **options, **CPU)


def test_seeds_and_powers_of_two(tmp_path: Path) -> None:
    proto = STRUCTURES["residual"][0]()

    def tensors(**options: object) -> list[bytes]:
        onnxpath.rescale(proto, tmp_path / "out.onnx", **options, **CPU)
        return [t.raw_data for t in onnx.load(tmp_path / "out.onnx").graph.initializer]

    assert tensors(seed=1) == tensors(seed=1) != tensors(seed=2)
    for mode in ("normalize", "equalize"):
        found = onnxpath.rescale(proto, tmp_path / "out.onnx", mode, powers_of_two=True, **CPU)
        assert found.factors.powers_of_two and found.outputs.difference == 0 and found.relative == 0


@pytest.mark.parametrize("spread", [1.0, 30.0])
def test_equalizing_never_makes_rounding_worse(spread: float) -> None:
    """Channels that differ by much round badly; the bound on what rounding does never grows, and shrinks
    where there is room."""
    s = Sketch()
    x = s.relu(s.conv("x", 3, 6))
    x = s.relu(s.conv(x, 6, 6))
    proto = s.file(s.head(x, 6 * 36))
    factor = spread ** np.linspace(-1, 1, 6, dtype=np.float32)
    for tensor, scale in zip(proto.graph.initializer, (factor[:, None, None, None], factor), strict=False):
        tensor.raw_data = (numpy_helper.to_array(tensor) * scale).astype(np.float32).tobytes()
    network = load(proto)
    found = file_groups(network)

    def difference(a: object, b: object) -> float:
        return path_metric(a, b, Device("cpu", threads=1)).path_metric.upper.log10  # type: ignore[arg-type]

    from onnxpath.rewrites.rescaling.equalization import applied

    log2 = equalize(network, found.canonical, difference)  # type: ignore[arg-type]
    after = applied(network, found.canonical, log2)
    gain = difference(network, rounded(network)) - difference(after, rounded(after))
    assert gain >= -1e-5
    assert gain > 0.1 or spread == 1


def test_a_group_is_scaled_by_what_its_producers_and_readers_say() -> None:
    """edits() with up = down = 1 changes nothing; scaling one group changes what produces it and what reads
    it, by λ and 1 / λ."""
    proto = STRUCTURES["residual"][0]()
    network = load(proto)
    found = file_groups(network)
    up = np.ones(found.canonical.count)
    assert edits(network, found, up, up) == {}
    up[sorted(found.canonical.free())[0]] = 4.0
    changed = edits(network, found, up, 1 / up)
    for name, array in changed.items():
        ratio = array / network.origin.tensors[name]
        assert set(np.unique(ratio[np.isfinite(ratio)])) <= {0.25, 1.0, 4.0}


@pytest.mark.parametrize("name", ["digits_resnet_bn", "digits_maxpool_cnn", "digits_mlp"])
def test_own_models(name: str, tmp_path: Path) -> None:
    for mode in ("random", "normalize", "equalize"):
        found = onnxpath.rescale(MODELS / f"{name}.onnx", tmp_path / "out.onnx", mode, **CPU)
        assert found.pinned == 0 and found.relative <= (0 if mode == "random" else 1e-6)


def test_real_files(real_models: Path, tmp_path: Path) -> None:
    """Random powers of two change no bit of the outputs in ONNX Runtime, BatchNormalization in the file or
    not."""
    rescaled = 0
    for path in sorted(real_models.glob("*.onnx")):
        try:
            load(path)
        except OnnxPathError:
            continue
        if path.name == "light_resnet50.onnx":  # all weights come from ConstantOfShape
            with pytest.raises(UnsupportedError, match="nothing to rescale"):
                onnxpath.rescale(path, tmp_path / path.name, **CPU)
            continue
        found = onnxpath.rescale(path, tmp_path / path.name, **CPU)
        assert found.relative < 1e-30 and found.pinned == 0
        if found.outputs is None:
            assert path.name == "drones_ac4_double.onnx"
        else:
            assert found.outputs.difference == 0
        rescaled += 1
    assert rescaled >= 14
