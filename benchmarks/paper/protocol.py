"""The protocol of Section 4.2: train, prune the exported file by onnxpath, rewind to an early epoch, retrain under the mask.

Files of a run, all written beside and renamed, so that a kill leaves the previous one: SEED/dense.pt and SEED/LABEL.pt (weights,
optimizer, next epoch, curve, after every epoch), SEED/rewind.pt (weights of the early epoch), SEED/LABEL.json (a finished training).
Masks are computed again from dense.pt. The order and augmentation of images are functions of (seed, epoch): there is no other state of random numbers.
"""

import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn

import onnxpath
from benchmarks.paper import networks
from benchmarks.paper.configuration import Settings, SettingsError
from benchmarks.paper.images import Data, Split
from onnxpath.pruning.costs import path_costs

METHODS = {"MP": ("magnitude", "layer"), "Φ-LP": ("path", "layer"), "Φ-GP": ("path", "global")}
NAMES = {"MP": "mp", "Φ-LP": "lp", "Φ-GP": "gp"}
Masks = dict[str, np.ndarray]
POINTS = 1000


def atomic(path: Path, write: Callable[[Path], object]) -> None:
    temporary = path.with_name(f"part-{path.name}")  # the ending stays: numpy appends one otherwise
    write(temporary)
    os.replace(temporary, path)


def label(method: str, level: float, rescaled: bool) -> str:
    return f"{NAMES[method]}-{100 * level:g}{'-rescaled' if rescaled else ''}"


@torch.no_grad()
def accuracy(network: nn.Module, split: Split, batch: int, device: torch.device) -> float:
    network.eval()
    order = np.array_split(np.arange(len(split)), -(-len(split) // batch))
    right = sum(int((network(x.to(device)).argmax(1) == y.to(device)).sum()) for x, y in split.batches(order))
    return right / len(split)


def apply(network: nn.Module, masks: dict[str, Tensor]) -> None:
    with torch.no_grad():
        for name, parameter in networks.prunable(network).items():
            if name in masks:
                parameter.mul_(masks[name])


def train(
    network: nn.Module, data: Data, settings: Settings, seed: int, path: Path, masks: Masks, first: int, device: torch.device
) -> None:
    """Train from epoch `first`, with weights of a mask held at zero, and write path.json: test accuracy after the last epoch, and the curve."""
    done, state = path.with_suffix(".json"), path.with_suffix(".pt")
    network.to(device)
    kept = {name: torch.from_numpy(mask.astype(np.float32)).to(device) for name, mask in masks.items()}
    optimizer = torch.optim.SGD(network.parameters(), settings.rate, settings.momentum, weight_decay=settings.weight_decay)
    curve: list[dict[str, float]] = []
    if state.exists():
        saved = torch.load(state, map_location=device, weights_only=True)
        network.load_state_dict(saved["network"])
        optimizer.load_state_dict(saved["optimizer"])
        first, curve = saved["epoch"], saved["curve"]
    apply(network, kept)
    for epoch in range(first, settings.epochs):
        if not masks and epoch == settings.rewind:
            atomic(path.with_name("rewind.pt"), lambda p: torch.save(network.state_dict(), p))
        for group in optimizer.param_groups:
            group["lr"] = settings.rate * settings.decay ** sum(epoch >= m for m in settings.milestones)
        order = np.random.default_rng([seed, epoch]).permutation(len(data.train))
        order = np.array_split(order, -(-len(order) // settings.batch))
        network.train()
        total = 0.0
        for x, y in data.train.batches(order, (seed, epoch)):
            loss = nn.functional.cross_entropy(network(x.to(device)), y.to(device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            apply(network, kept)
            total += loss.item() * len(y)
        held = accuracy(network, data.validation, settings.batch, device)
        curve.append({"epoch": epoch + 1, "loss": total / len(data.train), "validation": held})
        saved = {"network": network.state_dict(), "optimizer": optimizer.state_dict(), "epoch": epoch + 1, "curve": curve}
        atomic(state, lambda p, saved=saved: torch.save(saved, p))
    found = {"accuracy": accuracy(network, data.test, settings.batch, device), "curve": curve}
    atomic(done, lambda p: p.write_text(json.dumps(found), encoding="utf-8"))


def weights(path: Path, names: list[str]) -> dict[str, np.ndarray]:
    """The prunable weights of a file. Raises SettingsError when the exporter renamed one."""
    stored = {item.name: item for item in onnx.load(path).graph.initializer}
    missing = [name for name in names if name not in stored]
    if missing:
        raise SettingsError(f"{path}: no initializer '{missing[0]}' in the exported file")
    return {name: numpy_helper.to_array(stored[name]) for name in names}


def pruned(network: nn.Module, image: tuple[int, int, int], levels: tuple[float, ...]) -> dict[tuple[str, float], Masks]:
    """What stays (True) by method and level, read back from the files that onnxpath pruned."""
    names = list(networks.prunable(network))
    with tempfile.TemporaryDirectory() as folder:
        source, out = Path(folder) / "dense.onnx", Path(folder) / "pruned.onnx"
        networks.export(network, source, image)
        found = {}
        for method, (criterion, scope) in METHODS.items():
            for level in levels:
                onnxpath.prune(source, out, sparsity=level, criterion=criterion, scope=scope, provider="cpu")
                found[method, level] = {name: value != 0 for name, value in weights(out, names).items()}
        return found


def scatter(network: nn.Module, image: tuple[int, int, int], rescaled: bool) -> list[dict[str, Any]]:
    """Figure 3: |θ| and log2 of the Φ-cost of up to POINTS weights of convolutions, the same ones whatever the values are."""
    names = [name for name, weight in networks.prunable(network).items() if weight.ndim == 4]
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "dense.onnx"
        networks.export(network, source, image)
        record, values = path_costs(onnxpath.load(source)), weights(source, names)
    costs = {item.name: item.mantissa for item in record.parameters if item.kind == "weight"}
    size = np.concatenate([np.abs(values[name]).ravel() for name in names])
    cost = np.concatenate([costs[name].reshape(values[name].shape).ravel() for name in names])
    rows = []
    for k in np.sort(np.random.default_rng(0).permutation(len(size))[:POINTS]):
        if size[k] > 0 and cost[k] > 0:
            log2 = float(np.log2(cost[k]) + record.exponent)
            rows.append({"weight": int(k), "rescaled": rescaled, "magnitude": float(size[k]), "log2_cost": round(log2, 6)})
    return rows


def same(a: Masks, b: Masks) -> bool:
    return all(np.array_equal(a[name], b[name]) for name in a)


def overlap(a: Masks, b: Masks) -> float:
    """|A ∩ B| / max(|A|, |B|) of the removed sets."""
    both = sum(int((~a[n] & ~b[n]).sum()) for n in a)
    return both / max(1, *(sum(int((~m[n]).sum()) for n in a) for m in (a, b)))


def run(settings: Settings, data: Data, folder: Path, seed: int, say: Callable[[str], object]) -> dict[str, Any]:
    """One seed, or what is left of it."""
    here = folder / f"seed-{seed}"
    here.mkdir(parents=True, exist_ok=True)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    image = (data.channels, settings.size, settings.size)

    def fresh() -> nn.Module:
        return networks.build(settings, data.channels, data.classes, seed)

    if not (here / "dense.json").exists():
        say(f"seed {seed}: dense")
        train(fresh(), data, settings, seed, here / "dense", {}, 0, device)
    dense = fresh()
    dense.load_state_dict(torch.load(here / "dense.pt", map_location="cpu", weights_only=True)["network"])
    plain = pruned(dense, image, settings.levels)
    after = pruned(networks.rescaled(dense, seed), image, settings.levels)
    rewind = torch.load(here / "rewind.pt", map_location="cpu", weights_only=True)

    rows = []
    for (method, level), masks in plain.items():
        for rescaled, chosen in ((False, masks), (True, after[method, level])):
            equal = rescaled and same(chosen, masks)  # the same mask, weights and order of images: the same training
            name = label(method, level, rescaled and not equal)
            if not (here / f"{name}.json").exists():
                say(f"seed {seed}: {name}")
                network = fresh()
                network.load_state_dict(rewind)
                train(network, data, settings, seed, here / name, chosen, settings.rewind, device)
            (here / f"{name}.pt").unlink(missing_ok=True)
            found = json.loads((here / f"{name}.json").read_text(encoding="utf-8"))
            rows.append({"method": method, "level": level, "rescaled": rescaled, "same_mask": equal, **found})
    table = [
        {"level": level, "rescaled": r, **{other: overlap(m["MP", level], m[other, level]) for other in ("Φ-GP", "Φ-LP")}}
        for level in settings.levels
        for r, m in ((False, plain), (True, after))
    ]
    points = [*scatter(dense, image, False), *scatter(networks.rescaled(dense, seed), image, True)]
    return {
        "points": points,
        "seed": seed,
        "dense": json.loads((here / "dense.json").read_text(encoding="utf-8")),
        "rows": rows,
        "overlaps": table,
    }
