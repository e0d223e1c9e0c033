"""The options that name a domain: which inputs a bound holds for."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from onnxpath.cli import deferred
from onnxpath.cli.options import group
from onnxpath.errors import UsageError

if TYPE_CHECKING:
    from onnxpath.model.domain import Domain


def limit(text: str | None, option: str) -> Any:
    """A number, a list of numbers, or the arrays of a file."""
    if text is None:
        return None
    if text.endswith((".npz", ".npy")):
        return deferred.npz.read(text)
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        raise UsageError(
            f"{option} takes a number, a list of numbers or an .npz file, not '{text}'"
        ) from None
    return numbers[0] if len(numbers) == 1 else numbers


@dataclass(frozen=True)
class Box:
    """--radius, or --low and --high."""

    radius: float | None = None
    low: str | None = None
    high: str | None = None

    def box(self) -> "Domain | None":
        """The domain; None where no option is given. Raises UsageError where they name two."""
        Domain = deferred.domain.Domain
        bottom, top = limit(self.low, "--low"), limit(self.high, "--high")
        if self.radius is not None:
            if bottom is not None or top is not None:
                raise UsageError("--radius and --low or --high name two domains; give one")
            return Domain.radius(self.radius)
        if (bottom is None) != (top is None):
            raise UsageError("--low and --high belong together")
        return None if bottom is None or top is None else Domain.box(bottom, top)


@dataclass(frozen=True)
class Region(Box):
    """--radius | --low and --high | --inputs, with --epsilon."""

    inputs: str | None = None
    epsilon: str | None = None

    def domain(self) -> "Domain":
        """The domain; raises UsageError where the options name none, or two."""
        Domain = deferred.domain.Domain
        width = limit(self.epsilon, "--epsilon")
        if self.inputs is not None:
            bottom, top = limit(self.low, "--low"), limit(self.high, "--high")
            if self.radius is not None:
                raise UsageError("--radius and --inputs name two domains; with --inputs use --epsilon")
            given = deferred.npz.read(self.inputs)
            if width is not None:
                return Domain.around(given, width, bottom, top)
            if bottom is not None or top is not None:
                raise UsageError(
                    "--low and --high cut the boxes of --epsilon; without --epsilon they name another domain"
                    " than --inputs"
                )
            return Domain.samples(given)
        if width is not None:
            raise UsageError("--epsilon needs --inputs: the points to put a box around")
        found = self.box()
        if found is None:
            raise UsageError(
                "name the inputs to bound the difference for: --radius R, --low L and --high H, or --inputs"
                " FILE.npz"
            )
        return found


# As single arguments: the gate knows them under the names of its configuration.
DOMAIN = (
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
domain_options = group("region", Region, *DOMAIN)
boxes_options = group(
    "region",
    Region,
    click.option(
        "--inputs",
        type=click.Path(),
        required=True,
        metavar="FILE.npz",
        help="The inputs; arrays [n, ...] by input.",
    ),
    click.option(
        "--epsilon",
        required=True,
        metavar="E",
        help="Half-width of the box around each input: a number, or one per channel.",
    ),
    click.option(
        "--low",
        metavar="L",
        help="Cut the boxes at x_i >= L: a number, one per channel, or an .npz by input.",
    ),
    click.option("--high", metavar="H", help="Cut the boxes at x_i <= H, likewise."),
)
also_options = group(
    "also",
    Box,
    click.option(
        "--radius", type=float, metavar="R", help="Also bound the outputs' difference for |x_i| <= R."
    ),
    click.option(
        "--low", metavar="L", help="... for x_i >= L: a number, one per channel, or an .npz by input."
    ),
    click.option("--high", metavar="H", help="... and x_i <= H, likewise."),
)
