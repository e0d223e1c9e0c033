"""Deterministic training on the CPU, and export to ONNX in two spellings of the same network.

Training is Adam on the cross-entropy with a cosine learning rate, one thread and fixed seeds: on one machine
a second run gives the same bytes. Another processor may round differently; the files in this directory are
then the reference.

Export uses PyTorch's TorchScript exporter at opset 17. In evaluation mode it folds BatchNormalization into
the convolution before it; `keep_normalization` asks for the nodes as trained, in inference form (stored mean
and variance, one output).
"""

import io
import warnings
from collections.abc import Callable

import numpy as np
import onnx
import torch
from torch import nn

OPSET = 17
BATCH = 64


def build(architecture: Callable[[], nn.Module], seed: int) -> nn.Module:
    """A freshly initialised network; `seed` decides every weight."""
    torch.manual_seed(seed)
    return architecture()


def fit(model: nn.Module, x: np.ndarray, y: np.ndarray, *, epochs: int, rate: float, seed: int) -> None:
    """Train `model` in place on images x [N, 1, 8, 8] and labels y [N], and leave it in evaluation mode.

    The learning rate falls from `rate` to 0 over all steps; `seed` decides the order of the samples. The
    last, smaller batch of an epoch is dropped: the order changes every epoch, so no sample is left out for
    long.
    """
    images, labels = torch.from_numpy(x), torch.from_numpy(y)
    order = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(model.parameters(), lr=rate, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=epochs * (len(images) // BATCH))
    model.train()
    for _ in range(epochs):
        permutation = torch.randperm(len(images), generator=order)
        for batch in permutation[: len(images) // BATCH * BATCH].split(BATCH):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(images[batch]), labels[batch]).backward()
            optimizer.step()
            schedule.step()
    model.eval()


def to_onnx(
    model: nn.Module, *, keep_normalization: bool = False, image: tuple[int, int, int] = (1, 8, 8)
) -> onnx.ModelProto:
    """The network as ONNX, input `x` [batch, *image], output `logits` [batch, classes], with a symbolic
    batch."""
    mode = torch.onnx.TrainingMode.PRESERVE if keep_normalization else torch.onnx.TrainingMode.EVAL
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            model.eval(),
            (torch.zeros(1, *image),),
            buffer,
            input_names=["x"],
            output_names=["logits"],
            dynamic_axes={"x": {0: "batch"}, "logits": {0: "batch"}},
            opset_version=OPSET,
            training=mode,
            do_constant_folding=not keep_normalization,
            dynamo=False,
        )
    proto = onnx.load_from_string(buffer.getvalue())
    onnx.checker.check_model(proto, full_check=True)
    return proto
