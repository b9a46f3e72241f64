"""`sparring doctor`: a diagnosis of a run, or of another program's training."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from sparring.base.errors import UserError
from sparring.base.process import DONE, FAILED

ABOUT = "diagnose a run: the failure, the evidence, suggested fixes"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("run", type=Path, nargs="?", help="run directory; the doctor reads its log only")
    about = "log of another program's training: a .csv or .jsonl with columns step, d_loss, g_loss ..."
    parser.add_argument("--csv", type=Path, metavar="FILE", help=about)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.epilog = "exit status: 0 no failure found, 1 a failure found"


def run(chosen: argparse.Namespace) -> int:
    """Print the diagnosis; return the exit status: 0 no failure, 1 a failure.

    Raises:
        UserError: neither a run nor a log is given, or both, or it cannot be read.
    """
    if (chosen.run is None) == (chosen.csv is None):
        raise UserError("doctor needs either a run or a log: sparring doctor RUN, or sparring doctor --csv FILE")
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

    examined, findings = Run.open(chosen.run), examine(chosen.run)
    if chosen.json:
        print(json.dumps(as_json(examined, findings), indent=1))
    else:
        print("\n".join(lines(examined, findings)))
        picture = draw(examined, findings)
        if picture is not None:
            print(f"curves of the evidence: {picture}")
    return FAILED if has_failures(findings) else DONE
