"""`sparring sweep`: a grid of recipes and seeds."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from sparring.base.process import Interrupted
from sparring.commands import DONE, INTERRUPTED, add_scoring, add_trust, scoring

ABOUT = "train a grid of recipes and seeds, and compare them"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command."""
    parser.add_argument("recipe", help="a named recipe or a .toml file")
    about = "a field of the recipe and the values to try; may be given for several fields"
    parser.add_argument("--set", nargs="+", action="append", default=[], metavar="FIELD=VALUE", help=about)
    parser.add_argument("--seeds", type=int, default=1, help="how many seeds of each: 0, 1, 2 ...")
    parser.add_argument("--out", type=Path, help="the folder of the sweep (default: runs/sweep-RECIPE); it can go on")
    add_scoring(parser)
    add_trust(parser)


def run(chosen: argparse.Namespace) -> int:
    """Train and compare; the exit status: 0 done, 130 interrupted."""
    from sparring.studies.sweep import read_grid, sweep

    out = chosen.out or Path("runs") / f"sweep-{Path(chosen.recipe).stem}"
    try:
        comparison = sweep(chosen.recipe, read_grid(chosen.set), seeds=chosen.seeds, out=out, **scoring(chosen))
    except Interrupted as error:
        print(f"sparring: {error}; to go on with the sweep, give the same command again", file=sys.stderr)
        return INTERRUPTED
    print("\n".join(comparison.lines()))
    print(f"With curves and samples: {out / 'comparison.html'}")
    return DONE
