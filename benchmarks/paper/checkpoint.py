"""What a training needs to go on after a kill, as if there had been none.

A checkpoint holds the weights and the running statistics, the optimizer's momenta, the epoch and how many of
its batches are done, the loss so far, the curve, the best epoch with its weights, and the states of the
random numbers of PyTorch (CPU and GPU), NumPy and Python. The rate and the order of the images are functions
of (settings, seed, epoch): they need no state.
"""

import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.paper.configuration import SettingsError
from benchmarks.paper.folder import atomic


def start_random(seed: int) -> None:
    """Every global generator of random numbers from one seed."""
    torch.manual_seed(seed)  # all GPUs included
    np.random.seed(seed)
    random.seed(seed)


def random_state() -> dict[str, Any]:
    name, keys, *rest = np.random.get_state(legacy=True)
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "numpy": [name, torch.from_numpy(np.asarray(keys, np.int64)), *rest],
        "python": random.getstate(),
    }


def restore_random(state: Mapping[str, Any]) -> None:
    torch.set_rng_state(state["torch"].cpu())
    if torch.cuda.is_available() and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all([part.cpu() for part in state["cuda"]])
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, keys.cpu().numpy().astype(np.uint32), *rest))
    random.setstate(state["python"])


def save(
    path: Path, network: nn.Module, optimizer: torch.optim.Optimizer, position: Mapping[str, Any]
) -> None:
    """position: where the training is, in plain values and tensors."""
    state = {
        "network": network.state_dict(),
        "optimizer": optimizer.state_dict(),
        "random": random_state(),
        "position": dict(position),
    }
    atomic(path, lambda p: torch.save(state, p))


def load(
    path: Path, network: nn.Module, optimizer: torch.optim.Optimizer, device: torch.device
) -> dict[str, Any]:
    """Put everything back and return the position. Raises SettingsError for a file that is no checkpoint of
    this network."""
    try:
        state = torch.load(path, map_location=device, weights_only=True)
        network.load_state_dict(state["network"])
        optimizer.load_state_dict(state["optimizer"])
        restore_random(state["random"])
        return state["position"]
    except (RuntimeError, KeyError, TypeError, ValueError, EOFError, OSError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise SettingsError(
            f"{path}: not a checkpoint of this training ({first}); remove it to start this training again"
        ) from error
