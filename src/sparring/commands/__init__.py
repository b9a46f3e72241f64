"""One module for each command: `ABOUT`, `add_arguments`, and `run`, which returns the exit status.

Importing a command needs no torch; running it may.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any, NoReturn

from sparring.base.choices import DEVICES, FITS
from sparring.base.errors import UserError, did_you_mean


class Parser(argparse.ArgumentParser):
    """An argument parser that raises UserError and keeps the line breaks of its epilog.

    Attributes:
        late_epilog: returns the epilog when help is printed, for texts that need slow imports.
    """

    late_epilog: Callable[[], str] | None = None

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **{"formatter_class": argparse.RawDescriptionHelpFormatter, **options})

    def format_help(self) -> str:
        if self.late_epilog is not None:
            self.epilog = self.late_epilog()
        return super().format_help()

    def refuse(self, unknown: str) -> NoReturn:
        """Raise UserError for an unexpected argument; for an option, with the nearest one."""
        if not unknown.startswith("-"):
            self.error(f"unexpected argument {unknown!r}")
        options = [o for action in self._actions for o in action.option_strings if o.startswith("--")]
        self.error(f"no option {unknown}: {did_you_mean(unknown.split('=')[0], options)}")

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message} (see {self.prog} --help)")


def add_trust(parser: argparse.ArgumentParser) -> None:
    """Add the option that lets component texts import code, and data be the output of commands."""
    about = "allow dotted names and pipe: in the recipe, which run code; only for recipes from people you trust"
    parser.add_argument("--trust", action="store_true", help=about)


def add_size(parser: argparse.ArgumentParser) -> None:
    """Add the options that resize images."""
    about = "image size in pixels: 64 (square) or 96x64 (width x height); default: the images' own"
    parser.add_argument("--size", default="", help=about)
    about = "resizing: crop (cover, then cut the middle), pad (black borders), stretch or patch; default: crop"
    parser.add_argument("--fit", default="crop", choices=FITS, help=about)


def add_device(parser: argparse.ArgumentParser) -> None:
    """Add the option that chooses the hardware."""
    parser.add_argument("--device", default="auto", choices=DEVICES, help="device that computes; default: auto")


def add_scoring(parser: argparse.ArgumentParser) -> None:
    """Add the options of metrics."""
    about = "metrics, separated by commas (frechet,precision_recall), or usual, or all; default: usual"
    parser.add_argument("--metrics", default="usual", help=about)
    about = "feature extractor: Classifier(), Inception(), DINOv2(), CLIP(), Pixels(), Random(); default: auto, by data"
    parser.add_argument("--extractor", default="auto", help=about)
    about = "number of samples, and the largest number of reference samples; default: 10000"
    parser.add_argument("--count", type=int, default=10_000, metavar="N", help=about)
    about = "reference samples; default: test for image-to-image runs, train for others"
    parser.add_argument("--split", default="auto", choices=("auto", "train", "test"), help=about)
    about = "random seed of the samples and of the reference's choice; default: 0"
    parser.add_argument("--seed", type=int, default=0, metavar="N", help=about)
    parser.add_argument("--raw", action="store_true", help="use the generator's last weights, not their average")
    add_device(parser)


def scoring(chosen: argparse.Namespace) -> dict[str, Any]:
    """The values of the options from `add_scoring`, and of --trust."""
    names = ("metrics", "extractor", "count", "split", "seed", "raw", "device", "trust")
    return {name: getattr(chosen, name) for name in names}
