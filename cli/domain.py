"""The options that name a domain: which inputs a bound holds for."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from onnxpath.errors import UsageError

if TYPE_CHECKING:
    from onnxpath.model.domain import Domain


def domain_options(function: Callable) -> Callable:
    """--radius | --low and --high | --inputs, with --epsilon."""
    decorators = (
        click.option("--radius", type=float, metavar="R", help="All inputs with |x_i| <= R."),
        click.option(
            "--low",
            metavar="L",
            help="All inputs with x_i >= L: a number, one per channel (0,0,0), or an .npz by input.",
        ),
        click.option("--high", metavar="H", help="All inputs with x_i <= H, likewise."),
        click.option(
            "--inputs",
            type=click.Path(),
            metavar="FILE.npz",
            help="The inputs in a file, each by itself; arrays [n, ...] by input.",
        ),
        click.option(
            "--epsilon",
            metavar="E",
            help="With --inputs: a box of half-width E around each, cut to --low and --high.",
        ),
    )
    for decorate in reversed(decorators):
        function = decorate(function)
    return function


def limit(text: str | None, option: str) -> Any:
    """A number, a list of numbers, or the arrays of a file."""
    if text is None:
        return None
    if text.endswith((".npz", ".npy")):
        from onnxpath.files import npz as arrays

        return arrays.read(text)
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        raise UsageError(
            f"{option} takes a number, a list of numbers or an .npz file, not '{text}'"
        ) from None
    return numbers[0] if len(numbers) == 1 else numbers


def box(radius: float | None, low: str | None, high: str | None) -> "Domain | None":
    """The domain of --radius, or of --low and --high; None where none of them is given."""
    from onnxpath.model.domain import Domain

    bottom, top = limit(low, "--low"), limit(high, "--high")
    if radius is not None:
        if bottom is not None or top is not None:
            raise UsageError("--radius and --low or --high name two domains; give one")
        return Domain.radius(radius)
    if (bottom is None) != (top is None):
        raise UsageError("--low and --high belong together")
    return None if bottom is None or top is None else Domain.box(bottom, top)


def domain(
    radius: float | None, low: str | None, high: str | None, inputs: str | None, epsilon: str | None
) -> "Domain":
    """The domain that the options name; raises UsageError where they name none, or two."""
    from onnxpath.files import npz as arrays
    from onnxpath.model.domain import Domain

    width = limit(epsilon, "--epsilon")
    if inputs is not None:
        bottom, top = limit(low, "--low"), limit(high, "--high")
        if radius is not None:
            raise UsageError("--radius and --inputs name two domains; with --inputs use --epsilon")
        given = arrays.read(inputs)
        if width is not None:
            return Domain.around(given, width, bottom, top)
        if bottom is not None or top is not None:
            raise UsageError(
                "--low and --high cut the boxes of --epsilon; without --epsilon they name another domain than"
                " --inputs"
            )
        return Domain.samples(given)
    if width is not None:
        raise UsageError("--epsilon needs --inputs: the points to put a box around")
    found = box(radius, low, high)
    if found is None:
        raise UsageError(
            "name the inputs to bound the difference for: --radius R, --low L and --high H, or --inputs"
            " FILE.npz"
        )
    return found
