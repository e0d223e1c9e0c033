"""Inspection against numbers that are known otherwise: the paper's ResNet-18, PyTorch's parameter counts,
enumeration."""

from pathlib import Path

import numpy as np
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from oracle import paths
from oracle.architectures import resnet18
from oracle.networks import random_network
from oracle.sketch import Sketch
from scripts import script
from torch import nn

from onnxpath.analyses.inspect import inspect
from onnxpath.engine.session import Device
from onnxpath.importer import load

MODELS = Path(__file__).resolve().parents[2] / "models"
DEVICE = Device("cpu", "float32", 1)


def test_resnet18() -> None:
    """17 convolutions, a max-pool, an average and a linear layer on the longest path; one pooling window of
    9."""
    found = inspect(resnet18(), DEVICE)
    assert found.depth == 20
    assert found.max_pool_kernels == (9,)
    stem, stages = 2 * 16 * 16, [2 * 8 * 8, 4 * 4 * 4, 8 * 2 * 2, 16 * 1]
    assert found.neurons == {
        "input": 3 * 32 * 32,
        "relu": stem + 4 * sum(stages),
        "max_pool": 2 * 8 * 8,
        "identity": 16 + 10,
    }
    assert found.operators["Conv"] == 20 and found.operators["Add"] == 8


@examples(10)
@given(seed=st.integers(0, 2**32 - 1), flavour=st.sampled_from(("plain", "sparse")))
def test_paths_are_counted(seed: int, flavour: str) -> None:
    """Paths without a zero weight."""
    network = random_network(seed, flavour)
    right = sum(int(np.count_nonzero(lifted.p)) for lifted in paths.lift(network).values())
    found = inspect(network, DEVICE)
    assert found.paths.value == right
    assert found.zeros == sum(
        int((p.base == 0).sum()) for n in network.nodes for p in n.parameters() if not p.fixed
    )


def _torch_modules() -> dict[str, nn.Module]:
    architectures = script("models/architectures.py")
    return {
        "digits_resnet": architectures.resnet(),
        "digits_maxpool_cnn": architectures.maxpool_cnn(),
        "digits_mlp": architectures.mlp(),
    }


@pytest.mark.parametrize("file", sorted(path.name for path in MODELS.glob("*.onnx")))
def test_parameters_are_pytorchs(file: str) -> None:
    """Weights and biases of the module; a normalization becomes the one bias of the convolution it was folded
    into."""
    (module,) = (m for name, m in _torch_modules().items() if file.startswith(name))
    folded = sum(m.num_features for m in module.modules() if isinstance(m, nn.BatchNorm2d))
    found = inspect(load(MODELS / file), DEVICE)
    assert found.parameters == sum(p.numel() for p in module.parameters()) - folded
    layers = [m for m in module.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    assert found.parameter_tensors == 2 * len(layers)
    assert (
        found.depth
        == {"digits_resnet": 10, "digits_maxpool_cnn": 6, "digits_mlp": 3}[
            next(n for n in _torch_modules() if file.startswith(n))
        ]
    )


def test_a_shared_weight_counts_once() -> None:
    s = Sketch(x=(1, 3))
    x = s.relu(s.matmul("x", np.ones((3, 3), np.float32), name="one"))
    shared = s._nodes[0].weight
    found = inspect(s.network(s.matmul(s.relu(s.matmul(x, shared)), shared)), DEVICE)
    assert (found.parameters, found.parameter_tensors, found.rescaling_groups) == (9, 1, 0)
    assert found.paths.value == 3**4


def test_windows_of_every_kind_of_maximum() -> None:
    s = Sketch(x=(1, 2, 6, 6))
    x = s.max_pool("x", (3, 2), strides=(1, 1))
    x = s.maximum(x, s.relu(x), x)
    found = inspect(s.network(s.reduce("ReduceMax", x, (2, 3))), DEVICE)
    assert found.max_pool_kernels == (20, 6, 3)
    assert found.depth == 4  # the ReLU of a maximum that something else reads too is a neuron
