"""Options that several commands share, as decorators."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from onnxpath.engine.session import Device
    from onnxpath.network import Network

FORMATS = ("table", "json", "markdown")


class ShapeType(click.ParamType):
    """INPUT=1x3x224x224."""

    name = "INPUT=DIMS"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, tuple[int, ...]]:
        name, _, dims = str(value).rpartition("=")
        try:
            shape = tuple(int(d) for d in dims.lower().split("x"))
        except ValueError:
            shape = ()
        if not name or not shape or any(d < 1 for d in shape):
            self.fail(f"'{value}' is not of the form INPUT=1x3x224x224", param, ctx)
        return name, shape


class OutputType(click.ParamType):
    """json=FILE or markdown=FILE."""

    name = "FORMAT=FILE"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        kind, _, path = str(value).partition("=")
        if kind not in ("json", "markdown") or not path:
            self.fail(f"'{value}' is not of the form json=FILE or markdown=FILE", param, ctx)
        return kind, path


def _stack(*decorators: Callable) -> Callable:
    def apply(function: Callable) -> Callable:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return apply


def model_options(function: Callable) -> Callable:
    """How models are read."""
    return _stack(
        click.option("--shape", "shapes", type=ShapeType(), multiple=True, help="Shape of an input with symbolic dimensions, batch included."),
        click.option("--output-name", "output_names", multiple=True, metavar="NAME", help="Keep only this output (repeatable)."),
        click.option("--keep-batchnorm", is_flag=True, help="Keep BatchNormalization as its own layer instead of folding it."),
    )(function)


def device_options(function: Callable) -> Callable:
    """Where and how precisely to compute."""
    return _stack(
        click.option("--provider", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True, help="Where to compute."),
        click.option("--precision", type=click.Choice(["float32", "float64"]), default="float32", show_default=True,
                     help="float64 is the slow reference."),
        click.option("--threads", type=click.IntRange(min=0), default=0, help="Threads of ONNX Runtime (0: its default)."),
    )(function)  # fmt: skip


def output_options(function: Callable) -> Callable:
    """Where results go."""
    return _stack(
        click.option("--format", "output_format", type=click.Choice(FORMATS), default="table", show_default=True, help="What to print on stdout."),
        click.option("--output", "files", type=OutputType(), multiple=True, help="Also write the result to a file (repeatable)."),
        click.option("-q", "--quiet", is_flag=True, help="No progress and no notes on stderr."),
        click.option("-v", "--verbose", is_flag=True, help="Show the full traceback of an error."),
    )(function)


def device(provider: str, precision: str, threads: int) -> "Device":
    from onnxpath.engine.session import Device

    return Device(provider, precision, threads)


def load(path: str, shapes: tuple, output_names: tuple, keep_batchnorm: bool) -> "Network":
    """Read a model; a shape for an input that it does not have is an error."""
    from onnxpath import api

    return api.load(path, shapes=dict(shapes), output_names=output_names, keep_batchnorm=keep_batchnorm)


def progress(message: str, quiet: bool):
    """A spinner on stderr while a block runs; nothing when stderr is not a terminal."""
    from contextlib import nullcontext

    from rich.console import Console

    console = Console(stderr=True)
    return nullcontext() if quiet or not console.is_terminal else console.status(message)
