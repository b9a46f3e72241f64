"""`sparring treat`: fixes for a failing run, tried and compared."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from sparring.base.process import DONE, FAILED, INTERRUPTED, Interrupted
from sparring.commands import add_trust

ABOUT = "try fixes for a failing run in short trainings, then train the best one to the end"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("run", type=Path, help="run directory, trained with --doctor watch (the default) or treat")
    about = "folder for the trials; the same folder continues an interrupted treatment; default: RUN-treated"
    parser.add_argument("--out", type=Path, metavar="FOLDER", help=about)
    about = "number of fixes to try; the better half of them trains further, again and again; default: 6"
    parser.add_argument("--trials", type=int, default=6, metavar="N", help=about)
    about = "share of the budget, in (0, 1], that the last two trials get at least; default: 0.25"
    parser.add_argument("--share", type=float, default=0.25, metavar="X", help=about)
    about = "random seed of the samples that the trials are scored by; default: 1"
    parser.add_argument("--seed", type=int, default=1, metavar="N", help=about)
    about = "trials at the same time, each in its own process; default: 1"
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help=about)
    add_trust(parser)
    parser.epilog = "exit status: 0 no failure found or all fixed, 1 a failure remains, 130 interrupted"


def run(chosen: argparse.Namespace) -> int:
    """Treat the run; return the exit status: 0 no failure, 1 a failure remains, 130 interrupted."""
    from sparring.studies.treat.treat import conclusion, treat

    names = ("out", "trials", "share", "seed", "jobs", "trust")
    try:
        done = treat(chosen.run, **{name: getattr(chosen, name) for name in names})
    except Interrupted as error:
        print(f"sparring: {error}; to continue the treatment, repeat the command", file=sys.stderr)
        return INTERRUPTED
    print("\n".join(conclusion(done)))
    return DONE if done.fixed else FAILED
