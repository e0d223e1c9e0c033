"""Options that several commands share, in groups: a decorator adds the options of a group, and the command
gets one frozen record instead of an argument for each.

    @reading_options                    reading.load(path), reading.pair(a, b)
    @device_options                     computing.device()
    @file_options                       running.runtime(threads)
    @output_options                     output.progress(message), output.emit(document, report)

A record holds what was written. Its methods make of it what the other packages take, and raise UsageError
where that cannot be.
"""

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import reduce, wraps
from typing import TYPE_CHECKING, Any

import click

from onnxpath.cli import deferred
from onnxpath.cli.output import Report, as_json, check_writable, markdown, plain, say, to_stdout
from onnxpath.errors import UsageError, shortened
from onnxpath.files.writing import write_file

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
        deferred.overwriting.check(path, kind, forced())
        return kind, path


def stack(*decorators: Callable) -> Callable:
    """Decorators as one: the first is the outermost."""
    return lambda function: reduce(lambda inner, decorate: decorate(inner), reversed(decorators), function)


def group(name: str, record: Callable, *decorators: Callable) -> Callable:
    """Options that arrive as one record, in the argument `name`. record: makes it of the options' values, by
    name; a frozen dataclass, or a function that imports one."""
    declared = stack(*decorators)(lambda: None).__click_params__
    names = [parameter.name for parameter in declared if parameter.expose_value]

    def apply(function: Callable) -> Callable:
        @wraps(function)
        def gathered(*arguments: object, **given: object) -> object:
            part = {key: given.pop(key) for key in names}
            return function(*arguments, **given, **{name: record(**part)})

        return stack(*decorators)(gathered)

    return apply


shape_option = click.option(
    "--shape",
    "shapes",
    type=ShapeType(),
    multiple=True,
    help="Shape of an input with symbolic dimensions, batch included (repeatable).",
)


@dataclass(frozen=True)
class Reading:
    """How models are read. shapes: (input, sizes)."""

    shapes: tuple[tuple[str, tuple[int, ...]], ...]
    output_names: tuple[str, ...]
    keep_batchnorm: bool

    def settings(self) -> dict[str, Any]:
        """As keywords of `onnxpath.load`."""
        return {
            "shapes": dict(self.shapes),
            "output_names": self.output_names,
            "keep_batchnorm": self.keep_batchnorm,
        }

    def load(self, path: str) -> "Network":
        """Read a model; a shape for an input that it does not have is an error."""
        if not path:
            raise UsageError("the name of a model is empty")
        return deferred.importer.load(path, **self.settings())

    def pair(
        self, a: str, b: str, extended: bool = False, quantizers: bool = False
    ) -> "tuple[Network, Network]":
        """Read two models, with activations beyond the paper's model where `extended`, and quantizers; every
        name given with --shape or --output-name must be one of at least one of them."""
        return deferred.pairs.load_pair(a, b, **self.settings(), extended=extended, quantizers=quantizers)


reading_options = group(
    "reading",
    Reading,
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
)


@dataclass(frozen=True)
class Computing:
    """Where and how precisely passes are evaluated."""

    provider: str
    precision: str
    threads: int

    def device(self) -> "Device":
        return deferred.session.Device(self.provider, self.precision, self.threads)


def _dump_graphs(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
    if value is not None:
        ctx.with_resource(deferred.dump.dumping(value, forced()))


threads_option = click.option(
    "--threads", type=click.IntRange(0, 256), default=0, help="Threads of ONNX Runtime (0: its default)."
)
device_options = group(
    "computing",
    Computing,
    click.option(
        "--provider",
        type=click.Choice(["auto", "cpu", "cuda"]),
        default="auto",
        show_default=True,
        help="Where to compute.",
    ),
    click.option(
        "--precision",
        type=click.Choice(["float32", "float64"]),
        default="float32",
        show_default=True,
        help="float64 is the slow reference.",
    ),
    threads_option,
    click.option(
        "--dump-graph",
        type=click.Path(),
        metavar="FOLDER",
        expose_value=False,
        callback=_dump_graphs,
        help="Write the graphs of all passes to FOLDER, ONNX files without weights.",
    ),
)


@dataclass(frozen=True)
class Running:
    """How the files themselves are run."""

    file_provider: str
    file_option: tuple[str, ...]

    def runtime(self, threads: int) -> "Runtime":
        return deferred.runtime.Runtime.parse(self.file_provider, self.file_option, threads)


file_options = group(
    "running",
    Running,
    click.option(
        "--file-provider",
        default="cpu",
        show_default=True,
        metavar="NAME",
        help=(
            "Provider of ONNX Runtime that the files themselves are run on: cpu, cuda, or a provider's name."
        ),
    ),
    click.option(
        "--file-option",
        multiple=True,
        metavar="KEY=VALUE",
        help=(
            "Session option for running the files, such as graph_optimization_level=disable_all (repeatable)."
        ),
    ),
)


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


@dataclass(frozen=True)
class Output:
    """Where the result goes. files: (kind, path)."""

    output_format: str
    files: tuple[tuple[str, str], ...]
    quiet: bool
    verbose: bool

    def emit(
        self,
        document: dict[str, Any],
        report: Report,
        writers: "Mapping[str, Callable[[], str]] | None" = None,
    ) -> None:
        """Print the result and write the files; notes go to stderr unless they are part of what is printed.

        writers: what else a file may hold, by kind, beyond JSON and markdown.
        """
        kinds = {
            "json": lambda: as_json(document),
            "markdown": lambda: markdown(report),
            "table": lambda: deferred.terminal.table(report),
            **(writers or {}),
        }
        for kind, path in self.files:
            write_file(path, kinds[kind]())
        to_stdout(kinds[self.output_format]())
        if self.output_format == "table" and not self.quiet:
            for note in report.notes:
                say(f"note: {shortened(plain(note))}")

    @contextmanager
    def progress(self, message: str) -> Iterator[None]:
        """A spinner on stderr while a block runs, when stderr is a terminal; with --verbose, a line with the
        time it took."""
        if self.verbose:
            started = time.perf_counter()
            yield
            say(f"{message}: {time.perf_counter() - started:.2f} s")
        elif not self._watched:
            yield
        else:
            with deferred.progress.spinner(message):
                yield

    @contextmanager
    def counter(self, message: str) -> Iterator[Callable[[int, int], None] | None]:
        """A progress bar on stderr while a block runs, when stderr is a terminal: call it with (done,
        all)."""
        if not self._watched:
            yield None
            return
        with deferred.progress.counter(message) as count:
            yield count

    @property
    def _watched(self) -> bool:
        return not self.quiet and sys.stderr is not None and sys.stderr.isatty()


def _output_options(*kinds: str) -> Callable:
    files = OutputType(kinds)
    return group(
        "output",
        Output,
        click.option(
            "--format",
            "output_format",
            type=click.Choice(FORMATS),
            default="table",
            show_default=True,
            help="What to print on stdout.",
        ),
        click.option(
            "--output",
            "files",
            type=files,
            multiple=True,
            help=f"Also write the result to a file: {files.forms} (repeatable).",
        ),
        force_option,
        click.option("-q", "--quiet", is_flag=True, help="No progress and no notes on stderr."),
        click.option(
            "-v",
            "--verbose",
            is_flag=True,
            callback=_note_verbose,
            is_eager=True,
            help="Say on stderr what is being done, and where in the code an error arose.",
        ),
    )


# Where results go.
output_options = _output_options("json", "markdown")
# Where the results of a gate go: the report that CI systems read as well.
gate_output_options = _output_options("json", "markdown", "junit")
