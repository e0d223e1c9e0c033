"""Removing channels: the smaller file computes what the file computes with the weights and biases of those
channels at 0."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from reference import evaluate, outputs
from spellings import model, node, normal
from structures import STRUCTURES, Sketch

from onnxpath.analyses.metric.metric import path_metric
from onnxpath.analyses.metric.norm import path_norms
from onnxpath.analyses.prune.channels import channel_costs, same_paths, selected, without
from onnxpath.analyses.prune.costs import measure
from onnxpath.engine.session import Device
from onnxpath.errors import ModelError, OnnxPathError, UsageError
from onnxpath.exporter import write
from onnxpath.exporter.channels import ChannelGroups, channel_groups, operands
from onnxpath.exporter.removal import remove_channels
from onnxpath.importer import load
from onnxpath.model.network import Network

EACH = pytest.mark.parametrize("name", STRUCTURES)


def run(path: Path, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"]).run(None, inputs)


def random_inputs(network: Network, kind: type = np.float32) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(5)
    return {name: rng.standard_normal(network.shapes[name]).astype(kind) for name in network.inputs}


def zeroed(source: object, network: Network, found: ChannelGroups, removed: Iterable[int], out: Path) -> None:
    """The file with every parameter that puts something into those channels at 0, tensor by tensor. For
    tensors with one reader."""
    gone = np.zeros(found.lowered.count, bool)
    gone[list(removed)] = True
    edits: dict[str, np.ndarray] = {}
    statistics = {p.sources[0] for four in network.origin.normalizations.values() for p in four[2:]}
    for operand in operands(network, found.lowered):
        if operand.place is None or operand.place.tensor in statistics:
            continue
        array = edits.setdefault(operand.place.tensor, network.origin.tensors[operand.place.tensor].copy())
        view = operand.place.view(array)
        view[np.broadcast_to(gone[operand.ids[-1]], view.shape)] = 0
    write(source, edits, out)


def some(network: Network, found: ChannelGroups, seed: int, share: float = 0.5) -> set[int]:
    return selected(
        network, found.canonical, np.random.default_rng(seed).random(found.canonical.count), share
    )


def check(
    source: object, network: Network, removed: set[int], found: ChannelGroups, out: Path, rtol: float = 1e-12
) -> None:
    """The smaller file, against the network with those parameters at 0, both in float64."""
    remove_channels(source, network, removed, out)
    small = load(out)
    x = random_inputs(network)
    expected = outputs(network, evaluate(without(network, found.canonical, removed), x))
    for ours, theirs in zip(outputs(small, evaluate(small, x)), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=rtol * max(np.abs(theirs).max(), 1e-30))


@EACH
@pytest.mark.parametrize("seed", range(3))
def test_the_smaller_file_is_the_network_without_those_channels(name: str, seed: int, tmp_path: Path) -> None:
    proto = STRUCTURES[name][0]()
    network = load(proto)
    found = channel_groups(proto, network)
    assert len(found.free()) == STRUCTURES[name][1]
    removed = some(network, found, seed)
    assert removed
    check(proto, network, removed, found, tmp_path / "small.onnx", 1e-3 if name == "float16" else 1e-12)
    onnx.checker.check_model(
        tmp_path / "small.onnx", full_check=True
    )  # no shape that the file notes is one from before
    small = onnx.load(tmp_path / "small.onnx")
    kinds = [[n.op_type for n in m.graph.node if n.op_type != "Identity"] for m in (small, proto)]
    assert kinds[0] == kinds[1] or name == "one shape"  # one more Concat
    assert [o.name for o in small.graph.output] == [o.name for o in proto.graph.output]
    weights = [
        sum(int(np.prod(t.dims)) for t in m.graph.initializer if t.data_type != 7) for m in (proto, small)
    ]
    assert weights[1] < weights[0] or name == "equal tensors"


# where a tensor serves several layers, zeros cannot be written into it for one of them
@pytest.mark.parametrize(
    "name", [name for name in STRUCTURES if name not in ("equal tensors", "IR version 3")]
)
def test_in_onnx_runtime_it_equals_the_file_with_zeros(name: str, tmp_path: Path) -> None:
    proto = STRUCTURES[name][0]()
    network = load(proto)
    found = channel_groups(proto, network)
    removed = some(network, found, 7)
    zeroed(proto, network, found, removed, tmp_path / "zeroed.onnx")
    remove_channels(proto, network, removed, tmp_path / "small.onnx")
    half = name == "float16"
    x = random_inputs(network, np.float16 if half else np.float32)
    for a, b in zip(run(tmp_path / "zeroed.onnx", x), run(tmp_path / "small.onnx", x), strict=True):
        # sums of fewer terms, in another order: float32 (or float16) rounding
        np.testing.assert_allclose(b, a, rtol=0, atol=(2e-2 if half else 3e-6) * np.abs(a).max())


@EACH
def test_no_tensor_loses_its_last_channel(name: str, tmp_path: Path) -> None:
    proto = STRUCTURES[name][0]()
    network = load(proto)
    found = channel_groups(proto, network)
    removed = some(network, found, 1, 1.0)
    check(proto, network, removed, found, tmp_path / "small.onnx", 1e-3 if name == "float16" else 1e-12)
    with pytest.raises(UsageError, match="no channel left"):
        remove_channels(proto, network, found.free(), tmp_path / "none.onnx")
    with pytest.raises(UsageError, match="cannot be removed"):
        remove_channels(proto, network, {0}, tmp_path / "none.onnx")
    assert not (tmp_path / "none.onnx").exists()


def test_removing_again_from_what_is_left(tmp_path: Path) -> None:
    proto = STRUCTURES["depthwise"][0]()
    source: object = proto
    for step in range(3):
        network = load(source)
        found = channel_groups(source, network)
        out = tmp_path / f"{step}.onnx"
        check(source, network, some(network, found, step, 0.3), found, out)
        source = out


def test_real_files(real_models: Path, tmp_path: Path) -> None:
    smaller = 0
    for path in sorted(real_models.glob("*.onnx")):
        try:
            network = load(path)
        except OnnxPathError:
            continue
        found = channel_groups(path, network)
        removed = some(network, found, 3)
        if path.name == "light_resnet50.onnx":  # a ConstantOfShape has one cell, whatever its shape
            assert not found.free()
            continue
        check(path, network, removed, found, tmp_path / path.name)
        smaller += (tmp_path / path.name).stat().st_size < 0.9 * path.stat().st_size
    assert smaller >= 12


def test_channels_that_operators_mix_stay(tmp_path: Path) -> None:
    """Slices, shuffles and splits of channels, and everything another output reads."""
    s = Sketch()
    x = s.relu(s.conv("x", 3, 4))
    x = s.add("Slice", f"{x},{s.weight(np.array([0]))},{s.weight(np.array([2]))},{s.weight(np.array([1]))}")
    sliced = s.file(s.head(s.relu(s.conv(x, 2, 3)), 3 * 36))
    assert len(channel_groups(sliced, load(sliced)).free()) == 3
    s = Sketch()
    x = s.add("DepthToSpace", s.relu(s.conv("x", 3, 8)), blocksize=2)
    mixed = s.file(s.head(s.relu(s.conv(x, 2, 3)), 3 * 144))
    assert len(channel_groups(mixed, load(mixed)).free()) == 3
    nodes = [
        node("MatMul", "x,w", "h"),
        node("Relu", "h", "r"),
        node("MatMul", "r,v", "y"),
        node("MatMul", "r,u", "z"),
    ]
    two = model(nodes, {"w": normal(4, 6), "v": normal(6, 2), "u": normal(6, 2)}, results="y,z")
    assert len(channel_groups(two, load(two)).free()) == 6
    one = load(two, output_names=["y"])
    assert not channel_groups(two, one).free()


@pytest.mark.parametrize(
    "name", ["sequence", "residual", "concat", "depthwise", "elementwise", "channels last"]
)
def test_the_cost_of_a_group_bounds_the_paths_through_it(name: str) -> None:
    proto = STRUCTURES[name][0]()
    network = load(proto)
    found = channel_groups(proto, network)
    measured = measure(network, Device("cpu"))
    costs = np.ldexp(channel_costs(network, found.canonical, measured.costs), measured.exponent)
    assert costs[0] == 0
    for group in sorted(found.free()):
        exact = path_metric(network, without(network, found.canonical, {group}), Device("cpu")).path_metric
        assert exact.exact
        assert costs[group] >= (1 - 1e-5) * exact.upper.value
        if name != "residual":  # there a path may enter a group more than once
            assert costs[group] == pytest.approx(exact.upper.value, rel=1e-5)


def test_a_smaller_file_with_other_paths_is_refused(tmp_path: Path) -> None:
    proto = STRUCTURES["sequence"][0]()
    network = load(proto)
    found = channel_groups(proto, network)
    removed = some(network, found, 2)
    norm = path_norms(without(network, found.canonical, removed), [1.0], Device("cpu")).norms[0].value
    out = tmp_path / "out.onnx"
    remove_channels(proto, network, removed, out, verify=lambda path: same_paths(path, network, norm))
    before = out.read_bytes()
    fewer = set(sorted(removed)[1:])
    with pytest.raises(ModelError, match="not written"):
        remove_channels(proto, network, fewer, out, verify=lambda path: same_paths(path, network, norm))
    assert out.read_bytes() == before


def test_cheap_channels_go_first_in_every_layer_or_over_all() -> None:
    proto = STRUCTURES["sequence"][0]()
    network = load(proto)
    found = channel_groups(proto, network).canonical
    costs = np.arange(found.count, dtype=np.float64)
    free = sorted(found.free())
    assert selected(network, found, costs, 0.5) == set(free[:5])
    by_layer = selected(network, found, costs, 0.5, by_layer=True)
    assert by_layer == {*free[:3], *free[6:8]}
    assert not selected(network, found, costs, 0.0)
