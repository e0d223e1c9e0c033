"""What each method removes and what it costs, decided by onnxpath on the exported network and read back from
its files.

Rank correlation of magnitudes and costs (Figure 3): Spearman's ρ, the correlation of the ranks r, over all
weights of convolutions and of the linear layer, and within every layer (of 200,000 weights at random where
there are more: ρ is then off by some 0.002):

    ρ = cov(r(|θ|), r(Φ-cost)) / (σ(r(|θ|)) σ(r(Φ-cost)))
"""

import json
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper
from torch import nn

import onnxpath
from benchmarks.paper import folder, networks
from benchmarks.paper.configuration import SettingsError

CRITERIA = {
    "MP": ("magnitude", "layer"),
    "MP, all layers": ("magnitude", "global"),
    "Φ-LP": ("path", "layer"),
    "Φ-GP": ("path", "global"),
}
POINTS = 2000
SAMPLE = 200_000
Image = tuple[int, int, int]


def weights(path: str | Path, names: Iterable[str]) -> dict[str, np.ndarray]:
    """The prunable weights of a file. Raises SettingsError when the exporter renamed one."""
    stored = {item.name: item for item in onnx.load(path).graph.initializer}
    missing = [name for name in names if name not in stored]
    if missing:
        raise SettingsError(f"{path}: no initializer '{missing[0]}' in the exported file")
    return {name: numpy_helper.to_array(stored[name]) for name in names}


def prune(
    network: nn.Module,
    image: Image,
    methods: Sequence[str],
    levels: Sequence[float],
    rescaled: bool,
    out: Path,
) -> None:
    """Write the mask of every method and level, as far as there is none yet."""
    missing = {
        m: [v for v in levels if not (out / f"{folder.label(m, v, rescaled)}-mask.npz").exists()]
        for m in methods
    }
    if not any(missing.values()):
        return
    names = list(networks.prunable(network))
    with tempfile.TemporaryDirectory() as place:
        source = Path(place) / "dense.onnx"
        networks.export(network, source, image)
        for method, wanted in missing.items():
            if not wanted:
                continue
            criterion, scope = CRITERIA[method]
            target = Path(place) / "pruned.onnx"
            done = onnxpath.prune(
                source,
                target,
                sparsity=wanted,
                criterion=criterion,
                scope=scope,
                provider="cpu",
                threads=1,
                force=True,
            )
            for level, file in zip(wanted, done.files, strict=True):
                kept = {name: value != 0 for name, value in weights(str(file.path), names).items()}
                folder.save_mask(out / f"{folder.label(method, level, rescaled)}-mask.npz", kept)
                for written in (Path(str(file.path)), Path(str(file.path)).with_suffix(".certificate.json")):
                    written.unlink(missing_ok=True)


def read(path: Path, network: nn.Module) -> dict[str, np.ndarray]:
    """A mask as PyTorch needs it: True where a weight stays."""
    packed = folder.removed(path)
    return {
        name: ~np.unpackbits(packed[name], count=weight.numel()).astype(bool).reshape(tuple(weight.shape))
        for name, weight in networks.prunable(network).items()
    }


def ranks(values: np.ndarray) -> np.ndarray:
    """The place of every entry in ascending order; entries of one value in any order."""
    made = np.empty(values.size)
    made[np.argsort(values)] = np.arange(values.size)
    return made


def spearman(a: np.ndarray, b: np.ndarray) -> float:
    """Rank correlation, of a random SAMPLE where there are more pairs: sorting millions takes longer than all
    of the pruning."""
    if a.size > SAMPLE:
        chosen = np.random.default_rng(0).integers(0, a.size, SAMPLE)
        a, b = a[chosen], b[chosen]
    return float(np.corrcoef(ranks(a), ranks(b))[0, 1])


def costs(network: nn.Module, image: Image, path: Path) -> None:
    """Write what Figure 3 shows: log10 |θ| and log10 Φ-cost of POINTS weights (the same ones whatever their
    values are), and ρ."""
    if path.exists():
        return
    names = list(networks.prunable(network))
    with tempfile.TemporaryDirectory() as place:
        source = Path(place) / "dense.onnx"
        networks.export(network, source, image)
        record, values = onnxpath.path_costs(source, provider="cpu", threads=1), weights(source, names)
    found = {item.name: item.mantissa for item in record.parameters if item.kind == "weight"}
    size = [np.abs(values[name]).ravel() for name in names]
    cost = [found[name].reshape(values[name].shape).ravel().astype(np.float64) for name in names]
    layer = np.repeat(np.arange(len(names)), [len(part) for part in size])
    all_size, all_cost = np.concatenate(size), np.concatenate(cost)
    chosen = np.sort(np.random.default_rng(0).permutation(len(layer))[:POINTS])
    chosen = chosen[(all_size[chosen] > 0) & (all_cost[chosen] > 0)]
    result: dict[str, Any] = {
        "spearman": spearman(all_size, all_cost),
        "layers": {name: spearman(*pair) for name, *pair in zip(names, size, cost, strict=True)},
        "points": {
            "weight": chosen.tolist(),
            "layer": [names[k] for k in layer[chosen]],
            "log10_magnitude": [round(float(v), 5) for v in np.log10(all_size[chosen])],
            "log10_cost": [
                round(float(v), 5) for v in np.log10(all_cost[chosen]) + record.exponent * np.log10(2.0)
            ],
        },
    }
    folder.text(path, json.dumps(result))
