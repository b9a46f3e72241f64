"""`sparring resume`: go on with a run."""

from __future__ import annotations

import argparse
from pathlib import Path

from sparring.commands import add_trust
from sparring.commands.train import report_trained

ABOUT = "go on with a run that was stopped, or extend it"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command."""
    parser.add_argument("run", type=Path, help="the run directory")
    parser.add_argument("--steps", type=int, default=0, help="a new budget, counted from the run's start")
    parser.add_argument("--minutes", type=float, default=0.0, help="the same in minutes")
    add_trust(parser)


def run(chosen: argparse.Namespace) -> int:
    """Go on with it; the exit status: 0 done."""
    from sparring.training.train import resume

    path = resume(chosen.run, trust=chosen.trust, steps=chosen.steps, minutes=chosen.minutes)
    return report_trained(path)
