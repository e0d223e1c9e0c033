"""One training of the protocol: SGD on the cross-entropy with a rate that falls by steps, weights outside of
a mask held at zero.

    rate(epoch) = rate · decay^|{m in milestones : m <= epoch}|

As in Appendix D, the result is the network of the epoch with the largest validation accuracy (the first of
them), and its accuracy on the test images. Files: PATH.pt while it runs, PATH.json when it is done,
PATH-weights.pt where the weights are needed.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.paper import checkpoint, networks
from benchmarks.paper.configuration import Settings
from benchmarks.paper.folder import atomic
from benchmarks.paper.images import Batches, Data, Split

Masks = Mapping[str, np.ndarray]
Tick = Callable[[int, int], object]


@dataclass(frozen=True)
class Start:
    """Where a training begins: its first epoch, and the mask (True stays) of every weight that is pruned;
    dense: keep the weights of the epoch `settings.rewind`, and the final ones; facts: what else its result
    says."""

    epoch: int
    masks: Masks
    dense: bool = False
    facts: Mapping[str, bool] = field(default_factory=dict)


def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def batches(settings: Settings, seed: int, epoch: int, count: int) -> Batches:
    """Which images every step of an epoch sees: all of them once, in batches of (nearly) one size."""
    return np.array_split(
        np.random.default_rng([seed, epoch]).permutation(count), -(-count // settings.batch)
    )


def rate(settings: Settings, epoch: int) -> float:
    return settings.rate * settings.decay ** sum(epoch >= m for m in settings.milestones)


@torch.no_grad()
def accuracy(network: nn.Module, split: Split, batch: int, on: torch.device) -> float:
    network.eval()
    order = np.array_split(np.arange(len(split)), -(-len(split) // batch))
    right = sum(int((network(x.to(on)).argmax(1) == y.to(on)).sum()) for x, y in split.batches(order))
    return right / len(split)


@torch.no_grad()
def apply(network: nn.Module, masks: Mapping[str, Tensor]) -> None:
    for name, parameter in networks.prunable(network).items():
        if name in masks:
            parameter.mul_(masks[name])


def digest(state: Mapping[str, Tensor]) -> str:
    """A hash of every bit of the weights."""
    found = hashlib.sha256()
    for name in sorted(state):
        found.update(name.encode() + state[name].detach().cpu().contiguous().numpy().tobytes())
    return found.hexdigest()


def train(
    network: nn.Module,
    data: Data,
    settings: Settings,
    seed: int,
    path: Path,
    start: Start,
    on: torch.device,
    tick: Tick | None = None,
) -> None:
    """Train to the end, from PATH.pt where there is one, and write PATH.json. tick: called with (steps done,
    steps in total)."""
    done, state = path.with_suffix(".json"), path.with_suffix(".pt")
    network.to(on)
    kept = {name: torch.from_numpy(mask.astype(np.float32)).to(on) for name, mask in start.masks.items()}
    optimizer = torch.optim.SGD(
        network.parameters(), settings.rate, settings.momentum, weight_decay=settings.weight_decay
    )
    checkpoint.start_random(seed)
    at: dict[str, Any] = {"epoch": start.epoch, "step": 0, "loss": 0.0, "curve": [], "best": None}
    if state.exists():
        at = checkpoint.load(state, network, optimizer, on)
    apply(network, kept)
    steps = -(-len(data.train) // settings.batch)
    while at["epoch"] < settings.epochs:
        if start.dense and (at["epoch"], at["step"]) == (settings.rewind, 0):
            atomic(path.with_name("rewind.pt"), lambda p: torch.save(network.state_dict(), p))
        for group in optimizer.param_groups:
            group["lr"] = rate(settings, at["epoch"])
        network.train()
        order = batches(settings, seed, at["epoch"], len(data.train))
        for x, y in data.train.batches(order[at["step"] :], (seed, at["epoch"])):
            loss = nn.functional.cross_entropy(
                network(x.to(on, non_blocking=True)), y.to(on, non_blocking=True)
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            apply(network, kept)
            at["loss"] += loss.item() * len(y)
            at["step"] += 1
            made = (at["epoch"] - start.epoch) * steps + at["step"]
            if made % settings.save == 0:
                checkpoint.save(state, network, optimizer, at)
            if tick is not None:
                tick(made, (settings.epochs - start.epoch) * steps)
        _close(network, data, settings, at, on)
    if start.dense:
        atomic(path.with_name(f"{path.name}-weights.pt"), lambda p: torch.save(at["best"]["network"], p))
    best = at["best"]
    found = {
        "accuracy": best["test"],
        "epoch": best["epoch"],
        "curve": at["curve"],
        "weights": digest(best["network"]),
        **start.facts,
    }
    atomic(done, lambda p: p.write_text(json.dumps(found), encoding="utf-8"))
    state.unlink(missing_ok=True)


def _close(network: nn.Module, data: Data, settings: Settings, at: dict[str, Any], on: torch.device) -> None:
    """The end of an epoch: a point of the curve, and whether it is the best one."""
    held, test = (accuracy(network, split, settings.batch, on) for split in (data.validation, data.test))
    epoch = at["epoch"] + 1
    at["curve"].append(
        {"epoch": epoch, "loss": at["loss"] / len(data.train), "validation": held, "test": test}
    )
    if at["best"] is None or held > at["best"]["validation"]:
        weights = {name: value.detach().clone() for name, value in network.state_dict().items()}
        at["best"] = {"epoch": epoch, "validation": held, "test": test, "network": weights}
    at.update(epoch=epoch, step=0, loss=0.0)
