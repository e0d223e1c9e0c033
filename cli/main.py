"""The `onnxpath` program: imports the file of the command that is called, and turns every outcome into the
documented exit code.

0 done or passed; 1 a budget was exceeded; 2 the call, a file or a mismatch (one line on stderr); 101 a bug;
130 interrupted.
"""

import importlib
import os
import platform
import sys
import traceback
import warnings
from contextlib import suppress
from difflib import get_close_matches
from types import TracebackType

import click
from click.shell_completion import CompletionItem, shell_complete

from onnxpath.cli import deferred
from onnxpath.cli.options import VERBOSE
from onnxpath.cli.output import plain, say, stdout_failed
from onnxpath.errors import OnnxPathError, shortened

# NumPy's matrix products here are small: its own thread pool would only compete with ONNX Runtime's.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
# First use of huge pages is several times slower than of ordinary ones on virtual machines, and every weight
# is used once.
os.environ.setdefault("NUMPY_MADVISE_HUGEPAGE", "0")

# Every command, and what is said of it in one line.
COMMANDS = {
    "inspect": "What a file is in the paper's model: neurons, parameters, depth, paths.",
    "norm": "Path-norms of a network.",
    "metric": "How far apart two networks are: the path-metric.",
    "compare": "Two files as they run: interfaces, differences, predicted classes; any two files.",
    "bound": "How much the outputs of two networks can differ, at worst, on a domain of inputs.",
    "certify": "On which inputs two networks provably predict the same class.",
    "check": "Whether a new file may ship: budgets, exit code 1 when one is exceeded.",
    "prune": "Set weights to zero, with a certificate of what that costs.",
    "quantize": "Quantize weights or whole files, with a certificate; find the layer to blame.",
    "rescale": "The same function with other weights.",
    "lipschitz": "Lipschitz bounds in the input, and every known one between two networks.",
    "generalization": "Generalization bounds from path-norms, and how vacuous they are.",
}


class LazyGroup(click.Group):
    """Imports a command's file when that command is called, completed or explained; listing them imports
    none."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        return importlib.import_module(f"onnxpath.cli.{cmd_name}").command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        fits = [name for name in COMMANDS if name.startswith(incomplete)]
        found = [CompletionItem(name, help=COMMANDS[name]) for name in fits]
        return found + click.Command.shell_complete(self, ctx, incomplete)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args and not ctx.resilient_parsing:
            raise click.UsageError(f"no command was given; the commands are {', '.join(COMMANDS)}", ctx)
        return super().parse_args(ctx, args)

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple:
        if args and args[0] not in COMMANDS and not ctx.resilient_parsing:
            close = get_close_matches(args[0], COMMANDS, 1)
            meant = f"did you mean '{close[0]}'?" if close else f"the commands are {', '.join(COMMANDS)}"
            raise click.UsageError(f"'{args[0]}' is not a command; {meant}", ctx)
        return super().resolve_command(ctx, args)


@click.group(
    cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110}
)
@click.version_option(package_name="onnxpath", message="onnxpath %(version)s")
def cli() -> None:
    """How far apart are two neural networks? Answers from the weights of their ONNX files.

    \b
    onnxpath metric old.onnx new.onnx     path-metric: how far apart, exactly or as a certified interval
    onnxpath bound old.onnx new.onnx --low 0 --high 1     how much the outputs can differ, at worst
    onnxpath compare old.onnx new.onnx    both files as they run, whatever they contain
    onnxpath certify old.onnx new.onnx --inputs x.npz --epsilon 0.01     on which inputs both predict the
                                                                         same, provably
    onnxpath check old.onnx new.onnx      may the new file ship? budgets, for continuous integration
    onnxpath norm model.onnx              path-norms
    onnxpath prune model.onnx -o new.onnx set the weights to zero that matter least, with a certificate
    onnxpath quantize model.onnx -o new.onnx weights as integers, with a certificate; which layer to blame
    onnxpath inspect model.onnx           what the file is in the paper's model
    onnxpath rescale model.onnx -o new.onnx   the same function with other weights
    onnxpath lipschitz old.onnx new.onnx  every Lipschitz bound; of one model: in its input
    onnxpath generalization model.onnx    generalization bounds
    """


def _fail(message: str) -> int:
    say(f"onnxpath: {shortened(plain(' '.join(str(message).split())))}")
    return 2


def _origin(trace: TracebackType | None) -> str:
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace is not None else "unknown"


def _explain(error: BaseException) -> None:
    """For --verbose: where an error and its causes arose, a line each."""
    cause: BaseException | None = error
    while cause is not None:
        line = (
            f"  {type(cause).__name__} at {_origin(cause.__traceback__)}:"
            f" {plain(' '.join(str(cause).split()))}"
        )
        say(shortened(line, 400))
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)


def _bug(error: Exception) -> int:
    with suppress(ImportError):
        version = deferred.metadata.version("onnxpath")
        say(f"onnxpath {version}, Python {platform.python_version()}, {platform.platform()}")
    say("".join(traceback.format_exception(error)).rstrip())
    say(
        f"onnxpath: this is a bug ({type(error).__name__}); please report it with the lines above and, if you"
        " can, the model"
    )
    return 101


def _invoke(arguments: list[str], meta: dict) -> int:
    instruction = os.environ.get("_ONNXPATH_COMPLETE")
    if instruction:
        return shell_complete(cli, {}, "onnxpath", "_ONNXPATH_COMPLETE", instruction)
    with cli.make_context("onnxpath", arguments) as context:
        try:
            code = cli.invoke(context)
        finally:
            meta.update(context.meta)
    if sys.stdout is not None:
        sys.stdout.flush()
    return code if isinstance(code, int) else 0


def run(arguments: list[str] | None = None) -> int:
    """Run the program and return its exit code."""
    meta: dict = {}
    try:
        return _invoke(list(sys.argv[1:] if arguments is None else arguments), meta)
    except OnnxPathError as error:
        if meta.get(VERBOSE):
            _explain(error)
        return _fail(str(error))
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx else "onnxpath"
        return _fail(f"{error.format_message().rstrip('.')} (see '{command} --help')")
    except click.ClickException as error:
        return _fail(error.format_message())
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except (click.Abort, KeyboardInterrupt):
        say("onnxpath: interrupted")
        return 130
    except MemoryError:
        return _fail("not enough memory for this model on this machine")
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return 0 if stdout_failed(error) else _fail(f"{where}{error.strerror or error}")
    except Exception as error:
        return _bug(error)


def main() -> None:
    """Entry point of the installed program. Warnings of Python packages are for developers: `python -W` shows
    them."""
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
    sys.exit(run())


if __name__ == "__main__":
    main()
