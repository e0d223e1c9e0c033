"""The `onnxpath` program: finds its commands lazily, and turns every outcome into the documented exit code.

0 done or passed; 1 a budget was exceeded; 2 the call, a file or a mismatch (one line on stderr); 101 a bug.
"""

import importlib
import os
import sys

import click

# NumPy's matrix products here are small: its own thread pool would only compete with ONNX Runtime's.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

COMMANDS = ("inspect", "norm", "metric")


class LazyGroup(click.Group):
    """Imports a command's file when the command is used or listed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        return importlib.import_module(f"onnxpath.cli.{cmd_name}").command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            raise click.UsageError(f"'{args[0]}' is not a command; the commands are {', '.join(COMMANDS)}")
        return super().resolve_command(ctx, args)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="onnxpath", message="onnxpath %(version)s")
def cli() -> None:
    """How far apart are two neural networks? Answers from the weights of their ONNX files.

    \b
    onnxpath metric old.onnx new.onnx     path-metric: how far apart, exactly or as a certified interval
    onnxpath norm model.onnx              path-norms
    onnxpath inspect model.onnx           what the file is in the paper's model
    """


def _one_line(message: str) -> str:
    return " ".join(str(message).split())


def _fail(message: str) -> int:
    print(f"onnxpath: {_one_line(message)}", file=sys.stderr)
    return 2


def run(arguments: list[str] | None = None) -> int:
    """Run the program and return its exit code."""
    from onnxpath.errors import OnnxPathError

    verbose = bool({"-v", "--verbose"} & set(sys.argv[1:] if arguments is None else arguments))
    try:
        code = cli.main(args=arguments, prog_name="onnxpath", standalone_mode=False)
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except OnnxPathError as error:
        if verbose:
            raise
        return _fail(str(error))
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx else "onnxpath"
        return _fail(f"{error.format_message()} (see '{command} --help')")
    except click.ClickException as error:
        return _fail(error.format_message())
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except (click.Abort, KeyboardInterrupt):
        print("onnxpath: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0
    except MemoryError:
        return _fail("not enough memory for this model on this machine")
    except Exception as error:  # a bug: say so, and how to report it
        import traceback

        traceback.print_exc()
        print(f"onnxpath: this is a bug ({type(error).__name__}); please report it with the lines above and the model, if you can", file=sys.stderr)
        return 101


def main() -> None:
    """Entry point of the installed program."""
    sys.exit(run())


if __name__ == "__main__":
    main()
