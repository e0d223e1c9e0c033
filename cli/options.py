"""Options that several commands share, as decorators."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from onnxpath.cli.output import check_writable, say
from onnxpath.errors import UsageError
from onnxpath.files import overwriting

if TYPE_CHECKING:
    from onnxpath.engine.session import Device
    from onnxpath.files.runtime import Runtime
    from onnxpath.model.network import Network

FORMATS = ("table", "json", "markdown")
# Where a click context keeps whether --verbose was given.
VERBOSE = "onnxpath.verbose"
# ... and whether --force was.
FORCE = "onnxpath.force"


class ShapeType(click.ParamType):
    """INPUT=1x3x224x224."""

    name = "INPUT=DIMS"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, tuple[int, ...]]:
        name, _, dims = str(value).rpartition("=")
        try:
            shape = tuple(int(d) for d in dims.lower().split("x"))
        except ValueError:
            shape = ()
        if not name or not shape or any(d < 1 for d in shape):
            self.fail(f"'{value}' is not of the form INPUT=1x3x224x224", param, ctx)
        return name, shape


class OutputType(click.ParamType):
    """json=FILE, markdown=FILE, or another kind of file that the command writes."""

    name = "FORMAT=FILE"

    def __init__(self, kinds: tuple[str, ...]):
        self.kinds = kinds
        forms = [f"{kind}=FILE" for kind in kinds]
        self.forms = f"{', '.join(forms[:-1])} or {forms[-1]}"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str]:
        kind, _, path = str(value).partition("=")
        if kind not in self.kinds or not path:
            self.fail(f"'{value}' is not of the form {self.forms}", param, ctx)
        obstacle = check_writable(path)
        if obstacle:
            raise UsageError(obstacle)
        overwriting.check(path, kind, forced())
        return kind, path


def _stack(*decorators: Callable) -> Callable:
    def apply(function: Callable) -> Callable:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return apply


shape_option = click.option(
    "--shape",
    "shapes",
    type=ShapeType(),
    multiple=True,
    help="Shape of an input with symbolic dimensions, batch included (repeatable).",
)


def model_options(function: Callable) -> Callable:
    """How models are read."""
    return _stack(
        shape_option,
        click.option(
            "--output-name",
            "output_names",
            multiple=True,
            metavar="NAME",
            help="Keep only this output (repeatable).",
        ),
        click.option(
            "--keep-batchnorm",
            is_flag=True,
            help="Keep BatchNormalization as its own layer instead of folding it.",
        ),
    )(function)


def _dump_graphs(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
    if value is not None:
        from onnxpath.engine.dump import dumping

        ctx.with_resource(dumping(value, forced()))


def device_options(function: Callable) -> Callable:
    """Where and how precisely to compute."""
    return _stack(
        click.option("--provider", type=click.Choice(["auto", "cpu", "cuda"]), default="auto",
        show_default=True, help="Where to compute."),
        click.option("--precision", type=click.Choice(["float32", "float64"]), default="float32",
        show_default=True,
                     help="float64 is the slow reference."),
        click.option("--threads", type=click.IntRange(0, 256), default=0,
        help="Threads of ONNX Runtime (0: its default)."),
        click.option("--dump-graph", type=click.Path(), metavar="FOLDER", expose_value=False,
        callback=_dump_graphs, help="Write the graphs of all passes to FOLDER, ONNX files without weights."),
    )(function)  # fmt: skip


def file_options(function: Callable) -> Callable:
    """How the files themselves are run."""
    return _stack(
        click.option(
            "--file-provider",
            default="cpu",
            show_default=True,
            metavar="NAME",
            help=(
                "Provider of ONNX Runtime that the files themselves are run on: cpu, cuda, or a provider's"
                " name."
            ),
        ),
        click.option(
            "--file-option",
            "file_option",
            multiple=True,
            metavar="KEY=VALUE",
            help=(
                "Session option for running the files, such as graph_optimization_level=disable_all"
                " (repeatable)."
            ),
        ),
    )(function)


def runtime(provider: str, chosen: tuple[str, ...], threads: int) -> "Runtime":
    from onnxpath.files.runtime import Runtime

    return Runtime.parse(provider, chosen, threads)


def _note_verbose(ctx: click.Context, param: click.Parameter, value: bool) -> bool:
    ctx.meta[VERBOSE] = value
    return value


def _note_force(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    ctx.meta[FORCE] = value


def forced() -> bool:
    """Whether files that are no results of this program may be replaced."""
    context = click.get_current_context(silent=True)
    return context is not None and bool(context.meta.get(FORCE))


force_option = click.option(
    "--force",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_note_force,
    help=(
        "Replace files of any kind, the model itself included; without it, only earlier results of the same"
        " kind."
    ),
)


def _output_options(*kinds: str) -> Callable:
    files = OutputType(kinds)
    return _stack(
        click.option("--format", "output_format", type=click.Choice(FORMATS), default="table",
        show_default=True, help="What to print on stdout."),
        click.option("--output", "files", type=files, multiple=True,
        help=f"Also write the result to a file: {files.forms} (repeatable)."),
        force_option,
        click.option("-q", "--quiet", is_flag=True, help="No progress and no notes on stderr."),
        click.option("-v", "--verbose", is_flag=True, callback=_note_verbose, is_eager=True,
                     help="Say on stderr what is being done, and where in the code an error arose."),
    )  # fmt: skip


# Where results go.
output_options = _output_options("json", "markdown")
# Where the results of a gate go: the report that CI systems read as well.
gate_output_options = _output_options("json", "markdown", "junit")


def device(provider: str, precision: str, threads: int) -> "Device":
    from onnxpath.engine.session import Device

    return Device(provider, precision, threads)


def load(path: str, shapes: tuple, output_names: tuple, keep_batchnorm: bool) -> "Network":
    """Read a model; a shape for an input that it does not have is an error."""
    if not path:
        raise UsageError("the name of a model is empty")
    from onnxpath import api

    return api.load(path, shapes=dict(shapes), output_names=output_names, keep_batchnorm=keep_batchnorm)


def load_pair(
    paths: tuple[str, str],
    shapes: tuple,
    output_names: tuple,
    keep_batchnorm: bool,
    extended: bool = False,
    quantizers: bool = False,
) -> "tuple[Network, Network]":
    """Read two models, with activations beyond the paper's model where `extended`, and quantizers; every name
    given with --shape or --output-name must be one of at least one of them."""
    from onnxpath.analyses import pairs

    return pairs.load_pair(
        *paths,
        shapes=dict(shapes),
        output_names=output_names,
        keep_batchnorm=keep_batchnorm,
        extended=extended,
        quantizers=quantizers,
    )


@contextmanager
def progress(message: str, quiet: bool) -> Iterator[None]:
    """A spinner on stderr while a block runs, when stderr is a terminal; with --verbose, a line with the time
    it took."""
    context = click.get_current_context(silent=True)
    if context is not None and context.meta.get(VERBOSE):
        started = time.perf_counter()
        yield
        say(f"{message}: {time.perf_counter() - started:.2f} s")
    elif quiet or sys.stderr is None or not sys.stderr.isatty():
        yield
    else:
        from rich.console import Console

        with Console(stderr=True).status(message):
            yield


@contextmanager
def counter(message: str, quiet: bool) -> Iterator[Callable[[int, int], None] | None]:
    """A progress bar on stderr while a block runs, when stderr is a terminal: call it with (done, all)."""
    if quiet or sys.stderr is None or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(message)
        yield lambda done, total: bar.update(task, completed=done, total=total)
