"""`sparring sweep`: a grid of recipe values and seeds."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from sparring.base.process import DONE, INTERRUPTED, Interrupted
from sparring.commands import add_scoring, add_trust, scoring

ABOUT = "train a grid of recipe values and seeds, and compare the runs"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("recipe", help="named recipe (see sparring recipes) or .toml file")
    about = 'field of the recipe and its values, such as "loss=Hinge()" "NonSaturating()"; repeat it for more fields'
    parser.add_argument("--set", nargs="+", action="append", default=[], metavar="FIELD=VALUE", help=about)
    about = "seeds of each combination: 0, 1, 2 ...; default: 1"
    parser.add_argument("--seeds", type=int, default=1, metavar="N", help=about)
    about = "folder for the runs; the same folder continues an interrupted sweep; default: runs/sweep-RECIPE"
    parser.add_argument("--out", type=Path, metavar="FOLDER", help=about)
    add_scoring(parser)
    add_trust(parser)


def run(chosen: argparse.Namespace) -> int:
    """Train and compare; return the exit status: 0 done, 130 interrupted."""
    from sparring.studies.sweep import read_grid, sweep

    out = chosen.out or Path("runs") / f"sweep-{Path(chosen.recipe).stem}"
    try:
        comparison = sweep(chosen.recipe, read_grid(chosen.set), seeds=chosen.seeds, out=out, **scoring(chosen))
    except Interrupted as error:
        print(f"sparring: {error}; to continue the sweep, repeat the command", file=sys.stderr)
        return INTERRUPTED
    print("\n".join(comparison.lines()))
    print(f"Page with curves and samples: {out / 'comparison.html'}")
    return DONE
