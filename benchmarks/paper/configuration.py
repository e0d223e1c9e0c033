"""What an experiment is: data, network, optimizer, pruning levels and seeds, read from a TOML file of
`settings/`.

digits-small       digits, a small residual network: minutes on one CPU core (the default)
digits-resnet18    digits, ResNet-18 with a stem for 32x32 images
imagenet           ImageNet-1k, ResNet-18 and the hyperparameters of Appendix D
"""

import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, get_args, get_origin

HERE = Path(__file__).resolve().parent
PRESETS = HERE / "settings"
FACTORS = (1.0, 128.0, 4096.0)
METHODS = {"MP": "mp", "MP, all layers": "mg", "Φ-LP": "lp", "Φ-GP": "gp"}


class SettingsError(Exception):
    """A value, a file or a folder that the experiments cannot use; the message says which and why."""


@dataclass(frozen=True)
class Settings:
    """One experiment.

    data: "digits" or "folder". size: height and width of an image. network: "small" or "resnet18", with
        `width` channels in the
    first stage. samples: how many training images to use, 0 for all. validation: the share of them that is
        held out for the curves.
    milestones: after that many epochs the rate is multiplied by `decay`. rewind: the epochs whose weights
        pruned networks start
    from. methods: of METHODS. repeat: train again where the mask after rescaling is the one before; otherwise
        that training is taken
    over. curve: the level of Figure 2. save: steps between checkpoints. threads: of PyTorch in every process
    on the CPU, 0 for its default (they decide how sums are rounded). workers: processes that read images.
    """

    name: str
    data: str
    size: int
    network: str
    width: int
    epochs: int
    rewind: int
    milestones: tuple[int, ...]
    batch: int
    rate: float = 0.1
    decay: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 1e-4
    validation: float = 0.01
    samples: int = 0
    seeds: tuple[int, ...] = (0, 1, 2)
    levels: tuple[float, ...] = (0.1, 0.2, 0.4, 0.6, 0.8)
    methods: tuple[str, ...] = tuple(METHODS)
    repeat: bool = True
    curve: float = 0.4
    save: int = 250
    threads: int = 1
    workers: int = 0

    def __post_init__(self) -> None:
        wrong = [
            text
            for text, bad in (
                (f"data '{self.data}' is not digits or folder", self.data not in ("digits", "folder")),
                (
                    f"network '{self.network}' is not small or resnet18",
                    self.network not in ("small", "resnet18"),
                ),
                (
                    "size, width, epochs, batch and save must be at least 1",
                    min(self.size, self.width, self.epochs, self.batch, self.save) < 1,
                ),
                (
                    "samples, threads and workers must be at least 0",
                    min(self.samples, self.threads, self.workers) < 0,
                ),
                ("rate and decay must be above 0", min(self.rate, self.decay) <= 0),
                (
                    f"rewind must be at least 0 and below {self.epochs} epochs",
                    not 0 <= self.rewind < self.epochs,
                ),
                ("validation must be a share above 0 and below 1", not 0 < self.validation < 1),
                (
                    "seeds: at least one, each >= 0 and given once",
                    not self.seeds or min(self.seeds) < 0 or repeated(self.seeds),
                ),
                (
                    "levels: at least one, each above 0 and below 1, given once",
                    not all(0 < x < 1 for x in self.levels) or not self.levels,
                ),
                ("levels: one is given twice", repeated(self.levels)),
                (f"curve: {self.curve:g} is not one of the levels", self.curve not in self.levels),
                (
                    f"methods: some of {', '.join(METHODS)}, each once",
                    not self.methods or repeated(self.methods) or not {*self.methods} <= {*METHODS},
                ),
            )
            if bad
        ]
        if wrong:
            raise SettingsError(f"settings '{self.name}': {'; '.join(wrong)}")

    def protocol(self) -> dict[str, Any]:
        """Everything that decides a result: a folder of checkpoints belongs to one of these. More seeds,
        levels or methods may be added later."""
        free = ("name", "seeds", "levels", "methods", "repeat", "curve", "save", "workers")
        return {key: value for key, value in self.to_dict().items() if key not in free}

    def to_dict(self) -> dict[str, Any]:
        return {
            key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()
        }


def repeated(values: tuple[Any, ...]) -> bool:
    return len(set(values)) < len(values)


def read(source: str | Path, **changes: object) -> Settings:
    """Settings by the name of a preset or from a TOML file. changes: values that replace those of the file.

    Raises SettingsError for a missing file, a key that does not exist or a value of another type.
    """
    path = PRESETS / f"{source}.toml" if not str(source).endswith(".toml") else Path(source)
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        names = ", ".join(sorted(preset.stem for preset in PRESETS.glob("*.toml")))
        raise SettingsError(f"{source}: {error.strerror}; give a TOML file or one of {names}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: not a TOML file: {error}") from error
    return converted({"name": path.stem, **values, **changes}, path)


def converted(values: Mapping[str, object], path: Path) -> Settings:
    """Settings from plain values; path: where they are from, for the message of SettingsError."""
    values = dict(values)
    kinds: dict[str, Any] = {field.name: field.type for field in fields(Settings)}
    for key, value in values.items():
        if key not in kinds:
            raise SettingsError(f"{path}: there is no setting '{key}'; there are {', '.join(kinds)}")
        values[key] = _converted(path, key, value, kinds[key])
    missing = [
        field.name
        for field in fields(Settings)
        if field.name not in values and field.default is field.default_factory
    ]
    if missing:
        raise SettingsError(f"{path}: {', '.join(missing)} missing")
    return Settings(**values)  # type: ignore[arg-type]


def assignment(text: str) -> tuple[str, object]:
    """`epochs=3` or `levels=[0.4]`, the value in the syntax of TOML; what is none is a text."""
    key, equals, value = text.partition("=")
    if not equals:
        raise SettingsError(f"'{text}' is not KEY=VALUE")
    try:
        return key.strip(), tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return key.strip(), value


def _converted(path: Path, key: str, value: object, kind: Any) -> object:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if kind is float and number:
        return float(value)  # type: ignore[arg-type]
    if kind is int and number and isinstance(value, int):
        return value
    if kind in (str, bool) and isinstance(value, kind):
        return value
    if get_origin(kind) is tuple and isinstance(value, (list, tuple)):
        return tuple(_converted(path, key, part, get_args(kind)[0]) for part in value)
    expected = {int: "an integer", float: "a number", str: "a text", bool: "true or false"}.get(
        kind, "a list of such values"
    )
    raise SettingsError(f"{path}: {key} = {value!r} is not {expected}")
