"""bound: certified above whatever is found, for every kind of domain, pair and network."""

from dataclasses import replace

import numpy as np
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from oracle.networks import FLAVOURS, KINDS, perturb, random_network, rescale
from oracle.sketch import Sketch
from passes.test_sharp_activations import activated
from reference import evaluate

import onnxpath
from onnxpath.analyses.bound import bound as bounds
from onnxpath.analyses.bound import difference_bounds
from onnxpath.analyses.metric.metric import path_metric
from onnxpath.engine.scaled import Scaled
from onnxpath.engine.session import Device
from onnxpath.errors import UsageError, ViolationError
from onnxpath.evaluate import search
from onnxpath.model.domain import Domain
from onnxpath.model.matching import Pairing, match
from onnxpath.model.network import Network, Parameter
from onnxpath.rewrites.rescaling.alignment import alignments
from onnxpath.rewrites.rescaling.groups import groups, learned, rescaled

DEVICE = Device("cpu", "float32", 1)
MODELS = "models/digits_{}.onnx"


def random_domain(network: Network, rng: np.random.Generator) -> Domain:
    """A radius, a box (per channel or per cell), samples, or boxes around samples."""
    kind = rng.choice(["radius", "box", "channels", "samples", "around"])
    size = float(rng.choice([1e-3, 1.0, 50.0]))
    if kind == "radius":
        return Domain.radius(size)
    if kind == "box":
        low = {name: size * rng.normal(size=network.shapes[name][1:]) for name in network.inputs}
        return Domain.box(low, {name: array + size * rng.random(array.shape) for name, array in low.items()})
    if kind == "channels":
        low = {name: size * rng.normal(size=network.shapes[name][1]) for name in network.inputs}
        return Domain.box(low, {name: array + size * rng.random(array.shape) for name, array in low.items()})
    count = 3 if network.batched else network.shapes[network.inputs[0]][0]
    samples = {
        name: (size * rng.normal(size=(count, *network.shapes[name][1:]))).astype(np.float32)
        for name in network.inputs
    }
    return Domain.samples(samples) if kind == "samples" else Domain.around(samples, 0.1 * size)


def check(a: Network, b: Network, domain: Domain, norm: str, seed: int) -> float:
    """The search finds nothing above the bound of its box, nor any neuron above its own; the largest part
    that was reached."""
    pairing = match(a, b)
    region = domain.resolve(a)
    found = difference_bounds.bounds(pairing, region, DEVICE)
    result = search.search(pairing, region, DEVICE, steps=2, norm=norm, seed=seed, samples=4)
    reached = 0.0
    for k, (box, limit) in enumerate(zip(result.boxes, found.all().norms(norm), strict=True)):
        if box.value is None:
            continue
        largest = np.inf if limit.value is None else limit.value
        assert box.value - box.error <= largest
        reached = max(reached, box.value / largest if largest > 0 else 0.0)
        for name, difference in box.difference.items():
            assert (np.abs(difference).reshape(-1) - box.error <= found.outputs[name].floats()[k]).all()
    return reached


SEEDS, NORMS = st.integers(0, 2**32 - 1), st.sampled_from(["1", "2", "inf"])


def bounded(flavour: str, kind: str, seed: int, norm: str, extended: bool = False) -> None:
    rng = np.random.default_rng(seed)
    a = activated(random_network(seed), rng) if extended else random_network(seed, flavour)
    check(a, perturb(a, kind, rng), random_domain(a, rng), norm, seed % 1000)


@pytest.mark.parametrize("kind", KINDS)
@examples(5, 60 * len(FLAVOURS))
@given(flavour=st.sampled_from(FLAVOURS), seed=SEEDS, norm=NORMS)
def test_nothing_found_is_above_the_bound(flavour: str, kind: str, seed: int, norm: str) -> None:
    bounded(flavour, kind, seed, norm)


@examples(14, 60 * len(KINDS))
@given(kind=st.sampled_from(KINDS), seed=SEEDS, norm=NORMS)
def test_nothing_found_is_above_the_bound_with_other_activations(kind: str, seed: int, norm: str) -> None:
    bounded("plain", kind, seed, norm, extended=True)


RESCALED = st.sampled_from(["retrained", "flipped", "one layer"])


@examples(10, 200)
@given(seed=SEEDS, kind=RESCALED)
def test_twins_rescaled_by_powers_of_two_are_aligned_to_the_same_networks(seed: int, kind: str) -> None:
    """Both candidates, the factors themselves and the powers of two next to them, have the bounds that the
    original's have."""
    rng = np.random.default_rng(seed)
    a = random_network(seed)
    b = perturb(a, kind, rng)
    plain, moved = match(a, b), match(a, rescale(b, rng, powers=True))
    radius = {name: np.ones(a.shapes[name]) for name in a.inputs}

    def size(pairing: Pairing) -> float:
        found = difference_bounds.output_difference(pairing, radius, DEVICE)
        return sum((reading.total().value for reading in found.values() if reading is not None), 0.0)

    def candidates(pairing: Pairing) -> list[float]:
        """With the factors themselves, and with powers of two: the same, or none at all, where only one of
        them is tried."""
        made = alignments(pairing)
        found = [size(replace(pairing, twin=candidate.twin)) for candidate in made] or [size(pairing)]
        return (
            found if len(found) == 2 else [found[0], found[0] if not made or made[0].exact else size(pairing)]
        )

    np.testing.assert_allclose(candidates(moved), candidates(plain), rtol=1e-5)


@pytest.mark.parametrize("name", ["resnet", "maxpool_cnn"])
def test_a_rescaled_twin_has_the_bound_of_the_original(name: str) -> None:
    """The paper's random rescaling (Appendix D), on trained networks: D(A, B) = D(A, rescaled B) to 1e-5."""
    a, b = (
        onnxpath.load(MODELS.format(part))
        for part in (name, f"{name}_{'finetuned' if name == 'resnet' else 'int8grid'}")
    )
    found, rng = groups(b), np.random.default_rng(0)
    log2 = np.where(
        np.isin(np.arange(found.count), list(found.free())), rng.choice([0.0, 7.0, 12.0], found.count), 0.0
    )
    changed = {n.output: rescaled(b, n, n.weight, n.bias, found, log2) for n in learned(b)}
    nodes = [
        replace(n, weight=changed[n.output][0], bias=changed[n.output][1]) if n.output in changed else n
        for n in b.nodes
    ]
    region = Domain.box(0, 1).resolve(a)
    plain, moved = (
        difference_bounds.bounds(match(a, twin), region, DEVICE).all().floats()
        for twin in (b, replace(b, nodes=tuple(nodes)))
    )
    assert log2.any()
    np.testing.assert_allclose(moved, plain, rtol=1e-5)


def equality(seed: int) -> tuple[Network, Network]:
    """One path per output neuron, weights and their growth positive: the bound is a difference that
    occurs."""
    rng = np.random.default_rng(seed)

    def network(scale: float) -> Network:
        rng = np.random.default_rng(seed)
        s = Sketch(x=(1, 3))
        x = "x"
        for _ in range(3):
            x = s.relu(s.matmul(x, np.diag(scale * rng.uniform(0.5, 2, 3)).astype(np.float32)))
        return s.network(x)

    return network(1.0), network(float(rng.uniform(1.01, 1.5)))


@pytest.mark.parametrize("seed", range(5))
def test_equality_is_reached(seed: int) -> None:
    a, b = equality(seed)
    assert check(a, b, Domain.radius(2.0), "inf", 0) == pytest.approx(1, rel=1e-5)


def test_a_normalizer_is_a_change_of_units() -> None:
    """(x - mean) / std on [0, 255] bounds what the network behind it does on the box that this makes: not |x|
    <= 255 scaled."""
    rng = np.random.default_rng(1)

    def network(noise: float, normalized: bool) -> Network:
        rng = np.random.default_rng(2)
        s = Sketch(x=(1, 3, 6, 6))
        mean, std = np.array([120.0, 110.0, 100.0]), np.array([60.0, 58.0, 62.0])
        x = "x"
        if normalized:
            x = s.scale(
                x,
                (1 / std).astype(np.float32).reshape(1, 3, 1, 1),
                (-mean / std).astype(np.float32).reshape(1, 3, 1, 1),
            )
        weight = rng.standard_normal((4, 3, 3, 3)).astype(np.float32)
        x = s.relu(s.conv(x, (weight * (1 + noise * rng.standard_normal(weight.shape))).astype(np.float32)))
        return s.network(s.reduce("ReduceSum", x, (2, 3)))

    pixels = difference_bounds.bounds(
        match(network(0, True), network(0.1, True)), Domain.box(0, 255).resolve(network(0, True)), DEVICE
    )
    scale, shift = ([float(v) for v in p.array().reshape(-1)] for p in network(0, True).nodes[0].parameters())
    low, high = list(shift), [255 * s + t for s, t in zip(scale, shift, strict=True)]
    behind = difference_bounds.bounds(
        match(network(0, False), network(0.1, False)),
        Domain.box(low, high).resolve(network(0, False)),
        DEVICE,
    )
    np.testing.assert_allclose(pixels.all().floats(), behind.all().floats(), rtol=1e-6)
    x = {"x": rng.uniform(0, 255, (1, 3, 6, 6))}
    found = [evaluate(n, x) for n in (network(0, True), network(0.1, True))]
    change = np.abs(found[0][network(0, True).outputs[0]] - found[1][network(0, True).outputs[0]]).reshape(-1)
    assert (change <= pixels.all().floats()[0]).all()


def test_shares_are_of_the_bound() -> None:
    a, b = (onnxpath.load(MODELS.format(name)) for name in ("resnet", "resnet_finetuned"))
    result = bounds.bound(a, b, Domain.box(0, 1), DEVICE, norm="1", search=0)
    assert sum(layer.share for layer in result.layers) == pytest.approx(1, abs=1e-9)
    total = sum(layer.metric.value for layer in result.layers)
    assert total == pytest.approx(result.largest.certified.value, rel=1e-9)
    assert result.largest.certified.value == pytest.approx(sum(result.outputs[0].bounds), rel=1e-9)
    one = {
        n.output: replace(n, weight=n.weight.scaled(np.full((1,) * len(n.weight.shape), 1.5)))
        for n in a.nodes
        if n.weight
    }
    name, changed = next((name, node) for name, node in one.items() if node.op == "Conv")
    twin = replace(a, nodes=tuple(changed if node.output == name else node for node in a.nodes))
    layers = bounds.bound(a, twin, Domain.box(0, 1), DEVICE, search=0).layers
    assert {layer.name: layer.share for layer in layers if layer.share} == {changed.name: pytest.approx(1)}


def test_max_pooling_makes_the_sharp_bound_much_smaller_than_the_theorem() -> None:
    """At least 5 times on the digits CNN with two max-pools, for pixels in [0, 1] (9.8 times with the files
    in models/)."""
    a, b = (onnxpath.load(MODELS.format(name)) for name in ("maxpool_cnn", "maxpool_cnn_int8grid"))
    result = onnxpath.bound(a, b, Domain.box(0, 1), norm="1", search=0, compare=True)
    rows = {row.name: row for row in result.compared}
    assert 5 * rows["sharp difference pass"].value.value <= rows["Theorem 3.1"].value.value
    assert rows["sharp difference pass"].value <= rows["triangle through the minimum"].value
    assert rows["triangle through the minimum"].value <= rows["max minus min"].value
    assert rows["triangle through the minimum"].value <= rows["paper difference pass"].value.times(1 + 1e-5)
    values = [row.value.log2 for row in result.compared if row.value is not None]
    assert values == sorted(values)
    assert all(result.largest.found <= row.value.value for row in result.compared if row.value is not None)
    assert all(row.condition for row in result.compared)


@examples(6, 150)
@given(seed=SEEDS, kind=st.sampled_from(KINDS))
def test_every_compared_bound_is_above_the_difference(seed: int, kind: str) -> None:
    rng = np.random.default_rng(seed)
    a = random_network(seed)
    b = perturb(a, kind, rng)
    result = bounds.bound(a, b, random_domain(a, rng), DEVICE, norm="1", search=2, compare=True)
    for row in result.compared:
        if row.value is not None and row.value.value is not None and result.largest.found is not None:
            assert result.largest.found * (1 - 1e-9) - 1e-12 <= row.value.value, row.name


def test_samples_have_smaller_bounds_than_the_box_around_all_of_them() -> None:
    a, b = (onnxpath.load(MODELS.format(name)) for name in ("maxpool_cnn", "maxpool_cnn_int8grid"))
    x = np.load("models/digits_test.npz")["x"][:12]
    box = bounds.bound(a, b, Domain.box(0, 1), DEVICE, search=0).largest.certified
    each = bounds.bound(a, b, Domain.samples(x), DEVICE, search=0)
    around = bounds.bound(a, b, Domain.around(x, 0.01, 0, 1), DEVICE, search=0)
    assert len(each.inputs) == 12 and all(item.certified <= box for item in each.inputs)
    assert all(p.certified <= q.certified <= box for p, q in zip(each.inputs, around.inputs, strict=True))
    assert each.largest.certified == max(
        (item.certified for item in each.inputs), key=lambda value: value.log2
    )


def test_chunks_do_not_change_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = (onnxpath.load(MODELS.format(name)) for name in ("mlp", "mlp_int8grid"))
    region = Domain.samples(np.load("models/digits_test.npz")["x"][:13]).resolve(a)
    whole = difference_bounds.bounds(match(a, b), region, DEVICE).all().floats()
    monkeypatch.setattr(difference_bounds, "_ELEMENTS", 256)
    np.testing.assert_allclose(
        difference_bounds.bounds(match(a, b), region, DEVICE).all().floats(), whole, rtol=1e-6
    )


def test_equal_networks_differ_by_nothing() -> None:
    a = onnxpath.load(MODELS.format("resnet"))
    result = bounds.bound(a, a, Domain.radius(1.0), DEVICE, search=1)
    assert (
        result.largest.certified == Scaled(0.0) and result.largest.found == 0 and result.largest.ratio is None
    )
    assert result.method == "equal parameters" and not any(layer.share for layer in result.layers)


def test_more_found_than_certified_is_a_bug(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pass that forgot the weights' difference is caught, with the input that shows it."""
    a, b = (onnxpath.load(MODELS.format(name)) for name in ("mlp", "mlp_int8grid"))
    honest = difference_bounds.bounds

    def wrong(*arguments: object) -> difference_bounds.Bounds:
        found = honest(*arguments)
        return replace(
            found, outputs={k: replace(v, exponent=v.exponent - 30) for k, v in found.outputs.items()}
        )

    monkeypatch.setattr(difference_bounds, "bounds", wrong)
    with pytest.raises(ViolationError, match="more than the certified bound") as caught:
        bounds.bound(a, b, Domain.box(0, 1), DEVICE)
    assert caught.value.inputs["x"].shape == (1, 1, 8, 8)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"norm": "3"}, "norm"),
        ({"search": -1}, "search"),
        ({"confidence": 1.0}, "confidence"),
        ({"margin": True}, "--inputs"),
    ],
)
def test_arguments_that_make_no_sense(options: dict, message: str) -> None:
    a = onnxpath.load(MODELS.format("mlp"))
    with pytest.raises(UsageError, match=message):
        bounds.bound(a, a, Domain.radius(1.0), DEVICE, **options)


def test_bounds_beyond_float64_are_null_and_still_sound() -> None:
    s = Sketch(x=(1, 2))
    x = "x"
    for _ in range(12):
        x = s.relu(s.matmul(x, np.full((2, 2), 1e30, np.float32)))
    a = s.network(x)
    b = replace(
        a,
        nodes=tuple(
            replace(n, weight=Parameter("", n.weight.array() * 2)) if n.weight else n for n in a.nodes
        ),
    )
    result = bounds.bound(a, b, Domain.radius(1.0), DEVICE)
    document = result.to_dict()
    assert (
        document["largest"]["certified"]["value"] is None and document["largest"]["certified"]["log10"] > 308
    )
    assert document["outputs"][0]["bounds"] == [None, None]


def test_a_bias_that_varies_over_space_in_one_network_only() -> None:
    """A has no bias where B's differs from cell to cell: images must not be collapsed as A alone would
    allow."""
    bias = np.zeros((1, 2, 9, 9), np.float32)
    bias[0, :, 4, 5] = 7.0

    def network(offset: np.ndarray | None) -> Network:
        s = Sketch(x=(1, 2, 9, 9))
        return s.network(
            s.reduce("ReduceMax", s.relu(s.scale("x", np.ones((1, 2, 1, 1), np.float32), offset)), (2, 3))
        )

    pairing = match(network(None), network(bias))
    found = difference_bounds.bounds(pairing, Domain.radius(1.0).resolve(pairing.a), DEVICE).all().floats()
    np.testing.assert_allclose(found, 7.0, rtol=1e-6)
    swapped = match(network(bias), network(None))
    np.testing.assert_allclose(
        difference_bounds.bounds(swapped, Domain.radius(1.0).resolve(swapped.a), DEVICE).all().floats(),
        7.0,
        rtol=1e-6,
    )
    assert path_metric(pairing.a, pairing.b, DEVICE).path_metric.upper.value == pytest.approx(14.0)


@pytest.mark.parametrize("size", [1e-200, 1e-30, 1e30, 1e200])
def test_radii_whose_squares_leave_the_range_of_float64(size: float) -> None:
    weight = np.array([[1.0, -2.0], [0.5, 1.0], [2.0, 0.25]], np.float32)
    a, b = (
        s.network(s.matmul("x", weight * np.float32(scale)))
        for s, scale in ((Sketch(x=(1, 3)), 1.0), (Sketch(x=(1, 3)), 1.5))
    )
    found = difference_bounds.bounds(match(a, b), Domain.radius(size).resolve(a), DEVICE).all().floats()[0]
    right = 0.5 * size * np.abs(weight.astype(np.float64)).sum(0)
    assert (found >= right * (1 - 1e-12)).all() and (found <= right * (1 + 1e-5)).all()


def test_limits_below_the_range_of_float64_are_no_zeros() -> None:
    """Weights of 2^-130 five times in a row: ℓ2 norms of 2^-650 and less must not cut the bound to 0."""
    tiny = np.float32(2.0**-130)

    def network(factor: float) -> Network:
        s = Sketch(x=(1, 1))
        x = "x"
        for _ in range(9):
            x = s.matmul(x, np.array([[tiny * np.float32(factor)]], np.float32))
        return s.network(x)

    a, b = network(1.0), network(2.0)
    found = difference_bounds.bounds(match(a, b), Domain.radius(1.0).resolve(a), DEVICE).all().norms("inf")[0]
    assert found.log2 == pytest.approx(-130 * 9 + np.log2(2.0**9 - 1), abs=1e-3)
