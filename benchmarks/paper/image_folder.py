"""ImageNet from a folder: DIR/train/CLASS/IMAGE and DIR/val/CLASS/IMAGE, as the archives are commonly
unpacked.

Training images: a random part of 8 to 100 % of the area with an aspect ratio between 3/4 and 4/3, resized to
    size x size, mirrored
with probability 1/2. Other images: the shorter side resized to size·256/224, the centre cut out. Channels are
normalized with the mean and standard deviation of ImageNet. A share of DIR/train is held out for validation;
DIR/val is the test set.

Classes are numbered by their names in alphabetical order, as everywhere; what begins with a dot is no class
and no image. Pillow decodes and resizes: gray, palette and CMYK images become RGB, and the EXIF orientation
is ignored, both as in torchvision's ImageFolder. A file that cannot be decoded ends the run with its name.
torch.utils.data reads ahead in processes; random numbers come from (seed, epoch, index), so that neither
their number nor where a run was resumed changes an image.
"""

import os
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import exp, log
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from benchmarks.paper.configuration import Settings, SettingsError
from benchmarks.paper.images import Batches, Data, shares

if TYPE_CHECKING:
    from PIL.Image import Image

ENDINGS = (".jpeg", ".jpg", ".png", ".bmp", ".webp", ".ppm", ".pgm", ".tif", ".tiff")
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_AREA, _RATIO, _TRIES = (0.08, 1.0), (3 / 4, 4 / 3), 10
Box = tuple[int, int, int, int]


def listed(folder: Path) -> tuple[list[str], list[tuple[str, int]]]:
    """The classes of a folder in alphabetical order, and (file, class) of every image. Raises SettingsError
    when there are none."""
    try:
        classes = sorted(
            entry.name for entry in os.scandir(folder) if entry.is_dir() and not entry.name.startswith(".")
        )
    except OSError as error:
        raise SettingsError(
            f"{folder}: {error.strerror}; expected one folder of images per class in it"
        ) from error
    found = []
    for label, name in enumerate(classes):
        files = sorted(
            os.path.join(place, file)
            for place, _, names in os.walk(folder / name, followlinks=True)
            for file in names
            if file.lower().endswith(ENDINGS) and not file.startswith(".")
        )
        if not files:
            raise SettingsError(f"{folder / name}: no image ({', '.join(ENDINGS)}) in this folder of a class")
        found += [(path, label) for path in files]
    if not found:
        raise SettingsError(f"{folder}: no folder of a class in it; expected {folder.name}/CLASS/IMAGE")
    return classes, found


def random_box(width: int, height: int, random: np.random.Generator) -> Box:
    """The part of an image that training sees: left, top, right, bottom."""
    for _ in range(_TRIES):
        area = width * height * random.uniform(*_AREA)
        ratio = exp(random.uniform(log(_RATIO[0]), log(_RATIO[1])))
        w, h = round((area * ratio) ** 0.5), round((area / ratio) ** 0.5)
        if 0 < w <= width and 0 < h <= height:
            left, top = int(random.integers(width - w + 1)), int(random.integers(height - h + 1))
            return left, top, left + w, top + h
    w, h = min(width, max(1, round(height * _RATIO[1]))), min(height, max(1, round(width / _RATIO[0])))
    left, top = (width - w) // 2, (height - h) // 2
    return left, top, left + w, top + h


def centre(image: "Image", size: int) -> "Image":
    """Resize the shorter side to size·256/224 and cut out the centre."""
    from PIL import Image

    short = max(size, round(size * 256 / 224))
    scale = short / min(image.size)
    width, height = (max(size, round(side * scale)) for side in image.size)
    left, top = (width - size) // 2, (height - size) // 2
    return image.resize((width, height), Image.Resampling.BILINEAR).crop((left, top, left + size, top + size))


def tensor(image: "Image") -> Tensor:
    """[3, height, width], normalized."""
    array = torch.from_numpy(np.array(image, np.uint8)).permute(2, 0, 1).to(torch.float32).div_(255)
    return array.sub_(torch.tensor(MEAN)[:, None, None]).div_(torch.tensor(DEVIATION)[:, None, None])


def read(path: str, size: int, random: np.random.Generator | None) -> Tensor:
    """One image, augmented when there are random numbers. Raises SettingsError for a file that is no
    image."""
    from PIL import Image

    try:
        with Image.open(path) as file:
            image = file.convert("RGB")
    # what Pillow raises for files that are unreadable, truncated, broken inside, too large, or no image
    except (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError) as error:
        raise SettingsError(f"{path}: not a readable image: {error}") from error
    if random is None:
        return tensor(centre(image, size))
    part = image.resize((size, size), Image.Resampling.BILINEAR, box=random_box(*image.size, random))
    return tensor(part.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if random.random() < 0.5 else part)


class _Images(Dataset):
    def __init__(
        self, files: Sequence[tuple[str, int]], size: int, augmentation: tuple[int, int] | None
    ) -> None:
        self.files, self.size, self.augmentation = files, size, augmentation

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Tensor, int] | str:
        """An image and its label, or what is wrong with its file: an error would not come out of a process in
        its own words."""
        path, label = self.files[index]
        random = (
            None if self.augmentation is None else np.random.default_rng([*self.augmentation, int(index)])
        )
        try:
            return read(path, self.size, random), label
        except SettingsError as error:
            return str(error)


def collated(items: Sequence[tuple[Tensor, int] | str]) -> tuple[Tensor, Tensor] | str:
    """A batch, or the first error in it."""
    for item in items:
        if isinstance(item, str):
            return item
    images, labels = zip(*items, strict=True)
    return torch.stack(images), torch.tensor(labels)


@dataclass(frozen=True, eq=False)
class Files:
    """A split whose images are files."""

    files: Sequence[tuple[str, int]]
    size: int
    workers: int

    def __len__(self) -> int:
        return len(self.files)

    def batches(
        self, order: Batches, augmentation: tuple[int, int] | None = None
    ) -> Iterator[tuple[Tensor, Tensor]]:
        images = _Images(self.files, self.size, augmentation)
        # the loader draws a seed for its processes, from a generator of its own: nothing here uses it
        loader = DataLoader(
            images, batch_sampler=[batch.tolist() for batch in order], num_workers=self.workers,
            collate_fn=collated,
            pin_memory=torch.cuda.is_available(), generator=torch.Generator(),
        )  # fmt: skip
        for batch in loader:
            if isinstance(batch, str):
                raise SettingsError(batch)
            yield batch


def open_folder(settings: Settings, folder: str) -> Data:
    """The splits of a folder. Raises SettingsError when it is not laid out as above or Pillow is missing."""
    try:
        import PIL.Image  # noqa: F401
    except ImportError as error:
        raise SettingsError("reading images needs Pillow: pip install 'onnxpath[experiments]'") from error
    root = Path(folder)
    classes, files = listed(root / "train")
    others, test = listed(root / "val")
    if classes != others:
        odd = sorted(set(classes) ^ set(others))[0]
        raise SettingsError(
            f"{root}: train and val have different classes: '{odd}' is only in"
            f" {'train' if odd in classes else 'val'}"
        )
    if settings.samples:
        files = [
            files[k] for k in np.sort(np.random.default_rng(1).permutation(len(files))[: settings.samples])
        ]
    train, held = shares(len(files), settings.validation)
    splits = ([files[k] for k in train], [files[k] for k in held], test)
    return Data(
        *(Files(part, settings.size, settings.workers) for part in splits), channels=3, classes=len(classes)
    )
