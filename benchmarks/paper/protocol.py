"""The protocol of Section 4.2 for one seed: train, prune the exported file by onnxpath, rewind to an early
epoch, retrain under the mask.

Everything that is done leaves a file (see folder.py), and what has its file is not done again: the same call
goes on after a kill. The rescaling of Appendix D changes no path cost, so that a Φ-mask after it is the one
before; the training that follows, from the same weights and with the same order of images, is then the same
computation. With `settings.repeat` it is carried out nevertheless, and the hash of its weights tells whether
it gave the same bits; otherwise it is taken over and marked `reused`.
"""

import json
import os
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from benchmarks.paper import folder, masks, networks, training
from benchmarks.paper.configuration import Settings
from benchmarks.paper.images import Data

Report = Callable[[str, int, int], object]


def prepare(settings: Settings) -> None:
    """Threads, and the same result for the same call on one machine."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    if settings.threads:
        torch.set_num_threads(settings.threads)
    torch.backends.cudnn.benchmark = False
    torch.use_deterministic_algorithms(True, warn_only=True)


def plan(settings: Settings) -> list[tuple[str, float, bool]]:
    """The trainings under a mask, in their order: method, level, whether the network was rescaled before it
    was pruned."""
    return [
        (method, level, rescaled)
        for method in settings.methods
        for level in settings.levels
        for rescaled in (False, True)
    ]


def run(settings: Settings, data: Data, out: Path, seed: int, report: Report) -> None:
    """One seed, or what is left of it. report: called with what is being done, and how many of how many units
    of work are done."""
    here = out / f"seed-{seed}"
    here.mkdir(parents=True, exist_ok=True)
    on = training.device()
    image = (data.channels, settings.size, settings.size)
    steps = -(-len(data.train) // settings.batch)
    dense, pruned = steps * settings.epochs, steps * (settings.epochs - settings.rewind)
    total = dense + pruned * len(plan(settings))

    def fresh(path: Path | None = None) -> nn.Module:
        network = networks.build(settings, data.channels, data.classes, seed)
        if path is not None:
            network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
        return network

    def train(name: str, before: int, network: nn.Module, start: training.Start) -> None:
        report(name, before, total)
        training.train(
            network,
            data,
            settings,
            seed,
            here / name,
            start,
            on,
            lambda made, _: report(name, before + made, total),
        )

    if not (here / "dense.json").exists():
        train("dense", 0, fresh(), training.Start(0, {}, dense=True))
    network = fresh(here / "dense-weights.pt")
    for rescaled, pending in ((False, network), (True, networks.rescaled(network, seed))):
        report("rescaled masks" if rescaled else "masks", dense, total)
        masks.prune(pending, image, settings.methods, settings.levels, rescaled, here)
        masks.costs(pending, image, here / f"costs{'-rescaled' if rescaled else ''}.json")
    for k, (method, level, rescaled) in enumerate(plan(settings)):
        name, original = folder.label(method, level, rescaled), folder.label(method, level, False)
        if (here / f"{name}.json").exists():
            continue
        equal = rescaled and folder.same(
            *(folder.removed(here / f"{part}-mask.npz") for part in (name, original))
        )
        if equal and not settings.repeat:
            found = json.loads((here / f"{original}.json").read_text(encoding="utf-8"))
            folder.text(here / f"{name}.json", json.dumps({**found, "same_mask": True, "reused": True}))
            continue
        kept = masks.read(here / f"{name}-mask.npz", network)
        facts = {"same_mask": equal} if rescaled else {}
        train(
            name,
            dense + k * pruned,
            fresh(here / "rewind.pt"),
            training.Start(settings.rewind, kept, facts=facts),
        )
    report("done", total, total)
