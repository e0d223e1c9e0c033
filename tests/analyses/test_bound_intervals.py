"""What intervals know enters every bound: it is never above `certify` at effort 0 on the same boxes, nor
below what is found."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from oracle.networks import KINDS, perturb, random_network, rescale
from oracle.sketch import Sketch
from passes.test_sharp_activations import activated

import onnxpath
from analyses.quantized_support import GRIDS, build
from onnxpath.analyses.bound import bound as bounds
from onnxpath.analyses.bound import difference_bounds
from onnxpath.analyses.bound.intervals import output_intervals
from onnxpath.analyses.certify.certifier import Options
from onnxpath.analyses.certify.certify import certify
from onnxpath.analyses.pairs import load_pair
from onnxpath.boxes.local_bounds import LocalBounds
from onnxpath.engine.session import Device
from onnxpath.evaluate.forward import Forward, counterpart
from onnxpath.model.domain import Domain, Region
from onnxpath.model.matching import Pairing, match
from onnxpath.model.network import Network

DEVICE, EXACT = Device("cpu", "float32", 1), Device("cpu", "float64", 1)
MODELS = "models/digits_{}.onnx"
EPSILON = st.sampled_from([0.0, 1e-6, 1e-3, 0.1])


def found_in(pairing: Pairing, region: Region, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """[boxes, neurons] by output: the largest difference at the centre, at corners and at points in between;
    a little less, for rounding."""
    forward, largest = Forward([pairing.a, counterpart(pairing)], EXACT), {}
    for kind in range(5):
        part = {
            name: rng.random(low.shape) if kind > 2 else rng.integers(0, 2, low.shape)
            for name, low in region.low.items()
        }
        x = {name: region.low[name] + (region.high[name] - region.low[name]) * part[name] for name in part}
        first, second = forward.run(region.centers if kind == 0 and region.centers is not None else x)
        for name in pairing.a.outputs:
            size = np.maximum(np.abs(first[name]), np.abs(second[name]))
            rows = (np.abs(first[name] - second[name]) - 1e-12 * size.max(initial=0.0)).reshape(
                region.size, -1
            )
            largest[name] = np.maximum(largest.get(name, rows), rows)
    return largest


def check(a: Network, b: Network, domain: Domain, rng: np.random.Generator) -> None:
    pairing = match(a, b, quantizers=True)
    region = domain.resolve(pairing.a)
    found, seen = difference_bounds.bounds(pairing, region, DEVICE), found_in(pairing, region, rng)
    for name in pairing.a.outputs:
        assert (seen[name] <= found.outputs[name].floats()).all()
    if region.centers is None or not pairing.a.batched:
        return
    for k, item in enumerate(certify(a, b, domain, DEVICE, Options(effort=0)).inputs):
        for label, name in zip(pairing.a.output_names, pairing.a.outputs, strict=True):
            assert (found.outputs[name].floats()[k] <= np.array(item.outputs[label])).all()


def around(network: Network, epsilon: float, rng: np.random.Generator) -> Domain:
    size = float(rng.choice([1e-2, 1.0, 20.0]))
    count = 3 if network.batched else network.shapes[network.inputs[0]][0]
    inputs = {
        name: (size * rng.normal(size=(count, *network.shapes[name][1:]))).astype(np.float32)
        for name in network.inputs
    }
    kind = rng.integers(3)
    if kind == 0 and not epsilon:
        return Domain.samples(inputs)
    if kind == 1:  # cut to limits that all the inputs keep
        top = max(float(np.abs(x).max()) for x in inputs.values())
        return Domain.around(inputs, epsilon, -top, top)
    return Domain.around(inputs, epsilon)


@examples(14, 1500)
@given(
    seed=st.integers(0, 2**32 - 1),
    kind=st.sampled_from(KINDS),
    flavour=st.sampled_from(["plain", "sparse", "extreme"]),
    extended=st.booleans(),
    epsilon=EPSILON,
)
def test_never_above_certify_nor_below_what_is_found(
    seed: int, kind: str, flavour: str, extended: bool, epsilon: float
) -> None:
    rng = np.random.default_rng(seed)
    a = random_network(seed, flavour)
    a = activated(a, rng) if extended else a
    check(a, perturb(a, kind, rng), around(a, epsilon, rng), rng)


@examples(6)
@given(
    st.lists(GRIDS, min_size=6, max_size=6),
    st.lists(GRIDS, min_size=6, max_size=6),
    st.booleans(),
    st.integers(0, 99),
    st.sampled_from([0.0, 0.01, 0.3]),
    EPSILON,
)
def test_never_above_certify_with_quantizers(
    p: list, q: list, alike: bool, seed: int, spread: float, epsilon: float
) -> None:
    a, b = build(p, 0, spread), build(p if alike else q, seed, spread)
    rng = np.random.default_rng(seed)
    check(a, b, around(a, epsilon, rng), rng)


@examples(6)
@given(seed=st.integers(0, 2**32 - 1), kind=st.sampled_from(KINDS), wide=st.booleans())
def test_never_above_the_intervals_of_a_box(seed: int, kind: str, wide: bool) -> None:
    """--low and --high, per channel (collapsed images) or per cell: what the whole images give."""
    rng = np.random.default_rng(seed)
    a = random_network(seed)
    b = perturb(a, kind, rng)
    low = {name: rng.normal(size=a.shapes[name][1:] if wide else a.shapes[name][1]) for name in a.inputs}
    domain = Domain.box(low, {name: array + 0.1 for name, array in low.items()})
    check(a, b, domain, rng)
    pairing = match(a, b)
    if pairing.a.batched:
        region = domain.resolve(pairing.a)
        found = difference_bounds.bounds(pairing, region, DEVICE)
        state = LocalBounds(pairing, DEVICE, backward=False).start(region.low, region.high)
        for name in pairing.a.outputs:
            known = state.known[name].only(state.valid).reach().reshape(1, -1)
            assert (found.outputs[name].floats() <= known * (1 + 1e-5)).all()


@pytest.mark.parametrize("pair, epsilon, most", [
    (("resnet", "resnet_finetuned"), None, 12.5), (("maxpool_cnn", "maxpool_cnn_int8grid"), None, 0.0583),
    (("maxpool_cnn", "maxpool_cnn_int8grid"), 0.001, 0.117),
])  # fmt: skip
def test_given_images_have_bounds_of_their_own(
    pair: tuple[str, str], epsilon: float | None, most: float
) -> None:
    """435,400 and 40.4 by the sharp pass alone, which knows the size of a pixel only. Shares are of what is
    printed."""
    a, b = (onnxpath.load(MODELS.format(name)) for name in pair)
    x = np.load("models/digits_test.npz")["x"][:4]
    domain = Domain.samples(x) if epsilon is None else Domain.around(x, epsilon)
    result = bounds.bound(a, b, domain, DEVICE, norm="1", search=0, margin=True)
    assert max(result.outputs[0].bounds) <= most and "intervals" in result.method
    assert sum(layer.metric.value for layer in result.layers) == pytest.approx(
        result.largest.certified.value, rel=1e-9
    )
    assert result.largest.certified == max(
        (item.certified for item in result.inputs), key=lambda value: value.log2
    )
    assert all(item.found <= item.certified.value for item in result.inputs)
    certified = certify(a, b, domain, DEVICE, Options(effort=0))
    assert result.margin.agree >= certified.count("agree")
    for k, (item, own) in enumerate(zip(certified.inputs, result.inputs, strict=True)):
        assert own.certified.value <= sum(item.outputs[a.output_names[0]]) * (1 + 1e-9)
        assert result.margin.changes[k] <= max(change.certified for change in item.changes)


def test_a_rescaled_twin_has_the_bound_of_the_original_at_given_images() -> None:
    """Intervals follow the representative that was rescaled back: those of B's own parameters, far from A's,
    say nothing."""
    a, b = (onnxpath.load(MODELS.format(name)) for name in ("maxpool_cnn", "maxpool_cnn_int8grid"))
    region = Domain.samples(np.load("models/digits_test.npz")["x"][:3]).resolve(a)
    moved = rescale(b, np.random.default_rng(0), powers=True)
    pairs = match(a, b), match(a, moved)
    assert any(
        not np.array_equal(p.weight.array(), q.weight.array())
        for p, q in zip(b.nodes, moved.nodes, strict=True)
        if p.weight
    )
    plain, other = (difference_bounds.bounds(pairing, region, DEVICE).all().floats() for pairing in pairs)
    np.testing.assert_allclose(other, plain, rtol=1e-5)
    alone = output_intervals(pairs[1], pairs[1].twin, region, DEVICE)
    assert alone.reach[a.outputs[0]].max() > 10 * plain.max()


@pytest.mark.parametrize("pair", [("factorio_mlp_fp32", "factorio_mlp_dynquant"), ("mnist_cntk", None)])
def test_never_above_certify_for_files_of_other_people(
    real_models: Path, pair: tuple[str, str | None]
) -> None:
    """A quantized pair, and a file beside itself on a grid of 8 bits."""
    first, second = (real_models / f"{name}.onnx" for name in (pair[0], pair[1] or pair[0]))
    a, b = load_pair(first, second, extended=True)
    if pair[1] is None:
        nodes = [
            replace(n, weight=replace(n.weight, base=_grid(n.weight.base))) if n.weight is not None else n
            for n in b.nodes
        ]
        b = replace(b, nodes=tuple(nodes))
    rng = np.random.default_rng(0)
    x = {name: rng.uniform(0, 1, (4, *a.shapes[name][1:])).astype(np.float32) for name in a.inputs}
    for domain in (Domain.samples(x), Domain.around(x, 0.01, 0, 1)):
        check(a, b, domain, rng)


def _grid(base: np.ndarray) -> np.ndarray:
    step = np.abs(base).max() / 127
    return (np.round(base / step) * step).astype(np.float32)


def test_intervals_that_overflow_say_nothing() -> None:
    """A box whose intervals leave float32 keeps the bound of the sharp pass; its neighbour keeps its
    intervals."""

    def network(factor: float) -> Network:
        s = Sketch(x=(1, 2))
        x = "x"
        for _ in range(4):
            x = s.relu(s.matmul(x, np.array([[1e9, -1e9], [-1e9, 1e9]], np.float32) * np.float32(factor)))
        return s.network(x)

    pairing = match(network(1.0), network(1.0 + 2.0**-10))
    region = Domain.samples(np.array([[1e8, -1e8], [1e-30, -1e-30]], np.float32)).resolve(pairing.a)
    reach = output_intervals(pairing, pairing.twin, region, DEVICE).reach[pairing.a.outputs[0]]
    assert np.isinf(reach[0]).any() and np.isfinite(reach[1]).all()
    found = difference_bounds.bounds(pairing, region, DEVICE).all()
    assert np.isfinite(found.floats()).all() and found.norms("inf")[0].value > 1e40
    assert (found.floats()[1] <= reach[1]).all()
