"""`sparring compare`: a comparison of runs."""

from __future__ import annotations

import argparse
from pathlib import Path

from sparring.commands import add_scoring, add_trust, scoring

ABOUT = "compare runs: scores, curves, samples of the same latents"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    about = "run directories; runs that differ only in the seed are averaged"
    parser.add_argument("run", type=Path, nargs="+", help=about)
    parser.add_argument("--checkpoint", default="best", help="checkpoint: best, last or a step; default: best")
    about = "HTML page with scores, curves and samples; default: comparison.html"
    parser.add_argument("--out", type=Path, default=Path("comparison.html"), metavar="FILE", help=about)
    add_scoring(parser)
    add_trust(parser)


def run(chosen: argparse.Namespace) -> None:
    """Print a table of the scores, and write the page."""
    from sparring.studies.compare import compare
    from sparring.studies.page import write_page

    comparison = compare(chosen.run, checkpoint=chosen.checkpoint, **scoring(chosen))
    print("\n".join(comparison.lines()))
    write_page(comparison, chosen.out)
    print(f"Page with curves and samples: {chosen.out}")
