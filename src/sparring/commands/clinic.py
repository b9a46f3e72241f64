"""`sparring clinic`: a measurement of the doctor's accuracy."""

from __future__ import annotations

import argparse
from pathlib import Path

ABOUT = "measure the doctor's accuracy on runs with known faults and on healthy runs"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("--quick", action="store_true", help="only a few cases, on points and digits: some minutes")
    parser.add_argument("--seeds", type=int, metavar="N", help="seeds of each case; default: 3, or 1 with --quick")
    parser.add_argument("--treat", action="store_true", help="also treat the failing runs, and count those fixed")
    about = "regular expression: only cases whose name matches, such as 'ring|weak'; default: all"
    parser.add_argument("--only", default="", metavar="PATTERN", help=about)
    about = "trainings at the same time, one thread each; default: one for each core"
    parser.add_argument("--jobs", type=int, default=0, metavar="N", help=about)
    about = "folder for runs and results; the same folder continues an interrupted clinic; default: runs/clinic"
    parser.add_argument("--out", type=Path, default=Path("runs/clinic"), metavar="FOLDER", help=about)


def run(chosen: argparse.Namespace) -> None:
    """Train all cases, diagnose them, and print and write the counts."""
    from sparring.studies.clinic.clinic import run_clinic

    seeds = chosen.seeds if chosen.seeds is not None else 1 if chosen.quick else 3
    options = {"quick": chosen.quick, "only": chosen.only, "jobs": chosen.jobs, "treat": chosen.treat}
    report = run_clinic(chosen.out, seeds=seeds, note=lambda line: print(line, flush=True), **options)
    print("\n".join(report))
    print(f"Report: {chosen.out / 'clinic.md'}")
