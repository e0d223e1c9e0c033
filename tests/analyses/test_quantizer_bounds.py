"""Random networks with quantizers here and there: no input of a domain violates the bound."""

import numpy as np
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st

from analyses.quantized_support import GRIDS, build
from onnxpath.analyses.bound import difference_bounds
from onnxpath.engine.session import Device
from onnxpath.evaluate.forward import Forward, counterpart
from onnxpath.model.domain import Domain
from onnxpath.model.matching import match


@examples(4)
@given(
    st.lists(GRIDS, min_size=6, max_size=6),
    st.lists(GRIDS, min_size=6, max_size=6),
    st.booleans(),
    st.integers(0, 99),
    st.sampled_from([0.0, 0.01, 0.3]),
    st.floats(0.1, 3),
    st.floats(0, 0.5),
)
def test_no_input_of_a_domain_violates_the_bound(
    p: list, q: list, alike: bool, seed: int, spread: float, radius: float, epsilon: float
) -> None:
    a, b = build(p, 0, spread), build(p if alike else q, seed, spread)
    pairing = match(a, b, quantizers=True)
    rng = np.random.default_rng(seed)
    centers = rng.uniform(-radius, radius, (3, 2, 4, 4)).astype(np.float32)
    exact = Device("cpu", "float64")
    forward = Forward([pairing.a, counterpart(pairing)], exact)
    for domain, points in (
        (
            Domain.radius(radius),
            [rng.uniform(-radius, radius, (40, 2, 4, 4)), radius * rng.choice([-1, 1], (40, 2, 4, 4))],
        ),
        (
            Domain.around(centers, epsilon),
            [c + epsilon * rng.choice([-1, 0, 1], (20, 2, 4, 4)) for c in centers.astype(np.float64)],
        ),
    ):
        found = difference_bounds.bounds(pairing, domain.resolve(pairing.a), Device("cpu"))
        (limits,) = (array.floats() for array in found.outputs.values())
        for k, inputs in enumerate(points):
            first, second = (
                values[pairing.a.outputs[0]] for values in forward.run({pairing.a.inputs[0]: inputs})
            )
            difference = np.abs(first - second).reshape(len(inputs), -1)
            assert (difference <= limits[k if len(limits) > 1 else 0] * (1 + 1e-9) + 1e-12).all()
        layers = difference_bounds.layers(pairing, domain.resolve(pairing.a), found, 0, Device("cpu"))
        assert sum(layer.share for layer in layers) == pytest.approx(1 if limits[0].any() else 0, abs=1e-4)
