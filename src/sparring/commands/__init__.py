"""One file a command: `ABOUT`, `add_arguments`, and `run`, which gives the exit status.

Nothing here needs torch before a command runs.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any, NoReturn

from sparring.base.choices import DEVICES, FITS
from sparring.base.errors import UserError, did_you_mean

DONE, FAILED, MISTAKE, INTERRUPTED = 0, 1, 2, 130  # exit statuses


class Parser(argparse.ArgumentParser):
    """A parser whose errors are those of a user.

    Attributes:
        late_epilog: gives the epilog once help is printed, for texts that take time to find.
    """

    late_epilog: Callable[[], str] | None = None

    def format_help(self) -> str:
        if self.late_epilog is not None:
            self.epilog = self.late_epilog()
        return super().format_help()

    def refuse(self, unknown: str) -> NoReturn:
        """Name an argument that no option takes, and the option that it is nearest to."""
        if not unknown.startswith("-"):
            self.error(f"{unknown!r} is one argument too many")
        options = [o for action in self._actions for o in action.option_strings if o.startswith("--")]
        self.error(f"no option {unknown}: {did_you_mean(unknown.split('=')[0], options)}")

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message} (see {self.prog} --help)")


def add_trust(parser: argparse.ArgumentParser) -> None:
    """The option that lets texts import code."""
    about = "let the recipe's texts import code by dotted names; only for recipes of people you trust"
    parser.add_argument("--trust", action="store_true", help=about)


def add_size(parser: argparse.ArgumentParser) -> None:
    """The options of what images are brought to."""
    about = "bring images to this size: 64 (square) or 96x64 (width x height); default: as they are"
    parser.add_argument("--size", default="", help=about)
    about = "how: crop (cover, cut the middle), pad (black borders), stretch, or patch; default: crop"
    parser.add_argument("--fit", default="crop", choices=FITS, help=about)


def add_scoring(parser: argparse.ArgumentParser) -> None:
    """The options of how scores are measured."""
    about = "names with commas: frechet, kernel_distance, precision_recall ...; usual, all; default: usual"
    parser.add_argument("--metrics", default="usual", help=about)
    about = "Classifier(), Inception(), DINOv2(), CLIP(), Pixels(), Random(); default: auto, by the data"
    parser.add_argument("--extractor", default="auto", help=about)
    parser.add_argument("--count", type=int, default=10_000, help="samples, and most reference samples; default: 10000")
    about = "the reference; default: train, and the test images for runs that turn images into others"
    parser.add_argument("--split", default="auto", choices=("auto", "train", "test"), help=about)
    parser.add_argument("--seed", type=int, default=0, help="of the scored samples and the choice of the reference")
    parser.add_argument("--raw", action="store_true", help="the generator's own weights, not their average")
    parser.add_argument("--device", default="auto", choices=DEVICES, help="what to score on")


def scoring(chosen: argparse.Namespace) -> dict[str, Any]:
    """What `add_scoring` was given."""
    names = ("metrics", "extractor", "count", "split", "seed", "raw", "device", "trust")
    return {name: getattr(chosen, name) for name in names}
