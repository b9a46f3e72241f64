"""`sparring clinic`: how often the doctor is right."""

from __future__ import annotations

import argparse
from pathlib import Path

ABOUT = "plant failures, run healthy controls, and count how often the doctor is right; it goes on where it was"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command can be told."""
    parser.add_argument("--quick", action="store_true", help="a few cases on points and digits, some minutes")
    parser.add_argument("--seeds", type=int, help="how many seeds of each case; default: 3, with --quick 1")
    parser.add_argument("--treat", action="store_true", help="treat the sick runs, too, and count how many become well")
    about = "cases whose names contain it, such as 'ring|weak'"
    parser.add_argument("--only", default="", metavar="PATTERN", help=about)
    parser.add_argument("--jobs", type=int, default=0, help="trainings at once, of one thread each; default: the cores")
    parser.add_argument("--out", type=Path, default=Path("runs/clinic"), help="the folder; default: runs/clinic")


def run(chosen: argparse.Namespace) -> None:
    """Plant failures, examine all runs, print and write what was found."""
    from sparring.studies.clinic.clinic import run_clinic

    seeds = chosen.seeds if chosen.seeds is not None else 1 if chosen.quick else 3
    options = {"quick": chosen.quick, "only": chosen.only, "jobs": chosen.jobs, "treat": chosen.treat}
    found = run_clinic(chosen.out, seeds=seeds, note=lambda line: print(line, flush=True), **options)
    print("\n".join(found))
    print(f"The same as a file: {chosen.out / 'clinic.md'}")
