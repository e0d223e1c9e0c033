"""`onnxpath check [A B]`: whether every budget holds; the gate of a continuous integration."""

from typing import TYPE_CHECKING, Any

import click

from onnxpath.cli import deferred, github, options, verdicts
from onnxpath.cli.domain import DOMAIN
from onnxpath.cli.options import stack
from onnxpath.cli.output import Report, markdown
from onnxpath.errors import OnnxPathError
from onnxpath.files.writing import write_file

if TYPE_CHECKING:
    from onnxpath.analyses.check.gates import Gate


def _gates(a: str | None, b: str | None, config: str | None, settings: dict[str, Any]) -> "list[Gate]":
    """The gate that the command line describes, or all of the configuration."""
    configuration, gates = deferred.configuration, deferred.gates
    if a is not None and b is not None:
        if config is not None:
            raise click.UsageError("--config names pairs of its own; leave out A and B, or --config")
        return [gates.gate(b, a, b, settings, gates.Files())]
    if a is not None:
        raise click.UsageError("Missing argument 'B'")
    if settings:
        raise click.UsageError(
            f"--{next(iter(settings))} needs A and B; without them the configuration sets all budgets"
        )
    return configuration.load(configuration.find() if config is None else config)


def _failed(error: OnnxPathError, gates: "list[Gate]", files: tuple) -> None:
    """Say in the reports of a CI system, too, that something could not be checked."""
    pairs = getattr(error, "pairs", [])
    one = gates[0].name if len(gates) == 1 else "configuration"
    errors = [(gate.name, str(reason)) for gate, reason in getattr(error, "errors", [])] or [
        (one, str(error))
    ]
    for kind, path in files:
        if kind == "junit":
            write_file(path, deferred.junit.xml(pairs, None, errors))
    if github.active():
        github.annotate([(f"onnxpath check: {name}", message) for name, message in errors])
        github.summarize(markdown(Report("onnxpath check: could not check", errors)))


def _budget(name: str, text: str):
    return click.option(f"--{name}", name.replace("-", "_"), metavar="LIMIT", help=text)


def _setting(name: str, metavar: str, text: str):
    return click.option(f"--{name}", name.replace("-", "_"), metavar=metavar, help=text)


@click.command("check")
@click.argument("a", type=click.Path(), required=False)
@click.argument("b", type=click.Path(), required=False)
@_budget("max-relative", 'Of the path-metric, relative to the larger path-norm: 0.01 or "1%".')
@_budget("max-metric", "Of the path-metric.")
@_budget("max-path-norm-increase", 'Of the growth of the path-norm from A to B: 0.1 or "10%".')
@_budget("max-bound", "Of the certified difference of the outputs over the domain.")
@_budget(
    "max-difference",
    "Of the largest difference of the files' outputs on --inputs, as ONNX Runtime runs them.",
)
@_budget("max-flip-rate", "Of the share of inputs whose predicted class differs (upper confidence limit).")
@_budget(
    "min-agree",
    "Of the share of inputs around which both provably predict one class: boxes of --inputs and --epsilon.",
)
@stack(*DOMAIN)
@click.option(
    "--norm",
    type=click.Choice(["1", "2", "inf"]),
    help="Norm of the difference of the outputs for --max-bound.  [default: inf]",
)
@_setting("confidence", "C", "Of the limit that --max-flip-rate compares.  [default: 0.99]")
@_setting("baseline", "FILE", "A file of earlier values, which must not be exceeded.")
@_setting("tolerance", "T", "By how much a value may exceed its baseline.  [default: 0.1%]")
@click.option(
    "--allow-interface-change",
    type=click.Choice(["names", "order", "types", "shapes", "count", "tail"]),
    multiple=True,
    help="A kind of change of inputs and outputs that does not fail the check (repeatable).",
)
@click.option(
    "--allow-unfaithful",
    is_flag=True,
    help="A file that computes something else than its weights say does not fail the check.",
)
@click.option(
    "--file-provider",
    metavar="NAME",
    help="Provider of ONNX Runtime that the files themselves are run on.  [default: cpu]",
)
@click.option(
    "--file-option",
    multiple=True,
    metavar="KEY=VALUE",
    help="Session option for running the files (repeatable).",
)
@click.option("--update-baseline", is_flag=True, help="Write what is measured into the baseline files.")
@click.option(
    "--config",
    type=click.Path(),
    help="Configuration, instead of the nearest onnxpath.toml or pyproject.toml.",
)
@options.reading_options
@options.device_options
@options.gate_output_options
@click.pass_context
def command(
    ctx, a, b, update_baseline, allow_interface_change, allow_unfaithful, file_option, config,
    reading, computing, output, **settings,
) -> None:  # fmt: skip
    """Check budgets on the networks in A and B, or, without arguments, on every pair of
    [[tool.onnxpath.check]] in pyproject.toml or [[check]] in onnxpath.toml.

    Exit code 0 when all budgets hold, 1 when one is exceeded, 2 when something could not be checked.
    """
    given = {name.replace("_", "-"): value for name, value in settings.items() if value is not None}
    more = {
        "shape": dict(reading.shapes), "output-name": list(reading.output_names),
        "keep-batchnorm": reading.keep_batchnorm,
        "allow-interface-change": list(allow_interface_change), "allow-unfaithful": allow_unfaithful,
        "file-option": list(file_option),
    }  # fmt: skip
    gates: list[Gate] = []
    try:
        device = computing.device()
        gates = _gates(a, b, config, given | {name: value for name, value in more.items() if value})
        with output.progress(f"checking {len(gates)} pair{'' if len(gates) == 1 else 's'}"):
            result = deferred.checking.check(gates, device, update_baseline, options.forced())
    except OnnxPathError as error:
        _failed(error, gates, output.files)
        raise
    report = verdicts.report(result)
    output.emit(result.to_dict(), report, {"junit": lambda: deferred.junit.xml(result.pairs, result.tool)})
    if github.active():
        github.annotate(
            [(f"onnxpath check: {pair.name}", verdicts.explain(budget)) for pair, budget in result.failures]
        )
        github.summarize(markdown(report))
    ctx.exit(0 if result.passed else 1)
