"""What networks are trained and tested on: three splits of images, read in an order that the caller gives.

No random number is drawn from a global generator: what happens to image i in epoch e is decided by (seed, e,
i) alone. So reading does not depend on how many processes read, and a run that was killed goes on as if it
had not been.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from benchmarks.paper.configuration import Settings, SettingsError

Batches = Sequence[np.ndarray]


class Split(Protocol):
    """Labelled images. `batches` gives (images [n, channels, size, size] float32, labels [n] int64) for every
    array of indices; augmentation: (seed, epoch) for random crops and flips, None for none."""

    def __len__(self) -> int: ...

    def batches(
        self, order: Batches, augmentation: tuple[int, int] | None = None
    ) -> Iterator[tuple[Tensor, Tensor]]: ...


@dataclass(frozen=True)
class Data:
    train: Split
    validation: Split
    test: Split
    channels: int
    classes: int


@dataclass(frozen=True, eq=False)
class Memory:
    """Images that fit into memory; they are not augmented."""

    x: Tensor
    y: Tensor

    def __len__(self) -> int:
        return len(self.y)

    def batches(
        self, order: Batches, augmentation: tuple[int, int] | None = None
    ) -> Iterator[tuple[Tensor, Tensor]]:
        for indices in order:
            chosen = torch.from_numpy(indices)
            yield self.x[chosen], self.y[chosen]


def shares(count: int, share: float) -> tuple[np.ndarray, np.ndarray]:
    """Indices for training and for validation: one random split, the same for every run."""
    order = np.random.default_rng(0).permutation(count)
    held = max(1, round(share * count))
    if held >= count:
        raise SettingsError(f"{count} training images are too few to hold out {100 * share:g} % of them")
    return np.sort(order[held:]), np.sort(order[:held])


def digits(settings: Settings) -> Data:
    """scikit-learn's 8x8 digits upsampled (bilinear) to size x size; the test images are those of
    models/dataset.py."""
    from models import dataset

    found = dataset.load()
    if settings.samples:
        found = dataset.Digits(
            found.train_x[: settings.samples], found.train_y[: settings.samples], found.test_x, found.test_y
        )
    train, held = shares(len(found.train_y), settings.validation)

    def split(x: np.ndarray, y: np.ndarray) -> Memory:
        large = torch.nn.functional.interpolate(
            torch.from_numpy(x), size=settings.size, mode="bilinear", align_corners=False
        )
        return Memory(2 * large - 1, torch.from_numpy(y))

    seen, validation = (split(found.train_x[k], found.train_y[k]) for k in (train, held))
    return Data(seen, validation, split(found.test_x, found.test_y), channels=1, classes=10)


def load(settings: Settings, folder: str | None) -> Data:
    """The data of an experiment. folder: where the images of "folder" are."""
    if settings.data == "digits":
        return digits(settings)
    from benchmarks.paper.image_folder import open_folder

    if folder is None:
        raise SettingsError(
            f"settings '{settings.name}' need a folder of images: --data DIR, with DIR/train/CLASS and"
            " DIR/val/CLASS"
        )
    return open_folder(settings, folder)
