"""`sparring doctor`: what ails a run, or another program's training."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from sparring.base.errors import UserError
from sparring.commands import DONE, FAILED

ABOUT = "say what ails a run, why, and what helps; exit status 1 if something does"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command can be told."""
    parser.add_argument("run", type=Path, nargs="?", help="the run directory; its log is all that is read")
    about = "read this log of another program's training instead: a .csv or .jsonl with columns "
    parser.add_argument("--csv", type=Path, metavar="FILE", help=f"{about}step, d_loss, g_loss ...")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(chosen: argparse.Namespace) -> int:
    """Examine it; the exit status: 0 nothing ails it, 1 something does."""
    if (chosen.run is None) == (chosen.csv is None):
        raise UserError("doctor takes a run, or --csv FILE for another program's log (see sparring doctor --help)")
    return _examine_log(chosen) if chosen.csv is not None else _examine_run(chosen)


def _examine_log(chosen: argparse.Namespace) -> int:
    from sparring.doctor.diagnosis.report import has_failures
    from sparring.doctor.logs.losses import as_json, diagnose_log, lines, read_log

    log = read_log(chosen.csv)
    findings = diagnose_log(log)
    print(json.dumps(as_json(log, findings), indent=1) if chosen.json else "\n".join(lines(chosen.csv, log, findings)))
    return FAILED if has_failures(findings) else DONE


def _examine_run(chosen: argparse.Namespace) -> int:
    from sparring.doctor.diagnosis.report import as_json, draw, examine, has_failures, lines
    from sparring.run.directory import Run

    found, findings = Run.open(chosen.run), examine(chosen.run)
    if chosen.json:
        print(json.dumps(as_json(found, findings), indent=1))
    else:
        print("\n".join(lines(found, findings)))
        picture = draw(found, findings)
        if picture is not None:
            print(f"curves: {picture}")
    return FAILED if has_failures(findings) else DONE
