"""The folder of a run: what its files are called, how they are written, and what a finished or partial run
holds.

    settings.json                        the settings
    seed-N/dense.json, LABEL.json        a finished training: test accuracy, best epoch, curve, hash of the
                                         weights
    seed-N/LABEL-mask.npz                what was removed: packed bits by name of the weight
    seed-N/costs.json, costs-rescaled.json    |θ| and Φ-costs of some weights, and rank correlations over all
                                              of them
    seed-N/dense-weights.pt, rewind.pt   the trained network, and its weights of the early epoch
    seed-N/*.pt                          checkpoints of trainings that run

LABEL is method-level or method-level-rescaled, as in `lp-40-rescaled`. A file is written beside its place,
flushed to the disk and renamed: a kill leaves the old one or the new one, never half of one.
"""

import csv
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.paper.configuration import METHODS, Settings, SettingsError, converted

RECORD = "settings.json"


def atomic(path: Path, write: Callable[[Path], object]) -> None:
    temporary = path.with_name(f"part-{path.name}")  # the ending stays: numpy appends one otherwise
    write(temporary)
    with temporary.open("rb+") as file:
        os.fsync(file.fileno())
    os.replace(temporary, path)


def text(path: Path, content: str) -> None:
    atomic(path, lambda p: p.write_text(content, encoding="utf-8"))


def label(method: str, level: float, rescaled: bool) -> str:
    return f"{METHODS[method]}-{100 * level:g}{'-rescaled' if rescaled else ''}"


def open_settings(folder: Path) -> Settings:
    """The settings of the run in a folder. Raises SettingsError when there is none."""
    path = folder / RECORD
    try:
        return converted(json.loads(path.read_text(encoding="utf-8")), path)
    except (OSError, ValueError) as error:
        raise SettingsError(f"{folder}: no run in this folder: {path.name}: {error}") from error


def claim(folder: Path, settings: Settings) -> None:
    """Make the folder that of these settings. Raises SettingsError when it holds a run whose results depend
    on other ones."""
    if (folder / RECORD).exists():
        old, new = open_settings(folder).protocol(), settings.protocol()
        odd = [key for key in new if old[key] != new[key]]
        if odd:
            raise SettingsError(
                f"{folder}: holds a run with {odd[0]} = {old[odd[0]]}, not {new[odd[0]]}; give another --out"
            )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        text(folder / RECORD, json.dumps(settings.to_dict(), ensure_ascii=False, indent=1))
    except OSError as error:
        raise SettingsError(f"{folder}: cannot be written: {error.strerror}") from error


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Keep the folder to this command; the system gives it free when its process ends, however it ends.
    Raises SettingsError when another command trains there. Where there are no such locks (Windows), nothing
    is kept."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    with (folder / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise SettingsError(
                f"{folder}: another command is training in this folder; wait for it, or give another --out"
            ) from error
        yield


def seeds(folder: Path) -> list[int]:
    return sorted(int(path.name[5:]) for path in folder.glob("seed-*") if path.name[5:].isdigit())


def save_mask(path: Path, kept: Mapping[str, np.ndarray]) -> None:
    """kept: True where a weight stays, by name."""
    packed: dict[str, Any] = {name: np.packbits(~mask) for name, mask in kept.items()}
    atomic(path, lambda p: np.savez(p, **packed))


def removed(path: Path) -> dict[str, np.ndarray]:
    """The packed bits of what was removed; bits beyond the last weight are 0."""
    with np.load(path) as file:
        return {name: file[name] for name in file.files}


def count(*sets: Mapping[str, np.ndarray]) -> int:
    """How many weights are in all of these sets of packed bits."""
    return sum(
        int(np.bitwise_count(np.bitwise_and.reduce([part[name] for part in sets])).sum()) for name in sets[0]
    )


def overlap(a: Mapping[str, np.ndarray], b: Mapping[str, np.ndarray]) -> float:
    return count(a, b) / max(1, count(a), count(b))


def same(a: Mapping[str, np.ndarray], b: Mapping[str, np.ndarray]) -> bool:
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


@dataclass(frozen=True)
class Trained:
    """A finished training of a seed; method "dense", level 0 and rescaled False for the one without a mask.

    same_mask: whether a mask after the rescaling is the one before, None where that is not known. reused: it
        was not trained again.
    """

    seed: int
    method: str
    level: float
    rescaled: bool
    accuracy: float
    epoch: int
    weights: str
    curve: Sequence[Mapping[str, float]]
    same_mask: bool | None = None
    reused: bool = False


def trained(folder: Path, settings: Settings) -> list[Trained]:
    """What has been trained so far, in the order of the tables."""
    found = []
    for seed in seeds(folder):
        here = folder / f"seed-{seed}"
        if (here / "dense.json").exists():
            found.append(
                Trained(
                    seed, "dense", 0.0, False, **json.loads((here / "dense.json").read_text(encoding="utf-8"))
                )
            )
        for method in settings.methods:
            for level in settings.levels:
                for rescaled in (False, True):
                    path = here / f"{label(method, level, rescaled)}.json"
                    if path.exists():
                        values = json.loads(path.read_text(encoding="utf-8"))
                        found.append(Trained(seed, method, level, rescaled, **values))
    return found


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
    def write(target: Path) -> None:
        with target.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, columns, lineterminator="\n", extrasaction="ignore")
            writer.writeheader()
            writer.writerows(rows)

    atomic(path, write)
