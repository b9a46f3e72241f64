"""`sparring treat`: what helps a sick run."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from sparring.base.process import Interrupted
from sparring.commands import DONE, FAILED, INTERRUPTED, add_trust

ABOUT = "try what helps a sick run in short trainings, and train the best to the end; exit status 1 if it stays ill"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command can be told."""
    parser.add_argument("run", type=Path, help="the run directory; it was watched (not --doctor off)")
    parser.add_argument("--out", type=Path, help="the folder of the treatment (default: RUN-treated); it can go on")
    parser.add_argument("--trials", type=int, default=6, help="remedies to try; the better half goes on; default: 6")
    about = "of the budget that the last two are trained for at least; the best goes on from there; default: 0.25"
    parser.add_argument("--share", type=float, default=0.25, help=about)
    parser.add_argument("--seed", type=int, default=1, help="of the samples that trials are judged by")
    parser.add_argument("--jobs", type=int, default=1, help="trials at a time, each in a process; default: 1")
    add_trust(parser)


def run(chosen: argparse.Namespace) -> int:
    """Treat it; the exit status: 0 it is well, 1 it stays ill, 130 interrupted."""
    from sparring.studies.treat.treat import conclusion, treat

    names = ("out", "trials", "share", "seed", "jobs", "trust")
    try:
        done = treat(chosen.run, **{name: getattr(chosen, name) for name in names})
    except Interrupted as error:
        print(f"sparring: {error}; to go on with the treatment, give the same command again", file=sys.stderr)
        return INTERRUPTED
    print("\n".join(conclusion(done)))
    return DONE if done.fixed else FAILED
