"""`sparring compare`: runs side by side."""

from __future__ import annotations

import argparse
from pathlib import Path

from sparring.commands import add_scoring, add_trust, scoring

ABOUT = "put runs side by side: scores, curves, samples of the same latents"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command."""
    parser.add_argument(
        "run", type=Path, nargs="+", help="run directories, of which those that differ in the seed alone"
    )
    parser.add_argument("--checkpoint", default="best", help="best, last or a step; default: best")
    parser.add_argument("--out", type=Path, default=Path("comparison.html"), help="the page; default: comparison.html")
    add_scoring(parser)
    add_trust(parser)


def run(chosen: argparse.Namespace) -> None:
    """Compare them: a table, and a page."""
    from sparring.studies.compare import compare
    from sparring.studies.page import write_page

    comparison = compare(chosen.run, checkpoint=chosen.checkpoint, **scoring(chosen))
    print("\n".join(comparison.lines()))
    write_page(comparison, chosen.out)
    print(f"With curves and samples: {chosen.out}")
