"""The Python interface to what makes files: `onnxpath prune`, `rescale` and `quantize`."""

import os
from collections.abc import Mapping, Sequence

import numpy as np

from onnxpath.analyses import rescale as rescaling
from onnxpath.analyses.prune import criteria
from onnxpath.analyses.prune import files as pruning
from onnxpath.analyses.quantize import files as quantizing
from onnxpath.analyses.quantize.settings import Budget, Settings
from onnxpath.analyses.quantize.work import Work
from onnxpath.api.networks import load
from onnxpath.engine.session import Device
from onnxpath.errors import UsageError
from onnxpath.importer.source import File
from onnxpath.model.domain import Domain
from onnxpath.records import Pruned, Quantized, Rescaling


def prune(
    model: File, out: str | os.PathLike | None = None, *,
    sparsity: float | Sequence[float] | None = None, criterion: str = "path", scope: str = "global",
    pattern: str = "unstructured",
    include: Sequence[str] = (), exclude: Sequence[str] = (), biases: bool = False, iterations: int = 1,
    seed: int = 0,
    weights: Mapping[str, np.ndarray] | np.ndarray | None = None, domain: Domain | None = None,
    force: bool = False,
    shapes: Mapping[str, Sequence[int]] | None = None, provider: str = "auto", precision: str = "float32",
    threads: int = 0,
) -> Pruned:  # fmt: skip
    """Set weights to zero and certify what that costs; write the result to `out` (nothing is written where it
    is None).

    sparsity: the share of zeros among the prunable weights, 0 <= S < 1; for several, `out` gets the sparsity
        before its ending.
    criterion: "path" (Φ-costs), "magnitude" or "random". scope: "global" or "layer". pattern: "unstructured",
    "N:M", which keeps N of every M input channels, or "channels", which leave the file (sparsity is the share
    of channels then). include, exclude: patterns for names of layers or tensors. biases: prune them too.
    iterations: steps between which the costs are computed anew. weights: of the output neurons, for the
    ranking (see `path_costs`). domain: bound the outputs' difference over it. force: allow `out` to be the
    model itself.

    Raises UsageError for values that mean nothing, when nothing can be pruned, and for a target that cannot
    be written. Source: paper, Section 4; docs/theory.md, section 7.
    """
    settings = criteria.Settings(
        criterion, scope, pattern, tuple(include), tuple(exclude), biases, iterations, seed
    )
    asked = list(sparsity) if isinstance(sparsity, Sequence) else [sparsity]
    device = Device(provider, precision, threads)
    network = load(model, shapes=shapes)
    return pruning.prune(
        model, network, out, asked, settings, device, cotangent=weights, domain=domain, force=force
    )


def rescale(
    model: File, out: str | os.PathLike, mode: str = "random", *,
    seed: int = 0,
    factors: Sequence[float] = (1.0, 128.0, 4096.0), powers_of_two: bool = False,
    shapes: Mapping[str, Sequence[int]] | None = None,
    force: bool = False, provider: str = "auto", precision: str = "float32", threads: int = 0,
) -> Rescaling:  # fmt: skip
    """Write a copy of a model whose hidden channels are rescaled: the same function, the same Φ, other
    weights.

    mode: "random" (λ drawn from `factors` by `seed`; paper, Appendix D), "normalize" (ℓ1 norm 1 of what
    enters a channel; Algorithm 1) or "equalize" (equal ranges of rows and the columns that read them).
    powers_of_two: round λ to powers of two, which changes no bit of the outputs where BatchNormalization is
    folded. force: allow `out` to be the model itself.

    Raises UnsupportedError when no group of channels can be rescaled, UsageError for a target that cannot be
    written, ModelError when the rescaled weights do not fit the file's number format. Source: docs/theory.md,
    section 5.
    """
    device = Device(provider, precision, threads)
    return rescaling.rescale(
        model,
        out,
        mode,
        seed=seed,
        factors=factors,
        powers_of_two=powers_of_two,
        shapes=shapes,
        device=device,
        force=force,
    )


def quantize(
    model: File, out: str | os.PathLike | None = None, *,
    bits: int | Sequence[int] = 8,
    granularity: str = "channel", rounding: str = "nearest", equalize: bool = False,
    calibrate: Mapping[str, np.ndarray] | np.ndarray | None = None, include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    sweep: bool = False, budget: str | None = None, blame: bool = False,
    inputs: Mapping[str, np.ndarray] | np.ndarray | None = None,
    domain: Domain | None = None, seed: int = 0, force: bool = False,
    shapes: Mapping[str, Sequence[int]] | None = None,
    output_names: Sequence[str] = (), keep_batchnorm: bool = False, reduce_range: bool = False,
    provider: str = "auto",
    precision: str = "float32", threads: int = 0,
) -> Quantized:  # fmt: skip
    """Turn weights into integers behind DequantizeLinear, with a certificate; or find out what that would
    cost, layer by layer.

    bits: 4, 8 or 16; several for `sweep` (any from 2 to 16) and `budget`. granularity: "channel" or "tensor"
    (one step for all). rounding: "nearest", or "zero": towards zero, the path-metric is exact then. equalize:
    rescale channels first. calibrate: inputs [n, ...] for static quantization, of activations too
    (onnxruntime.quantization); reduce_range: then weights take 7 bits, which no integer kernel
    saturates. include, exclude: patterns for names of layers or tensors.

    sweep: the path-metric, its share, and the error found, of quantizing each layer alone with each width.
    budget: "metric=1%", "bound=0.5": the smallest file whose certified metric, or largest output difference
    over `domain`, is at most that. blame: which layers to leave as
    they are first. inputs: where errors are found (default: `calibrate`, or random points of the domain).
    domain: bound the outputs' difference over it. A file is made, and measured, unless only `sweep` or
    `blame` are asked for; it is written where `out` is given.

    Raises UsageError for values that mean nothing, samples that do not fit, when nothing can be quantized or
    no widths keep the budget; UnsupportedError where the file cannot hold the integers. Source:
    docs/quantization.md.
    """
    widths = (bits,) if isinstance(bits, int) else tuple(bits)
    settings = Settings(widths, granularity, rounding, tuple(include), tuple(exclude), seed, reduce_range)
    limited = None if budget is None else Budget.parse(budget)
    if reduce_range and calibrate is None:
        raise UsageError("reduce_range is for static files: it needs calibrate")
    fixed = {name: tuple(shape) for name, shape in (shapes or {}).items()}
    loading = {"shapes": fixed, "output_names": tuple(output_names), "keep_batchnorm": keep_batchnorm}
    work = Work(sweep, blame, limited, equalize, calibrate, inputs, domain, None, loading)
    return quantizing.quantize(
        model, load(model, **loading), out, settings, Device(provider, precision, threads), work, force
    )
