"""`sparring resume`: continue a run."""

from __future__ import annotations

import argparse
from pathlib import Path

from sparring.commands import add_trust
from sparring.commands.together import add_devices, devices_of, start_together
from sparring.commands.train import report_trained
from sparring.run.directory import Run

ABOUT = "continue a stopped run, or extend a finished one"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("run", type=Path, help="run directory")
    about = "new budget in steps, counted from the start of the run; default: the run's own"
    parser.add_argument("--steps", type=int, default=0, metavar="N", help=about)
    about = "new budget in minutes of training, counted from the start of the run; default: the run's own"
    parser.add_argument("--minutes", type=float, default=0.0, metavar="X", help=about)
    about = "new budget in minutes of wall time, counted from the start of the run; default: the run's own"
    parser.add_argument("--wall-minutes", type=float, default=0.0, metavar="X", help=about)
    add_devices(parser)
    add_trust(parser)


def run(chosen: argparse.Namespace) -> int:
    """Continue the run; return the exit status 0."""
    devices = devices_of(chosen)
    if devices > 1:
        return start_together(devices, Run.open(chosen.run).read_recipe().device, chosen.arguments)
    from sparring.training.train import resume

    budgets = {"steps": chosen.steps, "minutes": chosen.minutes, "wall_minutes": chosen.wall_minutes}
    path = resume(chosen.run, trust=chosen.trust, **budgets)
    return report_trained(path)
